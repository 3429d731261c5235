"""Switches thrown for the whole fleet: nothing new is started, or nothing is prepared."""

from __future__ import annotations

from sqlalchemy import delete, select, update

from dropscribe.core.types import JobState
from dropscribe.store.session import Database, insert_ignoring
from dropscribe.store.tables import chunks, jobs, now, switches

PAUSED = "paused"  # nothing new is started
SPOOL_FULL = "spool_full"  # nothing is prepared


def pause(database: Database, switch: str = PAUSED) -> bool:
    """Throw a switch: workers start or prepare nothing new; running work goes on. False if it was on already."""
    with database.begin() as connection:
        thrown = insert_ignoring(connection, switches).values(name=switch, since=now())
        return connection.execute(thrown.returning(switches.c.name)).first() is not None


def resume(database: Database, switch: str = PAUSED) -> None:
    """Undo `pause`. Workers dropped the messages that arrived meanwhile, so all are to be sent again."""
    with database.begin() as connection:
        if not connection.execute(delete(switches).where(switches.c.name == switch)).rowcount:
            return
        for table in (jobs, chunks):
            connection.execute(update(table).where(table.c.state == "queued").values(sent_at=None))
        connection.execute(update(jobs).where(jobs.c.state == "finishing", jobs.c.owner.is_(None)).values(sent_at=None))


def paused_since(database: Database, switch: str = PAUSED) -> float | None:
    """When the switch was thrown (seconds since the epoch), or None."""
    with database.read() as connection:
        return connection.execute(select(switches.c.since).where(switches.c.name == switch)).scalar()


def forbidding(becomes: str) -> tuple[str, ...]:
    """The switches that forbid to claim a row into the state `becomes`."""
    return (PAUSED, SPOOL_FULL) if becomes == JobState.PREPARING else (PAUSED,)
