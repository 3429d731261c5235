"""The Celery tasks: prepare, transcribe, finish. A message only says which row to look at; the row decides."""

from __future__ import annotations

import logging
from collections.abc import Callable

from celery import Celery

from core import logs, queue
from core.errors import DropscribeError, LeaseLostError
from store import chunks, jobs, queries, transcripts
from worker import failures, finish, listen, outputs, prepare, publish
from worker.context import WorkerContext

log = logging.getLogger(__name__)


def register(app: Celery, context: WorkerContext) -> None:
    """Make the tasks known to the app."""
    steps: dict[str, Callable[[WorkerContext, str], None]] = {
        queue.PREPARE: prepare_job,
        queue.TRANSCRIBE: transcribe_chunk,
        queue.FINISH: finish_job,
    }
    for name, step in steps.items():
        app.task(_run(context, step), name=name)


def _run(context: WorkerContext, step: Callable[[WorkerContext, str], None]) -> Callable[[str], None]:
    def task(row: str) -> None:
        logs.job_id.set(row.partition(".")[0])
        try:
            step(context, row)
        except LeaseLostError as error:
            log.warning("%s", error)
        except DropscribeError as error:  # the store is out of reach: the lease runs out and the work comes back
            log.warning("left to its lease: %s", error)

    return task


def prepare_job(context: WorkerContext, job_id: str) -> None:
    """Stage and hash; follow the job that has the same content, or decode, find speech and plan chunks."""
    claim = jobs.claim_prepare(context.database, job_id, context.owner, context.settings.lease_seconds)
    if claim is None:
        return
    job = queries.job(context.database, job_id)
    with context.keeper.holding(claim) as held, failures.of_job(context, claim, job.failures):
        with prepare.staged(context, job) as copy:
            leader, woken = jobs.lead_or_follow(context.database, claim, copy.sha256)
            if leader:
                context.ring(queue.FINISH, woken)
                return
            result = prepare.prepare(context, job, copy, held)
        ids = jobs.prepared(context.database, claim, result)
        context.ring(queue.TRANSCRIBE if ids else queue.FINISH, ids or [job_id])


def transcribe_chunk(context: WorkerContext, chunk_id: str) -> None:
    """Let the resident model read a chunk, check the answer, commit it."""
    work = chunks.claim(context.database, chunk_id, context.owner, context.settings.lease_seconds)
    if work is None:
        return
    with context.keeper.holding(work.claim) as held, failures.of_chunk(context, work):
        try:
            heard = listen.listen(context, work, held)
        except listen.SpoolGoneError as error:
            context.ring(queue.PREPARE, chunks.prepare_again(context.database, work.claim, str(error)))
            return
        last = chunks.commit(context.database, work.claim, heard.result, engine=heard.engine, reasons=heard.reasons)
        context.ring(queue.FINISH, [work.claim.job_id] if last else [])


def finish_job(context: WorkerContext, job_id: str) -> None:
    """Stitch, or take over the leader's transcript; write every output; end the job."""
    claim = jobs.claim_finish(context.database, job_id, context.owner, context.settings.lease_seconds)
    if claim is None:
        return
    job = queries.job(context.database, job_id)
    with context.keeper.holding(claim), failures.of_job(context, claim, job.failures):
        outcome = finish.outcome(context, job)
        if outcome is None:
            again = jobs.start_over(context.database, claim, f"{job.duplicate_of} came to nothing")
            context.ring(queue.PREPARE, again)
            return
        transcripts.save(context.database, claim, outputs.render(outcome.transcript, "json").decode())
        publish.publish(context, claim, job, outcome.transcript)
        context.ring(queue.FINISH, finish.end(context, claim, outcome))
        context.spooled(job_id).unlink(missing_ok=True)
