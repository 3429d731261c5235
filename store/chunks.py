"""What can happen to a chunk: claim, commit, split, retry, release. Its job moves on with the last of them.

Models read windows (`claim`, `commit`, `split`); CPU workers embed the voices of stretches (`claim_stretch`,
`embedded`). The rest is the same for both, but that a job does without a stretch that fails.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from sqlalchemy import ColumnElement, Connection, exists, func, select, true, update

from dropscribe.core.routing import MODEL_QUEUE
from dropscribe.core.types import Chunk, ChunkKind, ChunkState, EngineInfo, JobState, RawTranscript, Segment, Span
from dropscribe.store import chunk_plans, leases
from dropscribe.store import jobs as job_store
from dropscribe.store.chunk_plans import Onward
from dropscribe.store.events import AGAIN, FAILED_CHECKS, TRANSCRIBED, TRANSCRIBING, note
from dropscribe.store.leases import Claim
from dropscribe.store.session import Database, insert_all
from dropscribe.store.tables import chunks, jobs, now, segments


@dataclass(frozen=True, slots=True)
class ChunkWork:
    """What a worker needs to know of the window it claimed; times in seconds of the recording.

    `depth` is how often the chunk was halved. `queue` is its job's, and so are `overrides`, the settings of its folder.
    """

    claim: Claim
    chunk: Chunk
    context: str
    failures: int
    depth: int
    speech: tuple[Span, ...]
    queue: str = MODEL_QUEUE
    overrides: Mapping[str, Any] = field(default_factory=dict)

    @property
    def span(self) -> Span:
        """Which part of the recording it is."""
        return Span(self.chunk.start, self.chunk.end)


@dataclass(frozen=True, slots=True)
class StretchWork:
    """What a worker needs to know of the stretch it claimed; times in seconds of the recording.

    `speech` is where in it somebody speaks; `overrides` are the settings of its job's folder.
    """

    claim: Claim
    span: Span
    failures: int
    speech: tuple[Span, ...]
    overrides: Mapping[str, Any] = field(default_factory=dict)


def claim(
    database: Database, chunk_id: str, owner: str, seconds: float, queues: Collection[str] = (MODEL_QUEUE,)
) -> ChunkWork | None:
    """Claim a queued window; None if it cannot be claimed or waits in another queue than these."""
    served = exists().where(jobs.c.id == chunks.c.job_id, jobs.c.model_queue.in_(queues))
    with database.begin() as connection:
        won = _take(connection, chunk_id, ChunkKind.WINDOW, served, owner=owner, seconds=seconds)
        if won is None:
            return None
        chunk, job = _rows(connection, won)
        note(connection, won.job_id, TRANSCRIBING, _chunk(won), where=owner)
        return ChunkWork(
            claim=won,
            chunk=Chunk(chunk.position, chunk.start, chunk.end, Span(chunk.keep_from, chunk.keep_to)),
            context=job.context,
            failures=chunk.failures,
            depth=chunk.depth,
            speech=_speech(chunk, job),
            queue=job.model_queue,
            overrides=job.overrides,
        )


def claim_stretch(database: Database, chunk_id: str, owner: str, seconds: float) -> StretchWork | None:
    """Claim a stretch whose voices wait to be embedded; None if it cannot be claimed."""
    with database.begin() as connection:
        won = _take(connection, chunk_id, ChunkKind.EMBED, true(), owner=owner, seconds=seconds)
        if won is None:
            return None
        chunk, job = _rows(connection, won)
        span = Span(chunk.start, chunk.end)
        return StretchWork(won, span, chunk.failures, _speech(chunk, job), job.overrides)


def _take(
    connection: Connection,
    chunk_id: str,
    kind: ChunkKind,
    condition: ColumnElement[bool],
    *,
    owner: str,
    seconds: float,
) -> Claim | None:
    won = leases.take(
        connection,
        chunks,
        chunk_id,
        chunks.c.kind == kind,
        condition,
        waits=ChunkState.QUEUED,
        becomes=ChunkState.RUNNING,
        owner=owner,
        seconds=seconds,
    )
    if won:
        connection.execute(update(chunks).where(chunks.c.id == chunk_id).values(progress=0.0))
    return won


def _rows(connection: Connection, claim: Claim) -> tuple[Any, Any]:
    """The claimed chunk's row, and what its job says of it."""
    chunk = connection.execute(select(chunks).where(chunks.c.id == claim.id)).one()
    told = select(jobs.c.context, jobs.c.media, jobs.c.model_queue, jobs.c.overrides)
    return chunk, connection.execute(told.where(jobs.c.id == claim.job_id)).one()


