"""Celery's thread pool, plus a nudge to the event loop whenever a task ends.

With prefetching off, a worker whose threads are all busy stops listening to Redis. Nothing in Celery tells its event
loop that a thread is free again: it finds out at its next timer, up to a second later. A GPU would idle that second
after each chunk.
"""

from __future__ import annotations

import contextlib
import os
from typing import Any

from celery.concurrency.thread import TaskPool


class WakingPool(TaskPool):  # type: ignore[misc]  # Celery has no types
    """Threads that wake the event loop through a pipe when they are done."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        """See the base class."""
        super().__init__(*arguments, **options)
        self._reader, self._writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    def register_with_event_loop(self, loop: Any) -> None:
        """Celery calls it for each connection, as the loop forgets its readers when one is lost."""
        loop.add_reader(self._reader, self._drain)

    def on_apply(self, *arguments: Any, **options: Any) -> Any:
        """See the base class."""
        result = super().on_apply(*arguments, **options)
        result.f.add_done_callback(lambda _: self._nudge())
        return result

    def _nudge(self) -> None:
        """Wake the event loop, from whatever thread."""
        with contextlib.suppress(BlockingIOError):  # a full pipe is nudge enough
            os.write(self._writer, b".")

    def _drain(self) -> None:
        """Take the nudges away."""
        with contextlib.suppress(BlockingIOError):
            os.read(self._reader, 4096)
