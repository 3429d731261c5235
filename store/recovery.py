"""Repair of crashes: expired leases, lost messages, followers without a leader, moments in the future.

Everything here is safe to run twice and from several hosts at once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Column, ColumnElement, Connection, Table, and_, exists, func, or_, select, true, update

from dropscribe.core import chunk_ids
from dropscribe.core.event_kinds import EventKind
from dropscribe.core.old_names import all_names
from dropscribe.core.routing import EMBED, FINISH, MODEL_QUEUE, PREPARE, TRANSCRIBE
from dropscribe.core.types import ACTIVE_STATES, FINAL_STATES, PENDING_CHUNKS, ChunkKind, ChunkState, JobState, Priority
from dropscribe.store import chunks as chunk_store
from dropscribe.store import jobs as job_store
from dropscribe.store import transitions
from dropscribe.store.events import note_attempt
from dropscribe.store.leases import ChunkClaim, JobClaim
from dropscribe.store.notifications import WAITING as UNTOLD
from dropscribe.store.session import Database
from dropscribe.store.switches import forbidding
from dropscribe.store.tables import chunks, events, jobs, notifications, now, owned, switches, workers
from dropscribe.store.transitions import ChunkEvent, JobEvent

AHEAD = {Priority.HIGH: Priority.HIGH, Priority.NORMAL: Priority.HIGH, Priority.LOW: Priority.NORMAL}
MAX_WAIT = 2 * 3600.0  # seconds; every notification is tried again within an hour
BATCH = 500  # rows fixed in one transaction, so that workers are not kept waiting


@dataclass(frozen=True, slots=True)
class Unsent:
    """A row that waits and for which a message should be under way; `kind` is the task."""

    kind: str
    id: str
    priority: str


def _in(kind: str, queue: str) -> Any:
    """Windows wait in the queue of their job; everything else in that of the CPU workers."""
    if kind != TRANSCRIBE:
        return true()
    return exists().where(jobs.c.id == chunks.c.job_id, jobs.c.model_queue == queue)


def expire(database: Database, lost_limit: int) -> int:
    """Take back all work whose lease ran out; returns how much.

    The `lost_limit`-th loss of one row parks its job: it has killed that many workers.
    """
    return _mend(database, lambda table: table.c.lease_until < now(), lost_limit)


def clamp_future_moments(database: Database, *, lease: float, delay: float) -> int:
    """Pull back moments too far in the future, written before a clock was set back; returns how many.

    No lease ends later than in `lease` seconds, no wait later than in `delay` seconds. Twice the lease is allowed, as
    the settings of other hosts may be a little different.
    """
    untold = notifications.c.status == UNTOLD
    bounds: list[tuple[Column[Any], float, float, ColumnElement[bool]]] = [
        (workers.c.heartbeat_at, lease, 0.0, true()),
        (notifications.c.next_at, MAX_WAIT, 0.0, untold),
    ]
    # What is over is never looked at again, and there is much more of it.
    for table, unfinished in ((jobs, jobs.c.state.in_(ACTIVE_STATES)), (chunks, chunks.c.state.in_(PENDING_CHUNKS))):
        bounds.append((table.c.lease_until, 2 * lease, lease, unfinished))
        bounds += [(table.c.not_before, delay, 0.0, unfinished), (table.c.sent_at, lease, 0.0, unfinished)]
    with database.begin() as connection:
        return sum(
            connection.execute(
                update(column.table).where(among, column > now() + bound).values({column.name: now() + becomes})
            ).rowcount
            for column, bound, becomes, among in bounds
        )


def expire_of(database: Database, owner: str, lost_limit: int) -> int:
    """Take back the work of a worker that is known to be dead, without waiting for its leases."""
    return _mend(database, lambda table: table.c.owner == owner, lost_limit)


def expire_all(database: Database, lost_limit: int) -> int:
    """Take back everything, where it is known that no worker is left."""
    return _mend(database, owned, lost_limit)


def _mend(database: Database, dead: Callable[[Table[Any]], Any], lost_limit: int) -> int:
    """Take back what dead processes own, a batch at a time; returns how much."""
    mended = 0
    for table in (jobs, chunks):
        query = select(table.c.id).where(owned(table), dead(table)).limit(BATCH)
        while ids := _ids(database, query):
            taken = sum(_take_back(database, table, row, dead(table), lost_limit) for row in ids)
            mended += taken
            if not taken or len(ids) < BATCH:
                break
    return mended


def release_all(database: Database, owner: str) -> int:
    """Release all work of a worker that stops in order; returns how much. No loss is counted."""
    with database.begin() as connection:
        released = [
            *transitions.apply(connection, JobEvent.RELEASED, jobs.c.owner == owner, where=owner).ids,
            *transitions.apply(connection, ChunkEvent.RELEASED, chunks.c.owner == owner, where=owner).ids,
        ]
        return len(released)


def give_back(database: Database, claim: JobClaim | ChunkClaim) -> None:
    """Give back one piece of work that could not be finished for want of the store; no loss is counted.

    Raises LeaseLostError when it is somebody else's by now.
    """
    if isinstance(claim, JobClaim):
        job_store.release(database, claim)
    else:
        chunk_store.release(database, claim)


def note_crash_reason(database: Database, claim: ChunkClaim, reason: str) -> None:
    """Note why a process is about to crash over its work, for the one who finds the work lost."""
    with database.begin() as connection:
        note_attempt(connection, claim, EventKind.CRASHED, reason)


def _crash_reason(connection: Connection, job_id: str, owner: str) -> str:
    """What the owner said when it crashed, in brackets."""
    said = select(events.c.detail).where(
        events.c.job_id == job_id, events.c.kind.in_(all_names(EventKind.CRASHED)), events.c.where == owner
    )
    reason = connection.execute(said.order_by(events.c.id.desc()).limit(1)).scalar()
    return f" ({reason})" if reason else ""


def _ids(database: Database, query: Any) -> list[str]:
    """The ids that a query finds."""
    with database.read() as connection:
        return list(connection.execute(query).scalars())


def _take_back(database: Database, table: Table[Any], row: str, dead: Any, lost_limit: int) -> bool:
    """Take back one row; False where somebody else was quicker, or writes to it now."""
    with database.begin() as connection:
        # What somebody writes to this moment is left for the next round: one who froze there must not stop the others.
        of_job = select(jobs).where(jobs.c.id == chunk_ids.job_of(row)).with_for_update(skip_locked=True)
        job = connection.execute(of_job).first()
        lost = select(table).where(table.c.id == row, owned(table), dead).with_for_update(skip_locked=True)
        found = connection.execute(lost).first()
        if job is None or found is None:  # renewed, finished, or fixed by another
            return False
        what = f"attempt {found.attempt} of {found.owner} was lost"
        _lose(connection, table, found, job, what, where=database.where)
        if found.lost + 1 >= lost_limit:
            _give_up(connection, table, found, lost_limit, where=database.where)
        elif job.cancel_requested and table is jobs:
            job_store.cancel(connection, job.id, where=database.where)
        if table is chunks:
            chunk_store.advance(connection, job.id, where=database.where)
        return True


def _lose(connection: Connection, table: Table[Any], found: Any, job: Any, what: str, *, where: str) -> None:
    """Take the row `found` away from its owner, who is gone."""
    event = JobEvent.LOST if table is jobs else ChunkEvent.LOST
    to = None if table is jobs else chunk_store.given_back(job)
    row, lost = table.c.id == found.id, found.lost + 1
    transitions.apply(connection, event, row, where=where, to=to, detail=what, lost=lost)


def _give_up(connection: Connection, table: Table[Any], found: Any, lost_limit: int, *, where: str) -> None:
    """Park the job of a row that killed that many workers; but do without the voices of a stretch."""
    job_id = chunk_ids.job_of(found.id)
    if table is chunks and found.kind == ChunkKind.EMBED:
        reason = "no worker survived it"
        given_up: dict[str, Any] = {"reasons": [reason]}
        stretch = chunks.c.id == found.id
        transitions.apply(connection, ChunkEvent.NOT_EMBEDDED, stretch, where=where, detail=reason, **given_up)
        return
    why = f"{lost_limit} workers did not survive it{_crash_reason(connection, job_id, found.owner)}"
    reason = f"{why}; look at its events, then `dropscribe retry {job_id}`"
    job_store.close(connection, job_id, JobEvent.PARKED, reason, where=where)


WAITING: Mapping[str, tuple[Table[Any], ColumnElement[bool]]] = {
    PREPARE: (jobs, and_(jobs.c.state == JobState.QUEUED, jobs.c.owner.is_(None))),
    FINISH: (jobs, and_(jobs.c.state == JobState.FINISHING, jobs.c.owner.is_(None))),
    TRANSCRIBE: (chunks, and_(chunks.c.state == ChunkState.QUEUED, chunks.c.kind == ChunkKind.WINDOW)),
    EMBED: (chunks, and_(chunks.c.state == ChunkState.QUEUED, chunks.c.kind == ChunkKind.EMBED)),
}


def waiting(database: Database, kind: str, older_than: float, queue: str = MODEL_QUEUE) -> int:
    """How many due rows of that kind wait for a message that is under way for more than `older_than` seconds.

    Of windows, those in `queue`.
    """
    table, waits = WAITING[kind]
    query = (
        select(func.count())
        .select_from(table)
        .where(waits, _in(kind, queue), table.c.not_before <= now(), table.c.sent_at < now() - older_than)
    )
    with database.read() as connection:
        return int(connection.execute(query).scalar_one())


def unsent(database: Database, kind: str, older_than: float, limit: int, queue: str = MODEL_QUEUE) -> list[Unsent]:
    """Mark as sent, and return, due rows (of windows, those in `queue`) that wait without a message.

    Those never sent come first; then, up to `limit`, the ones whose message is the oldest.
    """
    table, waits = WAITING[kind]
    forbidden_by = forbidding(JobState.PREPARING if kind == PREPARE else "")
    due = and_(waits, _in(kind, queue), table.c.not_before <= now(), ~exists().where(switches.c.name.in_(forbidden_by)))
    # Rows that somebody claims this moment need no message.
    found = select(table.c.id).where(due).with_for_update(skip_locked=True)
    never = found.where(table.c.sent_at.is_(None)).limit(BATCH)
    stale = found.where(table.c.sent_at < now() - older_than).order_by(table.c.sent_at).limit(limit)
    with database.begin() as connection:
        ids = [*connection.execute(never).scalars(), *(connection.execute(stale).scalars() if limit > 0 else ())]
        connection.execute(update(table).where(table.c.id.in_(ids)).values(sent_at=now()))
        return _with_priority(connection, kind, table, ids)


def _with_priority(connection: Connection, kind: str, table: Table[Any], ids: list[str]) -> list[Unsent]:
    """The rows with what their messages need to say."""
    query = select(table.c.id, jobs.c.priority, table.c.lost).where(table.c.id.in_(ids))
    if table is chunks:
        query = query.join(jobs, jobs.c.id == chunks.c.job_id)
    found = {row.id: row for row in connection.execute(query)}
    return [Unsent(kind, row, _urgency(found[row].priority, found[row].lost)) for row in ids if row in found]


def _urgency(priority: str, lost: int) -> str:
    """What was lost waited already: it goes ahead of its equals, not behind all that came meanwhile."""
    return AHEAD[Priority(priority)] if lost else priority


def unbind(database: Database) -> int:
    """Let any model that they may go to begin the jobs of which the one that claimed them left nothing; how many.

    Of such a job no window is transcribed, and none is being transcribed: its worker stopped, was lost or failed.
    """
    begun = exists().where(
        chunks.c.job_id == jobs.c.id,
        chunks.c.kind == ChunkKind.WINDOW,
        chunks.c.state.in_([ChunkState.RUNNING, ChunkState.DONE]),
    )
    left = (jobs.c.state.in_(ACTIVE_STATES), jobs.c.model_queue != jobs.c.wanted_queue, ~begun)
    freed = 0
    for job_id in _ids(database, select(jobs.c.id).where(*left)):
        with database.begin() as connection:
            # Locked first, as a claim does, and asked again: what holds is what is true under the lock.
            locked = select(jobs.c.id).where(jobs.c.id == job_id).with_for_update(skip_locked=True)
            ids = list(connection.execute(locked).scalars())
            free = update(jobs).where(jobs.c.id.in_(ids), *left).values(model_queue=jobs.c.wanted_queue)
            freed += connection.execute(free).rowcount
    return freed


def reunite_followers(database: Database) -> int:
    """Send on the jobs whose leader ended without waking them; returns how many."""
    leader = jobs.alias()
    over = exists().where(leader.c.id == jobs.c.duplicate_of, leader.c.state.in_(FINAL_STATES))
    orphan = ~exists().where(leader.c.id == jobs.c.duplicate_of)
    left = (jobs.c.duplicate_of.is_not(None), or_(over, orphan))
    with database.begin() as connection:
        return len(transitions.apply(connection, JobEvent.TRANSCRIBED, *left, where=database.where, sent_at=None).ids)
