"""Claim, fence, renew: how a row of `jobs` or `chunks` is owned by one attempt at a time.

A claim is one UPDATE that only the first of many can win (`dropscribe.store.transitions`). Every later write of that
attempt carries `fenced`, so that a worker which slept through its lease can no longer write. What is lost when a lease
runs out is fixed in `dropscribe.store.recovery`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from functools import cache
from random import choice
from typing import Any, ClassVar, TypeVar

from sqlalchemy import ColumnElement, Connection, Table, Update, and_, bindparam, exists, select, update

from dropscribe.core import chunk_ids
from dropscribe.core.errors import LeaseLostError
from dropscribe.store.session import HEAD, Database
from dropscribe.store.tables import VERSION, chunks, jobs, now

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


CROWD = 8  # rows among which those choose that came at once
Taken = TypeVar("Taken")


def in_turn(first: Callable[[int], Sequence[str]], claim: Callable[[str], Taken | None]) -> Taken | None:
    """Claim the row whose turn it is; None once no row can be claimed.

    `first` gives the first so many rows in line. If other workers were quicker, any of the next rows is taken.
    Otherwise sixteen workers that come at once would all try the same row again each time, and only one would get it.
    """
    most = 1
    while rows := first(most):
        if (taken := claim(choice(rows))) is not None:
            return taken
        most = CROWD
    return None


class Renewal(Enum):
    """What a worker learns when it renews its lease."""

    HELD = auto()
    CANCEL = auto()  # still ours, but somebody asked for the job to be cancelled
    LOST = auto()


def fence(table: Table[Any]) -> ColumnElement[bool]:
    """The condition that every write of an attempt carries, to be bound by `fenced`.

    Statements are made once and bound each time: to make one takes SQLAlchemy five times as long as to run it.
    """
    return and_(
        table.c.id == bindparam("of_id"),
        table.c.attempt == bindparam("of_attempt"),
        table.c.owner == bindparam("of_owner"),
        table.c.state == bindparam("of_state"),
    )


def fenced(claim: Claim) -> dict[str, Any]:
    """What binds a `fence` to this attempt."""
    return {"of_id": claim.id, "of_attempt": claim.attempt, "of_owner": claim.owner, "of_state": str(claim.state)}


def write(connection: Connection, claim: Claim, **values: Any) -> None:
    """Update the claimed row. Raises LeaseLostError when it is somebody else's by now."""
    written = update(claim.table).where(fence(claim.table)).values(**values)
    if not connection.execute(written, fenced(claim)).rowcount:
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


@cache
def _renewing(table: Table[Any], progress: bool) -> Update:
    """The statement that renews a claim, with the progress where there is one."""
    values = {"lease_until": now() + bindparam("seconds")} | ({"progress": bindparam("so_far")} if progress else {})
    return update(table).where(fence(table)).values(**values)


_CANCEL_REQUESTED = select(jobs.c.cancel_requested).where(jobs.c.id == bindparam("job"))


def _renewed(connection: Connection, claim: Claim, progress: float | None, seconds: float) -> Renewal:
    """Renew one claim; whether it is still held, and whether somebody asked to cancel its job."""
    renewing = _renewing(claim.table, progress is not None)
    if not connection.execute(renewing, {**fenced(claim), "seconds": seconds, "so_far": progress}).rowcount:
        return Renewal.LOST
    cancel = connection.execute(_CANCEL_REQUESTED, {"job": claim.job_id}).scalar()
    return Renewal.CANCEL if cancel else Renewal.HELD
