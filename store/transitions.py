"""The life of jobs and chunks: every change of a state, as one table for each, and the functions that alone make them.

A transition says from which states it leads where, what it resets, and which event it adds to the audit trail. The
one who claims a row owns it; every other transition lets go of it. A job that comes to a final state is announced, what
is left of its chunks is cancelled, and the jobs that waited for its transcript go on: all in the caller's transaction.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache
from operator import attrgetter
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, Table, Update, bindparam, case, delete, exists, select, update
from sqlalchemy.sql.dml import ReturningUpdate

from dropscribe.core import chunk_ids
from dropscribe.core.errors import LeaseLostError
from dropscribe.core.event_kinds import EventKind
from dropscribe.core.types import ACTIVE_STATES, PENDING_CHUNKS, TRANSCRIPT_STATES, ChunkKind, ChunkState, JobState
from dropscribe.store import notifications, waiting_line
from dropscribe.store.events import note
from dropscribe.store.leases import OF_THIS_VERSION, Claim, fence, fenced
from dropscribe.store.switches import forbidding
from dropscribe.store.tables import among, chunks, jobs, lines, now, revisions, switches

State = JobState | ChunkState
OWNED = frozenset[State]({JobState.PREPARING, JobState.FINISHING, ChunkState.RUNNING})

DELAY = "delay"  # of the values of `move`: seconds until the row is due again
# Nobody's row, and no message under way for it.
FREE: dict[str, Any] = {"owner": None, "lease_until": None, "sent_at": None}
UNTRIED: dict[str, Any] = {"lost": 0, "failures": 0, "not_before": 0.0}
SENT: dict[str, Any] = {"sent_at": now()}  # by the caller, after the commit
OVER: dict[str, Any] = {"finished_at": now(), "cancel_requested": False}
AFRESH: dict[str, Any] = UNTRIED | {
    "reason": "",
    "finished_at": None,
    "text_removed_at": None,
    "cancel_requested": False,
}


@dataclass(frozen=True, slots=True)
class Transition:
    """One change of a state: `moves` leads from each state to those that are allowed, the first of them by itself.

    `resets` are columns that it sets; `kind` is the event that is noted, None where none is; `claims` is True for the
    one that makes somebody the row's owner; `only` is the kind of chunk that it is for, where there is one.
    """

    means: str
    moves: Mapping[State, tuple[State, ...]]
    resets: Mapping[str, Any] = field(default_factory=dict)
    kind: EventKind | None = None
    claims: bool = False
    only: ChunkKind | None = None

    @property
    def is_of_an_attempt(self) -> bool:
        """Does it begin, or end, what a worker does with the row?"""
        return self.claims or OWNED.issuperset(self.moves)

    @property
    def joins_line(self) -> bool:
        """May rows wait after it that nobody had? What a worker gives back has its turn already."""
        return any("queued" in after for before, after in self.moves.items() if before not in OWNED)

    def towards(self, to: State | None) -> dict[State, State]:
        """From each state the one it leads to, which is `to` if that is given. Raises KeyError for a forbidden one."""
        if to is None:
            return {before: after[0] for before, after in self.moves.items()}
        found = {before: to for before, after in self.moves.items() if to in after}
        if not found:
            raise KeyError(f"{self.means!r} does not lead to {to}")
        return found


class JobEvent(StrEnum):
    """What can happen to a job."""

    PREPARING = "preparing"
    FOLLOWS = "follows"
    TAKEN_OVER = "taken_over"
    PREPARED = "prepared"
    TRANSCRIBED = "transcribed"
    PREPARE_AGAIN = "prepare_again"
    ANOTHER_MODEL = "another_model"
    FINISHING = "finishing"
    START_OVER = "start_over"
    FELL_APART = "fell_apart"
    DONE = "done"
    SUSPECT = "suspect"
    DUPLICATE = "duplicate"
    RETRY = "retry"
    DEFERRED = "deferred"
    RELEASED = "released"
    LOST = "lost"
    FAILED = "failed"
    PARKED = "parked"
    CANCELLED = "cancelled"
    RETRIED = "retried"
    RERUN = "rerun"
    SPEAKERS = "speakers"
    REVISED = "revised"
    RENAMED = "renamed"


def _all(before: Sequence[State], *after: State) -> dict[State, tuple[State, ...]]:
    return dict.fromkeys(before, after)


_ACTIVE = [state for state in JobState if state in ACTIVE_STATES]
_FALL_BACK: dict[State, tuple[State, ...]] = {
    JobState.PREPARING: (JobState.QUEUED,),
    JobState.FINISHING: (JobState.FINISHING,),
}
_CLOSED = OVER | {"content_key": None}  # others may lead now

JOBS: Mapping[JobEvent, Transition] = {
    JobEvent.PREPARING: Transition(
        "a CPU worker claims it", _all([JobState.QUEUED], JobState.PREPARING), kind=EventKind.PREPARING, claims=True
    ),
    JobEvent.FOLLOWS: Transition(
        "another job has the same content: it waits for that transcript, or finds it written",
        _all([JobState.PREPARING], JobState.TRANSCRIBING, JobState.FINISHING),
        {"reason": ""},
        EventKind.FOLLOWS,
    ),
    JobEvent.TAKEN_OVER: Transition(
        "its transcript, written by an earlier store, lies beside it",
        _all([JobState.PREPARING], JobState.FINISHING),
        UNTRIED | SENT | {"reason": ""},
        EventKind.TAKEN_OVER,
    ),
    JobEvent.PREPARED: Transition(
        "its chunks are planned, or it has none",
        _all([JobState.PREPARING], JobState.TRANSCRIBING, JobState.FINISHING),
        UNTRIED | {"reason": ""},
        EventKind.PREPARED,
    ),
    JobEvent.TRANSCRIBED: Transition(
        "its last chunk has ended, or the job that it follows has",
        _all([JobState.TRANSCRIBING], JobState.FINISHING),
        SENT,
    ),
    JobEvent.PREPARE_AGAIN: Transition(
        "its audio is gone from the spool",
        _all([JobState.TRANSCRIBING], JobState.QUEUED),
        SENT,
        EventKind.PREPARE_AGAIN,
    ),
    JobEvent.ANOTHER_MODEL: Transition(
        "somebody starts it again with another model: no worker has the one that began it",
        _all([JobState.TRANSCRIBING], JobState.QUEUED),
        AFRESH | SENT,
        EventKind.ANOTHER_MODEL,
    ),
    JobEvent.FINISHING: Transition(
        "a CPU worker claims it", _all([JobState.FINISHING], JobState.FINISHING), kind=EventKind.FINISHING, claims=True
    ),
    JobEvent.START_OVER: Transition(
        "the job that it followed has no transcript, or the transcript that it took over is gone",
        _all([JobState.FINISHING], JobState.QUEUED),
        SENT | {"duplicate_of": None},
        EventKind.START_OVER,
    ),
    JobEvent.FELL_APART: Transition(
        "its files do not belong together: each is a separate recording",
        _all([JobState.PREPARING], JobState.QUEUED),
        SENT | UNTRIED | {"reason": ""},
        EventKind.FELL_APART,
    ),
    JobEvent.DONE: Transition(
        "its transcript is written", _all([JobState.FINISHING], JobState.DONE), OVER, EventKind.DONE
    ),
    JobEvent.SUSPECT: Transition(
        "its transcript is written and failed a check",
        _all([JobState.FINISHING], JobState.SUSPECT),
        OVER,
        EventKind.SUSPECT,
    ),
    JobEvent.DUPLICATE: Transition(
        "the transcript of equal content is written",
        _all([JobState.FINISHING], JobState.DUPLICATE),
        OVER,
        EventKind.DUPLICATE,
    ),
    JobEvent.RETRY: Transition("a step failed and is tried again", _FALL_BACK, kind=EventKind.RETRY),
    JobEvent.DEFERRED: Transition(
        "a step waits for something that is not the recording's fault", _FALL_BACK, kind=EventKind.DEFERRED
    ),
    JobEvent.RELEASED: Transition("its worker stops, or releases it", _FALL_BACK, kind=EventKind.RELEASED),
    JobEvent.LOST: Transition("its worker is gone", _FALL_BACK, kind=EventKind.LOST),
    JobEvent.FAILED: Transition(
        "it is not a recording, or a step failed too often", _all(_ACTIVE, JobState.FAILED), _CLOSED, EventKind.FAILED
    ),
    JobEvent.PARKED: Transition(
        "too many workers were lost with it", _all(_ACTIVE, JobState.PARKED), _CLOSED, EventKind.PARKED
    ),
    JobEvent.CANCELLED: Transition(
        "somebody cancelled it", _all(_ACTIVE, JobState.CANCELLED), _CLOSED, EventKind.CANCELLED
    ),
    JobEvent.RETRIED: Transition(
        "somebody retries it; what was transcribed stays",
        _all(
            [JobState.FAILED, JobState.PARKED, JobState.CANCELLED, JobState.SUSPECT],
            JobState.QUEUED,
            JobState.TRANSCRIBING,
            JobState.FINISHING,
        ),
        AFRESH | {"duplicate_of": None},
        EventKind.RETRIED,
    ),
    JobEvent.RERUN: Transition(
        "its transcript is written again under other settings; if that was taken over, it is transcribed",
        _all(TRANSCRIPT_STATES, JobState.FINISHING, JobState.QUEUED),
        AFRESH | SENT,
        EventKind.RERUN,
    ),
    JobEvent.SPEAKERS: Transition(
        "its transcript is written again with other names",
        _all([*TRANSCRIPT_STATES, JobState.FINISHING], JobState.FINISHING),
        AFRESH | SENT,
        EventKind.SPEAKERS,
    ),
    JobEvent.REVISED: Transition(
        "its transcript is written again as somebody corrected it",
        _all([*TRANSCRIPT_STATES, JobState.FINISHING], JobState.FINISHING),
        AFRESH | SENT,
        EventKind.REVISED,
    ),
    JobEvent.RENAMED: Transition(
        "its file has another name, or came back",
        _all([JobState.QUEUED, JobState.FAILED], JobState.QUEUED),
        AFRESH,
        EventKind.RENAMED,
    ),
}


class ChunkEvent(StrEnum):
    """What can happen to a chunk."""

    ADMITTED = "admitted"
    TRANSCRIBING = "transcribing"
    EMBEDDING = "embedding"
    TRANSCRIBED = "transcribed"
    EMBEDDED = "embedded"
    NOT_EMBEDDED = "not_embedded"
    SPLIT = "split"
    RETRY = "retry"
    RELEASED = "released"
    LOST = "lost"
    CANCELLED = "cancelled"
    RETRIED = "retried"
    PLANNED_AGAIN = "planned_again"


_UNREAD: dict[str, Any] = {"progress": 0.0}
_BEGUN: dict[str, Any] = _UNREAD | {"claimed_at": now()}
_THROUGH: dict[str, Any] = {"lost": 0, "finished_at": now(), "folder_key": "", "queue": ""}  # it waits in no line
_WHOLE: dict[str, Any] = _THROUGH | {"progress": chunks.c.end - chunks.c.start}
_GIVEN_BACK = _all([ChunkState.RUNNING], ChunkState.QUEUED, ChunkState.CANCELLED)  # the latter if its job is

CHUNKS: Mapping[ChunkEvent, Transition] = {
    ChunkEvent.ADMITTED: Transition("there is room for it", _all([ChunkState.HELD], ChunkState.QUEUED), SENT),
    ChunkEvent.TRANSCRIBING: Transition(
        "a model worker claims it",
        _all([ChunkState.QUEUED], ChunkState.RUNNING),
        _BEGUN,
        EventKind.TRANSCRIBING,
        claims=True,
        only=ChunkKind.WINDOW,
    ),
    ChunkEvent.EMBEDDING: Transition(
        "a CPU worker claims it, to embed its voices",
        _all([ChunkState.QUEUED], ChunkState.RUNNING),
        _BEGUN,
        claims=True,
        only=ChunkKind.EMBED,
    ),
    ChunkEvent.TRANSCRIBED: Transition(
        "it is transcribed", _all([ChunkState.RUNNING], ChunkState.DONE), _WHOLE, EventKind.TRANSCRIBED
    ),
    ChunkEvent.EMBEDDED: Transition(
        "its voices are embedded", _all([ChunkState.RUNNING], ChunkState.DONE), _WHOLE | {"reasons": []}
    ),
    ChunkEvent.NOT_EMBEDDED: Transition(
        "its job goes on without its voices",
        _all([ChunkState.QUEUED, ChunkState.RUNNING], ChunkState.DONE),
        _THROUGH | {"progress": chunks.c.end},
        EventKind.NOT_EMBEDDED,
    ),
    ChunkEvent.SPLIT: Transition(
        "it failed its checks: its halves are transcribed instead",
        _all([ChunkState.RUNNING], ChunkState.SPLIT),
        _THROUGH,
        EventKind.SPLIT,
    ),
    ChunkEvent.RETRY: Transition(
        "it failed and is tried again", _all([ChunkState.RUNNING], ChunkState.QUEUED), _UNREAD, EventKind.RETRY
    ),
    ChunkEvent.RELEASED: Transition("its worker stops, or releases it", _GIVEN_BACK, _UNREAD, EventKind.RELEASED),
    ChunkEvent.LOST: Transition("its worker is gone", _GIVEN_BACK, _UNREAD, EventKind.LOST),
    ChunkEvent.CANCELLED: Transition("its job ends, or is prepared again", _all(PENDING_CHUNKS, ChunkState.CANCELLED)),
    ChunkEvent.RETRIED: Transition(
        "its job is retried; of a suspect one, what failed a check",
        _all([ChunkState.CANCELLED, ChunkState.DONE], ChunkState.HELD),
        UNTRIED | _UNREAD,
    ),
    ChunkEvent.PLANNED_AGAIN: Transition(
        "its job was prepared again, with the same chunks",
        _all([ChunkState.HELD, ChunkState.QUEUED, ChunkState.CANCELLED], ChunkState.HELD),
    ),
}

Event = JobEvent | ChunkEvent


def transition(event: Event) -> Transition:
    """The event's entry in its table."""
    return JOBS[event] if isinstance(event, JobEvent) else CHUNKS[event]


