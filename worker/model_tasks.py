"""The task of a model worker: transcribe."""

from __future__ import annotations

import logging
from functools import partial

from dropscribe.core import logs, routing
from dropscribe.core.errors import StoreUnavailableError
from dropscribe.store import chunks
from dropscribe.store.chunk_plans import Onward
from dropscribe.store.chunk_work import ChunkWork
from dropscribe.store.leases import in_turn
from dropscribe.worker.runtime import failures
from dropscribe.worker.runtime.context import WorkerContext
from dropscribe.worker.runtime.spooled_audio import SpoolGoneError
from dropscribe.worker.transcribing import transcribe

log = logging.getLogger(__name__)


def transcribe_chunk(context: WorkerContext, chunk_id: str) -> None:
    """Transcribe the chunk whose turn it is, which need not be `chunk_id`, the one that the message names.

    While the next in turn is of the same recording, it goes on with that, without another message.
    One that waits for another model is passed on to the workers that have it.
    """
    work = _claim(context)
    if work is None or work.claim.id != chunk_id:
        context.pass_on(chunk_id, [work.waited_in] if work else context.resident.queues)
    while work:
        with logs.about(job=work.claim.job_id, chunk=work.claim.chunk):
            work = _transcribe(context, work)


def _claim(context: WorkerContext) -> ChunkWork | None:
    """The chunk whose turn it is, claimed; None where there is none."""
    by = context.claimant
    first = partial(chunks.first_to_transcribe, context.database, by.model.queues)
    return in_turn(first, lambda one: chunks.claim(context.database, one, by.owner, by.seconds, by.model))


def _transcribe(context: WorkerContext, work: ChunkWork) -> ChunkWork | None:
    """Let the resident model read a chunk, check the answer, commit it, or have its halves read instead.

    Returns the chunk that was claimed with the commit.
    """
    onward, doing = Onward(), context.tally.doing(routing.TRANSCRIBE)
    with context.keeper.holding(work.claim) as held, failures.of_chunk(context, work), doing:
        try:
            heard = transcribe.listen(context, work, held)
        except SpoolGoneError as error:
            context.prepare_again(work.claim, str(error))
            return None
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
                then=context.claimant if context.goes_on.is_set() else None,
            )
        _send(context, work.claim.job_id, onward)
    return onward.following


def _send(context: WorkerContext, job_id: str, onward: Onward) -> None:
    """Send what comes next. Where the store is away by now, what follows is transcribed all the same."""
    try:
        context.go_on(job_id, onward)
    except StoreUnavailableError as error:
        if onward.following is None:
            raise
        log.warning("the reconciler sends waiting work: %s", error)


TASKS = {routing.TRANSCRIBE: transcribe_chunk}
