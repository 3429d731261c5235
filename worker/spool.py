"""Keeps the spool free of what no job needs any more."""

from __future__ import annotations

import contextlib
import logging
import time
from pathlib import Path

from core.settings import Settings
from store import queries
from store.session import Database

log = logging.getLogger(__name__)

ORPHAN_SECONDS = 600.0  # younger files may belong to work that is just being written
SCRATCH_SECONDS = 86_400.0  # no decoding takes as long


def sweep(settings: Settings, database: Database) -> int:
    """Remove what a crash left: audio of jobs that are over or unknown, old working copies."""
    spooled = _older(settings.spool_dir, ORPHAN_SECONDS)
    needed = queries.active_among(database, {_job_of(path) for path in spooled})
    orphans = [path for path in spooled if _job_of(path) not in needed]
    orphans += _older(settings.scratch_dir, SCRATCH_SECONDS)
    for path in orphans:
        log.info("removed %s: no job needs it", path)
        path.unlink(missing_ok=True)
    return len(orphans)


def _job_of(path: Path) -> str:
    return path.name.partition(".")[0]


def _older(folder: Path, seconds: float) -> list[Path]:
    found = []
    with contextlib.suppress(FileNotFoundError):  # the folder is made with the first file; files come and go
        found = [path for path in folder.iterdir() if time.time() - path.stat().st_mtime > seconds]
    return found
