"""Questions about the recordings of some folders alone: how many there are, and what happened to them."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy import func, select

from dropscribe.core.old_names import current
from dropscribe.core.types import ACTIVE_STATES, JobState
from dropscribe.store.file_names import StoredRecording, source_of
from dropscribe.store.notifications import GIVEN_UP, WAITING, Delivery
from dropscribe.store.queries import under_any
from dropscribe.store.session import Database
from dropscribe.store.tables import events, jobs, notifications


@dataclass(frozen=True, slots=True)
class RecordingEvent:
    """Something that happened to the job of a recording: the event's number, `at` in seconds since the epoch."""

    number: int
    at: float
    kind: str
    job: str
    source: str
    state: JobState


def counts(database: Database, within: Collection[str]) -> dict[JobState, int]:
    """How many jobs below these folders (absolute paths) are in each state; states without jobs are left out."""
    query = select(jobs.c.state, func.count()).where(under_any(database, within)).group_by(jobs.c.state)
    with database.read() as connection:
        return {JobState(state): number for state, number in connection.execute(query)}


def unfinished(database: Database, within: Collection[str] | None) -> int:
    """How many jobs below these folders (None: anywhere) are not over."""
    query = select(func.count()).where(jobs.c.state.in_(ACTIVE_STATES))
    if within is not None:
        query = query.where(under_any(database, within))
    with database.read() as connection:
        return connection.execute(query).scalar_one()


def events_between(
    database: Database, after: int, upto: int, within: Collection[str] | None, limit: int
) -> list[RecordingEvent]:
    """The first events with a number above `after` and at most `upto`, of jobs below these folders (None: anywhere).

    None up to `upto` may be still to come: see `EventCursor`.
    """
    query = (
        select(events.c.id, events.c.at, events.c.kind, events.c.job_id, jobs.c.root, jobs.c.path, jobs.c.state)
        .join(jobs, jobs.c.id == events.c.job_id)
        .where(events.c.id > after, events.c.id <= upto)
        .order_by(events.c.id)
        .limit(limit)
    )
    if within is not None:
        query = query.where(under_any(database, within))
    with database.read() as connection:
        return [
            RecordingEvent(
                number=row.id,
                at=row.at,
                kind=current(row.kind),
                job=row.job_id,
                source=source_of(row.root, row.path),
                state=row.state,
            )
            for row in connection.execute(query)
        ]


@dataclass(frozen=True, slots=True)
class Untold(StoredRecording):
    """A notification of a job that waits to be delivered, or was given up."""

    job: str
    root: str
    path: str
    delivery: Delivery


def untold(
    database: Database, within: Collection[str] | None, *, ids: Collection[str] | None = None, limit: int | None = None
) -> list[Untold]:
    """The newest notifications that nobody has got, of jobs below these folders (None: anywhere), or of some jobs."""
    columns = [notifications.c[name] for name in Delivery.__dataclass_fields__]
    query = (
        select(jobs.c.id.label("job"), jobs.c.root, jobs.c.path, *columns)
        .join(jobs, jobs.c.id == notifications.c.job_id)
        .where(notifications.c.status.in_((WAITING, GIVEN_UP)))
        .order_by(notifications.c.at.desc(), notifications.c.id)
        .limit(limit)
    )
    if within is not None:
        query = query.where(under_any(database, within))
    if ids is not None:
        query = query.where(jobs.c.id.in_(ids))
    with database.read() as connection:
        return [Untold(row.job, row.root, row.path, Delivery(*row[3:])) for row in connection.execute(query)]
