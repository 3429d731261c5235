"""Waiting for the transcript of a request, and what is certain of it until then."""

from __future__ import annotations

import json
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from itertools import takewhile
from operator import attrgetter, itemgetter

import anyio
from fastapi import Request
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect

from dropscribe.core.errors import DropscribeError, SourceError, StoppingError, UnknownCallerError
from dropscribe.core.types import JobState, Segment, Transcript
from dropscribe.serve import problems
from dropscribe.serve.protocols import openai_documents as documents
from dropscribe.serve.request_limits import AtOnce, RequestLimits
from dropscribe.serve.visible import VisibleStore
from dropscribe.store import transcripts
from dropscribe.store.queries import Job
from dropscribe.store.transcripts import ReadChunk
from dropscribe.worker.merging.overlaps import ChunkOutcome, select
from dropscribe.worker.outputs import json_

FIRST_POLL, MAX_POLL, SLOWER = 0.1, 2.0, 1.5  # seconds between two looks, and how much longer each waits
JITTER = 0.01  # s that kept spans may be apart by rounding
QUIET = ": waiting\n\n"  # which keeps a stream open through proxies


async def _looks(request: Request, store: VisibleStore, job_id: str) -> AsyncIterator[Job]:
    """The job again and again, until it is over.

    Raises StoppingError, UnknownCallerError for a token that was revoked, JobNotFoundError, TooManyError.
    """
    limits: RequestLimits = request.app.state.limits
    stopping: threading.Event = request.app.state.stopping
    holds: Callable[[], bool] = request.state.holds
    pause = FIRST_POLL
    with limits.holding(AtOnce.REQUEST, store.caller):
        while True:
            job = await run_in_threadpool(store.job, job_id)
            yield job
            if job.state.is_final:
                return
            if stopping.is_set():
                raise StoppingError("the server ends; the job goes on", remedy="send the same request again")
            if not await run_in_threadpool(holds):
                raise UnknownCallerError("the token is no longer valid", remedy="ask the operator for another")
            await anyio.sleep(pause)
            pause = min(pause * SLOWER, MAX_POLL)


async def transcript_of(request: Request, store: VisibleStore, job: Job) -> Transcript:
    """The transcript of a job, once it is over.

    Raises SourceError where it ends without one, ClientDisconnect where nobody waits any more, and as `_looks` does.
    """
    async for seen in _looks(request, store, job.id):
        job = seen
        if await request.is_disconnected():
            raise ClientDisconnect
    return await run_in_threadpool(_written, store, job)


def _written(store: VisibleStore, job: Job) -> Transcript:
    """The transcript of a job that is over. Raises SourceError where there is none."""
    if not job.state.has_transcript:
        why = "somebody cancelled it" if job.state is JobState.CANCELLED else job.reason
        raise SourceError(f"{job.id} is {job.state}: {why}", remedy=f"`dropscribe show {job.id}` says more")
    return json_.from_json(store.transcript(job, "json").decode())


async def events(request: Request, store: VisibleStore, job: Job, *, with_speakers: bool) -> AsyncIterator[str]:
    """A stream of what is transcribed, as server-sent events of OpenAI's kinds; an error is the last of them.

    Speakers are known at the end alone: segments with speakers are sent then.
    """
    told: list[Segment] = []
    left = -1
    try:
        async for seen in _looks(request, store, job.id):
            job = seen
            pending = job.waiting_chunks + job.reading
            if not with_speakers and not job.state.is_final and pending != left:
                left = pending
                fresh = (await run_in_threadpool(_settled, store, job))[len(told) :]
                if fresh:
                    yield _event(documents.delta(told, fresh))
                    told += fresh
            yield QUIET
        transcript = await run_in_threadpool(_written, store, job)
        for one in _last(transcript, told, with_speakers=with_speakers):
            yield _event(one)
    except DropscribeError as error:
        yield _event(problems.in_openais_shape(problems.told(error)))


def _last(transcript: Transcript, told: Sequence[Segment], *, with_speakers: bool) -> list[dict[str, object]]:
    """The events that are left when the transcript is there: what was not sent before, and the end."""
    if with_speakers:
        return [*documents.turns(transcript), documents.done(transcript)]
    rest = documents.rest(told, transcript)
    return [*([rest] if rest["delta"] else []), documents.done(transcript)]


def _event(document: dict[str, object]) -> str:
    """An event as clients of OpenAI's API expect it."""
    return f"data: {json.dumps(document)}\n\n"


def _settled(store: VisibleStore, job: Job) -> list[Segment]:
    """What is certain of a recording that is being transcribed."""
    return settled(transcripts.transcribed(store.context.database, job.id).chunks)


def settled(chunks: Sequence[ReadChunk]) -> list[Segment]:
    """The segments, from the beginning on, that no window which is still to be transcribed can change.

    So the transcript begins with them: what comes after one that may change waits for it. `chunks` are those that are
    done, in the order of what they keep. Of a recording whose channels are transcribed one by one nothing is certain
    before the end.
    """
    if any(map(attrgetter("channel"), chunks)) or not (known := [*_without_gap(chunks)]):
        return []
    last = known[-1]
    horizon = 2 * last.keep.end - last.window.end  # where the next window begins
    parts = [ChunkOutcome(chunk.window, chunk.keep, chunk.segments) for chunk in known]
    return [*takewhile(lambda segment: segment.end <= horizon, map(itemgetter(1), select(parts)))]


def _without_gap(chunks: Sequence[ReadChunk]) -> Iterator[ReadChunk]:
    """Those that follow each other from the beginning of the recording on."""
    reached = 0.0
    for chunk in chunks:
        if chunk.keep.start > reached + JITTER:
            return
        reached = chunk.keep.end
        yield chunk
