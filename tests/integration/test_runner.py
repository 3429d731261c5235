"""The runner's steps against transformers' `generate()` and plain attention, on a tiny checkpoint in 32 bits."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from dropscribe.core.errors import ModelUnavailableError
from dropscribe.models.vibevoice import loader
from dropscribe.models.vibevoice.engine import language_model
from dropscribe.models.vibevoice.generation import Decoding, Stop
from dropscribe.models.vibevoice.runner import attention, attention_choice
from dropscribe.models.vibevoice.runner.attention import PagedBatch
from dropscribe.models.vibevoice.runner.attention_check import STEPS, problem, random_batch
from dropscribe.models.vibevoice.runner.pages import PAGE, pages_for
from dropscribe.models.vibevoice.runner.request import Ended, RunnerRequest
from dropscribe.models.vibevoice.runner.runner import one_step
from dropscribe.models.vibevoice.runner.scheduler import RunnerScheduler, Sizes
from dropscribe.models.vibevoice.runner.step import ModelStep
from tests.tiny.checkpoint import random_checkpoint

REQUESTS = 200
LONGEST = 24  # tokens of an output
SIZES = Sizes(slots=16, tokens_per_slot=PAGE, step_tokens=64)


@pytest.fixture(scope="module")
def model(one_thread: None, tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder: Path = random_checkpoint(tmp_path_factory.mktemp("checkpoint"))
    return loader.load(str(folder), "fp32", device=torch.device("cpu")).model


@dataclass(frozen=True)
class Asked:
    """Prompts, each with the most tokens of its output, and after how many tokens its caller walks away."""

    prompts: list[Tensor]
    most: list[int]
    patience: list[int]


@pytest.fixture(scope="module")
def asked() -> Asked:
    chance, noise = random.Random(1), torch.Generator().manual_seed(1)
    prompts = [0.05 * torch.randn(chance.randrange(3, 60), 128, generator=noise) for _ in range(REQUESTS)]
    most = [chance.randrange(1, LONGEST + 1) for _ in range(REQUESTS)]
    patience = [chance.randrange(12) if number % 5 == 0 else LONGEST for number in range(REQUESTS)]
    return Asked(prompts, most, patience)


@pytest.fixture(scope="module")
def expected(model: Any, asked: Asked) -> list[list[int]]:
    """`LONGEST` tokens for each prompt, by `generate()` on all of them, padded on the left."""
    longest = max(map(len, asked.prompts))
    padding = torch.tensor([longest - len(prompt) for prompt in asked.prompts])
    padded = [torch.nn.functional.pad(prompt, (0, 0, longest - len(prompt), 0)) for prompt in asked.prompts]
    with torch.no_grad():
        found = language_model(model).generate(
            inputs_embeds=torch.stack(padded),
            attention_mask=(torch.arange(longest) >= padding[:, None]).long(),
            generation_config=Decoding(eos=(10_000,)).config(LONGEST),
        )
    return [row.tolist() for row in found]


def until(tokens: list[int], most: int, eos: int) -> list[int]:
    """What comes of the reference's tokens if the output ends at a word or after so many."""
    cut = tokens[:most]
    return cut[: cut.index(eos) + 1] if eos in cut else cut


def endings(requests: list[RunnerRequest]) -> Iterator[Stop]:
    for request in requests:
        while isinstance(item := request.queue.get_nowait(), list):
            continue
        assert isinstance(item, Ended)
        yield item.stop


