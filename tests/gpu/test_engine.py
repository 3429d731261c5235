"""On a GPU the two engines answer alike too, and survive what goes wrong there."""

from __future__ import annotations

import importlib.util
import random
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from dropscribe.models.vibevoice import loader
from dropscribe.models.vibevoice.encoder import Encoder
from dropscribe.models.vibevoice.engine import Engine, Reference
from dropscribe.models.vibevoice.generation import Decoding, Generation, Stop
from dropscribe.models.vibevoice.runner import attention
from dropscribe.models.vibevoice.runner.attention import PagedAttention, PagedBatch
from dropscribe.models.vibevoice.runner.attention_check import STEPS, TOLERANCE, problem, random_batch
from dropscribe.models.vibevoice.runner.attention_choice import FLASH, SDPA, VARLEN
from dropscribe.models.vibevoice.runner.request import RunnerRequest
from dropscribe.models.vibevoice.runner.runner import Runner, one_step
from dropscribe.models.vibevoice.runner.scheduler import RunnerScheduler, Sizes
from dropscribe.models.vibevoice.runner.step import ModelStep
from tests.integration.test_vibevoice_engine import Steps, noise

SIZES = Sizes(slots=6, tokens_per_slot=512, step_tokens=256)
NEVER = threading.Event()
REQUESTS = 24
SHAPE = (28, 4, 128)  # of the published model: heads, heads of keys, numbers of a head


@dataclass(frozen=True)
class Served:
    """A tiny random model on the GPU, and prompts of random length."""

    model: Any
    decoding: Decoding
    prompts: Sequence[Tensor]
    attention: str

    def runner(self, sizes: Sizes = SIZES) -> Runner:
        return Runner(self.model, self.decoding, sizes, self.attention)

    def reference(self) -> Reference:
        return Reference(self.model, self.decoding)


def serve(checkpoint: Path, precision: str, device: torch.device) -> Served:
    loaded = loader.load(str(checkpoint), precision, device=device)
    encoder, embed = Encoder(loaded.model, 60), loaded.model.get_input_embeddings()
    chance = random.Random(1)
    recordings = [noise(chance.uniform(0.1, 5), seed) for seed in range(REQUESTS)]
    with torch.no_grad():
        words = embed(torch.tensor([1, 2, 3, 4, 5], device=device))
        prompts = [torch.cat([words[:3], encoder.encode(audio, NEVER), words[3:]]) for audio in recordings]
    return Served(loaded.model, Decoding(eos=(embed.num_embeddings,)), prompts, loaded.attention)


@pytest.fixture(scope="module")
def exact(checkpoint: Path, device: torch.device) -> Served:
    return serve(checkpoint, "fp32", device)


@pytest.fixture
def runner(exact: Served) -> Iterator[Runner]:
    engine = exact.runner()
    yield engine
    engine.close()


@pytest.fixture(params=[VARLEN, FLASH])
def kernel(request: pytest.FixtureRequest) -> str:
    if request.param == FLASH and importlib.util.find_spec("flash_attn") is None:
        pytest.skip("flash-attn is not installed")
    return str(request.param)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_the_kernels_compute_what_sdpa_does(kernel: str, dtype: torch.dtype, device: torch.device) -> None:
    assert problem(attention.FUNCTIONS[kernel], *SHAPE, torch.zeros(0, dtype=dtype, device=device)) == ""


def attended(attend: PagedAttention, query: Tensor, batch: PagedBatch) -> Tensor:
    keys, values = batch.cache[0]
    return attend(query, keys, values, batch, 0.1)


def test_sdpa_computes_on_the_card_what_it_does_on_a_cpu(device: torch.device) -> None:
    for lengths in STEPS:
        query, batch = random_batch(lengths, SHAPE, torch.zeros(0))
        on_card = replace(
            batch,
            **{name: getattr(batch, name).to(device) for name in ("cache", "table", "q_edges", "k_edges", "used")},
        )
        expected = attended(attention.gathered, query, batch)
        found = attended(attention.gathered, query.to(device), on_card).cpu()
        assert (found - expected).norm() <= TOLERANCE * expected.norm()


def test_a_request_gets_the_same_numbers_alone_and_beside_others(device: torch.device) -> None:
    query, batch = random_batch(STEPS[0], SHAPE, torch.zeros(0, dtype=torch.bfloat16, device=device))
    together = attended(attention.varlen, query, batch)
    for number in range(len(query)):
        one = slice(number, number + 1)
        used, edges = batch.used[one], batch.q_edges[:2]
        lengths = replace(batch.lengths, decoding=1, longest=(1, int(used)))
        alone = replace(batch, table=batch.table[one], used=used, q_edges=edges, lengths=lengths)
        assert torch.equal(attended(attention.varlen, query[one], alone), together[one])


