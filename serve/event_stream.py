"""The route that tells what happens as it happens, as server-sent events."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from functools import partial
from typing import Annotated

import anyio
from fastapi import APIRouter, Header, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from dropscribe.core.errors import StoreError
from dropscribe.serve.asking import Reader, bytes_told
from dropscribe.serve.request_limits import AtOnce, RequestLimits
from dropscribe.serve.shared_events import EventBatch
from dropscribe.serve.visible import VisibleStore

POLL_SECONDS = 1.0
BEGIN_SECONDS = 0.02  # between two looks whether a stream can begin
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
    now = store.moment()
    since = now.newest if last_event_id is None else last_event_id

    def is_over() -> bool:
        """Does the server stop, or was the token revoked?"""
        return stopping.is_set() or not holds()

    def can_begin() -> bool:
        """Is all there that was being written? What comes from then on has higher numbers."""
        return now.is_whole(store.moment()) or is_over()

    limits.enter(AtOnce.STREAM, store.caller)
    return _Stream(_told(store, is_over, since), can_begin, partial(limits.leave, AtOnce.STREAM, store.caller))


class _Stream(StreamingResponse):
    """Events as they come, as soon as it `can_begin`; `leave` is called at the end, also where it was never begun."""

    def __init__(self, told: AsyncIterator[str], can_begin: Callable[[], bool], leave: Callable[[], None]) -> None:
        super().__init__(told, media_type=KIND)
        self._can_begin, self._leave = can_begin, leave

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As ASGI asks for it."""
        try:
            while not await run_in_threadpool(self._can_begin):  # noqa: ASYNC110 (no transaction tells its end)
                await anyio.sleep(BEGIN_SECONDS)
            await super().__call__(scope, receive, send)
        finally:
            self._leave()


async def _told(store: VisibleStore, is_over: Callable[[], bool], since: int) -> AsyncIterator[str]:
    """What happened after the event of that number, and then what happens, until it is over or the store is away.

    Who asked goes on from there.
    """

    def step() -> tuple[EventBatch, bool]:
        """What is new, and whether it is the last: asked in one go, as each change of threads takes a while."""
        return store.happened(since), is_over()

    with suppress(StoreError):
        while True:
            found, is_last = await run_in_threadpool(step)
            yield found.written or QUIET
            if is_last:
                return
            since = found.after
            await anyio.sleep(POLL_SECONDS)