def test_200_random_arrivals_with_cancellations_give_the_tokens_of_generate(
    model: Any, asked: Asked, expected: list[list[int]]
) -> None:
    eos = expected[0][LONGEST // 2]
    decoding, chance = Decoding(eos=(eos,)), random.Random(2)
    scheduler = RunnerScheduler(SIZES, decoding.eos)
    step = ModelStep(model.model.language_model, model.lm_head, decoding, SIZES, attention_choice.SDPA)
    requests = [RunnerRequest(prompt, most) for prompt, most in zip(asked.prompts, asked.most, strict=True)]
    later = list(reversed(requests))
    mixed = 0
    while later or scheduler.has_work:
        for _ in range(min(len(later), chance.randrange(4))):
            scheduler.waiting.append(later.pop())
        for request, patience in zip(requests, asked.patience, strict=True):
            if len(request.tokens) > patience:
                request.cancel.set()
        batch = one_step(scheduler, step)
        mixed += bool(batch.decoding and batch.pieces)
    for request, tokens, most in zip(requests, expected, asked.most, strict=True):
        wanted = until(tokens, most, eos)
        assert request.tokens == (wanted[: len(request.tokens)] if request.cancel.is_set() else wanted)
    assert set(endings(requests)) == {Stop.EOS, Stop.BUDGET, Stop.CANCELLED}
    assert scheduler.pool.free == SIZES.slots
    assert mixed > 50


def test_a_prompt_is_copied_after_a_restart_only_where_tokens_came(model: Any) -> None:
    language = model.model.language_model
    step = ModelStep(language, model.lm_head, Decoding(eos=(10_000,)), SIZES, attention_choice.SDPA)
    prompt = torch.ones(3, 128)
    request = RunnerRequest(prompt, 10)
    assert step.with_tokens(request) is prompt
    request.tokens += [7, 8]
    request.restart(step.with_tokens(request))
    expected = language.embed_tokens(torch.tensor([7, 8]))
    assert torch.equal(request.prompt, torch.cat([prompt, expected]))
    assert step.with_tokens(request) is request.prompt


def answers(model: Any, prompts: list[Tensor], sizes: Sizes) -> list[list[int]]:
    step = ModelStep(model.model.language_model, model.lm_head, Decoding(eos=(10_000,)), sizes, attention_choice.SDPA)
    scheduler = RunnerScheduler(sizes, (10_000,))
    requests = [RunnerRequest(prompt, 8) for prompt in prompts]
    scheduler.waiting.extend(requests)
    while scheduler.has_work:
        one_step(scheduler, step)
    return [request.tokens for request in requests]


def test_words_that_are_looked_up_off_the_card_are_the_same(
    model: Any, asked: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = answers(model, asked.prompts[:6], SIZES)
    monkeypatch.setattr(ModelStep, "_looks_up_on_host", True)
    assert answers(model, asked.prompts[:6], SIZES) == expected


def test_a_cache_in_fp8_takes_a_quarter_of_32_bits_and_changes_attention_little(model: Any, asked: Asked) -> None:
    narrow = replace(SIZES, fp8_cache=True)
    step = ModelStep(model.model.language_model, model.lm_head, Decoding(eos=()), narrow, attention_choice.SDPA)
    assert step._cache.dtype == torch.float8_e4m3fn
    assert all(len(tokens) == 8 for tokens in answers(model, asked.prompts[:6], narrow))
    query, batch = random_batch(((1, 3), (1, 700), (40, 300)), (4, 2, 16), torch.zeros(0))
    expected = attention.gathered(query, *batch.cache[0], batch, 0.25)
    found = attention.gathered(query, *batch.cache[0].to(torch.float8_e4m3fn), batch, 0.25)
    assert (found - expected).norm() < expected.norm() / 16  # as far as one number with three bits may be off


def test_keys_too_large_for_fp8_are_cut_and_are_no_nan() -> None:
    pages = torch.zeros(1, PAGE, 1, 2).to(torch.float8_e4m3fn)
    attention.write(pages, torch.tensor([3, 0]), torch.tensor([[[1e6, -1e6]], [[1.0, 0.5]]]))
    assert pages.float()[0, [3, 0, 1], 0].tolist() == [[448.0, -448.0], [1.0, 0.5], [0.0, 0.0]]


def whole(cache: Tensor, table: Tensor, end: int) -> list[Tensor]:
    """The keys and the values of one request, each (1, kv heads, end, size)."""
    return [cache[0, kind, table[: pages_for(end)].long()].flatten(0, 1)[:end].transpose(0, 1)[None] for kind in (0, 1)]


@pytest.mark.parametrize("lengths", [*STEPS, ((1, 1), (1, 700)), ((5, 300), (300, 300))])
def test_gathered_pages_of_256_tokens_give_the_attention_of_whole_tensors(lengths: tuple[tuple[int, int], ...]) -> None:
    query, batch = random_batch(lengths, (4, 2, 16), torch.zeros(0))
    found = attention.gathered(query, *batch.cache[0], batch, 0.25)
    for (queries, end), edge, table in zip(lengths, batch.q_edges.tolist(), batch.table, strict=False):
        mask = torch.ones(queries, end, dtype=torch.bool).tril(end - queries)
        mine = query[edge : edge + queries].transpose(0, 1)[None]
        expected = scaled_dot_product_attention(
            mine, *whole(batch.cache, table, end), attn_mask=mask, scale=0.25, enable_gqa=True
        )
        assert torch.allclose(found[edge : edge + queries], expected[0].transpose(0, 1), atol=1e-5)


def test_a_kernel_that_leaves_out_rows_is_refused() -> None:
    def broken(query: Tensor, keys: Tensor, values: Tensor, batch: PagedBatch, scale: float) -> Tensor:
        found = attention.gathered(query, keys, values, batch, scale)
        found[-1] = torch.nan
        return found

    def lost(*_: object) -> Tensor:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    assert problem(attention.gathered, 4, 2, 16, torch.zeros(0)) == ""
    assert "wrong numbers on this card (off by nan%)" in problem(broken, 4, 2, 16, torch.zeros(0))
    with pytest.raises(ModelUnavailableError, match=r"cannot run here: CUDA error: an illegal.* set .*ATTENTION=sdpa"):
        problem(lost, 4, 2, 16, torch.zeros(0))
    assert problem(attention.flash, 4, 2, 16, torch.zeros(0)).startswith("the attention kernel cannot run here: ")


@pytest.mark.parametrize(("lengths", "window"), [(STEPS[0], (-1, -1)), (STEPS[1], (-1, 0))])
def test_pytorchs_kernel_is_called_so_that_it_packs_query_heads_where_it_can(
    lengths: tuple[tuple[int, int], ...], window: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: dict[str, Any] = {}
    kernel = attention.varlen_attn

    def listen(*tensors: Tensor, **options: Any) -> Any:
        asked.update(options)
        return kernel(*tensors, **options)

    monkeypatch.setattr(attention, "varlen_attn", listen)
    query, batch = random_batch(lengths, (4, 2, 16), torch.zeros(0, dtype=torch.bfloat16))
    tensors = [tensor.to("meta") for tensor in (query, *batch.cache[0])]
    found = attention.varlen(*tensors, batch, 0.25)  # without a GPU: its types and shapes
    assert found.shape == query.shape
    assert (asked["window_size"], asked["num_splits"]) == (window, 1)
    assert asked["block_table"].dtype == asked["seqused_k"].dtype == torch.int32
