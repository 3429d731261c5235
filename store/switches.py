"""Switches thrown for the whole fleet: nothing new is started, or nothing is prepared."""

from __future__ import annotations

from typing import Any

from dropscribe.core.types import JobState
from dropscribe.store import sql
from dropscribe.store.session import Database, insert_ignoring

PAUSED = "paused"  # nothing new is started
SPOOL_FULL = "spool_full"  # nothing is prepared


def pause(database: Database, switch: str = PAUSED) -> bool:
    """Throw a switch: workers start or prepare nothing new; running work goes on. False if it was on already."""
    with database.begin() as connection:
        thrown = insert_ignoring(connection, sql.switches).values(name=switch, since=sql.now())
        return connection.execute(thrown.returning(sql.switches.c.name)).first() is not None


def resume(database: Database, switch: str = PAUSED) -> None:
    """Undo `pause`. Workers dropped the messages that arrived meanwhile, so all are to be sent again."""
    with database.begin() as connection:
        if not connection.execute(sql.delete(sql.switches).where(sql.switches.c.name == switch)).rowcount:
            return
        for table in (sql.jobs, sql.chunks):
            connection.execute(sql.update(table).where(table.c.state == "queued").values(sent_at=None))
        connection.execute(
            sql.update(sql.jobs).where(sql.jobs.c.state == "finishing", sql.jobs.c.owner.is_(None)).values(sent_at=None)
        )


def paused_since(database: Database, switch: str = PAUSED) -> float | None:
    """When the switch was thrown (seconds since the epoch), or None."""
    with database.asking() as ask:
        return next((since for (since,) in ask(_thrown, switch=switch)), None)


@sql.statement
def _thrown() -> Any:
    """When a `switch` was thrown."""
    return sql.select(sql.switches.c.since).where(sql.switches.c.name == sql.bindparam("switch"))


def forbidding(becomes: str) -> tuple[str, ...]:
    """The switches that forbid to claim a row into the state `becomes`."""
    return (PAUSED, SPOOL_FULL) if becomes == JobState.PREPARING else (PAUSED,)
