"""Notifications of final states: written with the state, in one transaction, and kept until they are delivered."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from itertools import starmap

from sqlalchemy import Connection, delete, insert, select, update

from dropscribe.core.event_kinds import EventKind
from dropscribe.store.events import note
from dropscribe.store.session import Database, insert_ignoring
from dropscribe.store.tables import jobs, notifications, now, switches

# Switches: somebody is to be told of every job, or of those whose folder names a receiver.
OF_ALL, OF_FOLDERS = "notify", "notify_folders"

WAITING, DELIVERED, GIVEN_UP = "waiting", "delivered", "given_up"


@dataclass(frozen=True, slots=True)
class Notification:
    """That a job came to a `state`, for a `reason`, `at` a moment.

    `url` is the receiver that its folder names; empty: the setting `webhook_url`. `tries` counts the one under way.
    """

    id: str
    job_id: str
    url: str
    state: str
    reason: str
    at: float
    tries: int


@dataclass(frozen=True, slots=True)
class Delivery:
    """A notification as people see it: `status` waiting, delivered or given_up; `error` is that of the last try."""

    id: str
    state: str
    url: str
    at: float
    status: str
    tries: int
    error: str
    next_at: float | None
    delivered_at: float | None


def want(database: Database, *, of_all: bool, of_folders: bool) -> None:
    """From now on, write notifications of all jobs, of those whose folder names a receiver, or none."""
    with database.begin() as connection:
        for switch, wanted in ((OF_ALL, of_all), (OF_FOLDERS, of_folders)):
            if wanted:
                connection.execute(insert_ignoring(connection, switches).values(name=switch, since=now()))
            else:
                connection.execute(delete(switches).where(switches.c.name == switch))


def announce(connection: Connection, job_id: str, state: str, reason: str) -> None:
    """Within the transaction that gives the job its final state: write what is to be told, where it is wanted."""
    query = select(switches.c.name).where(switches.c.name.in_([OF_ALL, OF_FOLDERS]))
    wanted = set(connection.execute(query).scalars())
    if not wanted:
        return
    overrides = connection.execute(select(jobs.c.overrides).where(jobs.c.id == job_id)).scalar_one()
    url = overrides.notify or ""
    if url or OF_ALL in wanted:
        connection.execute(
            insert(notifications).values(
                id=f"msg_{secrets.token_hex(12)}",
                job_id=job_id,
                url=url,
                state=state,
                reason=reason,
                at=now(),
                status=WAITING,
                tries=0,
                next_at=now(),
                error="",
            )
        )


def take(database: Database, limit: int, seconds: float) -> list[Notification]:
    """Those that are due, the longest waiting first; for so many seconds nobody else gets them."""
    if limit <= 0:
        return []
    due = (
        select(notifications.c.id)
        .where(notifications.c.status == WAITING, notifications.c.next_at <= now())
        .order_by(notifications.c.next_at)
        .limit(limit)
    )
    with database.read() as connection:  # which keeps nobody waiting on SQLite
        if connection.execute(due).first() is None:
            return []
    with database.begin() as connection:
        ids = list(connection.execute(due.with_for_update(skip_locked=True)).scalars())
        taken = (
            update(notifications)
            .where(notifications.c.id.in_(ids))
            .values(tries=notifications.c.tries + 1, next_at=now() + seconds)
            .returning(*(notifications.c[name] for name in Notification.__dataclass_fields__))
        )
        return [*starmap(Notification, connection.execute(taken))]


def delivered(database: Database, one: Notification) -> None:
    """The receiver has it."""
    _settle(database, one, DELIVERED, error="", delivered_at=now(), next_at=None)


def failed(database: Database, one: Notification, error: str, delay: float | None) -> None:
    """The receiver did not take it: to be tried again after `delay` seconds, or given up (None)."""
    if delay is None:
        _settle(database, one, GIVEN_UP, error=error, next_at=None)
    else:
        _settle(database, one, WAITING, error=error, next_at=now() + delay)


def _settle(database: Database, one: Notification, status: str, **values: object) -> None:
    mine = (notifications.c.id == one.id, notifications.c.tries == one.tries, notifications.c.status == WAITING)
    with database.begin() as connection:
        if not connection.execute(update(notifications).where(*mine).values(status=status, **values)).rowcount:
            return  # it took so long that another one has it
        if status != WAITING:
            kind = EventKind.NOTIFIED if status == DELIVERED else EventKind.NOT_NOTIFIED
            note(connection, one.job_id, kind, str(values["error"]), where=database.where)


def of_job(database: Database, job_id: str) -> list[Delivery]:
    """What was or is to be told of a job, in order."""
    columns = [notifications.c[name] for name in Delivery.__dataclass_fields__]
    query = select(*columns).where(notifications.c.job_id == job_id).order_by(notifications.c.at)
    with database.read() as connection:
        return [*starmap(Delivery, connection.execute(query))]
