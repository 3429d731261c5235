"""Notices recordings that were replaced by others of the same name, size and time, and has these transcribed.

Recorders with a dead clock and `rsync -t` do that. On local filesystems a file's stamp says that something was done to
it; only then is its fingerprint compared, which a change of owner or a backup leaves as it was.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace

from dropscribe.core.file_marks import FileMark
from dropscribe.core.queue import Doorbell
from dropscribe.core.routing import FINISH, PREPARE
from dropscribe.core.safe_text import printable
from dropscribe.scheduler.scanning.roots import RootOfflineError
from dropscribe.scheduler.watching.admission import new_job
from dropscribe.scheduler.watching.root_watch import RootWatch, Touched
from dropscribe.store import file_marks, jobs, parts
from dropscribe.store.file_marks import ReadFile
from dropscribe.store.session import Database

log = logging.getLogger(__name__)


def admit_replaced(database: Database, doorbell: Doorbell, watch: RootWatch) -> None:
    """Make jobs of recordings of this root that were replaced. Raises StoreError, SettingsError, ScannerStoppedError.

    Files whose jobs have not read them yet, and those that cannot be read now, are looked at again the next time.
    """
    if not watch.touched:
        return
    read = file_marks.read(database, str(watch.place), watch.touched)
    suspect = [path for path in read if _is_suspect(read[path], watch.touched[path])]
    try:
        marks = _marks_now(watch, suspect)
    except RootOfflineError as error:  # the next look will tell
        log.info("nothing is compared: %s", error)
        return
    for path in _keep_the_same(database, read, marks):
        _admit(database, doorbell, watch, path, marks[path])
    unread = set(suspect) - marks.keys()
    watch.touched = {path: watch.touched[path] for path in read if read[path].is_to_come or path in unread}


def _marks_now(watch: RootWatch, suspect: Sequence[str]) -> dict[str, FileMark]:
    """The marks of files that may be others by now, as far as they can be read."""
    prints = watch.scanner.fingerprints(watch.place, suspect)
    return {path: FileMark(watch.touched[path].stamp, seen) for path, seen in prints.items() if seen}


def _keep_the_same(database: Database, read: Mapping[str, ReadFile], marks: Mapping[str, FileMark]) -> set[str]:
    """Note that files of the same content have other stamps; returns the others."""
    same = {path for path, mark in marks.items() if mark.fingerprint == read[path].mark.fingerprint}
    file_marks.restamp(database, {read[path].job_id: marks[path].stamp for path in same})
    return marks.keys() - same


def _is_suspect(read: ReadFile, now: Touched) -> bool:
    """May the file be another by now: of the same size and time, but touched since it was read?"""
    is_same_file = (read.size, read.mtime_ns) == now.seen
    return is_same_file and bool(read.mark.fingerprint) and read.mark.stamp != now.stamp


def _admit(database: Database, doorbell: Doorbell, watch: RootWatch, path: str, mark: FileMark) -> None:
    """Make a job of a recording that took the place of another one, and send for it."""
    seen = watch.touched[path].seen
    job = new_job(str(watch.place), path, seen, watch.folders.orders(path), mark)
    job = replace(job, parts=parts.of_file(database, job.root, path, seen))
    woken: list[str] = []
    new = jobs.admit(database, [job], woken=woken)
    if new:
        log.warning("%s is another recording of the same size and time: it is transcribed again", printable(path))
    with doorbell.best_effort():
        doorbell.ring_all(PREPARE, new, job.priority)
        doorbell.ring_all(FINISH, woken, job.priority)
