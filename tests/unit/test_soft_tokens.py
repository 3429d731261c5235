"""Soft tokens: words stay words, rows are what was stored, and nothing is lost or given out twice."""

from __future__ import annotations

import threading

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from dropscribe.core.errors import ModelError
from dropscribe.models.vibevoice.soft_tokens import SoftTokens

VOCABULARY, HIDDEN = 11, 4


def soft_tokens(capacity: int) -> SoftTokens:
    torch.manual_seed(0)
    return SoftTokens(nn.Embedding(VOCABULARY, HIDDEN), capacity)


def test_words_and_rows_mix_in_one_prompt() -> None:
    soft = soft_tokens(5)
    stored = torch.randn(2, HIDDEN)
    first, second = soft.allocate(stored)
    found = soft(torch.tensor([[3, second, 10, first]]))
    assert torch.equal(found[0], torch.stack([soft.weight[3], stored[1], soft.weight[10], stored[0]]))


def test_ids_of_soft_tokens_lie_past_the_vocabulary() -> None:
    assert min(soft_tokens(3).allocate(torch.zeros(3, HIDDEN))) >= VOCABULARY


def test_embeddings_take_the_tables_number_format() -> None:
    soft = SoftTokens(nn.Embedding(VOCABULARY, HIDDEN).to(torch.bfloat16), 1)
    ids = soft.allocate(torch.full((1, HIDDEN), 0.5))
    assert soft(torch.tensor(ids)).dtype == torch.bfloat16


def test_what_is_too_long_is_refused_and_takes_nothing() -> None:
    soft = soft_tokens(3)
    soft.allocate(torch.zeros(2, HIDDEN))
    with pytest.raises(ModelError, match="no room for 2 audio tokens: 1 of 3 are free"):
        soft.allocate(torch.zeros(2, HIDDEN))
    assert soft.used == 2


def test_what_was_not_taken_cannot_be_freed() -> None:
    soft = soft_tokens(3)
    ids = soft.allocate(torch.zeros(2, HIDDEN))
    soft.free(ids)
    with pytest.raises(ValueError, match="2 soft tokens"):
        soft.free(ids)
    assert soft.used == 0


@given(st.lists(st.integers(0, 6), max_size=30), st.randoms())
def test_no_row_belongs_to_two_and_all_come_back(sizes: list[int], random: st.DataObject) -> None:
    soft = soft_tokens(20)
    held: list[tuple[list[int], torch.Tensor]] = []
    for number, size in enumerate(sizes):
        while soft.used + size > soft.capacity:
            soft.free(held.pop(random.randrange(len(held)))[0])
        embeddings = torch.full((size, HIDDEN), float(number))
        held.append((soft.allocate(embeddings), embeddings))
        taken = [identity for ids, _ in held for identity in ids]
        assert len(taken) == len(set(taken)) == soft.used
    for ids, embeddings in held:
        assert torch.equal(soft(torch.tensor(ids, dtype=torch.long)), embeddings)
        soft.free(ids)
    assert soft.used == 0


def test_threads_do_not_get_in_each_others_way() -> None:
    soft = soft_tokens(64)
    wrong: list[int] = []

    def use(number: int) -> None:
        for _ in range(50):
            ids = soft.allocate(torch.full((8, HIDDEN), float(number)))
            if not bool((soft(torch.tensor(ids)) == number).all()):
                wrong.append(number)
            soft.free(ids)

    threads = [threading.Thread(target=use, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert soft.used == 0
