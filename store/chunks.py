"""What can happen to a chunk: claim, commit, split, retry, release. Its job moves on with the last of them.

Models read windows (`claim`, `commit`, `split`); CPU workers embed the voices of stretches (`claim_stretch`,
`embedded`). The rest is the same for both, but that a job does without a stretch that fails.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from sqlalchemy import Connection, func, select, update

from dropscribe.core import chunk_ids
from dropscribe.core.event_kinds import EventKind
from dropscribe.core.job_overrides import JobOverrides
from dropscribe.core.routing import ANY_MODEL, MODEL_QUEUE, ResidentModel
from dropscribe.core.types import Chunk, ChunkKind, ChunkState, EngineInfo, JobState, RawTranscript, Segment, Span
from dropscribe.store import chunk_plans, leases, transitions
from dropscribe.store import jobs as job_store
from dropscribe.store.chunk_plans import Onward
from dropscribe.store.events import note_attempt
from dropscribe.store.json_columns import speech_of
from dropscribe.store.leases import ChunkClaim
from dropscribe.store.session import Database, insert_all
from dropscribe.store.tables import chunks, jobs, now, segments
from dropscribe.store.transitions import ChunkEvent, JobEvent


@dataclass(frozen=True, slots=True)
class ChunkWork:
    """What a worker needs to know of the window it claimed; times in seconds of the recording.

    `depth` is how often the chunk was halved. `queue` is its job's, and so are `overrides`, the settings of its folder.
    """

    claim: ChunkClaim
    chunk: Chunk
    context: str
    failures: int
    depth: int
    speech: tuple[Span, ...]
    queue: str = MODEL_QUEUE
    overrides: JobOverrides = field(default_factory=JobOverrides)

    @property
    def span(self) -> Span:
        """Which part of the recording it is."""
        return Span(self.chunk.start, self.chunk.end)


@dataclass(frozen=True, slots=True)
class StretchWork:
    """What a worker needs to know of the stretch it claimed; times in seconds of the recording.

    `speech` is where in it somebody speaks; `overrides` are the settings of its job's folder.
    """

    claim: ChunkClaim
    span: Span
    failures: int
    speech: tuple[Span, ...]
    overrides: JobOverrides = field(default_factory=JobOverrides)


def claim(
    database: Database, chunk_id: str, owner: str, seconds: float, model: ResidentModel = ANY_MODEL
) -> ChunkWork | None:
    """Claim a queued window for a model, to which its job is bound from then on.

    None if it cannot be claimed, or waits for another model.
    """
    with database.begin() as connection:
        won = _claim_for(connection, chunk_id, owner, seconds, model)
        if won is None:
            return None
        chunk, job = _rows(connection, won)
        return ChunkWork(
            claim=won,
            chunk=Chunk(chunk.position, chunk.start, chunk.end, Span(chunk.keep_from, chunk.keep_to), chunk.channel),
            context=job.context,
            failures=chunk.failures,
            depth=chunk.depth,
            speech=_speech(chunk, job),
            queue=job.model_queue,
            overrides=job.overrides,
        )


def _claim_for(
    connection: Connection, chunk_id: str, owner: str, seconds: float, model: ResidentModel
) -> ChunkClaim | None:
    # The job is locked: of two models that claim its first chunks at once, the second finds it bound to the other.
    the_job = jobs.c.id == chunk_ids.job_of(chunk_id)
    queue = connection.execute(select(jobs.c.model_queue).where(the_job).with_for_update()).scalar()
    if queue not in model.queues:
        return None
    won = _take(connection, ChunkEvent.TRANSCRIBING, chunk_id, owner=owner, seconds=seconds)
    if won and queue != model.own_queue:
        connection.execute(update(jobs).where(the_job).values(model_queue=model.own_queue))
    return won


def waits_in(database: Database, chunk_id: str) -> str | None:
    """The queue of model workers that a window waits in; None if it waits in none."""
    waiting = (chunks.c.state == ChunkState.QUEUED, chunks.c.kind == ChunkKind.WINDOW)
    query = select(jobs.c.model_queue).join(chunks, chunks.c.job_id == jobs.c.id).where(chunks.c.id == chunk_id)
    with database.read() as connection:
        return connection.execute(query.where(*waiting)).scalar()


def claim_stretch(database: Database, chunk_id: str, owner: str, seconds: float) -> StretchWork | None:
    """Claim a stretch whose voices wait to be embedded; None if it cannot be claimed."""
    with database.begin() as connection:
        won = _take(connection, ChunkEvent.EMBEDDING, chunk_id, owner=owner, seconds=seconds)
        if won is None:
            return None
        chunk, job = _rows(connection, won)
        span = Span(chunk.start, chunk.end)
        return StretchWork(won, span, chunk.failures, _speech(chunk, job), job.overrides)


KINDS = {ChunkEvent.TRANSCRIBING: ChunkKind.WINDOW, ChunkEvent.EMBEDDING: ChunkKind.EMBED}


def _take(connection: Connection, event: ChunkEvent, chunk_id: str, *, owner: str, seconds: float) -> ChunkClaim | None:
    of_kind = chunks.c.kind == KINDS[event]
    attempt = transitions.take(connection, event, chunk_id, of_kind, owner=owner, seconds=seconds)
    return ChunkClaim(chunk_id, ChunkState.RUNNING, attempt, owner) if attempt else None


def _rows(connection: Connection, claim: ChunkClaim) -> tuple[Any, Any]:
    """The claimed chunk's row, and what its job says of it."""
    chunk = connection.execute(select(chunks).where(chunks.c.id == claim.id)).one()
    told = select(jobs.c.context, jobs.c.media, jobs.c.model_queue, jobs.c.overrides)
    return chunk, connection.execute(told.where(jobs.c.id == claim.job_id)).one()


