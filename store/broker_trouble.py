"""Why Redis takes no work, as the scheduler saw it last, so that everybody who asks the store sees it."""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy import Connection, delete, insert, select

from dropscribe.store.session import Database
from dropscribe.store.tables import now, switches

PREFIX = "redis:"  # such a switch forbids nothing
AWAY = "away"  # the code of a Redis that does not answer


class BrokerTrouble(NamedTuple):
    """What is wrong, `away` or the code of a refusal, and since when (seconds since the epoch)."""

    code: str
    since: float


def report(database: Database, code: str | None) -> None:
    """Tell what is wrong with Redis now, or that nothing is. Writes when that changed."""
    with database.read() as connection:
        known = _latest(connection)
    if (known and known.code) == code:
        return
    with database.begin() as connection:
        connection.execute(delete(switches).where(switches.c.name.startswith(PREFIX)))
        if code:
            connection.execute(insert(switches).values(name=PREFIX + code, since=now()))


def broker_trouble(database: Database) -> BrokerTrouble | None:
    """What was wrong with Redis when the scheduler looked last; None where it took work."""
    with database.read() as connection:
        return _latest(connection)


def _latest(connection: Connection) -> BrokerTrouble | None:
    """The trouble that was noted last; None while all is well."""
    thrown = select(switches.c.name, switches.c.since).where(switches.c.name.startswith(PREFIX))
    row = connection.execute(thrown).first()
    return None if row is None else BrokerTrouble(row.name.removeprefix(PREFIX), row.since)