def test_cuda_graphs_give_the_tokens_of_single_launches(checkpoint: Path, device: torch.device) -> None:
    served = serve(checkpoint, "bf16", device)
    if served.attention == SDPA:
        pytest.skip("this card has no attention that can be captured")
    found = []
    for graphs in (True, False):
        engine = served.runner(replace(SIZES, slots=20, graphs=graphs))
        found.append(answers(engine, served.prompts[:1], 30, threads=1))  # padded by nobody else's requests
        engine.close()
    assert found[0][0].tokens == found[1][0].tokens


def test_a_graph_of_a_padded_batch_chooses_what_single_launches_do(checkpoint: Path, device: torch.device) -> None:
    served = serve(checkpoint, "bf16", device)
    if served.attention == SDPA:
        pytest.skip("this card has no attention that can be captured")
    sizes, language = replace(SIZES, slots=4), served.model.model.language_model
    step = ModelStep(language, served.model.lm_head, served.decoding, sizes, served.attention)
    scheduler = RunnerScheduler(sizes, served.decoding.eos)
    scheduler.waiting += [RunnerRequest(prompt, 40) for prompt in served.prompts[:3]]
    while not (batch := one_step(scheduler, step)).decoding or batch.pieces:
        continue
    numbers = torch.tensor([(one.tokens[-1], one.row, one.cached) for one in scheduler.running])
    padded = torch.cat([numbers, torch.tensor([(0, sizes.slots, 0)])])  # one idle row, as batches of 4 have a graph
    graphs = step._graphs
    assert graphs is not None
    with torch.no_grad(), step._on_stream():
        expected = step._decode_on_device(padded.to(device), sizes.tokens_per_slot).tolist()
        # The same keys are written again at the same positions.
        assert graphs.run(numbers, None).tolist() == expected[:3]
        assert graphs.run(padded, None).tolist() == expected


def answers(engine: Engine, prompts: Sequence[Tensor], budget: int, threads: int) -> list[Generation]:
    def one(prompt: Tensor) -> Generation:
        return engine.generate(prompt, budget, lambda _: True, NEVER)

    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(one, prompts))


def equal(some: Sequence[Generation], others: Sequence[Generation]) -> int:
    return sum(one.tokens == other.tokens for one, other in zip(some, others, strict=True))


def test_in_32_bits_many_at_once_are_answered_as_if_alone(exact: Served, runner: Runner) -> None:
    expected = answers(exact.reference(), exact.prompts, 40, threads=1)
    assert equal(answers(runner, exact.prompts, 40, threads=REQUESTS), expected) == REQUESTS


@pytest.mark.parametrize("precision", ["bf16", "int8", "nf4"])
def test_in_fewer_bits_most_answers_are_equal(checkpoint: Path, device: torch.device, precision: str) -> None:
    # Sums are rounded in another order, so that words of nearly the same score change places now and then.
    served = serve(checkpoint, precision, device)
    expected = answers(served.reference(), served.prompts, 6, threads=1)
    engine = served.runner(replace(SIZES, graphs=precision != "int8"))  # as the transcriber chooses
    found = answers(engine, served.prompts, 6, threads=REQUESTS)
    engine.close()
    assert equal(found, expected) > REQUESTS / 2


def test_a_cancelled_request_takes_no_further_step_and_leaves_the_others(exact: Served, runner: Runner) -> None:
    [expected] = answers(exact.reference(), exact.prompts[:1], 100, threads=1)
    cancel = threading.Event()
    with ThreadPoolExecutor(2) as pool:
        steps = Steps(5, cancel.set)
        hook = exact.model.lm_head.register_forward_pre_hook(steps)
        cancelled = pool.submit(runner.generate, exact.prompts[1], 400, lambda _: True, cancel)
        other = pool.submit(runner.generate, exact.prompts[0], 100, lambda _: True, NEVER)
        assert cancelled.result().stop is Stop.CANCELLED
        assert len(cancelled.result().tokens) <= 5
        assert other.result().tokens == expected.tokens
        hook.remove()


def test_when_memory_runs_out_requests_go_on_with_fewer_slots(exact: Served, device: torch.device) -> None:
    noisy = torch.Generator(device).manual_seed(2)
    width = exact.prompts[0].shape[1]
    prompts = [0.05 * torch.randn(6000 + 50 * one, width, generator=noisy, device=device) for one in range(8)]
    expected = answers(exact.reference(), prompts, 20, threads=1)
    engine = exact.runner(Sizes(slots=8, tokens_per_slot=16_384, step_tokens=2048))
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