def table_of(event: Event) -> Table[Any]:
    """The table whose rows the event can happen to."""
    return jobs if isinstance(event, JobEvent) else chunks


TOLD_TO_WORKERS = {
    jobs.name: ("attempt", "turn"),
    chunks.name: (
        *("attempt", "turn", "job_id", "position", "channel", "start", "end", "keep_from", "keep_to"),
        *("failures", "depth", "speech"),
    ),
}


@lru_cache(maxsize=None, typed=True)  # events of jobs and of chunks may have the same name
def _claiming(event: Event) -> ReturningUpdate[Any]:
    """The statement by which a row is claimed, of which `of_id`, `becomes_owner` and `seconds` are to be bound.

    It returns what a worker has to know of the row, so that none has to read it again.
    """
    table, made = table_of(event), transition(event)
    ((_, (becomes,)),) = made.moves.items()
    ours = {
        "state": becomes,
        "attempt": table.c.attempt + 1,
        "owner": bindparam("becomes_owner"),
        "lease_until": now() + bindparam("seconds"),
    }
    row = table.c.id == bindparam("of_id")
    claimed = update(table).where(row, *claimable(event)).values(**made.resets, **ours)
    return claimed.returning(*(table.c[name] for name in TOLD_TO_WORKERS[table.name]))


