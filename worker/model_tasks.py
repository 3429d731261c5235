"""The task of a model worker: transcribe."""

from __future__ import annotations

from dropscribe.core import routing
from dropscribe.store import chunks
from dropscribe.worker.runtime import failures
from dropscribe.worker.runtime.context import WorkerContext
from dropscribe.worker.runtime.spooled_audio import SpoolGoneError
from dropscribe.worker.transcribing import transcribe


def transcribe_chunk(context: WorkerContext, chunk_id: str) -> None:
    """Let the resident model read a chunk, check the answer, commit it, or have its halves read instead.

    A chunk that waits for another model is passed on to the workers that have it.
    """
    lease = context.settings.lease_seconds
    work = chunks.claim(context.database, chunk_id, context.owner, lease, context.resident)
    if work is None:
        context.pass_on(chunk_id)
        return
    doing = context.tally.doing(routing.TRANSCRIBE)
    with context.keeper.holding(work.claim) as held, failures.of_chunk(context, work), doing:
        try:
            heard = transcribe.listen(context, work, held)
        except SpoolGoneError as error:
            context.prepare_again(work.claim, str(error))
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
        context.go_on(work.claim.job_id, onward)


TASKS = {routing.TRANSCRIBE: transcribe_chunk}
