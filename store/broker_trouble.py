"""Why Redis takes no work, as the scheduler saw it last, so that everybody who asks the store sees it."""

from __future__ import annotations

from typing import Any, NamedTuple

from dropscribe.store import sql
from dropscribe.store.session import Database

PREFIX = "redis:"  # such a switch forbids nothing
AWAY = "away"  # the code of a Redis that does not answer


class BrokerTrouble(NamedTuple):
    """What is wrong, `away` or the code of a refusal, and since when (seconds since the epoch)."""

    code: str
    since: float


def report(database: Database, code: str | None) -> None:
    """Tell what is wrong with Redis now, or that nothing is. Writes when that changed."""
    known = broker_trouble(database)
    if (known and known.code) == code:
        return
    with database.begin() as connection:
        connection.execute(sql.delete(sql.switches).where(sql.switches.c.name.startswith(PREFIX)))
        if code:
            connection.execute(sql.insert(sql.switches).values(name=PREFIX + code, since=sql.now()))


def broker_trouble(database: Database) -> BrokerTrouble | None:
    """What was wrong with Redis when the scheduler looked last; None where it took work."""
    with database.asking() as ask:
        return next((BrokerTrouble(name.removeprefix(PREFIX), since) for name, since in ask(_troubles)), None)


@sql.statement
def _troubles() -> Any:
    """At most one, with its prefix."""
    return sql.select(sql.switches.c.name, sql.switches.c.since).where(sql.switches.c.name.startswith(PREFIX))
