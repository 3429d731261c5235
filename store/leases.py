"""Claim, fence, renew, release: how a row of `jobs` or `chunks` is owned by one attempt at a time.

A claim is one UPDATE that only the first of many can win. Every later write of that attempt carries `fenced`, so
that a worker which slept through its lease can no longer write. What is lost when a lease runs out is mended in
`dropscribe.store.recovery`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

from sqlalchemy import ColumnElement, Connection, Table, and_, exists, select, update

from dropscribe.core.errors import LeaseLostError
from dropscribe.core.types import ChunkState, JobState
from dropscribe.store.session import HEAD, VERSION, Database
from dropscribe.store.switches import forbidding
from dropscribe.store.tables import chunks, jobs, now, switches

OF_THIS_VERSION = exists().where(VERSION.c.version_num == HEAD)

# Where a row goes when its owner lets go of it or dies.
FALLS_BACK: dict[str, str] = {
    JobState.PREPARING: JobState.QUEUED,
    JobState.FINISHING: JobState.FINISHING,
    ChunkState.RUNNING: ChunkState.QUEUED,
}


@dataclass(frozen=True, slots=True)
class Claim:
    """Proof of ownership: this attempt of this row, in this state, by this worker."""

    table: str
    id: str
    job_id: str
    state: str
    attempt: int
    owner: str


# Nobody's row, and no message under way for it.
FREE: dict[str, Any] = {"owner": None, "lease_until": None, "sent_at": None}


class Renewal(Enum):
    """What a worker learns when it renews its lease."""

    HELD = auto()
    CANCEL = auto()  # still ours, but somebody asked for the job to be cancelled
    LOST = auto()


def table_of(claim: Claim) -> Table[Any]:
    """The table that the claim's row is in."""
    return jobs if claim.table == "jobs" else chunks


def take(
    connection: Connection,
    table: Table[Any],
    row: str,
    *conditions: ColumnElement[bool],
    waits: str,
    becomes: str,
    owner: str,
    seconds: float,
) -> Claim | None:
    """Claim the row if it waits in the state `waits`, is due, meets the conditions and no switch forbids it.

    None if it cannot be claimed; also if another version of dropscribe changed the tables since this process began.
    """
    won = connection.execute(
        update(table)
        .where(
            table.c.id == row,
            table.c.state == waits,
            table.c.owner.is_(None),
            table.c.not_before <= now(),
            OF_THIS_VERSION,
            *conditions,
            ~exists().where(switches.c.name.in_(forbidding(becomes))),
        )
        .values(state=becomes, attempt=table.c.attempt + 1, owner=owner, lease_until=now() + seconds)
        .returning(table.c.attempt)
    ).first()
    job = row if table is jobs else row.partition(".")[0]
    return Claim(table.name, row, job, becomes, won.attempt, owner) if won else None


def owned(table: Table[Any]) -> ColumnElement[bool]:
    """The condition that somebody owns the row; spelled so that SQLite finds it by its index."""
    found: ColumnElement[bool] = table.c.owner > ""
    return found


def fenced(claim: Claim) -> ColumnElement[bool]:
    """The condition that every write of this attempt carries."""
    table = table_of(claim)
    return and_(
        table.c.id == claim.id,
        table.c.attempt == claim.attempt,
        table.c.owner == claim.owner,
        table.c.state == claim.state,
    )


def write(connection: Connection, claim: Claim, **values: Any) -> None:
    """Update the claimed row. Raises LeaseLostError when it is somebody else's by now."""
    if not connection.execute(update(table_of(claim)).where(fenced(claim)).values(**values)).rowcount:
        raise LeaseLostError(f"{claim.id}: attempt {claim.attempt} of {claim.owner} no longer owns this work")


def let_go(connection: Connection, claim: Claim, **values: Any) -> None:
    """Update the claimed row and give up its ownership. Raises LeaseLostError like `write`."""
    write(connection, claim, **(FREE | values))


def renew(database: Database, claim: Claim, seconds: float, *, progress: float | None = None) -> Renewal:
    """Push the lease's end to `seconds` from now; a chunk also notes how far it is (seconds of audio)."""
    return renew_all(database, [(claim, progress)], seconds)[0]


def renew_all(database: Database, held: Sequence[tuple[Claim, float | None]], seconds: float) -> list[Renewal]:
    """`renew` for many claims, each with its progress, in one transaction: a GPU worker reads sixteen chunks at once,
    and every second of each would else cost a commit. Always in the same order, so that no two workers deadlock."""
    renewed: dict[int, Renewal] = {}
    with database.begin() as connection:
        for number in sorted(range(len(held)), key=lambda number: held[number][0].id):
            renewed[number] = _renewed(connection, *held[number], seconds)
    return [renewed[number] for number in range(len(held))]


def _renewed(connection: Connection, claim: Claim, progress: float | None, seconds: float) -> Renewal:
    values: dict[str, Any] = {"lease_until": now() + seconds}
    if progress is not None:
        values["progress"] = progress
    if not connection.execute(update(table_of(claim)).where(fenced(claim)).values(**values)).rowcount:
        return Renewal.LOST
    cancel = connection.execute(select(jobs.c.cancel_requested).where(jobs.c.id == claim.job_id)).scalar()
    return Renewal.CANCEL if cancel else Renewal.HELD
