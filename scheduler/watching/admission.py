"""A complete file becomes a job row, then a message. A crash between the two is mended by the reconciler."""

from __future__ import annotations

import logging
import threading
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from dropscribe.core import reserved_names
from dropscribe.core.errors import SettingsError
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

AT_ONCE = 400  # recordings

log = logging.getLogger(__name__)


def admit(
    database: Database,
    doorbell: Doorbell,
    folders: Folders,
    root: str,
    complete: Mapping[str, Observation],
    gone: Collection[str] = (),
    *,
    stop: threading.Event | None = None,
) -> list[str]:
    """Make jobs of complete files; returns the ids of those that are new.

    A few hundred at a time, so that work on the first begins while the others are admitted; none once `stop` is set.
    `gone` are files seen before that are there no more: a queued job of one of them whose size and time are those of a
    complete file follows the file to its new name, instead of a second job. Raises SettingsError when the hotwords
    cannot be read: without them the files are not what they should be, so they wait.
    """
    found = [new_job(root, path, seen, folders.orders(path)) for path, seen in complete.items()]
    fresh = [job for job in found if not (gone and recording_moves.adopt_renamed(database, job, gone))]
    admitted: list[str] = []
    for priority in Priority:
        alike = [job for job in fresh if job.priority == priority]
        for first in range(0, len(alike), AT_ONCE):
            if stop and stop.is_set():
                break
            batch = jobs.admit(database, alike[first : first + AT_ONCE])
            admitted += batch
            with doorbell.best_effort():
                for job_id in batch:
                    doorbell.ring(PREPARE, job_id, priority)
    log.info("%s: admitted %d of %d complete files", root, len(admitted), len(complete))
    return admitted


def orders_above(settings: Settings, root: Path, path: str, over: FolderSettings) -> EffectiveSettings:
    """What the folders from the root down to the recording say now, and `over` all of them. Raises SettingsError."""
    files = {directory: read_settings(str(root), directory) for directory in ("", *places(path))}
    folders = read_folders(settings, root, {name: found for name, found in files.items() if found}, over)
    if (folder := folders.waits(path)) is not None:
        raise SettingsError(f"{root / folder / reserved_names.SETTINGS}: {folders.wrong[folder]}; mend it")
    return folders.orders(path)


def new_job(root: str, path: str, seen: Observation, orders: EffectiveSettings) -> NewJob:
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
    )
