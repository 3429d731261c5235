"""One request on its way through the runner, and the queue on which its tokens reach its caller. No torch."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import Any

from dropscribe.core.errors import ModelError
from dropscribe.models.vibevoice.generation import Generation, Stop, TokenListener

BUNDLE = 8  # tokens that are handed over at once: each time wakes a thread, which takes Python's lock from the step


@dataclass(frozen=True, slots=True)
class Ended:
    """The last thing on a request's queue: why it got no more tokens, or the error that it failed with."""

    stop: Stop
    error: ModelError | None = None


@dataclass(eq=False, slots=True)
class RunnerRequest:
    """What the scheduler knows of a request. Only the runner's thread changes it; `unwanted` may be set by any.

    `prompt` has as many entries as tokens: a tensor (tokens, hidden). `cached` of them, and of the tokens that were
    chosen after it, are in the cache. `row` is the request's row in the page table while it runs. After a restart the
    first `recomputed` tokens are part of the prompt.
    """

    prompt: Any
    max_new_tokens: int
    cancel: threading.Event = field(default_factory=threading.Event)
    tokens: list[int] = field(default_factory=list)
    cached: int = 0
    pages: list[int] = field(default_factory=list)
    row: int = -1
    recomputed: int = 0
    unwanted: bool = False
    began: float = 0.0
    first: float = 0.0
    last: float = 0.0
    queue: SimpleQueue[list[int] | Ended] = field(default_factory=SimpleQueue)
    _handed: int = 0

    @property
    def reserved(self) -> int:
        """The most tokens that it can have in the cache."""
        return len(self.prompt) + self.max_new_tokens - len(self.tokens)

    @property
    def missing(self) -> int:
        """Tokens of the prompt that are not in the cache yet; 0 for a request that decodes."""
        return max(0, len(self.prompt) - self.cached)

    def restart(self, prompt: Any) -> None:
        """Begin again with an empty cache; `prompt` is the old one and all tokens so far."""
        self.prompt, self.recomputed = prompt, len(self.tokens)
        self.cached, self.row, self.pages = 0, -1, []

    def add(self, token: int, now: float) -> None:
        """Append a token that was chosen at `now`, and hand over what has gathered."""
        self.first = self.first or now
        self.last = now
        self.tokens.append(token)
        if len(self.tokens) - self._handed >= BUNDLE:
            self._hand_over()

    def end(self, stop: Stop, error: ModelError | None = None) -> None:
        """Hand over all that is left, and why nothing follows."""
        self._hand_over()
        self.queue.put(Ended(stop, error))

    def follow(self, on_tokens: TokenListener) -> Generation:
        """Pass tokens on in the caller's thread until the request has ended. Raises the ModelError it failed with."""
        heard: list[int] = []
        try:
            while isinstance(item := self.queue.get(), list):
                heard += item
                if not on_tokens(item):
                    return self._generation(heard, Stop.LISTENER)
        finally:
            self.unwanted = True
        if item.error:
            raise item.error
        return self._generation(heard, item.stop)

    def _hand_over(self) -> None:
        """Give the listener the tokens that it does not have yet."""
        if fresh := self.tokens[self._handed :]:
            self._handed = len(self.tokens)
            self.queue.put(fresh)

    def _generation(self, tokens: list[int], stop: Stop) -> Generation:
        """The answer with its times."""
        first = self.first or time.monotonic()
        return Generation(tuple(tokens), stop, first - (self.began or first), max(0.0, self.last - first))
