"""Forgetting recordings: what was said, or all that is known but that such a file is not to be transcribed again.

The command `dropscribe forget` and the scheduler's retention remove by the same functions, a few rows at a time, so
that no writer waits for long. What was said goes first: after a crash in between, the next call removes the rest.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any

from sqlalchemy import ColumnElement, Connection, Table, and_, delete, exists, func, not_, or_, select, update

from dropscribe.core.event_kinds import EventKind
from dropscribe.core.types import ARCHIVED_STATES, FINAL_STATES, TRANSCRIPT_STATES, SpeakerNames
from dropscribe.store.events import note
from dropscribe.store.file_names import path_key
from dropscribe.store.notifications import WAITING
from dropscribe.store.queries import under
from dropscribe.store.removals import JOB, TEXT
from dropscribe.store.scrubbing import half_the_time, to_scrub
from dropscribe.store.session import Database, insert_ignoring, insert_of_dialect
from dropscribe.store.tables import (
    TO_ARCHIVE,
    chunks,
    events,
    forgotten,
    jobs,
    lines,
    notifications,
    now,
    parts,
    removals,
    revisions,
    segments,
    transcripts,
)

if TYPE_CHECKING:
    from dropscribe.core.retention import RetentionRule

ON_REQUEST = "forgotten on request"
ROWS_AT_ONCE = 500  # removed in one transaction
DAY = 86_400.0
BEGUN = 0.0  # in `text_removed_at` while it is being removed
_OVER = jobs.c.state.in_(FINAL_STATES)


def rows_of(database: Database, job_id: str) -> int:
    """How many rows hold something of what was said in a recording or happened to it."""
    of_job = (
        select(func.count()).where(lines.c.job_id == job_id),
        select(func.count()).where(events.c.job_id == job_id),
        select(func.count()).where(chunks.c.job_id == job_id),
        select(func.count()).where(revisions.c.job_id == job_id),
        select(func.count())
        .select_from(segments)
        .join(chunks, chunks.c.id == segments.c.chunk_id)
        .where(chunks.c.job_id == job_id),
    )
    with database.read() as connection:
        return sum(int(connection.execute(query).scalar_one()) for query in of_job)


def remove_text(database: Database, ids: Sequence[str], why: str) -> list[str]:
    """Remove what was said in the recordings of jobs that are over, and keep the jobs; returns those that had it.

    What people corrected and called the speakers goes too, and what tells their voices apart. `why` is noted.
    """
    found = _empty(database, ids)
    with database.begin() as connection:
        removed = (jobs.c.id.in_(found), jobs.c.text_removed_at == BEGUN)
        connection.execute(update(jobs).where(*removed).values(text_removed_at=now()))
        for job_id in found:
            note(connection, job_id, EventKind.TEXT_REMOVED, why, where=database.where)
        _record(connection, TEXT, why, len(found))
    return found


def forget(database: Database, ids: Sequence[str], why: str = ON_REQUEST) -> list[str]:
    """Remove jobs that are over with everything of theirs; returns those that were removed.

    What stays is a digest of each recording's path with its size and time, by which the watcher leaves it alone.
    """
    _empty(database, ids)
    with database.begin() as connection:
        over = (jobs.c.id.in_(ids), _OVER)
        files = select(jobs.c.path_key, jobs.c.size, jobs.c.mtime_ns, now()).where(*over)
        columns = ["path_key", "size", "mtime_ns", "at"]
        further = select(parts.c.path_key, parts.c.size, parts.c.mtime_ns, now()).join(
            jobs, jobs.c.id == parts.c.job_id
        )
        for gone_files in (files, further.where(*over)):
            connection.execute(insert_ignoring(connection, forgotten).from_select(columns, gone_files))
        gone = list(connection.execute(delete(jobs).where(*over).returning(jobs.c.id)).scalars())
        _record(connection, JOB, why, len(gone))
        return gone


def _empty(database: Database, ids: Sequence[str]) -> list[str]:
    """Remove what was said; returns the jobs that had it. A job that is begun again from now on is begun all again."""
    values = {"text_removed_at": BEGUN, "content_key": None, "speakers": SpeakerNames(), "diarization": None}
    free = {"model_queue": jobs.c.wanted_queue, "revision": 0}
    with database.begin() as connection:
        whole = update(jobs).where(jobs.c.id.in_(ids), _OVER, _has_text()).values(**values, **free)
        found = list(connection.execute(whole.returning(jobs.c.id)).scalars())
        connection.execute(delete(transcripts).where(transcripts.c.job_id.in_(found)))
    emptied = select(jobs.c.id).where(jobs.c.id.in_(found), jobs.c.text_removed_at.is_not(None))
    of_jobs = select(chunks.c.id).where(chunks.c.job_id.in_(emptied))
    _drain(database, revisions, revisions.c.job_id.in_(emptied))
    _drain(database, lines, lines.c.job_id.in_(emptied))
    _drain(database, segments, segments.c.chunk_id.in_(of_jobs))
    _drain(database, chunks, chunks.c.job_id.in_(emptied))
    return found


def _has_text() -> ColumnElement[bool]:
    """The condition on jobs that are over and of which something that was said may be there, also after a crash.

    A duplicate has what was said to its leader, also where it failed later, and no duration.
    """
    was_written = or_(jobs.c.state.in_(TRANSCRIPT_STATES), exists().where(transcripts.c.job_id == jobs.c.id))
    was_heard = or_(jobs.c.duration.is_not(None), jobs.c.text_removed_at == BEGUN, was_written)
    return and_(was_heard, func.coalesce(jobs.c.text_removed_at, BEGUN) == BEGUN)


def _drain(database: Database, table: Table[Any], which: ColumnElement[bool]) -> None:
    """Remove rows in small transactions, and leave as much time between them to others."""
    some = delete(table).where(table.c.id.in_(select(table.c.id).where(which).limit(ROWS_AT_ONCE)))
    removed = ROWS_AT_ONCE
    while removed == ROWS_AT_ONCE:
        with half_the_time(), database.begin() as connection:
            removed = connection.execute(some).rowcount


def _record(connection: Connection, what: str, why: str, number: int) -> None:
    """Keep account of what was removed, and that it is to be overwritten."""
    if not number:
        return
    moment = connection.execute(select(now())).scalar_one()
    entry = {"day": int(moment // DAY), "what": what, "why": why}
    added = {"jobs": removals.c.jobs + number, "at": moment}
    fresh = insert_of_dialect(connection, removals).values(**entry, jobs=number, at=moment)
    connection.execute(fresh.on_conflict_do_update(index_elements=[*entry], set_=added))
    to_scrub(connection)


def forgotten_at(database: Database, path: str, seen: tuple[int, int] | None) -> float | None:
    """When a recording at this absolute path was last forgotten; None if none was.

    `seen` are size and mtime_ns of the file that is there now, which must be that recording.
    """
    query = select(func.max(forgotten.c.at)).where(forgotten.c.path_key == path_key(path))
    if seen:
        query = query.where(forgotten.c.size == seen[0], forgotten.c.mtime_ns == seen[1])
    with database.read() as connection:
        return connection.execute(query).scalar()


@dataclass(frozen=True, slots=True)
class Due:
    """A job of which something is to be removed, and when it ended."""

    id: str
    ended: float


def due(database: Database, rule: RetentionRule, since: float, until: float, limit: int) -> list[Due]:
    """The first `limit` jobs that the rule is for, of those that ended from `since` to `until`, in order.

    Whole jobs are left out while a notification of theirs waits, or their recording is still to be archived.
    Both are moments by the database's clock; no index would be used for a moment that is worked out by the statement.
    """
    query = select(jobs.c.finished_at, jobs.c.id).where(
        *_meant(database, rule), jobs.c.finished_at >= since, jobs.c.finished_at < until
    )
    with database.read() as connection:  # state by state, as an index has them in order
        states = (
            query.where(jobs.c.state == state).order_by(jobs.c.finished_at).limit(limit) for state in FINAL_STATES
        )
        found = sorted(map(tuple, chain.from_iterable(map(connection.execute, states))))
    return [Due(job_id, ended) for ended, job_id in found[:limit]]


def _meant(database: Database, rule: RetentionRule) -> Iterator[ColumnElement[bool]]:
    """The jobs that a rule is about, as conditions."""
    if rule.folder:
        yield under(database, rule.folder)
    if rule.but:
        yield not_(or_(*(under(database, folder) for folder in rule.but)))
    from dropscribe.core.retention import Kept  # which imports pydantic, that `dropscribe status` does without

    yield _has_text() if rule.kept is Kept.TEXT else _is_settled()
    if rule.kept is Kept.REQUESTS:
        yield jobs.c.submitted.is_(True)


def _is_settled() -> ColumnElement[bool]:
    """The condition on finished jobs of which nothing is left to do: all notifications sent, the recording archived."""
    to_tell = exists().where(notifications.c.job_id == jobs.c.id, notifications.c.status == WAITING)
    to_archive = and_(TO_ARCHIVE, jobs.c.state.in_(ARCHIVED_STATES))
    return not_(or_(to_tell, to_archive))


def apply(database: Database, rule: RetentionRule, ids: Sequence[str]) -> int:
    """Remove what the rule says of these jobs, as far as they are over; returns of how many."""
    from dropscribe.core.retention import Kept

    remove = remove_text if rule.kept is Kept.TEXT else forget
    return len(remove(database, ids, rule.why))
