"""A complete file becomes a job row, then a message. A crash between the two is mended by the reconciler."""

from __future__ import annotations

import logging
import threading
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import groupby, islice
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from dropscribe.core import reserved_names
from dropscribe.core.errors import SettingsError, UnstorableError
from dropscribe.core.file_marks import FileMark
from dropscribe.core.folder_settings import EffectiveSettings, FolderSettings
from dropscribe.core.routing import PREPARE
from dropscribe.core.settings import Settings
from dropscribe.core.types import Priority
from dropscribe.scheduler.scanning.folder_files import read_settings
from dropscribe.scheduler.scanning.scan import Observation, places
from dropscribe.scheduler.watching.folder_rules import Folders, read_folders
from dropscribe.store import jobs, recording_moves
from dropscribe.store.jobs import NewJob
from dropscribe.store.session import Database

if TYPE_CHECKING:
    from dropscribe.core.queue import Doorbell  # Celery, which is not needed to admit

AT_ONCE = jobs.BATCH  # recordings: what is admitted in one transaction

log = logging.getLogger(__name__)


class Admission(NamedTuple):
    """The ids of new jobs, and why the store refused the others, by their paths."""

    ids: list[str]
    refused: dict[str, UnstorableError]


def admit(
    database: Database,
    doorbell: Doorbell,
    folders: Folders,
    root: str,
    complete: Mapping[str, Observation],
    gone: Collection[str] = (),
    *,
    stop: threading.Event | None = None,
) -> Admission:
    """Make jobs of complete files.

    A few hundred at a time, so that work on the first begins while the others are admitted; none once `stop` is set.
    A file that the store cannot hold keeps out nobody but itself.
    `gone` are files seen before that are there no more: a queued job of one of them whose size and time are those of a
    complete file follows the file to its new name, instead of a second job. Raises SettingsError when the hotwords
    cannot be read: without them the files are not what they should be, so they wait.
    """
    found = [new_job(root, path, seen, folders.orders(path)) for path, seen in complete.items()]
    fresh = [job for job in found if not (gone and _follows(database, job, gone))]
    admitted = Admission([], {})
    for batch in _batches(fresh):
        if stop and stop.is_set():
            break
        new = _insert(database, batch, admitted.refused)
        admitted.ids.extend(new)
        with doorbell.best_effort():
            doorbell.ring_all(PREPARE, new, batch[0].priority)
    log.info("%s: admitted %d of %d complete files", root, len(admitted.ids), len(complete))
    return admitted


def _follows(database: Database, job: NewJob, gone: Collection[str]) -> bool:
    try:
        return recording_moves.adopt_renamed(database, job, gone) is not None
    except UnstorableError:  # inserting it will say so
        return False


def _insert(database: Database, batch: Sequence[NewJob], refused: dict[str, UnstorableError]) -> list[str]:
    """The ids of new jobs; what the store cannot hold is found by halves, and put into `refused`."""
    try:
        return jobs.admit(database, batch)
    except UnstorableError as error:
        if len(batch) == 1:
            refused[batch[0].path] = error
            return []
    half = len(batch) // 2
    return _insert(database, batch[:half], refused) + _insert(database, batch[half:], refused)


def _batches(fresh: Iterable[NewJob]) -> Iterator[list[NewJob]]:
    """Jobs of one priority each, the most urgent first."""
    urgency = [*Priority].index
    ordered = sorted(fresh, key=lambda job: urgency(Priority(job.priority)))
    for _, alike in groupby(ordered, key=attrgetter("priority")):
        while batch := list(islice(alike, AT_ONCE)):
            yield batch


def orders_above(settings: Settings, root: Path, path: str, over: FolderSettings) -> EffectiveSettings:
    """What the folders from the root down to the recording say now, and `over` all of them. Raises SettingsError."""
    above = ("", *places(path))
    files = {directory: found for directory in above if (found := read_settings(str(root), directory))}
    folders = read_folders(settings, root, files, over)
    if (folder := folders.waits(path)) is not None:
        raise SettingsError(f"{root / folder / reserved_names.SETTINGS}: {folders.wrong[folder]}", remedy="mend it")
    return folders.orders(path)


def new_job(root: str, path: str, seen: Observation, orders: EffectiveSettings, mark: FileMark | None = None) -> NewJob:
    """The recording at `path` (relative to the root) as a job under its folder's settings."""
    return NewJob(
        root,
        path,
        seen.size,
        seen.mtime_ns,
        orders.settings_digest,
        orders.priority,
        orders.context,
        orders.overrides_at(path),
        mark,
    )
