"""The Celery tasks: prepare, transcribe, finish. A message only says which row to look at; the row decides."""

from __future__ import annotations

import logging
from collections.abc import Callable

from celery import Celery

from dropscribe.core import logs, routing
from dropscribe.core.errors import DropscribeError, LeaseLostError
from dropscribe.store import chunk_plans, chunks, jobs, queries, transcripts
from dropscribe.store.chunks import ChunkWork, Onward
from dropscribe.worker import outputs
from dropscribe.worker.finishing import finish, publish
from dropscribe.worker.merging import lineup
from dropscribe.worker.preparing import prepare
from dropscribe.worker.runtime import failures, spool
from dropscribe.worker.runtime.context import WorkerContext
from dropscribe.worker.transcribing import transcribe

log = logging.getLogger(__name__)


def register(app: Celery, context: WorkerContext) -> None:
    """Make the tasks known to the app."""
    steps: dict[str, Callable[[WorkerContext, str], None]] = {
        routing.PREPARE: prepare_job,
        routing.TRANSCRIBE: transcribe_chunk,
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
        ids = chunk_plans.prepared(context.database, claim, result, window=window)
        context.ring(routing.TRANSCRIBE if result.chunks else routing.FINISH, ids if result.chunks else [job_id])


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
        except transcribe.SpoolGoneError as error:
            _without_audio(context, work, str(error))
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


def _without_audio(context: WorkerContext, work: ChunkWork, reason: str) -> None:
    if work.clips:
        _go_on(context, work.claim.job_id, chunks.skip(context.database, work.claim, reason))
    else:
        context.ring(routing.PREPARE, chunks.prepare_again(context.database, work.claim, reason))


def _go_on(context: WorkerContext, job_id: str, onward: Onward) -> None:
    context.ring(routing.TRANSCRIBE, onward.transcribe)
    context.ring(routing.FINISH, [job_id] if onward.finish else [])


def finish_job(context: WorkerContext, job_id: str) -> None:
    """Stitch, or take over the leader's transcript; write every output; end the job.

    Where speakers are to be lined up, that comes first, and the job comes back here.
    """
    claim = jobs.claim_finish(context.database, job_id, context.owner, context.settings.lease_seconds)
    if claim is None:
        return
    job = queries.job(context.database, job_id)
    doing = context.tally.doing(routing.FINISH)
    with context.keeper.holding(claim), failures.of_job(context, claim, job.failures), doing:
        if planned := finish.line_ups(context, job):
            line_ups = [(lineup.to_json(one), one.seconds) for one in planned]
            context.ring(routing.TRANSCRIBE, chunk_plans.line_up(context.database, claim, line_ups))
            return
        job = publish.destined(context, claim, job)
        outcome = finish.outcome(context, job)
        if outcome is None:
            again = jobs.start_over(context.database, claim, f"{job.duplicate_of} came to nothing")
            context.ring(routing.PREPARE, again)
            return
        transcripts.save(context.database, claim, outputs.render(outcome.transcript, "json").decode())
        publish.publish(context, claim, job, outcome.transcript, outcome.state)
        context.ring(routing.FINISH, finish.end(context, claim, outcome))
        context.spooled(job_id).unlink(missing_ok=True)
