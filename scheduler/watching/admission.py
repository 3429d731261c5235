"""A complete file becomes a job row, then a message. A crash between the two is fixed by the reconciler."""

from __future__ import annotations

import logging
import threading
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import groupby, islice
from operator import attrgetter
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from dropscribe.core import bucket_names, mounts, reserved_names
from dropscribe.core.error_translation import explained
from dropscribe.core.errors import SettingsError, UnstorableError
from dropscribe.core.file_marks import FileMark
from dropscribe.core.folder_settings import EffectiveSettings, FolderSettings
from dropscribe.core.routing import FINISH, PREPARE
from dropscribe.core.settings import Settings
from dropscribe.core.types import Priority
from dropscribe.scheduler.scanning.folder_files import borders, places, read_settings
from dropscribe.scheduler.scanning.scan import Observation
from dropscribe.scheduler.watching.folder_rules import Folders, read_folders
from dropscribe.scheduler.watching.joining import WholeRecording
from dropscribe.store import jobs, recording_moves
from dropscribe.store.jobs import NewJob
from dropscribe.store.session import Database

if TYPE_CHECKING:
    from dropscribe.core.queue import Doorbell  # Celery, which is not needed to admit

AT_ONCE = jobs.BATCH  # recordings: what is admitted in one transaction
# Nobody moves an object within its bucket, and `[s3] results` says where transcripts go.
NOT_IN_BUCKETS: Mapping[str, Any] = MappingProxyType({"when_done": "keep", "status_page": False, "results": None})

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
    whole: Sequence[WholeRecording],
    gone: Collection[str] = (),
    *,
    stop: threading.Event | None = None,
) -> Admission:
    """Make jobs of complete recordings. A part that came late makes a new job of all parts.

    A few hundred at a time, so that work on the first begins while the others are admitted; none once `stop` is set.
    A file that the store cannot hold stops no other file.
    `gone` are files seen before that are there no more: a queued job of one of them whose size and time are those of a
    recording in one file follows it to its new name, instead of a second job. Raises SettingsError when the hotwords
    cannot be read: without them the files are not what they should be, so they wait.
    """
    found = [
        replace(new_job(root, one.path, one.seen, folders.orders(one.path)), parts=one.parts, remark=one.remark)
        for one in whole
    ]
    fresh = [job for job in found if job.parts or not (gone and _follows(database, job, gone))]
    admitted = Admission([], {})
    for batch in _batches(fresh):
        if stop and stop.is_set():
            break
        woken: list[str] = []
        new = _insert(database, batch, admitted.refused, woken)
        admitted.ids.extend(new)
        with doorbell.best_effort():
            doorbell.ring_all(PREPARE, new, batch[0].priority)
            doorbell.ring_all(FINISH, woken, batch[0].priority)
    log.info("%s: admitted %d of %d complete recordings", root, len(admitted.ids), len(whole))
    return admitted


def _follows(database: Database, job: NewJob, gone: Collection[str]) -> bool:
    """Does a queued job follow this file to its new name?"""
    with suppress(UnstorableError):  # inserting it will say so
        return recording_moves.adopt_renamed(database, job, gone) is not None
    return False


def _insert(
    database: Database, batch: Sequence[NewJob], refused: dict[str, UnstorableError], woken: list[str]
) -> list[str]:
    """The ids of new jobs; what the store cannot hold is found by halves, and put into `refused`."""
    try:
        return jobs.admit(database, batch, woken=woken)
    except UnstorableError as error:
        if len(batch) == 1:
            refused[batch[0].path] = error
            return []
    half = len(batch) // 2
    first = _insert(database, batch[:half], refused, woken)
    return first + _insert(database, batch[half:], refused, woken)


def _batches(fresh: Iterable[NewJob]) -> Iterator[list[NewJob]]:
    """Jobs of one priority each, the most urgent first."""
    urgency = [*Priority].index
    ordered = sorted(fresh, key=lambda job: urgency(Priority(job.priority)))
    for _, alike in groupby(ordered, key=attrgetter("priority")):
        while batch := list(islice(alike, AT_ONCE)):
            yield batch


def orders_above(settings: Settings, root: Path, path: str, over: FolderSettings) -> EffectiveSettings:
    """What the folders from the root down to the recording say now, and `over` all of them. Raises SettingsError.

    In a bucket, the operator's tables alone say anything.
    """
    if bucket_names.is_in_bucket(root):
        return read_folders(settings, root, {}, {**over, **NOT_IN_BUCKETS}).orders(path)
    above = ("", *places(path))
    known = mounts.has_owners(mounts.filesystem_of(root))
    files = {place: found for place in above if (found := read_settings(str(root), place, has_owners=known))}
    with explained(OSError, SettingsError, f"cannot look into the folders of {path}", remedy="try again"):
        folders = read_folders(settings, root, files, over, borders=borders(str(root), path))
    if (folder := folders.waits(path)) is not None:
        raise SettingsError(f"{root / folder / reserved_names.SETTINGS}: {folders.wrong[folder]}", remedy="fix it")
    return folders.orders(path)


def new_job(root: str, path: str, seen: Observation, orders: EffectiveSettings, mark: FileMark | None = None) -> NewJob:
    """The recording at `path` (relative to the root) as a job under its folder's settings."""
    return NewJob(
        root=root,
        path=path,
        size=seen.size,
        mtime_ns=seen.mtime_ns,
        settings_digest=orders.settings_digest,
        priority=orders.priority,
        context=orders.context,
        overrides=orders.overrides_at(path),
        mark=mark,
    )
