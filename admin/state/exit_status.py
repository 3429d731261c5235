"""What `--drain` and `--wait` wait for, and the exit status they end with. Pure but for two queries."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from dropscribe.core.types import JobState
from dropscribe.store import queries, recording_moves
from dropscribe.store.queries import Job, WatchedRoot
from dropscribe.store.session import Database

SUSPECT_EXIT = 3
FAILED_EXIT = 4
INTERRUPTED_EXIT = 130


def exit_status(states: Iterable[JobState], waiting: int = 0, unseen: int = 0) -> int:
    """0 when every job is done or a duplicate, 3 when any is suspect, 4 when any ended without a transcript.

    So has a recording that is `waiting` for the settings of its folder, and one in a folder that is `unseen`.
    """
    found = set(states)
    if waiting or unseen or found & {JobState.FAILED, JobState.PARKED, JobState.CANCELLED}:
        return FAILED_EXIT
    return SUSPECT_EXIT if JobState.SUSPECT in found else 0


def is_drained(roots: Sequence[WatchedRoot], folders: Sequence[Path], unfinished: int) -> bool:
    """True when every folder was scanned, no file in it is still growing, and no job is under way."""
    scanned = {root.path for root in roots if root.online}
    pending = sum(root.pending for root in roots)
    return not unfinished and not pending and all(str(folder) in scanned for folder in folders)


def all_put_away(database: Database, folders: Sequence[Path]) -> bool:
    """True when no recording is still to be put away."""
    return not recording_moves.left(database, [str(folder) for folder in folders])


def waiting(roots: Sequence[WatchedRoot]) -> int:
    """How many recordings wait until somebody mends the settings of their folder."""
    return sum(folder.files for root in roots for folder in root.waiting)


def unseen(roots: Sequence[WatchedRoot]) -> int:
    """How many folders have places that cannot be read: nobody knows whether recordings are there."""
    return sum(bool(root.unseen) for root in roots)


def latest_jobs(database: Database, folders: Sequence[Path]) -> list[Job]:
    """The newest job of each recording that is still in one of the folders, by path."""
    newest: dict[str, Job] = {}
    for folder in folders:
        for job in queries.list_jobs(database, folder=str(folder)):
            newest.setdefault(job.source, job)
    return [newest[path] for path in sorted(newest) if Path(path).exists()]
