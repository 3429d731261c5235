"""The route that tells what happens as it happens, as server-sent events."""

from __future__ import annotations

import json
import threading
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Annotated

import anyio
from fastapi import APIRouter, Header, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from dropscribe.serve.asking import Reader, bytes_told
from dropscribe.serve.request_limits import AtOnce, RequestLimits
from dropscribe.serve.visible import StreamedEvent, VisibleStore

POLL_SECONDS = 1.0
QUIET = ": nothing happened\n\n"  # which tells that the connection still stands
KIND = "text/event-stream"
MAX_NUMBER = (1 << 63) - 1  # of an event

router = APIRouter(tags=["overview"])


@router.get("/events", responses=bytes_told("Events, as they happen.", KIND))
def events(
    request: Request,
    store: Reader,
    last_event_id: Annotated[
        int | None, Header(ge=0, le=MAX_NUMBER, description="where an earlier stream ended; else from now on")
    ] = None,
) -> StreamingResponse:
    """What happens to recordings, as server-sent events: admitted, preparing, transcribed, done, failed and others."""
    limits: RequestLimits = request.app.state.limits
    stopping: threading.Event = request.app.state.stopping
    holds: Callable[[], bool] = request.state.holds
    since = store.newest_event() if last_event_id is None else last_event_id

    def is_over() -> bool:
        """Does the server stop, or was the token revoked?"""
        return stopping.is_set() or not holds()

    limits.enter(AtOnce.STREAM, store.caller)
    return _Stream(_told(store, is_over, since), partial(limits.leave, AtOnce.STREAM, store.caller))


class _Stream(StreamingResponse):
    """Events as they come; `leave` is called at the end, also where it was never begun."""

    def __init__(self, told: AsyncIterator[str], leave: Callable[[], None]) -> None:
        super().__init__(told, media_type=KIND)
        self._leave = leave

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As ASGI asks for it."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._leave()


async def _told(store: VisibleStore, is_over: Callable[[], bool], since: int) -> AsyncIterator[str]:
    """Events up to the number that was the newest a moment ago, so that none with a lower one is still to come."""
    upto = await run_in_threadpool(store.newest_event)
    while True:
        found = await run_in_threadpool(store.events, since, upto)
        yield "".join(map(_written, found)) or QUIET
        if await run_in_threadpool(is_over):
            return
        since = found[-1].number if found else max(since, upto)
        upto = await run_in_threadpool(store.newest_event)
        await anyio.sleep(POLL_SECONDS)


def _written(event: StreamedEvent) -> str:
    """An event as browsers expect it."""
    return f"id: {event.number}\nevent: {event.kind}\ndata: {json.dumps(event.document)}\n\n"
