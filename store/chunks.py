"""What can happen to a chunk: claim, commit, split, retry, release. Its job moves on with the last of them.

Models read windows (`claim`, `commit`, `split`); CPU workers embed the voices of stretches (`claim_stretch`,
`embedded`). The rest is the same for both, but that a job does without a stretch that fails.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from sqlalchemy import Connection, Exists, Select, bindparam, exists, select, union_all, update

from dropscribe.core import chunk_ids
from dropscribe.core.event_kinds import EventKind
from dropscribe.core.routing import ANY_MODEL, ResidentModel
from dropscribe.core.types import Chunk, ChunkKind, ChunkState, EngineInfo, JobState, RawTranscript, Segment, Span
from dropscribe.store import chunk_plans, leases, transitions, waiting_line
from dropscribe.store import jobs as job_store
from dropscribe.store.chunk_plans import Onward, within
from dropscribe.store.chunk_work import ChunkWork, StretchWork
from dropscribe.store.events import note_attempt
from dropscribe.store.json_columns import speech_of
from dropscribe.store.leases import ChunkClaim
from dropscribe.store.session import Database, insert_all
from dropscribe.store.tables import among, chunks, jobs, segments
from dropscribe.store.transitions import ChunkEvent, JobEvent


@dataclass(frozen=True, slots=True)
class Claimant:
    """Who claims windows: the `owner` of the claims, for how many `seconds` at a time, and the model it has."""

    owner: str
    seconds: float
    model: ResidentModel


def claim(
    database: Database, chunk_id: str, owner: str, seconds: float, model: ResidentModel = ANY_MODEL
) -> ChunkWork | None:
    """Claim a queued window for a model, to which its job is bound from then on.

    None if it cannot be claimed, or waits for another model.
    """
    with database.begin() as connection:
        # Locked: of two models that claim the job's first chunks at once, the second finds it bound to the other.
        job = job_store.lock_if_there(connection, chunk_ids.job_of(chunk_id))
        return job and _claim(connection, chunk_id, job, Claimant(owner, seconds, model))


def _claim(connection: Connection, chunk_id: str, job: Any, by: Claimant) -> ChunkWork | None:
    """The same for a chunk of a job whose row is locked."""
    queues, own = by.model.queues, by.model.own_queue
    if job.model_queue not in queues:
        return None
    taken = transitions.take(connection, ChunkEvent.TRANSCRIBING, chunk_id, owner=by.owner, seconds=by.seconds)
    if taken is None:
        return None
    if job.model_queue != own:
        connection.execute(update(jobs).where(jobs.c.id == taken.job_id).values(model_queue=own))
    waiting_line.move_on(connection, taken.turn, queues)
    return ChunkWork(
        claim=ChunkClaim(chunk_id, ChunkState.RUNNING, taken.attempt, by.owner),
        chunk=Chunk(
            index=taken.position,
            start=taken.start,
            end=taken.end,
            keep=Span(taken.keep_from, taken.keep_to),
            channel=taken.channel,
        ),
        context=job.context,
        failures=taken.failures,
        depth=taken.depth,
        speech=_speech(connection, taken),
        queue=own,
        overrides=job.overrides,
        waited_in=job.model_queue,
    )


_THE_JOB = jobs.c.id == bindparam("job")


def first_to_transcribe(database: Database, queues: Sequence[str], most: int) -> list[str]:
    """The ids of the windows whose turn it is: the first so many of one priority that can be claimed in the queues."""
    with database.read() as connection:
        return _first(connection, queues, most)


def _first(connection: Connection, queues: Sequence[str], most: int) -> list[str]:
    named = {f"queue_{number}": queue for number, queue in enumerate(queues)}
    return waiting_line.of_first_priority(connection.execute(_first_in(len(queues)), named | {"most": most}).all())


@cache
def _first_in(queues: int) -> Select[Any]:
    """The first that wait in so many queues. An index has those of one queue in order, and not those of several."""
    waits = select(chunks.c.id, chunks.c.turn).where(*transitions.claimable(ChunkEvent.TRANSCRIBING))
    in_order = waits.order_by(chunks.c.turn).limit(bindparam("most"))
    of_each = (in_order.where(chunks.c.queue == bindparam(f"queue_{number}")).subquery() for number in range(queues))
    found = union_all(*map(select, of_each)).subquery()
    return select(found.c.id, found.c.turn).order_by(found.c.turn).limit(bindparam("most"))


def waits_in(database: Database, chunk_id: str) -> str | None:
    """The queue of model workers that a window waits in; None if it waits in none."""
    waiting = (chunks.c.state == ChunkState.QUEUED, chunks.c.kind == ChunkKind.WINDOW)
    query = select(jobs.c.model_queue).join(chunks, chunks.c.job_id == jobs.c.id).where(chunks.c.id == chunk_id)
    with database.read() as connection:
        return connection.execute(query.where(*waiting)).scalar()


def claim_stretch(database: Database, chunk_id: str, owner: str, seconds: float) -> StretchWork | None:
    """Claim a stretch whose voices wait to be embedded; None if it cannot be claimed."""
    with database.begin() as connection:
        taken = transitions.take(connection, ChunkEvent.EMBEDDING, chunk_id, owner=owner, seconds=seconds)
        if taken is None:
            return None
        overrides = connection.execute(_OVERRIDES, {"job": taken.job_id}).scalar_one()
        claim = ChunkClaim(chunk_id, ChunkState.RUNNING, taken.attempt, owner)
        return StretchWork(
            claim=claim,
            span=Span(taken.start, taken.end),
            failures=taken.failures,
            speech=_speech(connection, taken),
            overrides=overrides,
        )


_OVERRIDES = select(jobs.c.overrides).where(_THE_JOB)
_ALL_SPEECH = select(jobs.c.media).where(_THE_JOB)


def _speech(connection: Connection, chunk: Any) -> tuple[Span, ...]:
    """Where somebody speaks in a chunk, as far as the speech reaches beyond it."""
    if chunk.speech is not None:
        return tuple(chunk.speech)
    found = speech_of(connection.execute(_ALL_SPEECH, {"job": chunk.job_id}).scalar(), chunk.channel)
    return within(found, chunk.start, chunk.end)  # planned by an earlier version


_WITHOUT_SEGMENTS = segments.delete().where(segments.c.chunk_id == bindparam("chunk"))


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
    then: Claimant | None = None,
) -> Onward:
    """Store the chunk's segments and what nothing covers (in the recording's time); admit the next chunks.

    `rules` are the names of the checks that the answer failed, for the reasons that are given in words; `window` is
    how many of the job's chunks may wait or run at once. If the next window in turn is of the same job, it is claimed
    for `then`.
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
    }
    with database.begin() as connection:
        job = job_store.lock(connection, claim.job_id)
        _note_failed(connection, claim, rules)
        transitions.move(connection, ChunkEvent.TRANSCRIBED, claim, **found)
        if claim.attempt > 1:  # one of a suspect job that is retried has those of an earlier attempt
            connection.execute(_WITHOUT_SEGMENTS, {"chunk": claim.id})
        rows = [_segment_row(claim.id, index, segment) for index, segment in enumerate(result.segments)]
        insert_all(connection, segments, rows)
        if job.cancel_requested:
            advance(connection, job.id, where=claim.owner)
            return Onward()
        onward = chunk_plans.admit_windows(connection, job, window)
        # Where the backlog had another, none was the last.
        if not onward.transcribe and advance(connection, job.id, where=claim.owner):
            return Onward(finish=True)
        return _go_on(connection, onward, job, then) if then else onward


