"""Threads for calls into watched folders. A share that hangs keeps its threads; those of everything else stay free."""

from __future__ import annotations

import math
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager, asynccontextmanager
from functools import partial
from typing import TypeVar

import anyio
from anyio import CapacityLimiter, to_thread

from dropscribe.core.errors import FolderOfflineError

MAX_THREADS = 8  # in one watched folder
PATIENCE = 30.0  # seconds in which one of them has to become free

Result = TypeVar("Result")


class ShareThreads:
    """So many threads for each watched folder, by its path, and not those that the server has for all else."""

    def __init__(self) -> None:
        """Starts none yet."""
        self._of: dict[str, CapacityLimiter] = {}
        self._started: CapacityLimiter | None = None

    async def run(self, root: str, call: Callable[..., Result], *given: object) -> Result:
        """What `call` returns, in a thread of that folder. Raises FolderOfflineError where all of them hang."""
        limiter = self._of.setdefault(root, CapacityLimiter(MAX_THREADS))
        self._started = self._started or CapacityLimiter(math.inf)
        place = object()
        try:
            with anyio.fail_after(PATIENCE):
                await limiter.acquire_on_behalf_of(place)
        except TimeoutError as error:
            raise FolderOfflineError(f"{root} does not answer", remedy="try again when it is back") from error
        try:
            return await to_thread.run_sync(partial(call, *given), limiter=self._started)
        finally:
            limiter.release_on_behalf_of(place)

    @asynccontextmanager
    async def using(self, root: str, manager: AbstractContextManager[Result]) -> AsyncIterator[Result]:
        """What a context manager gives, which is entered and left in threads of that folder."""
        found = await self.run(root, manager.__enter__)
        try:
            yield found
        except BaseException:
            with anyio.CancelScope(shield=True):  # what is begun is cleared away, also of a request that was given up
                if not await self.run(root, manager.__exit__, *sys.exc_info()):
                    raise
        else:
            await self.run(root, manager.__exit__, None, None, None)
