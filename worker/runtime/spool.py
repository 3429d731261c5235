"""Keeps the spool within its bounds, and free of what no job needs any more."""

from __future__ import annotations

import contextlib
import logging
import shutil
import time
from pathlib import Path

from dropscribe.core import chunk_ids
from dropscribe.core.settings import REQUESTS, Settings
from dropscribe.store import queries, switches
from dropscribe.store.session import Database
from dropscribe.store.switches import SPOOL_FULL
from dropscribe.worker.runtime import scratch

log = logging.getLogger(__name__)

ORPHAN_SECONDS = 600.0  # younger files may belong to work that is just being written
GIGABYTE = 1e9
RESERVE = 0.02  # of the disk: room that other programs and the store, perhaps on the same disk, need to go on
EASED = 0.9  # of the bound; preparing begins again below it, so that it does not stop and go with every recording


def has_room(settings: Settings, database: Database) -> bool:
    """Whether more audio may be decoded; says so to the whole fleet when that changes."""
    full_since = switches.paused_since(database, SPOOL_FULL)
    try:
        reason = why_full(settings, EASED if full_since else 1.0)
    except OSError as error:  # preparing tells its job why, and counts it against this worker
        log.warning("cannot look into the spool %s: %s; check DROPSCRIBE_SPOOL", settings.spool_dir, error.strerror)
        return True
    if bool(reason) != bool(full_since):
        _switch(database, reason)
    return not reason


def _switch(database: Database, reason: str) -> None:
    """Let nobody prepare while there is a reason."""
    if not reason:
        switches.resume(database, SPOOL_FULL)
        log.info("preparing goes on: the spool has room again")
    elif switches.pause(database, SPOOL_FULL):
        log.warning("preparing pauses: %s", reason)


def why_full(settings: Settings, part: float = 1.0) -> str:
    """What is wrong with a spool that holds `part` of its bound or more; empty when there is room."""
    folder = settings.spool_dir
    bound = settings.spool_gb * GIGABYTE
    used = sum(map(_size, _entries(folder)))
    if used >= bound * part:
        return f"the spool {folder} holds {used / GIGABYTE:.1f} of {settings.spool_gb:g} GB (DROPSCRIBE_SPOOL_GB)"
    with contextlib.suppress(FileNotFoundError):  # nothing was ever decoded
        disk = shutil.disk_usage(folder)
        if disk.free < disk.total * RESERVE / part:
            return f"only {disk.free / GIGABYTE:.1f} GB are free on the disk of the spool {folder}"
    return ""


def sweep(settings: Settings, database: Database) -> int:
    """Remove what a crash left: working directories without a process, audio of jobs that are over or unknown."""
    spooled = _older(settings.spool_dir, ORPHAN_SECONDS)
    needed = queries.active_among(database, set(map(_job_of, spooled)))
    orphans = [path for path in spooled if _job_of(path) not in needed and _removed(path)]
    left = scratch.sweep(settings.scratch_dir)
    for path in (*orphans, *left):
        log.info("removed %s: no job needs it", path)
    return len(orphans) + len(left)


def _removed(path: Path) -> bool:
    """Remove a file; False where that fails, which is tried again later."""
    try:
        path.unlink(missing_ok=True)
    except OSError as error:  # the others are removed all the same
        log.warning("cannot remove %s: %s; it is tried again", path, error.strerror)
        return False
    return True


def _job_of(path: Path) -> str:
    """The job that a file of the spool belongs to."""
    return chunk_ids.job_of(path.name)


def _older(folder: Path, seconds: float) -> list[Path]:
    """What in a folder has not changed for so many seconds."""
    found = []
    for path in _entries(folder):
        with contextlib.suppress(FileNotFoundError):
            if time.time() - path.stat().st_mtime > seconds:
                found.append(path)
    return found


def _entries(folder: Path) -> list[Path]:
    """What lies in a folder; nothing where there is none yet."""
    with contextlib.suppress(FileNotFoundError):  # the folder is made with the first file
        return [path for path in folder.iterdir() if path.name != REQUESTS]  # which the server keeps
    return []


def _size(path: Path) -> int:
    """Bytes of a file; 0 where it is gone."""
    with contextlib.suppress(FileNotFoundError):  # files come and go
        return path.stat().st_size
    return 0
