"""What can happen to a chunk: claim, commit, retry, release. Its job moves on with the last of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import Connection, func, insert, select, update

from core.types import ChunkState, EngineInfo, JobState, RawTranscript, Segment
from store import jobs as job_store
from store import leases
from store.leases import Claim
from store.session import Database
from store.tables import chunks, jobs, now, segments


@dataclass(frozen=True, slots=True)
class ChunkWork:
    """What a worker needs to know of the chunk it claimed; times in seconds of the recording."""

    claim: Claim
    start: float
    end: float
    context: str
    failures: int
    speech: tuple[tuple[float, float], ...]


def claim(database: Database, chunk_id: str, owner: str, seconds: float) -> ChunkWork | None:
    """Take a queued chunk; None when it is not to be had."""
    with database.begin() as connection:
        won = leases.take(
            connection,
            chunks,
            chunk_id,
            waits=ChunkState.QUEUED,
            becomes=ChunkState.RUNNING,
            owner=owner,
            seconds=seconds,
        )
        if won is None:
            return None
        chunk = connection.execute(select(chunks).where(chunks.c.id == chunk_id)).one()
        job = connection.execute(select(jobs.c.context, jobs.c.media).where(jobs.c.id == won.job_id)).one()
        connection.execute(update(chunks).where(chunks.c.id == chunk_id).values(progress=0.0))
        leases.note(connection, won.job_id, "reading", f"chunk {chunk.position}", where=owner)
        speech = tuple((start, end) for start, end in job.media["speech"] if end > chunk.start and start < chunk.end)
        return ChunkWork(won, chunk.start, chunk.end, job.context, chunk.failures, speech)


def commit(
    database: Database, claim: Claim, result: RawTranscript, *, engine: EngineInfo, reasons: Sequence[str]
) -> bool:
    """Store the chunk's segments (in the recording's time). True when it was the last: send `finish`."""
    with database.begin() as connection:
        job_store.lock(connection, claim.job_id)
        leases.let_go(
            connection,
            claim,
            state=ChunkState.DONE,
            lost=0,
            ended=result.ended,
            reasons=list(reasons),
            engine=asdict(engine),
            timings=result.timings,
            prompt_tokens=result.prompt_tokens,
            output_tokens=result.output_tokens,
            progress=chunks.c.end - chunks.c.start,
            finished_at=now(),
        )
        connection.execute(segments.delete().where(segments.c.chunk_id == claim.id))
        rows = [_segment_row(claim.id, index, segment) for index, segment in enumerate(result.segments)]
        if rows:
            connection.execute(insert(segments), rows)
        leases.note(connection, claim.job_id, "read", _chunk(claim), where=claim.owner)
        return advance(connection, claim.job_id, where=claim.owner)


def _chunk(claim: Claim) -> str:
    return f"chunk {claim.id.partition('.')[2]}"


def _segment_row(chunk_id: str, index: int, segment: Segment) -> dict[str, Any]:
    return asdict(segment) | {"chunk_id": chunk_id, "position": index}


def retry_later(database: Database, claim: Claim, reason: str, *, delay: float, limit: int) -> list[str]:
    """Let the chunk go back to its queue for `delay` seconds; at the `limit`-th failure its job fails."""
    with database.begin() as connection:
        job_store.lock(connection, claim.job_id)
        failures = connection.execute(select(chunks.c.failures).where(chunks.c.id == claim.id)).scalar_one() + 1
        leases.let_go(connection, claim, state=ChunkState.QUEUED, failures=failures, not_before=now() + delay)
        if failures >= limit:
            return job_store.close(connection, claim.job_id, JobState.FAILED, reason, where=claim.owner)
        leases.note(connection, claim.job_id, "retry", reason, where=claim.owner)
        return []


def release(database: Database, claim: Claim) -> None:
    """Give the chunk back: its worker stops, or its job was cancelled. No failure is counted."""
    with database.begin() as connection:
        job = job_store.lock(connection, claim.job_id)
        state = ChunkState.CANCELLED if job.cancel_requested else ChunkState.QUEUED
        leases.let_go(connection, claim, state=state)
        leases.note(connection, claim.job_id, "released", _chunk(claim), where=claim.owner)
        advance(connection, claim.job_id, where=claim.owner)


def advance(connection: Connection, job_id: str, *, where: str) -> bool:
    """After a chunk changed: end a cancelled job, or move a read one to `finishing` (True: send `finish`).

    The caller has locked the job, so that of two last chunks exactly one sees that it is the last.
    """
    counts = dict(
        connection.execute(
            select(chunks.c.state, func.count()).where(chunks.c.job_id == job_id).group_by(chunks.c.state)
        ).all()
    )
    job = connection.execute(select(jobs.c.state, jobs.c.cancel_requested).where(jobs.c.id == job_id)).one()
    if job.state != JobState.TRANSCRIBING or counts.get(ChunkState.RUNNING):
        return False
    if job.cancel_requested:
        job_store.close(connection, job_id, JobState.CANCELLED, "cancelled on request", where=where)
        return False
    if set(counts) != {ChunkState.DONE}:
        return False
    connection.execute(update(jobs).where(jobs.c.id == job_id).values(state=JobState.FINISHING, sent_at=now()))
    return True


def prepare_again(database: Database, claim: Claim, reason: str) -> list[str]:
    """The chunk's audio is gone from the spool: send its job back to be prepared; returns the job's id."""
    with database.begin() as connection:
        job_store.lock(connection, claim.job_id)
        leases.let_go(connection, claim, state=ChunkState.CANCELLED)
        again = update(jobs).where(jobs.c.id == claim.job_id, jobs.c.state == JobState.TRANSCRIBING)
        if not connection.execute(again.values(state=JobState.QUEUED, sent_at=now())).rowcount:
            return []
        others = update(chunks).where(chunks.c.job_id == claim.job_id)
        connection.execute(others.values(**leases.FREE, state=ChunkState.CANCELLED))
        leases.note(connection, claim.job_id, "prepare_again", reason, where=claim.owner)
        return [claim.job_id]
