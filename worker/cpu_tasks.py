"""The tasks of a CPU worker: prepare, embed, finish."""

from __future__ import annotations

import time
from functools import partial

from dropscribe.core import logs, routing
from dropscribe.core.errors import SourceChangedError, SourceError
from dropscribe.models.base import VoiceEncoder
from dropscribe.store import chunk_plans, chunks, jobs, parts, queries, transcripts
from dropscribe.store.chunk_work import StretchWork
from dropscribe.store.leases import JobClaim, in_turn
from dropscribe.store.queries import Job
from dropscribe.worker.diarizing import embed
from dropscribe.worker.finishing import earlier_transcript, finish, publish
from dropscribe.worker.preparing import prepare
from dropscribe.worker.runtime import failures, spool
from dropscribe.worker.runtime.context import WorkerContext
from dropscribe.worker.runtime.lease import Held
from dropscribe.worker.runtime.spooled_audio import SpoolGoneError


def prepare_job(context: WorkerContext, _: str) -> None:
    """Prepare the job whose turn it is, which need not be the one that the message names.

    While the spool is full, jobs stay in the queue.
    """
    if not spool.has_room(context.settings, context.database):
        return
    lease, first = context.settings.lease_seconds, partial(jobs.first_to_prepare, context.database)
    claim = in_turn(first, lambda job_id: jobs.claim_prepare(context.database, job_id, context.owner, lease))
    if claim:
        with logs.about(job=claim.id):
            _prepare(context, claim)


def _prepare(context: WorkerContext, claim: JobClaim) -> None:
    """Stage and hash; follow the job of the same content, take over what lies there, or decode and plan chunks."""
    job = queries.job(context.database, claim.id)
    doing = context.tally.doing(routing.PREPARE)
    with context.keeper.holding(claim) as held, failures.of_job(context, claim, job.failures), doing:
        try:
            _prepare_claimed(context, claim, job, held)
        except (SourceError, SourceChangedError) as error:
            if not _falls_apart(context, job, error):
                raise
            context.ring(routing.PREPARE, jobs.fall_apart(context.database, claim, str(error)))


def _falls_apart(context: WorkerContext, job: Job, error: SourceError | SourceChangedError) -> bool:
    """Is each file of the job to be a recording by itself? Where one changed, once it is known that it stays so."""
    if isinstance(error, SourceError) or not job.part_count:
        return bool(job.part_count)
    with context.database.read() as connection:
        return prepare.is_last_try(context, job) or bool(parts.in_newer_jobs(connection, job.id))


def _prepare_claimed(context: WorkerContext, claim: JobClaim, job: Job, held: Held) -> None:
    """Prepare a job that is claimed. Raises SourceError for a recording that is at fault."""
    with prepare.staged(context, job, held) as copy:
        scope = finish.scope_of(context.settings, job)
        leader, woken = jobs.lead_or_follow(context.database, claim, copy.sha256, copy.mark, copy.origin, scope=scope)
        if leader:
            context.ring(routing.FINISH, woken)
            return
        if earlier := earlier_transcript.find(context, claim, job, copy.sha256):
            there = transcripts.take_over(context.database, claim, earlier.document, earlier.duration, earlier.files)
            context.ring(routing.FINISH, there)
            return
        result = prepare.prepare(context, job, copy, held)
    window = context.fleet.capacity(job.model_queue).window
    context.go_on(claim.id, chunk_plans.prepared(context.database, claim, result, window=window))


def embed_stretch(context: WorkerContext, chunk_id: str) -> None:
    """Embed the voices in a stretch, and keep the embeddings in the spool.

    Until the encoder is loaded, stretches stay in the queue. If it is not available, the job goes on without it.
    """
    source = context.encoder
    if source is None:
        raise TypeError("a worker without an encoder got voices to embed")
    source.start()
    if not (source.encoder or source.failure):
        return
    work = chunks.claim_stretch(context.database, chunk_id, context.owner, context.settings.lease_seconds)
    if work is None:
        return
    doing = context.tally.doing(routing.EMBED)
    with context.keeper.holding(work.claim) as held, failures.of_chunk(context, work), doing:
        if source.encoder is None:
            context.go_on(work.claim.job_id, chunks.skip(context.database, work.claim, source.failure))
            return
        try:
            seconds = _embedded(context, work, source.encoder, held)
        except SpoolGoneError as error:
            context.prepare_again(work.claim, str(error))
            return
        context.go_on(work.claim.job_id, chunks.embedded(context.database, work.claim, seconds))


def _embedded(context: WorkerContext, work: StretchWork, encoder: VoiceEncoder, held: Held) -> float:
    """Embed what is claimed; returns how long it took."""
    began = time.monotonic()
    found = embed.embed(context.spooled(work.claim.job_id), work.speech, work.span, encoder, held.check)
    embed.save(context.embeddings(work.claim.id), found)
    return time.monotonic() - began


def finish_job(context: WorkerContext, job_id: str) -> None:
    """Stitch, tell who speaks, or take over the leader's transcript; write every output; end the job."""
    claim = jobs.claim_finish(context.database, job_id, context.owner, context.settings.lease_seconds)
    if claim is None:
        return
    job = queries.job(context.database, job_id)
    doing = context.tally.doing(routing.FINISH)
    is_over = False
    with context.keeper.holding(claim), failures.of_job(context, claim, job.failures), doing:
        job = publish.destined(context, claim, job)
        outcome = finish.outcome(context, job)
        if outcome is None:
            why = (
                f"{job.duplicate_of} came to nothing"
                if job.duplicate_of
                else "the transcript that was taken over is gone"
            )
            again = jobs.start_over(context.database, claim, why)
            context.ring(routing.PREPARE, again)
            return
        published = publish.publish(context, claim, job, outcome)
        context.ring(routing.FINISH, finish.end(context, claim, outcome, published.withheld, published.files))
        is_over = True
    if is_over:  # outside of the block: a job that has ended cannot fail any more
        context.clear_spool(job_id)


TASKS = {routing.PREPARE: prepare_job, routing.EMBED: embed_stretch, routing.FINISH: finish_job}
