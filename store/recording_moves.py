"""Recordings that move: those that people renamed, and those that are archived once their job ended.

Of the latter the row says where a recording is to go before it goes: after a crash in between, a look finds it out.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from sqlalchemy import exc, func, or_, select, update

from dropscribe.core import reserved_names
from dropscribe.core.event_kinds import EventKind
from dropscribe.core.old_names import all_names
from dropscribe.core.recording_parts import RecordingPart
from dropscribe.core.types import ACTIVE_STATES, ARCHIVED_STATES, JobState
from dropscribe.store import jobs as job_store
from dropscribe.store import leases, transitions
from dropscribe.store.events import note
from dropscribe.store.file_names import folder_key, path_key, source_of
from dropscribe.store.jobs import NewJob
from dropscribe.store.leases import JobClaim
from dropscribe.store.parts import further_files
from dropscribe.store.queries import under
from dropscribe.store.session import Database
from dropscribe.store.tables import TO_ARCHIVE, events, jobs, parts
from dropscribe.store.transitions import JobEvent

AT_ONCE = 100  # recordings


@dataclass(frozen=True, slots=True)
class Move:
    """A recording to be archived: where it is, relative to its root, and where it is to go if that is decided.

    `size` in bytes and `mtime_ns` are what it was admitted with, `fingerprint` what was read (empty: nothing). `parts`
    are further files, which go with it.
    """

    job_id: str
    root: str
    path: str
    to: str | None
    size: int
    mtime_ns: int
    failed: bool
    reason: str
    fingerprint: str
    parts: tuple[RecordingPart, ...] = ()

    @property
    def shelf(self) -> str:
        """The folder for it beside where it lay."""
        return reserved_names.FAILED if self.failed else reserved_names.DONE


def adopt_renamed(database: Database, found: NewJob, gone: Collection[str]) -> str | None:
    """Point the job of a file that is `gone` to the new name of the same file (equal size and mtime).

    That is a queued job, or one that failed and whose file was brought back from where such files are put: it is tried
    again. Inodes say nothing on network filesystems. Returns the job's id, or None when there was no such job.
    """
    same = select(jobs.c.id, jobs.c.path, jobs.c.state).where(
        jobs.c.root == found.root,
        jobs.c.state.in_([JobState.QUEUED, JobState.FAILED]),
        jobs.c.size == found.size,
        jobs.c.mtime_ns == found.mtime_ns,
        jobs.c.part_count == 0,  # the names of parts belong together
    )
    # Where the new name has a job of its own, nothing is renamed.
    with suppress(exc.IntegrityError), database.begin() as connection:
        old = next((row for row in connection.execute(same) if row.path in gone and _follows(row)), None)
        if old is None:
            return None
        mine = (jobs.c.id == old.id, jobs.c.state == old.state)
        moved, before = _renamed(found, old.path), f"from {old.path}"
        renamed = transitions.apply(connection, JobEvent.RENAMED, *mine, where=database.where, detail=before, **moved)
        return next(iter(renamed.ids), None)
    return None


def _follows(job: Any) -> bool:
    """May the job follow its file to another name?"""
    return job.state == JobState.QUEUED or reserved_names.shelf_of(job.path) == reserved_names.FAILED


def _renamed(found: NewJob, before: str) -> dict[str, Any]:
    """The new name; and where it lies in another folder, what holds there."""
    moved: dict[str, Any] = {"path": found.path, "path_key": path_key(found.source), "identity": found.identity}
    if PurePosixPath(before).parent == PurePosixPath(found.path).parent:
        return moved
    held = ("settings_digest", "priority", "context", "overrides", "moves")
    moved |= {"moving_to": None, "folder_key": folder_key(found.source)}
    return moved | job_store.wishes(found) | {name: getattr(found, name) for name in held}


def due(database: Database, root: str) -> list[Move]:
    """The recordings of this root whose jobs ended, as many as are moved in one go."""
    query = select(jobs).where(TO_ARCHIVE, jobs.c.state.in_(ARCHIVED_STATES), jobs.c.root == root)
    with database.read() as connection:
        rows = connection.execute(query.order_by(jobs.c.finished_at).limit(AT_ONCE)).all()
        return [_move(row, further_files(connection, row.id) if row.part_count else ()) for row in rows]


def _move(row: Any, further: tuple[RecordingPart, ...]) -> Move:
    """A recording to be archived, by its row."""
    failed = row.state == JobState.FAILED
    return Move(
        job_id=row.id,
        root=row.root,
        path=row.path,
        to=row.moving_to,
        size=row.size,
        mtime_ns=row.mtime_ns,
        failed=failed,
        reason=row.reason,
        fingerprint=row.fingerprint,
        parts=further,
    )


def left(database: Database, roots: Sequence[str]) -> int:
    """How many recordings of these roots are still to be archived."""
    due = (TO_ARCHIVE, jobs.c.state.in_(ARCHIVED_STATES), jobs.c.root.in_(roots))
    with database.read() as connection:
        return connection.execute(select(func.count()).select_from(jobs).where(*due)).scalar_one()


def reserve(database: Database, claim: JobClaim, to: str) -> None:
    """Decide where the recording goes, before its transcript is written there. Raises LeaseLostError."""
    with database.begin() as connection:
        leases.write(connection, claim, moving_to=to)


def aim(database: Database, move: Move, to: str) -> bool:
    """Decide where the recording of a job that ended goes; False when the job is under way again."""
    row = update(jobs).where(jobs.c.id == move.job_id, jobs.c.path == move.path, jobs.c.state.in_(ARCHIVED_STATES))
    with database.begin() as connection:
        return bool(connection.execute(row.values(moving_to=to)).rowcount)


def moved(database: Database, move: Move, to: str) -> None:
    """The recording lies there now; a job that was begun again meanwhile puts it away again at its end."""
    try:
        _went(database, move, to, _identity(database, move, to))
    except exc.IntegrityError:  # a job of an equal file that lay there before
        _went(database, move, to, _identity(database, move, f"{to}\0{move.job_id}"))


def _identity(database: Database, move: Move, path: str) -> str:
    """The identity that the job has with another path."""
    with database.read() as connection:
        digest = connection.execute(select(jobs.c.settings_digest).where(jobs.c.id == move.job_id)).scalar_one()
    return NewJob(
        root=move.root,
        path=path,
        size=move.size,
        mtime_ns=move.mtime_ns,
        settings_digest=digest,
        priority="",
    ).identity


def _went(database: Database, move: Move, to: str, identity: str) -> None:
    """Note that the recording lies at `to` now, if it has not been moved by somebody else."""
    row = update(jobs).where(jobs.c.id == move.job_id, jobs.c.path == move.path)
    there = path_key(source_of(move.root, to))
    values = {"path": to, "path_key": there, "identity": identity, "moving_to": None}
    with database.begin() as connection:
        if connection.execute(row.values(**values, moves=jobs.c.state.in_(ACTIVE_STATES))).rowcount:
            note(connection, move.job_id, EventKind.ARCHIVED, f"from {move.path} to {to}", where=database.where)


def put_away(database: Database, source: str) -> str | None:
    """The newest job of those whose recording was dropped at this absolute path and is archived since, or None."""
    folder = PurePosixPath(source).parent
    shelves = or_(*(under(database, str(folder / shelf)) for shelf in reserved_names.SHELVES))
    went = select(events.c.job_id).where(events.c.job_id == jobs.c.id, events.c.kind.in_(all_names(EventKind.ARCHIVED)))
    query = select(jobs.c.id, jobs.c.root, jobs.c.path).where(shelves, went.exists())
    with database.read() as connection:
        found = connection.execute(query.order_by(jobs.c.created_at.desc())).all()
    return next((row.id for row in found if _was_dropped_at(source, row)), None)


def _was_dropped_at(source: str, row: Any) -> bool:
    """Is the recording one that was dropped at this path, and archived since?"""
    lies = source_of(row.root, row.path)
    return any(lies in reserved_names.shelved(source, shelf, row.id) for shelf in reserved_names.SHELVES)


def part_moved(database: Database, move: Move, part: RecordingPart, to: str) -> None:
    """A further file lies there now."""
    row = update(parts).where(parts.c.job_id == move.job_id, parts.c.path == part.path)
    with database.begin() as connection:
        connection.execute(row.values(path=to, path_key=path_key(source_of(move.root, to))))


def stays(database: Database, move: Move, why: str) -> None:
    """Leave the recording where it is."""
    row = update(jobs).where(jobs.c.id == move.job_id, jobs.c.state.in_(ARCHIVED_STATES))
    with database.begin() as connection:
        if connection.execute(row.values(moving_to=None, moves=False)).rowcount:
            note(connection, move.job_id, EventKind.NOT_ARCHIVED, why, where=database.where)