def take(connection: Connection, event: Event, row: str, *, owner: str, seconds: float) -> Any:
    """Claim the row for `seconds` if it waits for that, is due, and no switch forbids it.

    Returns of the row what `TOLD_TO_WORKERS` names, or None if it cannot be claimed; also if another version of
    dropscribe changed the tables since this process began.
    """
    bound = {"of_id": row, "becomes_owner": owner, "seconds": seconds}
    taken = connection.execute(_claiming(event), bound).first()
    if taken is not None:
        _note(connection, transition(event), row, taken.attempt, where=owner)
    return taken


def claimable(event: Event) -> tuple[ColumnElement[bool], ...]:
    """The conditions on rows that can be claimed by the event now: they wait, are due, and no switch forbids it."""
    table, made = table_of(event), transition(event)
    ((waits, (becomes,)),) = made.moves.items()
    due = (among(table.c.state, [waits]), table.c.owner.is_(None), table.c.not_before <= now(), OF_THIS_VERSION)
    of_kind = () if made.only is None else (chunks.c.kind == made.only,)
    return (*due, *of_kind, ~exists().where(among(switches.c.name, forbidding(becomes))))


def move(
    connection: Connection,
    event: Event,
    claim: Claim,
    *,
    to: State | None = None,
    detail: str = "",
    announces: bool = True,
    of_revision: int | None = None,
    **values: Any,
) -> list[str]:
    """Let the event happen to a claimed row, which also sets `values`, and let go of it.

    A job that comes to a final state is announced, unless `announces` is False.

    With `delay` among the values, the row waits so many seconds before it can be claimed again. With `of_revision`, a
    job of another revision counts as somebody else's. `to` says where it leads, where the table allows several states.
    Returns the followers to send `finish` for. Raises LeaseLostError if another worker now owns the row, ValueError if
    the event cannot happen to the claim, and KeyError if it never leads `to`.
    """
    if claim.state not in transition(event).towards(to):
        raise ValueError(f"{event} cannot happen to {claim.id}, which is {claim.state}")
    changing = _changing_claimed(event, to, tuple(sorted(values)), is_of_revision=of_revision is not None)
    bound = fenced(claim) | {f"new_{name}": value for name, value in values.items()}
    if of_revision is not None:
        bound["of_revision"] = of_revision
    reason = values.get("reason")
    changed = _changed(
        connection, event, changing, bound, where=claim.owner, detail=detail, reason=reason, announces=announces
    )
    if not changed.ids:
        raise LeaseLostError(f"{claim.id}: attempt {claim.attempt} of {claim.owner} no longer owns this work")
    return changed.followers


