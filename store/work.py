"""What workers have claimed, as people see it. Reads only."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, select

from dropscribe.core.types import ChunkKind, ChunkState
from dropscribe.store.leases import owned
from dropscribe.store.tables import chunks, jobs

TRANSCRIBING, LINING_UP = "transcribing", "line-up"


@dataclass(frozen=True, slots=True)
class Work:
    """What a worker has claimed: a job in the state `step`, or a chunk of it that is transcribed (`transcribing`,
    `line-up`).

    A chunk lasts from `start` to `end` in seconds of the recording (a line-up from 0), of which `read` are read.
    """

    job: str
    path: str
    step: str
    start: float | None = None
    end: float | None = None
    read: float = 0.0

    @property
    def share(self) -> float | None:
        """How much of the chunk is read, from 0 to 1; None for a job."""
        if self.start is None or self.end is None:
            return None
        return min(1.0, self.read / (self.end - self.start)) if self.end > self.start else 0.0

    @property
    def part(self) -> str:
        """Which chunk it is, for people."""
        return f"{self.start:.0f}-{self.end:.0f} s" if self.step == TRANSCRIBING else self.step

    def __str__(self) -> str:
        """For people."""
        return f"{self.step} {self.path}" if self.share is None else f"{self.path} {self.part}, {self.share:.0%}"


def by_owner(connection: Connection) -> dict[str, list[Work]]:
    """What each worker has claimed."""
    of_jobs = select(jobs.c.owner, jobs.c.id, jobs.c.path, jobs.c.state).where(owned(jobs))
    columns = (chunks.c.owner, jobs.c.id, jobs.c.path, chunks.c.kind, chunks.c.start, chunks.c.end, chunks.c.progress)
    of_chunks = select(*columns).join(jobs, jobs.c.id == chunks.c.job_id).where(chunks.c.state == ChunkState.RUNNING)
    found: dict[str, list[Work]] = {}
    for row in connection.execute(of_jobs):
        found.setdefault(row.owner, []).append(Work(row.id, row.path, row.state))
    for row in connection.execute(of_chunks):
        step = LINING_UP if row.kind == ChunkKind.LINEUP else TRANSCRIBING
        found.setdefault(row.owner, []).append(Work(row.id, row.path, step, row.start, row.end, row.progress))
    return found