def _go_on(connection: Connection, onward: Onward, job: Any, by: Claimant) -> Onward:
    """Claim the window whose turn it is, if it is of this job, whose row is locked already.

    It had a message, or was to have one: so of those that wait now, one has a message without having to get it.
    """
    first = _first(connection, by.model.queues, 1)
    if not first or chunk_ids.job_of(first[0]) != job.id:
        return onward
    following = _claim(connection, first[0], job, by)
    return replace(onward, transcribe=onward.transcribe[1:], following=following) if following else onward


def embedded(database: Database, claim: ChunkClaim, seconds: float) -> Onward:
    """The stretch's embeddings lie in the spool; making them took so many `seconds`. Raises LeaseLostError."""
    with database.begin() as connection:
        job = job_store.lock(connection, claim.job_id)
        transitions.move(connection, ChunkEvent.EMBEDDED, claim, timings={"speaker_embedding": seconds})
        if advance(connection, claim.job_id, where=claim.owner):
            return Onward(finish=True)
        return chunk_plans.admit_stretches(connection, job)


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
        why = f"transcribed again in two halves: {'; '.join(reasons)}"
        transitions.move(connection, ChunkEvent.SPLIT, claim, detail=why, reasons=list(reasons))
        return Onward(transcribe=chunk_plans.halve(connection, claim, job, halves))