class Changed(NamedTuple):
    """Which rows an event happened to, and the jobs that waited for one of them, to send `finish` for."""

    ids: list[str]
    followers: list[str]


def apply(
    connection: Connection,
    event: Event,
    *which: ColumnElement[bool],
    where: str,
    to: State | None = None,
    detail: str = "",
    **values: Any,
) -> Changed:
    """Let the event happen to all rows that meet the conditions and are in one of its states, no matter who owns them.

    `where` is who does it. The caller has locked the rows, or nobody owns them.
    """
    if "text_removed_at" in transition(event).resets:
        _remove_remains(connection, event, *which)
    changing = _telling(_changing(event, to).where(*which).values(**values))
    return _changed(connection, event, changing, {}, where=where, detail=detail, reason=values.get("reason"))


def _remove_remains(connection: Connection, event: Event, *which: ColumnElement[bool]) -> None:
    """Of jobs that begin again, remove what a removal of their text left when it was broken off.

    Chunks without their segments would pass for silence, which was transcribed.
    """
    emptied = (jobs.c.text_removed_at.is_not(None), among(jobs.c.state, transition(event).moves))
    ids = connection.execute(select(jobs.c.id).where(*which, *emptied).with_for_update()).scalars().all()
    for table in (chunks, lines, revisions) if ids else ():
        connection.execute(delete(table).where(table.c.job_id.in_(ids)))


