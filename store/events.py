"""The audit trail: what happened to each job, when and where. An event is written in the transaction it is about."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import starmap
from typing import TYPE_CHECKING, Any, NamedTuple

from dropscribe.core.event_kinds import EventKind
from dropscribe.core.old_names import CHECKS, all_names, current
from dropscribe.store import sql
from dropscribe.store.file_names import source_of
from dropscribe.store.session import Database

if TYPE_CHECKING:
    from dropscribe.store.event_cursor import EventCursor
    from dropscribe.store.leases import Claim

DEFERRALS = all_names(EventKind.RETRY, EventKind.DEFERRED)


@dataclass(frozen=True, slots=True)
class Event:
    """One line of a job's audit trail; `at` in seconds since the epoch.

    `chunk` is the number of the chunk that it is about, empty where it is about the job, and `attempt` that of a
    worker, or None; `rules` are the quality checks that failed.
    """

    at: float
    kind: str
    where: str
    detail: str = ""
    chunk: str = ""
    attempt: int | None = None
    rules: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """All of that for people, but when and where."""
        about = f"chunk {self.chunk}" if self.chunk else ""
        return ": ".join(filter(None, (about, ", ".join(self.rules), self.detail)))


@cache
def _noting() -> Any:
    """The statement that adds a line."""
    return sql.insert(sql.events).values(at=sql.now())


def note(
    connection: sql.Connection,
    job_id: str,
    kind: EventKind,
    detail: str = "",
    *,
    where: str,
    chunk: str = "",
    attempt: int | None = None,
    rules: Sequence[str] = (),
) -> None:
    """Add a line to the job's audit trail, in the caller's transaction."""
    facts = {"chunk": chunk, "attempt": attempt, "rules": list(rules)}
    connection.execute(_noting(), {"job_id": job_id, "kind": kind, "where": where, "detail": detail, **facts})


def note_attempt(
    connection: sql.Connection, claim: Claim, kind: EventKind, detail: str = "", *, rules: Sequence[str] = ()
) -> None:
    """Add a line about what this attempt does."""
    note(
        connection,
        claim.job_id,
        kind,
        detail,
        where=claim.owner,
        chunk=claim.chunk,
        attempt=claim.attempt,
        rules=rules,
    )


def last_of(connection: sql.Connection, job_id: str, kinds: Sequence[EventKind]) -> str | None:
    """The kind of the last event of these kinds that the job has; None where it has none."""
    query = sql.select(sql.events.c.kind).where(sql.events.c.job_id == job_id, sql.events.c.kind.in_(kinds))
    return connection.execute(query.order_by(sql.events.c.id.desc()).limit(1)).scalar()


def events_of(database: Database, job_id: str) -> list[Event]:
    """What happened to a job, in order. Kinds and rules have their current names."""
    with database.asking() as ask:
        return [*starmap(_event, ask(_of_job, job=job_id))]


@sql.statement
def _of_job() -> Any:
    """The events of a `job`, in order."""
    columns = (sql.events.c[name] for name in Event.__dataclass_fields__)
    return sql.select(*columns).where(sql.events.c.job_id == sql.bindparam("job")).order_by(sql.events.c.id)


def _event(at: float, kind: str, where: str, detail: str, chunk: str, attempt: int | None, rules: list[str]) -> Event:
    """An event by its columns, under the current names."""
    return Event(
        at=at,
        kind=current(kind),
        where=where,
        detail=detail,
        chunk=chunk,
        attempt=attempt,
        rules=tuple(current(rule, CHECKS) for rule in rules),
    )


class Postponed(NamedTuple):
    """A step of a job that is tried again later, and why; `source` is the absolute path of the recording."""

    job: str
    source: str
    reason: str


def postponed_since(cursor: EventCursor) -> list[Postponed]:
    """What was deferred by events behind the cursor, which goes on behind them."""
    upto = cursor.upto()
    query = sql.select(sql.events.c.job_id, sql.jobs.c.root, sql.jobs.c.path, sql.events.c.detail).join(
        sql.jobs, sql.jobs.c.id == sql.events.c.job_id
    )
    later = query.where(sql.events.c.id > cursor.after, sql.events.c.id <= upto, sql.events.c.kind.in_(DEFERRALS))
    with cursor.database.read() as connection:
        rows = connection.execute(later.order_by(sql.events.c.id)).all()
    cursor.after = upto
    return [Postponed(row.job_id, source_of(row.root, row.path), row.detail) for row in rows]
