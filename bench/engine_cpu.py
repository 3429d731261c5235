"""What the host does in a decode step of the runner, in milliseconds, at real numbers of cached tokens; no GPU needed.

Run as `python -m bench.engine_cpu`; takes about half a minute. Host cost is all of a step but the model's forward pass:
scheduling, tables, inputs, the choice of tokens, and handing them over. It is the processor time of the step's thread,
with a forward pass that returns its input. Beside it stands the same step with a real model of one layer, whose time
grows with the cache. The vocabulary is small: on a card the choice among 152,064 words is the device's work.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from bench.random_model import TINY, build
from bench.roofline import Work
from dropscribe.models.vibevoice import memory_plan
from dropscribe.models.vibevoice.dimensions import PUBLISHED
from dropscribe.models.vibevoice.generation import Decoding
from dropscribe.models.vibevoice.memory_plan import Precision
from dropscribe.models.vibevoice.runner.attention_choice import SDPA
from dropscribe.models.vibevoice.runner.request import RunnerRequest
from dropscribe.models.vibevoice.runner.runner import one_step
from dropscribe.models.vibevoice.runner.scheduler import RunnerScheduler, Sizes
from dropscribe.models.vibevoice.runner.step import ModelStep

BOUND = 1e-3  # s: what the host may take of a step at `BOUND_REQUESTS`
BOUND_REQUESTS = 64
GROWTH = 1.5  # times the host cost of 5 minutes that 15 may have: the clock's noise on a shared machine
CPU = torch.device("cpu")


class StubForward:
    """In the place of a language model: its hidden states are its input."""

    def __init__(self, language: Any) -> None:
        self.embed_tokens, self.config = language.embed_tokens, language.config

    def __call__(self, inputs_embeds: Tensor, **_: Any) -> SimpleNamespace:
        return SimpleNamespace(last_hidden_state=inputs_embeds)


@dataclass(frozen=True)
class Decoders:
    """Requests that all decode, in the middle of their outputs."""

    scheduler: RunnerScheduler
    step: ModelStep

    @classmethod
    def of(cls, language: Any, head: Any, requests: int, seconds: float) -> Decoders:
        """So many requests of chunks of so many seconds. The cache is taken for computed: its numbers are zeros."""
        sizes = Sizes(requests, memory_plan.slot_tokens(PUBLISHED, seconds))
        decoding = Decoding(eos=(language.config.vocab_size,))
        found = cls(RunnerScheduler(sizes, decoding.eos), ModelStep(language, head, decoding, sizes, SDPA))
        work = Work.of(PUBLISHED, seconds)
        prompt = torch.zeros(1, language.config.hidden_size).expand(work.prompt, -1)
        for _ in range(requests):
            found.scheduler.waiting.append(RunnerRequest(prompt, memory_plan.answer_budget(seconds)))
        for request in found.scheduler.admit():
            found.step.admit(request)
            request.tokens = [0] * (work.middle - work.prompt + 1)
            request.cached = work.middle
        return found

    @property
    def cached(self) -> int:
        """Tokens in the cache."""
        return sum(request.cached for request in self.scheduler.running)

    def run(self) -> None:
        """One step, as the runner's thread does it."""
        one_step(self.scheduler, self.step)

    def seconds(self, steps: int) -> float:
        """Processor time of this thread for one step: the median of so many."""
        self.run()
        return statistics.median(_thread_seconds(self.run) for _ in range(steps))


def _thread_seconds(act: Any) -> float:
    began = time.thread_time()
    act()
    return time.thread_time() - began


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print; 1 when the host cost is above its bound or grows with the cache."""
    options = _parse(argv)
    torch.set_num_threads(1)  # more only slow down so small a model
    model = build(TINY, Precision.FP32, CPU)
    language, head = model.model.language_model, model.lm_head
    language.layers, language.config.num_hidden_layers = language.layers[:1], 1
    print(f"{'requests':>8}{'min':>6}{'cached tokens':>15}{'host ms':>10}{'one layer ms':>14}")
    found = {}
    for requests in options.requests:
        for minutes in options.minutes:
            stub = Decoders.of(StubForward(language), head, requests, 60 * minutes)
            cached = stub.cached
            host = found[requests, minutes] = stub.seconds(options.steps)
            real = Decoders.of(language, head, requests, 60 * minutes).seconds(3)
            print(f"{requests:8d}{minutes:6g}{cached:15,d}{1e3 * host:10.3f}{1e3 * real:14.2f}", flush=True)
    for complaint in complaints(found):
        print(complaint)
    return int(any(complaints(found)))


def complaints(found: dict[tuple[int, float], float]) -> list[str]:
    """What is wrong with the host seconds by requests and minutes, a sentence each."""
    slow = [
        f"{requests} requests of {minutes:g} min: {1e3 * host:.2f} ms are above the bound of {1e3 * BOUND:g} ms"
        for (requests, minutes), host in found.items()
        if requests == BOUND_REQUESTS and host > BOUND
    ]
    first = {requests: host for (requests, _), host in reversed(found.items())}
    growing = [
        f"{requests} requests of {minutes:g} min: {host / first[requests]:.1f} times the cost of short chunks"
        for (requests, minutes), host in found.items()
        if host > GROWTH * first[requests]
    ]
    return slow + growing


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.engine_cpu", description=(__doc__ or "").partition("\n")[0])
    add = parser.add_argument
    add("--requests", type=int, nargs="+", metavar="N", default=[16, 64, 128], help="how many at once")
    add("--minutes", type=float, nargs="+", metavar="N", default=[5.0, 15.0], help="length of each chunk")
    add("--steps", type=int, default=200, help="steps of which the median is taken (default %(default)s)")
    return parser.parse_args(argv)


if __name__ == "__main__":
    raise SystemExit(main())