def admitting(which: ColumnElement[bool], **place: Any) -> ReturningUpdate[Any]:
    """The statement by which chunks of a backlog wait from now on, windows at their `place` in line."""
    admitted = _changing(ChunkEvent.ADMITTED, None).where(which).values(**place)
    return admitted.returning(chunks.c.id, chunks.c.start)


def admit(connection: Connection, admitting: ReturningUpdate[Any], bound: Mapping[str, Any]) -> tuple[str, ...]:
    """Let chunks be admitted by a statement of `admitting`; returns their ids, the earliest first."""
    rows = connection.execute(admitting, bound).all()
    return tuple(map(attrgetter("id"), sorted(rows, key=attrgetter("start"))))


@lru_cache(maxsize=None, typed=True)  # events of jobs and of chunks may have the same name
def _changing_claimed(
    event: Event, to: State | None, bound: tuple[str, ...], *, is_of_revision: bool
) -> ReturningUpdate[Any]:
    same = (jobs.c.revision == bindparam("of_revision"),) if is_of_revision else ()
    return _telling(_changing(event, to, bound).where(fence(table_of(event)), *same))


def _telling(changing: Update) -> ReturningUpdate[Any]:
    told = changing.table.c
    return changing.returning(told.id, told.attempt, told.state)


@lru_cache(maxsize=None, typed=True)  # events of jobs and of chunks may have the same name
def _changing(event: Event, to: State | None, bound: tuple[str, ...] = ()) -> Update:
    """The statement by which an event happens to rows, with `new_NAME` to be bound for each of the columns `bound`."""
    table, made = table_of(event), transition(event)
    moves = made.towards(to)
    after = case({str(old): str(new) for old, new in moves.items()}, value=table.c.state)
    given = {name: bindparam(f"new_{name}", type_=table.c[name].type) for name in bound if name != DELAY}
    later = {"not_before": now() + bindparam(f"new_{DELAY}")} if DELAY in bound else {}
    return (
        update(table)
        .where(among(table.c.state, moves))
        .values(**{**FREE, **made.resets, **given, **later}, state=after)
    )


