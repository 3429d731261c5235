"""Who runs, who waits, and what the next step computes. Plain Python, no torch.

A step computes one token of every request that decodes; the rest of its tokens are pieces of prompts, first come, first
served. With `step_tokens` 8, two requests that decode and one that just joined with a prompt of 10:

    step 1: one token of A, one of B, tokens 0 to 5 of C's prompt
    step 2: one token of A, one of B, tokens 6 to 9 of C's prompt; C's first token is chosen
    step 3: one token of A, of B and of C
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from dropscribe.core.errors import ModelError
from dropscribe.models.vibevoice.generation import Stop
from dropscribe.models.vibevoice.runner.pages import PagePool, pages_for
from dropscribe.models.vibevoice.runner.request import RunnerRequest

MIN_STEP = 256  # tokens of a step; with fewer, a prompt of half an hour takes over 50 steps


@dataclass(frozen=True, slots=True)
class Sizes:
    """What the plan gives the language model.

    `slots` requests at once, each with at most `tokens_per_slot` in the cache (prompt and output); `step_tokens` are
    the most that one forward pass computes: long prompts are computed in pieces of that size. With `fp8_cache`, keys
    and values are kept in 8 bits, which only the attention `sdpa` takes.
    """

    slots: int
    tokens_per_slot: int
    step_tokens: int = 2048
    graphs: bool = True  # CUDA graphs, where attention allows them
    fp8_cache: bool = False

    def smaller(self) -> Sizes | None:
        """What to try after memory ran out; None when nothing is left to give up."""
        if self.slots == 1 and self.step_tokens <= MIN_STEP:
            return None
        step = max(MIN_STEP, self.step_tokens // 2)
        return replace(self, slots=max(1, self.slots // 2), step_tokens=step)


@dataclass(frozen=True, slots=True)
class PromptPiece:
    """The next `count` tokens of a request's prompt that are not in the cache."""

    request: RunnerRequest
    count: int

    @property
    def completes(self) -> bool:
        """Whether the request's next token is chosen in this step."""
        return self.count == self.request.missing


@dataclass(frozen=True, slots=True)
class StepBatch:
    """What one step computes: a token of each request that decodes, then pieces of prompts."""

    decoding: Sequence[RunnerRequest]
    pieces: Sequence[PromptPiece]

    def choosing(self) -> list[RunnerRequest]:
        """The requests whose next token this step chooses, in the step's order."""
        return [*self.decoding, *(piece.request for piece in self.pieces if piece.completes)]


class RunnerScheduler:
    """First come, first served. One thread calls it."""

    def __init__(self, sizes: Sizes, eos: Iterable[int]) -> None:
        """`eos` are the tokens that end an output."""
        self.waiting: deque[RunnerRequest] = deque()
        self.running: list[RunnerRequest] = []
        self._eos = frozenset(eos)
        self.resize(sizes)

    def resize(self, sizes: Sizes) -> None:
        """Start over with an empty cache of these sizes. What ran, and was restarted, is first in the queue."""
        self.waiting.extendleft(reversed(self.running))
        self.running = []
        self._step_tokens = max(sizes.step_tokens, sizes.slots)
        self._rows = list(range(sizes.slots))
        self.pool = PagePool(sizes.slots * pages_for(sizes.tokens_per_slot))

    @property
    def has_work(self) -> bool:
        """Whether a request runs or waits."""
        return bool(self.running or self.waiting)

    def admit(self) -> list[RunnerRequest]:
        """Let waiting requests join for which a row and all pages that they can need are free; those that joined."""
        joined = []
        while self.waiting and self._rows and pages_for(self.waiting[0].reserved) <= self.pool.free:
            request = self.waiting.popleft()
            request.row, request.pages = self._rows.pop(), self.pool.take(pages_for(request.reserved))
            request.began = request.began or time.monotonic()
            joined.append(request)
        self.running += joined
        return joined

    def drop_unwanted(self) -> None:
        """End the requests that nobody waits for any more, running or waiting."""
        for request in [one for one in (*self.running, *self.waiting) if one.unwanted or one.cancel.is_set()]:
            self.leave(request, Stop.CANCELLED)

    def schedule(self) -> StepBatch:
        """What the next step computes of the running requests."""
        decoding = [request for request in self.running if not request.missing]
        left, pieces = self._step_tokens - len(decoding), []
        for request in self.running:
            if count := min(request.missing, left):
                pieces.append(PromptPiece(request, count))
                left -= count
        return StepBatch(decoding, pieces)

    def advance(self, batch: StepBatch, tokens: Sequence[int]) -> None:
        """Take in a step: `tokens` are those of `batch.choosing()`."""
        choosing, now = batch.choosing(), time.monotonic()
        for request in batch.decoding:
            request.cached += 1
        for piece in batch.pieces:
            piece.request.cached += piece.count
        for request, token in zip(choosing, tokens, strict=True):
            request.add(token, now)
            if token in self._eos:
                self.leave(request, Stop.EOS)
            elif len(request.tokens) >= request.max_new_tokens:
                self.leave(request, Stop.BUDGET)

    def leave(self, request: RunnerRequest, stop: Stop, error: ModelError | None = None) -> None:
        """Take a request out, free what it holds, and tell its caller why."""
        if request.pages:
            self.running.remove(request)
            self.pool.give_back(request.pages)
            self._rows.append(request.row)
            request.pages = []
        else:
            self.waiting.remove(request)
        request.end(stop, error)