def _note_failed(connection: Connection, claim: ChunkClaim, rules: Sequence[str]) -> None:
    if rules:
        note_attempt(connection, claim, EventKind.FAILED_CHECKS, rules=rules)


def _segment_row(chunk_id: str, index: int, segment: Segment) -> dict[str, Any]:
    return {
        "chunk_id": chunk_id,
        "position": index,
        "start": segment.start,
        "end": segment.end,
        "text": segment.text,
        "speaker": segment.speaker,
        "kind": segment.kind,
        "quality": segment.confidence,
        "words": [[word.start, word.end, word.text] for word in segment.words],
    }


def retry_later(database: Database, claim: ChunkClaim, reason: str, *, delay: float, limit: int) -> list[str]:
    """Let the chunk go back to its queue for `delay` seconds; at the `limit`-th failure its job fails.

    A job does without the voices of a stretch that fails. Returns the jobs to send `finish` for.
    """
    with database.begin() as connection:
        job_store.lock(connection, claim.job_id)
        chunk = connection.execute(select(chunks.c.failures, chunks.c.kind).where(chunks.c.id == claim.id)).one()
        failures = chunk.failures + 1
        if failures < limit:
            return transitions.move(connection, ChunkEvent.RETRY, claim, detail=reason, failures=failures, delay=delay)
        if chunk.kind == ChunkKind.EMBED:
            return _do_without(connection, claim, reason, failures=failures)
        leases.write(connection, claim, failures=failures)
        return job_store.close(connection, claim.job_id, JobEvent.FAILED, reason, where=claim.owner)


def skip(database: Database, claim: ChunkClaim, reason: str) -> Onward:
    """Go on without the voices of the claimed stretch. Raises LeaseLostError."""
    with database.begin() as connection:
        job = job_store.lock(connection, claim.job_id)
        if _do_without(connection, claim, reason):
            return Onward(finish=True)
        return chunk_plans.admit_stretches(connection, job)


def _do_without(connection: Connection, claim: ChunkClaim, reason: str, **values: Any) -> list[str]:
    """Go on without the voices of a stretch; returns the job to send `finish` for."""
    transitions.move(connection, ChunkEvent.NOT_EMBEDDED, claim, detail=reason, reasons=[reason], **values)
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


def _any_chunk(*states: ChunkState) -> Exists:
    """Found by an index on job, kind and state: what a commit costs does not grow with the job's chunks."""
    return exists().where(chunks.c.job_id == jobs.c.id, among(chunks.c.kind, ChunkKind), among(chunks.c.state, states))


_STANDING = select(
    jobs.c.state,
    jobs.c.cancel_requested,
    _any_chunk(ChunkState.RUNNING).label("running"),
    _any_chunk(ChunkState.HELD, ChunkState.QUEUED, ChunkState.CANCELLED).label("unread"),
    _any_chunk(ChunkState.DONE).label("read"),
).where(jobs.c.id == bindparam("job"))


def advance(connection: Connection, job_id: str, *, where: str) -> bool:
    """After a chunk changed: end a cancelled job, or move a read one to `finishing` (True: send `finish`).

    The caller has locked the job, so that of two last chunks exactly one sees that it is the last.
    """
    job = connection.execute(_STANDING, {"job": job_id}).one()
    if job.state != JobState.TRANSCRIBING or job.running:
        return False
    if job.cancel_requested:
        job_store.cancel(connection, job_id, where=where)
        return False
    if job.unread or not job.read:
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