def _changed(
    connection: Connection,
    event: Event,
    changing: ReturningUpdate[Any],
    bound: Mapping[str, Any],
    *,
    where: str,
    detail: str,
    reason: str | None,
    announces: bool = True,
) -> Changed:
    table, made = table_of(event), transition(event)
    rows = connection.execute(changing, bound).all()
    followers: list[str] = []
    for row in rows:
        _note(connection, made, row.id, row.attempt, where=where, detail=detail)
        if table is jobs and JobState(row.state).is_final:
            if announces:
                notifications.announce(connection, row.id, row.state, reason or "")
            followers += _end(connection, row.id, where=where)
    if made.joins_line and (waiting := [row.id for row in rows if row.state == ChunkState.QUEUED]):
        waiting_line.join(connection, waiting)
    return Changed([*map(attrgetter("id"), rows)], followers)


def _note(connection: Connection, made: Transition, row: str, attempt: int, *, where: str, detail: str = "") -> None:
    if made.kind:
        job, chunk = chunk_ids.job_of(row), chunk_ids.number_of(row)
        whose = attempt if made.is_of_an_attempt else None
        note(connection, job, made.kind, detail, where=where, chunk=chunk, attempt=whose)


def _end(connection: Connection, job_id: str, *, where: str) -> list[str]:
    """What goes with a final state; returns the followers that go on."""
    apply(connection, ChunkEvent.CANCELLED, chunks.c.job_id == job_id, where=where)
    return apply(connection, JobEvent.TRANSCRIBED, jobs.c.duplicate_of == job_id, where=where).ids
