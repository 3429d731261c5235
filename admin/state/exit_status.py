"""What `up --drain` and `submit --wait` wait for, and the exit status that they end with."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from operator import attrgetter
from pathlib import Path

from dropscribe.core.bucket_names import as_stored, is_in_bucket
from dropscribe.core.types import FINAL_STATES, TRANSCRIPT_STATES, JobState
from dropscribe.store import queries, recording_moves
from dropscribe.store.queries import Job
from dropscribe.store.roots import WatchedRoot
from dropscribe.store.session import Database

SUSPECT_EXIT = 3
FAILED_EXIT = 4
INTERRUPTED_EXIT = 130

WITHOUT_TRANSCRIPT = frozenset(FINAL_STATES) - frozenset(TRANSCRIPT_STATES)  # in which a job has ended


def of_jobs(states: Iterable[JobState], waiting: int = 0, unread: int = 0) -> int:
    """0 if every job is done or a duplicate, 3 if any is suspect, 4 if any ended without a transcript.

    It is also 4 if recordings are `waiting` for the settings of their folder, or folders are partly `unread`.
    """
    found = set(states)
    if waiting + unread or not found.isdisjoint(WITHOUT_TRANSCRIPT):
        return FAILED_EXIT
    return SUSPECT_EXIT if JobState.SUSPECT in found else 0


def is_drained(roots: Sequence[WatchedRoot], folders: Sequence[Path], unfinished: int) -> bool:
    """True if every folder was scanned, no file in it is still growing, and no job is under way."""
    scanned = {root.path for root in roots if root.online}
    pending = sum(map(attrgetter("pending"), roots))
    return not unfinished + pending and scanned.issuperset(map(as_stored, folders))


def all_archived(database: Database, folders: Sequence[Path]) -> bool:
    """True if no recording of the folders is still to be archived."""
    return not recording_moves.left(database, [*map(as_stored, folders)])


def waiting_recordings(roots: Sequence[WatchedRoot]) -> int:
    """The number of recordings that wait until somebody corrects the settings of their folder."""
    return sum(folder.files for root in roots for folder in root.waiting)


def unread_folders(roots: Sequence[WatchedRoot]) -> int:
    """The number of watched folders with places that cannot be read, where recordings may lie unnoticed."""
    return sum(map(bool, map(attrgetter("unseen"), roots)))


def latest_jobs(database: Database, folders: Sequence[Path]) -> list[Job]:
    """The newest job of each recording that is still in one of the folders, by path; in a bucket, of each at all."""
    newest: dict[str, Job] = {}
    for folder in folders:
        for job in queries.list_jobs(database, folder=as_stored(folder)):
            newest.setdefault(job.source, job)
    return [newest[path] for path in sorted(newest) if is_in_bucket(path) or Path(path).exists()]
