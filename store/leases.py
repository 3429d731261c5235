"""Claim, fence, renew: how a row of `jobs` or `chunks` is owned by one attempt at a time.

A claim is one UPDATE that only the first of many can win (`dropscribe.store.transitions`). Every later write of that
attempt carries `fenced`, so that a worker which slept through its lease can no longer write. What is lost when a lease
runs out is mended in `dropscribe.store.recovery`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, ClassVar

from sqlalchemy import ColumnElement, Connection, Table, and_, exists, select, update

from dropscribe.core import chunk_ids
from dropscribe.core.errors import LeaseLostError
from dropscribe.store.session import HEAD, VERSION, Database
from dropscribe.store.tables import chunks, jobs, now

OF_THIS_VERSION = exists().where(VERSION.c.version_num == HEAD)


@dataclass(frozen=True, slots=True)
class Claim:
    """Proof of ownership: this attempt of this row, in this state, by this worker."""

    table: ClassVar[Table[Any]]

    id: str
    state: str
    attempt: int
    owner: str

    @property
    def job_id(self) -> str:
        """The job that it is, or that it is a chunk of."""
        return chunk_ids.job_of(self.id)

    @property
    def chunk(self) -> str:
        """The number of the chunk within its job; empty for a job."""
        return chunk_ids.number_of(self.id)


class JobClaim(Claim):
    """The claim to prepare or to finish a job."""

    __slots__ = ()
    table = jobs


class ChunkClaim(Claim):
    """The claim to transcribe a chunk, or to embed its voices."""

    __slots__ = ()
    table = chunks


class Renewal(Enum):
    """What a worker learns when it renews its lease."""

    HELD = auto()
    CANCEL = auto()  # still ours, but somebody asked for the job to be cancelled
    LOST = auto()


def owned(table: Table[Any]) -> ColumnElement[bool]:
    """The condition that somebody owns the row; spelled so that SQLite finds it by its index."""
    found: ColumnElement[bool] = table.c.owner > ""
    return found


def fenced(claim: Claim) -> ColumnElement[bool]:
    """The condition that every write of this attempt carries."""
    table = claim.table
    return and_(
        table.c.id == claim.id,
        table.c.attempt == claim.attempt,
        table.c.owner == claim.owner,
        table.c.state == claim.state,
    )


def write(connection: Connection, claim: Claim, **values: Any) -> None:
    """Update the claimed row. Raises LeaseLostError when it is somebody else's by now."""
    if not connection.execute(update(claim.table).where(fenced(claim)).values(**values)).rowcount:
        raise LeaseLostError(f"{claim.id}: attempt {claim.attempt} of {claim.owner} no longer owns this work")


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
    if not connection.execute(update(claim.table).where(fenced(claim)).values(**values)).rowcount:
        return Renewal.LOST
    cancel = connection.execute(select(jobs.c.cancel_requested).where(jobs.c.id == claim.job_id)).scalar()
    return Renewal.CANCEL if cancel else Renewal.HELD