def _speech(chunk: Any, job: Any) -> tuple[Span, ...]:
    """Where somebody speaks in a chunk, as far as the speech reaches beyond it."""
    spans = speech_of(job.media, chunk.channel)
    return tuple(span for span in spans if span.end > chunk.start and span.start < chunk.end)


def commit(
    database: Database,
    claim: ChunkClaim,
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
    found: dict[str, Any] = {
        "ended": result.ended,
        "reasons": list(reasons),
        "missing": tuple(missing),
        "engine": engine,
        "timings": result.timings,
        "language": result.language,
        "prompt_tokens": result.prompt_tokens,
        "output_tokens": result.output_tokens,
        "progress": chunks.c.end - chunks.c.start,
    }
    with database.begin() as connection:
        job_store.lock(connection, claim.job_id)
        _note_failed(connection, claim, rules)
        transitions.move(connection, ChunkEvent.TRANSCRIBED, claim, **found)
        connection.execute(segments.delete().where(segments.c.chunk_id == claim.id))
        rows = [_segment_row(claim.id, index, segment) for index, segment in enumerate(result.segments)]
        insert_all(connection, segments, rows)
        return _onward(connection, claim, window)


def embedded(database: Database, claim: ChunkClaim, seconds: float) -> Onward:
    """The stretch's embeddings lie in the spool; making them took so many `seconds`. Raises LeaseLostError."""
    with database.begin() as connection:
        job_store.lock(connection, claim.job_id)
        length, timings = chunks.c.end - chunks.c.start, {"speaker_embedding": seconds}
        transitions.move(connection, ChunkEvent.EMBEDDED, claim, progress=length, timings=timings)
        return _onward(connection, claim, 0)


def _onward(connection: Connection, claim: ChunkClaim, window: int) -> Onward:
    """The job may be finished, or more of its backlog is admitted."""
    if advance(connection, claim.job_id, where=claim.owner):
        return Onward(finish=True)
    return chunk_plans.admit(connection, claim.job_id, window, where=claim.owner)


def split(
    database: Database, claim: ChunkClaim, halves: Sequence[Chunk], reasons: Sequence[str], rules: Sequence[str] = ()
) -> Onward:
    """Read two halves instead of a chunk that failed its checks, the `rules`. Raises LeaseLostError."""
    with database.begin() as connection:
        job = job_store.lock(connection, claim.job_id)
        if job.cancel_requested:
            transitions.move(connection, ChunkEvent.CANCELLED, claim)
            advance(connection, claim.job_id, where=claim.owner)
            return Onward()
        _note_failed(connection, claim, rules)
        why = f"read again in two halves: {'; '.join(reasons)}"
        transitions.move(connection, ChunkEvent.SPLIT, claim, detail=why, reasons=list(reasons))
        return Onward(transcribe=chunk_plans.halve(connection, claim, halves))


def _note_failed(connection: Connection, claim: ChunkClaim, rules: Sequence[str]) -> None:
    if rules:
        note_attempt(connection, claim, EventKind.FAILED_CHECKS, rules=rules)


def _segment_row(chunk_id: str, index: int, segment: Segment) -> dict[str, Any]:
    words = [[word.start, word.end, word.text] for word in segment.words]
    row = asdict(segment)
    return row | {"quality": row.pop("confidence"), "chunk_id": chunk_id, "position": index, "words": words}


def retry_later(database: Database, claim: ChunkClaim, reason: str, *, delay: float, limit: int) -> list[str]:
    """Let the chunk go back to its queue for `delay` seconds; at the `limit`-th failure its job fails.

    A job does without the voices of a stretch that fails. Returns the jobs to send `finish` for.
    """
    with database.begin() as connection:
        job_store.lock(connection, claim.job_id)
        chunk = connection.execute(select(chunks.c.failures, chunks.c.kind).where(chunks.c.id == claim.id)).one()
        failures = chunk.failures + 1
        if failures < limit:
            counted = {"failures": failures, "not_before": now() + delay}
            return transitions.move(connection, ChunkEvent.RETRY, claim, detail=reason, **counted)
        if chunk.kind == ChunkKind.EMBED:
            return _do_without(connection, claim, reason, failures=failures)
        leases.write(connection, claim, failures=failures)
        return job_store.close(connection, claim.job_id, JobEvent.FAILED, reason, where=claim.owner)


def skip(database: Database, claim: ChunkClaim, reason: str) -> Onward:
    """Go on without the voices of the claimed stretch. Raises LeaseLostError."""
    with database.begin() as connection:
        job_store.lock(connection, claim.job_id)
        if _do_without(connection, claim, reason):
            return Onward(finish=True)
        return chunk_plans.admit(connection, claim.job_id, 0, where=claim.owner)


def _do_without(connection: Connection, claim: ChunkClaim, reason: str, **values: Any) -> list[str]:
    """Go on without the voices of a stretch; returns the job to send `finish` for."""
    given_up = {"reasons": [reason], "progress": chunks.c.end, **values}
    transitions.move(connection, ChunkEvent.NOT_EMBEDDED, claim, detail=reason, **given_up)
    return [claim.job_id] if advance(connection, claim.job_id, where=claim.owner) else []


def release(database: Database, claim: ChunkClaim) -> None:
    """Give the chunk back: its worker stops, or its job was cancelled. No failure is counted."""
    with database.begin() as connection:
        job = job_store.lock(connection, claim.job_id)
        transitions.move(connection, ChunkEvent.RELEASED, claim, to=given_back(job))
        advance(connection, claim.job_id, where=claim.owner)


def given_back(job: Any) -> ChunkState:
    """Where a chunk goes when its worker lets go of it; `job` is its job's row."""
    return ChunkState.CANCELLED if job.cancel_requested else ChunkState.QUEUED


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
        job_store.cancel(connection, job_id, where=where)
        return False
    if set(counts) - {ChunkState.SPLIT} != {ChunkState.DONE}:
        return False
    transitions.apply(connection, JobEvent.TRANSCRIBED, jobs.c.id == job_id, where=where)
    return True


def prepare_again(database: Database, claim: ChunkClaim, reason: str) -> list[str]:
    """The chunk's audio is gone from the spool: send its job back to be prepared; returns the job's id."""
    with database.begin() as connection:
        job_store.lock(connection, claim.job_id)
        transitions.move(connection, ChunkEvent.CANCELLED, claim)
        the_job = jobs.c.id == claim.job_id
        again = transitions.apply(connection, JobEvent.PREPARE_AGAIN, the_job, where=claim.owner, detail=reason)
        if again.ids:
            others = chunks.c.job_id == claim.job_id
            transitions.apply(connection, ChunkEvent.CANCELLED, others, where=claim.owner)
        return again.ids
