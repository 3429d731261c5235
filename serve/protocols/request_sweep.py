"""Removes from the server's own folder what no request needs any more: the store has its transcript, or forgot it."""

from __future__ import annotations

import logging
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from dropscribe.core.disk_errors import why
from dropscribe.core.errors import DropscribeError
from dropscribe.core.settings import Settings
from dropscribe.serve.protocols.request_jobs import has_text, locked
from dropscribe.serve.uploads import HIDDEN
from dropscribe.store import queries, written_files
from dropscribe.store.queries import Job
from dropscribe.store.session import Database

log = logging.getLogger(__name__)

EVERY_SECONDS = 60.0
KEPT_SECONDS = 7 * 86_400.0  # for which a recording that came to nothing can be tried again
STRAY_SECONDS = 86_400.0  # after which what nobody knows is what a crash left


def keep(settings: Settings, database: Database, stopping: threading.Event) -> None:
    """Remove what is due every minute, until the server stops."""
    while True:
        try:
            sweep(settings, database)
        except (OSError, DropscribeError) as error:
            log.warning("recordings of requests are not removed now: %s", error)
        except Exception:  # a defect of ours must not fill the disk: the next minute may have none
            log.exception("recordings of requests are not removed now")
        if stopping.wait(EVERY_SECONDS):
            return


def sweep(settings: Settings, database: Database) -> None:
    """Remove recordings whose jobs are over or forgotten, and the files that were written for them.

    What cannot be removed keeps nothing else there. Raises OSError for the folder of all, StoreError.
    """
    for folder in _inside(settings.requests_dir):
        with _warned(folder), locked(folder):
            for path in _inside(folder):
                with _warned(path):
                    _remove_unneeded(database, path)


def _inside(folder: Path) -> Iterator[Path]:
    """What lies in a folder; nothing where there is none yet."""
    with suppress(FileNotFoundError):
        yield from sorted(folder.iterdir())


@contextmanager
def _warned(path: Path) -> Iterator[None]:
    """Log what keeps a path from being removed, and go on."""
    try:
        yield
    except OSError as error:
        log.warning("%s is not removed now: %s", path, why(error))


def _remove_unneeded(database: Database, path: Path) -> None:
    """Remove a file, or a folder, which no request makes. Raises OSError, StoreError."""
    if path.name.startswith(HIDDEN) or _is_needed(database, path):
        return
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
    log.info("removed %s: no request needs it", path)


def _is_needed(database: Database, path: Path) -> bool:
    """Is it the recording of a job that may still want it, or written for one under way? Raises StoreError."""
    now = database.clock()
    if of_path := queries.list_jobs(database, path=str(path)):
        return any(_may_want(job, now) for job in of_path)
    if written := written_files.file_at(database, str(path)):
        return bool(queries.active_among(database, {written.job_id}))
    if path.name.startswith("."):
        return time.time() - path.stat().st_ctime < STRAY_SECONDS
    return False


def _may_want(job: Job, now: float) -> bool:
    """Is a job under way, or did it come to nothing lately?"""
    if not job.state.is_final:
        return True
    return not has_text(job) and now - (job.finished_at or now) < KEPT_SECONDS
