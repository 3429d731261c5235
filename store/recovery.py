"""Mending what crashed: expired leases, lost messages, followers without a leader; and what people ask for.

Everything here is safe to run twice and from several hosts at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Column, Connection, Table, Text, and_, cast, exists, func, literal, or_, select, true, update

from dropscribe.core.errors import DropscribeError
from dropscribe.core.old_names import all_names
from dropscribe.core.routing import MODEL_QUEUE
from dropscribe.core.types import ACTIVE_STATES, ChunkKind, ChunkState, JobState, Priority
from dropscribe.store import chunk_plans, leases
from dropscribe.store import chunks as chunk_store
from dropscribe.store import jobs as job_store
from dropscribe.store.leases import Claim
from dropscribe.store.session import Database
from dropscribe.store.tables import chunks, events, jobs, notifications, now, switches, workers

RETRY_WINDOW = 2  # chunks of a retried job that wait for a model at once; the reconciler lets the others in
AHEAD = {Priority.HIGH: Priority.HIGH, Priority.NORMAL: Priority.HIGH, Priority.LOW: Priority.NORMAL}
LONGEST_WAIT = 2 * 3600.0  # seconds; no notification is tried later than in an hour
BATCH = 500  # rows mended in one transaction, so that workers are not kept waiting


@dataclass(frozen=True, slots=True)
class Unsent:
    """A row that waits and for which a message should be under way. `kind` is prepare, transcribe or finish."""

    kind: str
    id: str
    priority: str


def _in(table: Table[Any], queue: str) -> Any:
    """Chunks wait in the queue of their job; jobs all in one."""
    if table is jobs:
        return true()
    return exists().where(jobs.c.id == chunks.c.job_id, jobs.c.model_queue == queue)


def expire(database: Database, lost_limit: int) -> int:
    """Take back all work whose lease ran out; returns how much.

    The `lost_limit`-th loss of one row parks its job: it has killed that many workers.
    """
    return sum(_mend(database, table, table.c.lease_until < now(), lost_limit) for table in (jobs, chunks))


def hasten(database: Database, *, lease: float, delay: float) -> int:
    """Pull in moments too far ahead to be ours, left by a clock that was set back since; returns how many.

    No lease ends later than in `lease` seconds, no wait in more than `delay`. The doubled lease leaves alone those
    hosts whose settings are a little different.
    """
    bounds: list[tuple[Column[Any], float, float]] = [
        (workers.c.heartbeat_at, lease, 0.0),
        (notifications.c.next_at, LONGEST_WAIT, 0.0),
    ]
    for table in (jobs, chunks):
        bounds.append((table.c.lease_until, 2 * lease, lease))
        bounds += [(table.c.not_before, delay, 0.0), (table.c.sent_at, lease, 0.0)]
    with database.begin() as connection:
        return sum(
            connection.execute(
                update(column.table).where(column > now() + bound).values({column.name: now() + becomes})
            ).rowcount
            for column, bound, becomes in bounds
        )


def expire_of(database: Database, owner: str, lost_limit: int) -> int:
    """Take back the work of a worker that is known to be dead, without waiting for its leases."""
    return sum(_mend(database, table, table.c.owner == owner, lost_limit) for table in (jobs, chunks))


def expire_all(database: Database, lost_limit: int) -> int:
    """Take back everything, where it is known that no worker is left."""
    return sum(_mend(database, table, leases.owned(table), lost_limit) for table in (jobs, chunks))


def _mend(database: Database, table: Table[Any], dead: Any, lost_limit: int) -> int:
    mended = 0
    query = select(table.c.id).where(leases.owned(table), dead).limit(BATCH)
    while ids := _ids(database, query):
        taken = sum(_take_back(database, table, row, dead, lost_limit) for row in ids)
        mended += taken
        if not taken or len(ids) < BATCH:
            break
    return mended


def disown(database: Database, owner: str) -> int:
    """Give back whatever a worker that stops in order still holds; no loss is counted."""
    given_back = 0
    with database.begin() as connection:
        for table in (jobs, chunks):
            for state, back in leases.FALLS_BACK.items():
                held = update(table).where(table.c.owner == owner, table.c.state == state)
                given_back += connection.execute(held.values(**leases.FREE, state=back)).rowcount
    return given_back


def give_back(database: Database, claim: Claim) -> None:
    """Give back one piece of work that could not be finished for want of the store; no loss is counted.

    Raises LeaseLostError when it is somebody else's by now.
    """
    if claim.table == jobs.name:
        job_store.release(database, claim)
    else:
        chunk_store.release(database, claim)


def last_words(database: Database, claim: Claim, reason: str) -> None:
    """Note why a process is about to end over its work, for whoever finds it lost."""
    with database.begin() as connection:
        leases.note(connection, claim.job_id, leases.CRASHED, reason, where=claim.owner)


def _said_by(connection: Connection, job_id: str, owner: str) -> str:
    said = select(events.c.detail).where(
        events.c.job_id == job_id, events.c.kind.in_(all_names(leases.CRASHED)), events.c.where == owner
    )
    reason = connection.execute(said.order_by(events.c.id.desc()).limit(1)).scalar()
    return f" ({reason})" if reason else ""


def _ids(database: Database, query: Any) -> list[str]:
    with database.read() as connection:
        return list(connection.execute(query).scalars())


def _take_back(database: Database, table: Table[Any], row: str, dead: Any, lost_limit: int) -> bool:
    with database.begin() as connection:
        # What somebody writes to this moment is left for the next round: one who froze there must not stop the others.
        of_job = select(jobs).where(jobs.c.id == row.partition(".")[0]).with_for_update(skip_locked=True)
        job = connection.execute(of_job).first()
        lost = select(table).where(table.c.id == row, leases.owned(table), dead).with_for_update(skip_locked=True)
        found = connection.execute(lost).first()
        if job is None or found is None:  # renewed, finished, or mended by another
            return False
        back = ChunkState.CANCELLED if job.cancel_requested and table is chunks else leases.FALLS_BACK[found.state]
        connection.execute(
            update(table).where(table.c.id == row).values(**leases.FREE, state=back, lost=found.lost + 1)
        )
        what = f"attempt {found.attempt} of {found.owner} at {row} was lost"
        leases.note(connection, job.id, "lost", what, where=database.where)
        if found.lost + 1 >= lost_limit and table is chunks and found.kind == ChunkKind.LINEUP:
            chunk_store.do_without(connection, row, "no worker survived it", where=database.where)
        elif found.lost + 1 >= lost_limit:
            why = f"{lost_limit} workers did not survive it{_said_by(connection, job.id, found.owner)}"
            reason = f"{why}; look at its events, then `dropscribe retry {job.id}`"
            job_store.close(connection, job.id, JobState.PARKED, reason, where=database.where)
        elif job.cancel_requested:
            _cancelled(connection, job.id, table, where=database.where)
        return True


def _cancelled(connection: Connection, job_id: str, table: Table[Any], *, where: str) -> None:
    if table is chunks:
        chunk_store.advance(connection, job_id, where=where)
    else:
        job_store.close(connection, job_id, JobState.CANCELLED, "cancelled on request", where=where)


WAITING = (
    ("prepare", jobs, and_(jobs.c.state == JobState.QUEUED, jobs.c.owner.is_(None))),
    ("finish", jobs, and_(jobs.c.state == JobState.FINISHING, jobs.c.owner.is_(None))),
    ("transcribe", chunks, chunks.c.state == ChunkState.QUEUED),
)


def waiting(database: Database, kind: str, older_than: float, queue: str = MODEL_QUEUE) -> int:
    """How many due rows of that kind wait for a message that is under way for more than `older_than` seconds.

    Of chunks, those in `queue`.
    """
    _, table, waits = next(entry for entry in WAITING if entry[0] == kind)
    query = (
        select(func.count())
        .select_from(table)
        .where(waits, _in(table, queue), table.c.not_before <= now(), table.c.sent_at < now() - older_than)
    )
    with database.read() as connection:
        return int(connection.execute(query).scalar_one())


def unsent(database: Database, kind: str, older_than: float, limit: int, queue: str = MODEL_QUEUE) -> list[Unsent]:
    """Mark as sent, and return, due rows (of chunks, those in `queue`) that wait without a message.

    Those never sent come first; then, up to `limit`, the ones whose message is the oldest.
    """
    _, table, waits = next(entry for entry in WAITING if entry[0] == kind)
    forbidding = leases.forbidding(JobState.PREPARING if kind == "prepare" else "")
    due = and_(waits, _in(table, queue), table.c.not_before <= now(), ~exists().where(switches.c.name.in_(forbidding)))
    # Rows that somebody claims this moment need no message.
    found = select(table.c.id).where(due).with_for_update(skip_locked=True)
    never = found.where(table.c.sent_at.is_(None)).limit(BATCH)
    stale = found.where(table.c.sent_at < now() - older_than).order_by(table.c.sent_at).limit(limit)
    with database.begin() as connection:
        ids = [*connection.execute(never).scalars(), *(connection.execute(stale).scalars() if limit > 0 else ())]
        connection.execute(update(table).where(table.c.id.in_(ids)).values(sent_at=now()))
        return _with_priority(connection, kind, table, ids)


def _with_priority(connection: Connection, kind: str, table: Table[Any], ids: list[str]) -> list[Unsent]:
    query = select(table.c.id, jobs.c.priority, table.c.lost).where(table.c.id.in_(ids))
    if table is chunks:
        query = query.join(jobs, jobs.c.id == chunks.c.job_id)
    found = {row.id: row for row in connection.execute(query)}
    return [Unsent(kind, row, _urgency(found[row].priority, found[row].lost)) for row in ids if row in found]


def _urgency(priority: str, lost: int) -> str:
    """What was lost waited already: it goes ahead of its equals, not behind all that came meanwhile."""
    return AHEAD[Priority(priority)] if lost else priority


def reunite_followers(database: Database) -> int:
    """Send on the jobs whose leader ended without waking them; returns how many."""
    leader = jobs.alias()
    over = exists().where(leader.c.id == jobs.c.duplicate_of, leader.c.state.not_in(ACTIVE_STATES))
    orphan = ~exists().where(leader.c.id == jobs.c.duplicate_of)
    query = (
        update(jobs)
        .where(jobs.c.state == JobState.TRANSCRIBING, jobs.c.duplicate_of.is_not(None), or_(over, orphan))
        .values(state=JobState.FINISHING, sent_at=None)
    )
    with database.begin() as connection:
        return connection.execute(query).rowcount


def cancel(database: Database, job_id: str) -> tuple[JobState, list[str]]:
    """Cancel a job: at once where nobody works on it, else as soon as its worker notices.

    Returns the state it is in now, and followers to send `finish` for. Raises DropscribeError for a job that is
    over.
    """
    with database.begin() as connection:
        job = job_store.lock(connection, job_id)
        if JobState(job.state).is_final:
            raise DropscribeError(f"{job_id} is {job.state} already; there is nothing to cancel")
        connection.execute(update(jobs).where(jobs.c.id == job_id).values(cancel_requested=True))
        connection.execute(
            update(chunks)
            .where(chunks.c.job_id == job_id, chunks.c.state.in_([ChunkState.HELD, ChunkState.QUEUED]))
            .values(state=ChunkState.CANCELLED)
        )
        leases.note(connection, job_id, "cancel_requested", where=database.where)
        running = exists().where(chunks.c.job_id == job_id, chunks.c.state == ChunkState.RUNNING)
        if job.owner or connection.execute(select(literal(1)).where(running)).first():
            return JobState(job.state), []
        woken = job_store.close(connection, job_id, JobState.CANCELLED, "cancelled on request", where=database.where)
        return JobState.CANCELLED, woken


RETRYABLE = (JobState.FAILED, JobState.PARKED, JobState.CANCELLED, JobState.SUSPECT)


def retry(database: Database, job_id: str) -> JobState:
    """Give an ended job another chance; chunks that were read stay read unless it was suspect.

    Returns the state it starts from. Raises DropscribeError for a job that is under way or done.
    """
    with database.begin() as connection:
        job = job_store.lock(connection, job_id)
        if job.state not in RETRYABLE:
            raise DropscribeError(
                f"{job_id} is {job.state}; only failed, parked, cancelled or suspect jobs are retried"
            )
        of_job = update(chunks).where(chunks.c.job_id == job_id)
        again = chunks.c.state == ChunkState.CANCELLED
        if job.state == JobState.SUSPECT:
            doubtful = and_(chunks.c.state == ChunkState.DONE, cast(chunks.c.reasons, Text) != "[]")
            again = or_(again, doubtful)
        requeued = connection.execute(
            of_job.where(again).values(
                **leases.FREE, state=ChunkState.HELD, lost=0, failures=0, not_before=0.0, progress=0.0
            )
        )
        if requeued.rowcount:  # what a line-up told of the readings before does not hold for the new ones
            connection.execute(chunks.delete().where(chunks.c.job_id == job_id, chunks.c.kind == ChunkKind.LINEUP))
        let_in = chunk_plans.release(connection, job_id, RETRY_WINDOW)
        connection.execute(update(chunks).where(chunks.c.id.in_(let_in)).values(sent_at=None))
        state = _restart_state(connection, job_id)
        connection.execute(
            update(jobs)
            .where(jobs.c.id == job_id)
            .values(
                **leases.FREE,
                state=state,
                reason="",
                lost=0,
                failures=0,
                not_before=0.0,
                finished_at=None,
                cancel_requested=False,
                duplicate_of=None,
                moves=job.overrides.get("when_done") == "move",
            )
        )
        leases.note(connection, job_id, leases.RETRIED, f"from {job.state}", where=database.where)
        return state


def _restart_state(connection: Connection, job_id: str) -> JobState:
    states = set(connection.execute(select(chunks.c.state).where(chunks.c.job_id == job_id)).scalars())
    if not states:
        return JobState.QUEUED
    return JobState.FINISHING if states <= {*chunk_plans.SETTLED} else JobState.TRANSCRIBING
