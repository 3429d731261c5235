"""Notifications of final states: written with the state, in one transaction, and kept until they are delivered."""

from __future__ import annotations

import secrets
from collections.abc import Collection
from dataclasses import dataclass
from itertools import starmap
from typing import Any

from dropscribe.core.event_kinds import EventKind
from dropscribe.store import sql
from dropscribe.store.events import note
from dropscribe.store.session import Database, insert_ignoring

# The ways in which a final state is announced.
WEBHOOK, COMMAND, MAIL = "webhook", "command", "mail"

# Switches: webhooks for every job, or for those whose folder names a receiver; the other ways by their names.
OF_ALL, OF_FOLDERS = "notify", "notify_folders"
SWITCHES = (OF_ALL, OF_FOLDERS, COMMAND, MAIL)

WAITING, DELIVERED, GIVEN_UP = "waiting", "delivered", "given_up"


@dataclass(frozen=True, slots=True)
class Notification:
    """That a job came to a `state`, for a `reason`, `at` a moment; sent by `channel`.

    `url` is the receiver of a webhook that the job's folder names; empty: the setting `webhook_url`. `tries` counts
    the one under way.
    """

    id: str
    job_id: str
    channel: str
    url: str
    state: str
    reason: str
    at: float
    tries: int


@dataclass(frozen=True, slots=True)
class Delivery:
    """A notification as people see it: `status` waiting, delivered or given_up; `error` is that of the last try."""

    id: str
    channel: str
    state: str
    url: str
    at: float
    status: str
    tries: int
    error: str
    next_at: float | None
    delivered_at: float | None


def want(database: Database, wanted: Collection[str]) -> None:
    """From now on, write notifications for the `wanted` SWITCHES and no others."""
    with database.begin() as connection:
        for switch in SWITCHES:
            if switch in wanted:
                connection.execute(insert_ignoring(connection, sql.switches).values(name=switch, since=sql.now()))
            else:
                connection.execute(sql.delete(sql.switches).where(sql.switches.c.name == switch))


def announce(connection: sql.Connection, job_id: str, state: str, reason: str) -> None:
    """Within the transaction that gives the job its final state: write what is to be sent, where it is wanted."""
    query = sql.select(sql.switches.c.name).where(sql.switches.c.name.in_(SWITCHES))
    wanted = set(connection.execute(query).scalars())
    if not wanted:
        return
    overrides = connection.execute(sql.select(sql.jobs.c.overrides).where(sql.jobs.c.id == job_id)).scalar_one()
    url = overrides.notify or ""
    of_channels = {COMMAND: {COMMAND}, MAIL: {MAIL}, WEBHOOK: {OF_ALL, OF_FOLDERS} if url else {OF_ALL}}
    moment = sql.now()
    told = {"job_id": job_id, "state": state, "reason": reason, "at": moment, "next_at": moment}
    for channel in (channel for channel, thrown in of_channels.items() if thrown & wanted):
        row = {
            "id": f"msg_{secrets.token_hex(12)}",
            "channel": channel,
            "url": url if channel == WEBHOOK else "",
            "status": WAITING,
            "tries": 0,
            "error": "",
        }
        connection.execute(sql.insert(sql.notifications).values(**told, **row))


def take(database: Database, channel: str, limit: int, seconds: float) -> list[Notification]:
    """Those of a channel that are due, the longest waiting first; for so many seconds nobody else gets them."""
    if limit <= 0:
        return []
    due = (
        sql.select(sql.notifications.c.id)
        .where(
            sql.notifications.c.status == WAITING,
            sql.notifications.c.channel == channel,
            sql.notifications.c.next_at <= sql.now(),
        )
        .order_by(sql.notifications.c.next_at)
        .limit(limit)
    )
    with database.read() as connection:  # which keeps nobody waiting on SQLite
        if connection.execute(due).first() is None:
            return []
    with database.begin() as connection:
        ids = list(connection.execute(due.with_for_update(skip_locked=True)).scalars())
        taken = (
            sql.update(sql.notifications)
            .where(sql.notifications.c.id.in_(ids))
            .values(tries=sql.notifications.c.tries + 1, next_at=sql.now() + seconds)
            .returning(*(sql.notifications.c[name] for name in Notification.__dataclass_fields__))
        )
        return [*starmap(Notification, connection.execute(taken))]


def delivered(database: Database, one: Notification, remark: str = "") -> None:
    """The receiver has it; `remark` says what was not right all the same."""
    _settle(database, one, DELIVERED, error=remark, delivered_at=sql.now(), next_at=None)


def give_back(database: Database, one: Notification) -> None:
    """It was not sent, through no fault of the receiver: this try does not count."""
    _settle(database, one, WAITING, error="", tries=one.tries - 1, next_at=sql.now())


def failed(database: Database, one: Notification, error: str, delay: float | None) -> None:
    """The receiver did not take it: to be tried again after `delay` seconds, or given up (None)."""
    if delay is None:
        _settle(database, one, GIVEN_UP, error=error, next_at=None)
    else:
        _settle(database, one, WAITING, error=error, next_at=sql.now() + delay)


def drop(database: Database, one: Notification) -> None:
    """Nobody wants it by this channel."""
    with database.begin() as connection:
        connection.execute(sql.delete(sql.notifications).where(sql.notifications.c.id == one.id))


def _settle(database: Database, one: Notification, status: str, **values: object) -> None:
    """Note what came of a notification, unless another process has taken it meanwhile."""
    mine = (
        sql.notifications.c.id == one.id,
        sql.notifications.c.tries == one.tries,
        sql.notifications.c.status == WAITING,
    )
    with database.begin() as connection:
        if not connection.execute(sql.update(sql.notifications).where(*mine).values(status=status, **values)).rowcount:
            return  # it took so long that another one has it
        if status != WAITING:
            kind = EventKind.NOTIFIED if status == DELIVERED else EventKind.NOT_NOTIFIED
            detail = ": ".join(filter(None, ("" if one.channel == WEBHOOK else one.channel, str(values["error"]))))
            note(connection, one.job_id, kind, detail, where=database.where)


def of_job(database: Database, job_id: str) -> list[Delivery]:
    """The notifications of a job, sent or due, in order."""
    with database.asking() as ask:
        return [*starmap(Delivery, ask(_of_job, job=job_id))]


@sql.statement
def _of_job() -> Any:
    """Those of a `job`, in order."""
    columns = (sql.notifications.c[name] for name in Delivery.__dataclass_fields__)
    of_job = sql.notifications.c.job_id == sql.bindparam("job")
    return sql.select(*columns).where(of_job).order_by(sql.notifications.c.at)
