"""The audit trail: what happened to each job, when and where. A line is written in the transaction that it tells of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from sqlalchemy import Connection, func, insert, select

from dropscribe.core.old_names import all_names, current
from dropscribe.store.session import Database
from dropscribe.store.tables import events, jobs, now

# Kinds of events that decide something later or are looked for; all others are for people. A store may hold events
# under their old names.
REFUSED = "refused"  # the recording itself is at fault
RETRIED = "retried"  # somebody gave the job another chance
AGAIN = "retry"  # a step failed and is tried again
DEFERRED = "deferred"  # likewise, for what is not the recording's fault
DEFERRALS = all_names(AGAIN, DEFERRED)
CRASHED = "crashed"  # why a worker ended over its work
TRANSCRIBING, TRANSCRIBED = "transcribing", "transcribed"  # a chunk
ARCHIVED, NOT_ARCHIVED = "archived", "not_archived"
FAILED_CHECKS = "failed_checks"  # its detail lists the rules that an answer failed, with commas between


@dataclass(frozen=True, slots=True)
class Event:
    """One line of a job's audit trail; `at` in seconds since the epoch."""

    at: float
    kind: str
    where: str
    detail: str


def note(connection: Connection, job_id: str, kind: str, detail: str = "", *, where: str) -> None:
    """Add a line to the job's audit trail, in the caller's transaction."""
    connection.execute(insert(events).values(job_id=job_id, at=now(), kind=kind, where=where, detail=detail))


def events_of(database: Database, job_id: str) -> list[Event]:
    """What happened to a job, in order. Each kind of event has its current name."""
    query = select(events.c.at, events.c.kind, events.c.where, events.c.detail)
    with database.read() as connection:
        rows = connection.execute(query.where(events.c.job_id == job_id).order_by(events.c.id)).all()
    return [Event(row.at, current(row.kind), row.where, row.detail) for row in rows]


class Postponed(NamedTuple):
    """A step of a job that is tried again later, and why; `source` is the absolute path of the recording."""

    job: str
    source: str
    reason: str


def postponed_since(database: Database, event: int | None) -> tuple[int, list[Postponed]]:
    """The number of the latest event, and what was deferred by events after the number `event` (None: nothing)."""
    query = select(events.c.job_id, jobs.c.root, jobs.c.path, events.c.detail).join(jobs, jobs.c.id == events.c.job_id)
    with database.read() as connection:
        latest = connection.execute(select(func.coalesce(func.max(events.c.id), 0))).scalar_one()
        if event is None:
            return latest, []
        later = query.where(events.c.id > event, events.c.kind.in_(DEFERRALS)).order_by(events.c.id)
        rows = connection.execute(later).all()
    return latest, [Postponed(row.job_id, f"{row.root.rstrip('/')}/{row.path}", row.detail) for row in rows]