def _speech(chunk: Any, job: Any) -> tuple[Span, ...]:
    """Where somebody speaks in a chunk, as far as the speech reaches beyond it."""
    spans = (Span(start, end) for start, end in job.media["speech"])
    return tuple(span for span in spans if span.end > chunk.start and span.start < chunk.end)


def commit(
    database: Database,
    claim: Claim,
    result: RawTranscript,
    *,
    engine: EngineInfo,
    reasons: Sequence[str] = (),
    rules: Sequence[str] = (),
    missing: Sequence[Span] = (),
    window: int = 1,
) -> Onward:
    """Store the chunk's segments and what nothing covers (in the recording's time); admit the next chunks.

    `rules` are the names of the checks that the answer failed, for the reasons that are given in words; `window` is
    how many of the job's chunks may wait or run at once.
    """
    with database.begin() as connection:
        job_store.lock(connection, claim.job_id)
        leases.let_go(
            connection,
            claim,
            state=ChunkState.DONE,
            lost=0,
            ended=result.ended,
            reasons=list(reasons),
            missing=[[span.start, span.end] for span in missing],
            engine=asdict(engine),
            timings=result.timings,
            language=result.language,
            prompt_tokens=result.prompt_tokens,
            output_tokens=result.output_tokens,
            progress=chunks.c.end - chunks.c.start,
            finished_at=now(),
        )
        connection.execute(segments.delete().where(segments.c.chunk_id == claim.id))
        rows = [_segment_row(claim.id, index, segment) for index, segment in enumerate(result.segments)]
        insert_all(connection, segments, rows)
        _note_failed(connection, claim, rules)
        note(connection, claim.job_id, TRANSCRIBED, _chunk(claim), where=claim.owner)
        return _onward(connection, claim, window)


def embedded(database: Database, claim: Claim, seconds: float) -> Onward:
    """The stretch's embeddings lie in the spool; making them took so many `seconds`. Raises LeaseLostError."""
    with database.begin() as connection:
        job_store.lock(connection, claim.job_id)
        done = {"progress": chunks.c.end - chunks.c.start, "timings": {"speaker_embedding": seconds}}
        leases.let_go(connection, claim, state=ChunkState.DONE, lost=0, reasons=[], finished_at=now(), **done)
        return _onward(connection, claim, 0)


def _onward(connection: Connection, claim: Claim, window: int) -> Onward:
    """The job may be finished, or more of its backlog is admitted."""
    if advance(connection, claim.job_id, where=claim.owner):
        return Onward(finish=True)
    return chunk_plans.admit(connection, claim.job_id, window)


def split(
    database: Database, claim: Claim, halves: Sequence[Chunk], reasons: Sequence[str], rules: Sequence[str] = ()
) -> Onward:
    """Read two halves instead of a chunk that failed its checks, the `rules`. Raises LeaseLostError."""
    with database.begin() as connection:
        job = job_store.lock(connection, claim.job_id)
        if job.cancel_requested:
            leases.let_go(connection, claim, state=ChunkState.CANCELLED)
            advance(connection, claim.job_id, where=claim.owner)
            return Onward()
        leases.let_go(connection, claim, state=ChunkState.SPLIT, lost=0, reasons=list(reasons), finished_at=now())
        _note_failed(connection, claim, rules)
        why = f"{_chunk(claim)} is read again in two halves: {'; '.join(reasons)}"
        note(connection, claim.job_id, "split", why, where=claim.owner)
        return Onward(transcribe=chunk_plans.halve(connection, claim, halves))


