"""On a GPU the two engines answer alike too, and survive what goes wrong there."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from dropscribe.models.vibevoice import loader
from dropscribe.models.vibevoice.batching import Batched, Sizes
from dropscribe.models.vibevoice.encoder import Encoder
from dropscribe.models.vibevoice.engine import Engine, Reference
from dropscribe.models.vibevoice.generation import Decoding, Generation, Stop
from dropscribe.models.vibevoice.soft_tokens import SoftTokens, install
from tests.integration.test_vibevoice_engine import Steps, noise

SIZES = Sizes(slots=6, tokens_per_slot=512, step_tokens=256, graphs=False)
NEVER = threading.Event()
REQUESTS = 24
ROWS = REQUESTS * 38  # audio tokens of 5 s each


@dataclass(frozen=True)
class Served:
    """A tiny random model on the GPU, with soft tokens in place, and prompts of random length."""

    model: Any
    soft: SoftTokens
    decoding: Decoding
    prompts: Sequence[list[int]]
    flash: bool

    def batched(self, sizes: Sizes = SIZES) -> Batched:
        return Batched(self.model, self.soft, self.decoding, sizes)

    def reference(self) -> Reference:
        return Reference(self.model, self.soft, self.decoding)


def serve(checkpoint: Path, precision: str, device: torch.device) -> Served:
    loaded = loader.load(str(checkpoint), precision, device=device)
    encoder, soft = Encoder(loaded.model, 60), install(loaded.model, ROWS)
    chance = random.Random(1)
    recordings = [noise(chance.uniform(0.1, 5), seed) for seed in range(REQUESTS)]
    prompts = [[1, 2, 3, *soft.allocate(encoder.encode(audio, NEVER)), 4, 5] for audio in recordings]
    return Served(loaded.model, soft, Decoding(eos=(soft.vocabulary,)), prompts, "flash" in loaded.attention)


@pytest.fixture(scope="module")
def exact(checkpoint: Path, device: torch.device) -> Served:
    return serve(checkpoint, "fp32", device)


@pytest.fixture
def batched(exact: Served) -> Iterator[Batched]:
    engine = exact.batched()
    yield engine
    engine.close()


def answers(engine: Engine, prompts: Sequence[list[int]], budget: int, threads: int) -> list[Generation]:
    def one(prompt: list[int]) -> Generation:
        return engine.generate(prompt, budget, lambda _: True, NEVER)

    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(one, prompts))


def equal(some: Sequence[Generation], others: Sequence[Generation]) -> int:
    return sum(one.tokens == other.tokens for one, other in zip(some, others, strict=True))


def test_in_32_bits_many_at_once_are_answered_as_if_alone(exact: Served, batched: Batched) -> None:
    expected = answers(exact.reference(), exact.prompts, 40, threads=1)
    assert equal(answers(batched, exact.prompts, 40, threads=REQUESTS), expected) == REQUESTS


@pytest.mark.parametrize("precision", ["bf16", "int8", "nf4"])
def test_in_fewer_bits_most_answers_are_equal(checkpoint: Path, device: torch.device, precision: str) -> None:
    # Sums are rounded in another order, so that words of nearly the same score change places now and then.
    served = serve(checkpoint, precision, device)
    expected = answers(served.reference(), served.prompts, 6, threads=1)
    graphs = False if precision == "int8" else None  # as the transcriber chooses
    engine = served.batched(Sizes(slots=6, tokens_per_slot=512, flash=served.flash, graphs=graphs))
    found = answers(engine, served.prompts, 6, threads=REQUESTS)
    engine.close()
    assert equal(found, expected) > REQUESTS / 2


def test_a_cancelled_request_takes_no_further_step_and_leaves_the_others(exact: Served, batched: Batched) -> None:
    [expected] = answers(exact.reference(), exact.prompts[:1], 100, threads=1)
    cancel = threading.Event()
    with ThreadPoolExecutor(2) as pool:
        steps = Steps(5, cancel.set)
        hook = exact.model.lm_head.register_forward_pre_hook(steps)
        cancelled = pool.submit(batched.generate, exact.prompts[1], 400, lambda _: True, cancel)
        other = pool.submit(batched.generate, exact.prompts[0], 100, lambda _: True, NEVER)
        assert cancelled.result().stop is Stop.CANCELLED
        assert len(cancelled.result().tokens) <= 5
        assert other.result().tokens == expected.tokens
        hook.remove()


def test_when_memory_runs_out_requests_go_on_with_fewer_slots(exact: Served, device: torch.device) -> None:
    chance = random.Random(2)
    prompts = [[chance.randrange(exact.soft.vocabulary) for _ in range(6000 + 50 * one)] for one in range(8)]
    expected = answers(exact.reference(), prompts, 20, threads=1)
    engine = exact.batched(Sizes(slots=8, tokens_per_slot=16_384, step_tokens=2048, graphs=False))
    cache = 8 * 16_384 * 2 * 4 * 2 * 32 * 4  # bytes: keys and values, 4 layers, 2 heads of 32 numbers in 32 bits
    torch.cuda.synchronize(device)
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(device).total_memory
    allowed = torch.cuda.memory_reserved(device) + cache // 64  # less than the attention of the first step takes
    torch.cuda.set_per_process_memory_fraction(allowed / total, device)
    try:
        found = answers(engine, prompts, 20, threads=8)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, device)
        engine.close()
    assert 1 <= engine.slots < 8
    assert equal(found, expected) == 8
