"""What the host does in a decode step does not depend on how much audio is in the cache."""

from __future__ import annotations

import statistics
import sys
import tracemalloc
from collections.abc import Callable
from types import FrameType, SimpleNamespace
from typing import Any

import pytest
import torch

from bench.engine_cpu import Decoders, StubForward
from bench.random_model import TINY, config_of

FEW, MANY = 4, 12  # requests
FREE_LISTS = 400  # bytes: Python takes some objects from lists of freed ones, and some again


@pytest.fixture(scope="module")
def decoders() -> Callable[[int, float], Decoders]:
    config = config_of(TINY).text_config
    words = torch.nn.Embedding(config.vocab_size, config.hidden_size)
    language = StubForward(SimpleNamespace(embed_tokens=words, config=config))
    head = torch.nn.Linear(config.hidden_size, config.vocab_size)

    def make(requests: int, minutes: float) -> Decoders:
        found = Decoders.of(language, head, requests, 60 * minutes)
        for _ in range(3):
            found.run()  # lists have grown, and what is set up on first use is there
        return found

    return make


def operations(act: Callable[[], None]) -> int:
    """Operations of Python's virtual machine that `act` takes."""
    count = 0

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal count
        frame.f_trace_opcodes = True
        count += event == "opcode"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        act()
    finally:
        sys.settrace(before)
    return count


def allocated(act: Callable[[], None]) -> int:
    """Bytes that `act` holds at its worst moment: the median of some runs."""

    def once() -> int:
        tracemalloc.reset_peak()
        before, _ = tracemalloc.get_traced_memory()
        act()
        return tracemalloc.get_traced_memory()[1] - before

    tracemalloc.start()
    try:
        return round(statistics.median(once() for _ in range(9)))
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("requests", [FEW, MANY])
def test_a_step_takes_as_many_operations_after_15_minutes_as_after_5(decoders: Any, requests: int) -> None:
    short, long = decoders(requests, 5), decoders(requests, 15)
    assert long.cached > 2.5 * short.cached
    assert operations(long.run) == operations(short.run) > 100


def test_a_step_allocates_as_much_after_15_minutes_as_after_5(decoders: Any) -> None:
    short, long = allocated(decoders(MANY, 5).run), allocated(decoders(MANY, 15).run)
    assert long == pytest.approx(short, abs=FREE_LISTS)
    assert short < 500 * MANY


def test_operations_grow_with_the_requests_alone(decoders: Any) -> None:
    few, many = operations(decoders(FEW, 5).run), operations(decoders(MANY, 5).run)
    assert few < many < few * MANY / FEW