def _note_failed(connection: Connection, claim: Claim, rules: Sequence[str]) -> None:
    if rules:
        note(connection, claim.job_id, FAILED_CHECKS, ", ".join(rules), where=claim.owner)


def _chunk(claim: Claim) -> str:
    return f"chunk {claim.id.partition('.')[2]}"


def _segment_row(chunk_id: str, index: int, segment: Segment) -> dict[str, Any]:
    words = [[word.start, word.end, word.text] for word in segment.words]
    row = asdict(segment)
    return row | {"quality": row.pop("confidence"), "chunk_id": chunk_id, "position": index, "words": words}


def retry_later(database: Database, claim: Claim, reason: str, *, delay: float, limit: int) -> list[str]:
    """Let the chunk go back to its queue for `delay` seconds; at the `limit`-th failure its job fails.

    A job does without the voices of a stretch that fails. Returns the jobs to send `finish` for.
    """
    with database.begin() as connection:
        job_store.lock(connection, claim.job_id)
        chunk = connection.execute(select(chunks.c.failures, chunks.c.kind).where(chunks.c.id == claim.id)).one()
        failures = chunk.failures + 1
        leases.let_go(connection, claim, state=ChunkState.QUEUED, failures=failures, not_before=now() + delay)
        if failures >= limit and chunk.kind == ChunkKind.EMBED:
            return do_without(connection, claim.id, reason, where=claim.owner)
        if failures >= limit:
            return job_store.close(connection, claim.job_id, JobState.FAILED, reason, where=claim.owner)
        note(connection, claim.job_id, AGAIN, f"{_chunk(claim)}: {reason}", where=claim.owner)
        return []


def skip(database: Database, claim: Claim, reason: str) -> Onward:
    """Go on without the voices of the claimed stretch. Raises LeaseLostError."""
    with database.begin() as connection:
        job_store.lock(connection, claim.job_id)
        leases.write(connection, claim, owner=claim.owner)
        if do_without(connection, claim.id, reason, where=claim.owner):
            return Onward(finish=True)
        return chunk_plans.admit(connection, claim.job_id, 0)


def do_without(connection: Connection, stretch: str, reason: str, *, where: str) -> list[str]:
    """Go on without the voices of a stretch; returns the job to send `finish` for."""
    job_id = stretch.partition(".")[0]
    given_up = update(chunks).where(chunks.c.id == stretch)
    connection.execute(
        given_up.values(
            **leases.FREE, state=ChunkState.DONE, reasons=[reason], progress=chunks.c.end, finished_at=now()
        )
    )
    note(connection, job_id, "not_embedded", reason, where=where)
    return [job_id] if advance(connection, job_id, where=where) else []


def release(database: Database, claim: Claim) -> None:
    """Give the chunk back: its worker stops, or its job was cancelled. No failure is counted."""
    with database.begin() as connection:
        job = job_store.lock(connection, claim.job_id)
        state = ChunkState.CANCELLED if job.cancel_requested else ChunkState.QUEUED
        leases.let_go(connection, claim, state=state)
        note(connection, claim.job_id, "released", _chunk(claim), where=claim.owner)
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
    if set(counts) - {ChunkState.SPLIT} != {ChunkState.DONE}:
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
        others = update(chunks).where(chunks.c.job_id == claim.job_id, chunks.c.state.in_(job_store.UNREAD))
        connection.execute(others.values(**leases.FREE, state=ChunkState.CANCELLED))
        note(connection, claim.job_id, "prepare_again", reason, where=claim.owner)
        return [claim.job_id]
