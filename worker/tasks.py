"""The Celery tasks: prepare, transcribe, embed, finish. A message only says which row to look at; the row decides."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from celery import Celery

from dropscribe.core import logs, routing
from dropscribe.core.errors import DropscribeError, LeaseLostError
from dropscribe.models.base import VoiceEncoder
from dropscribe.store import chunk_plans, chunks, jobs, queries, transcripts
from dropscribe.store.chunk_plans import Onward
from dropscribe.store.chunks import StretchWork
from dropscribe.store.leases import Claim
from dropscribe.worker import outputs
from dropscribe.worker.diarizing import embed
from dropscribe.worker.finishing import finish, publish
from dropscribe.worker.preparing import prepare
from dropscribe.worker.runtime import failures, spool
from dropscribe.worker.runtime.context import WorkerContext
from dropscribe.worker.runtime.lease import Held
from dropscribe.worker.runtime.spooled_audio import SpoolGoneError
from dropscribe.worker.transcribing import transcribe

log = logging.getLogger(__name__)


def register(app: Celery, context: WorkerContext) -> None:
    """Make the tasks known to the app."""
    steps: dict[str, Callable[[WorkerContext, str], None]] = {
        routing.PREPARE: prepare_job,
        routing.TRANSCRIBE: transcribe_chunk,
        routing.EMBED: embed_stretch,
        routing.FINISH: finish_job,
    }
    for name, step in steps.items():
        app.task(_run(context, step), name=name)


def _run(context: WorkerContext, step: Callable[[WorkerContext, str], None]) -> Callable[[str], None]:
    def task(row: str) -> None:
        job, _, chunk = row.partition(".")
        with logs.about(job=job, chunk=chunk):
            try:
                step(context, row)
            except LeaseLostError as error:
                log.warning("%s", error)
            except DropscribeError as error:  # the store is out of reach: the lease runs out and the work comes back
                log.warning("left to its lease: %s", error)

    return task


def prepare_job(context: WorkerContext, job_id: str) -> None:
    """Stage and hash; follow the job that has the same content, or decode, find speech and plan chunks.

    While the spool is full, jobs stay in the queue.
    """
    if not spool.has_room(context.settings, context.database):
        return
    claim = jobs.claim_prepare(context.database, job_id, context.owner, context.settings.lease_seconds)
    if claim is None:
        return
    job = queries.job(context.database, job_id)
    doing = context.tally.doing(routing.PREPARE)
    with context.keeper.holding(claim) as held, failures.of_job(context, claim, job.failures), doing:
        with prepare.staged(context, job, held) as copy:
            leader, woken = jobs.lead_or_follow(context.database, claim, copy.sha256)
            if leader:
                context.ring(routing.FINISH, woken)
                return
            result = prepare.prepare(context, job, copy, held)
        window = context.fleet.capacity(job.model_queue).window
        onward = chunk_plans.prepared(context.database, claim, result, window=window)
        _go_on(context, job_id, onward)


def transcribe_chunk(context: WorkerContext, chunk_id: str) -> None:
    """Let the resident model read a chunk, check the answer, commit it, or have its halves read instead."""
    lease = context.settings.lease_seconds
    work = chunks.claim(context.database, chunk_id, context.owner, lease, context.queues)
    if work is None:
        return
    doing = context.tally.doing(routing.TRANSCRIBE)
    with context.keeper.holding(work.claim) as held, failures.of_chunk(context, work), doing:
        try:
            heard = transcribe.listen(context, work, held)
        except SpoolGoneError as error:
            _prepare_again(context, work.claim, str(error))
            return
        if halves := transcribe.halves(context.settings, work, heard):
            onward = chunks.split(context.database, work.claim, halves, heard.reasons, heard.rules)
        else:
            onward = chunks.commit(
                context.database,
                work.claim,
                heard.result,
                engine=heard.engine,
                reasons=heard.reasons,
                rules=heard.rules,
                missing=heard.missing,
                window=context.fleet.capacity(work.queue).window,
            )
        _go_on(context, work.claim.job_id, onward)


def _prepare_again(context: WorkerContext, claim: Claim, reason: str) -> None:
    context.ring(routing.PREPARE, chunks.prepare_again(context.database, claim, reason))


def embed_stretch(context: WorkerContext, chunk_id: str) -> None:
    """Embed the voices in a stretch, and keep the embeddings in the spool.

    While the encoder is not there yet, stretches stay in the queue; where it cannot be had, the job does without.
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
            _go_on(context, work.claim.job_id, chunks.skip(context.database, work.claim, source.failure))
            return
        try:
            seconds = _embedded(context, work, source.encoder, held)
        except SpoolGoneError as error:
            _prepare_again(context, work.claim, str(error))
            return
        _go_on(context, work.claim.job_id, chunks.embedded(context.database, work.claim, seconds))


def _embedded(context: WorkerContext, work: StretchWork, encoder: VoiceEncoder, held: Held) -> float:
    """Embed what is claimed; returns how long it took."""
    began = time.monotonic()
    audio = context.spooled(work.claim.job_id)
    found = embed.embed(audio, work.speech, work.span, encoder, held.check)
    embed.save(context.embeddings(work.claim.id), found)
    return time.monotonic() - began


def _go_on(context: WorkerContext, job_id: str, onward: Onward) -> None:
    context.ring(routing.EMBED, onward.embed)
    context.ring(routing.TRANSCRIBE, onward.transcribe)
    context.ring(routing.FINISH, [job_id] if onward.finish else [])


def finish_job(context: WorkerContext, job_id: str) -> None:
    """Stitch, tell who speaks, or take over the leader's transcript; write every output; end the job."""
    claim = jobs.claim_finish(context.database, job_id, context.owner, context.settings.lease_seconds)
    if claim is None:
        return
    job = queries.job(context.database, job_id)
    doing = context.tally.doing(routing.FINISH)
    with context.keeper.holding(claim), failures.of_job(context, claim, job.failures), doing:
        job = publish.destined(context, claim, job)
        outcome = finish.outcome(context, job)
        if outcome is None:
            again = jobs.start_over(context.database, claim, f"{job.duplicate_of} came to nothing")
            context.ring(routing.PREPARE, again)
            return
        document = outputs.render(outcome.transcript, "json").decode()
        transcripts.save(context.database, claim, document, outcome.diarization)
        publish.publish(context, claim, job, outcome.transcript, outcome.state)
        context.ring(routing.FINISH, finish.end(context, claim, outcome))
        context.clear_spool(job_id)
