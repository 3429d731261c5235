"""How the engine onnx chooses the next token: as PyTorch's `generate()` does."""

from __future__ import annotations

import numpy as np
import torch
from transformers import RepetitionPenaltyLogitsProcessor

from dropscribe.models.onnx.runtime import Choice
from dropscribe.models.vibevoice.generation import Decoding

LOGITS = np.array([1.0, 3.0, -2.0, 2.9], np.float32)


def test_the_likeliest_is_taken_at_temperature_0() -> None:
    assert Choice(Decoding((0,)))(LOGITS, [1, 1]) == 1


def test_words_of_the_answer_are_penalized_as_transformers_does() -> None:
    choice = Choice(Decoding((0,), repetition_penalty=1.3))
    expected = RepetitionPenaltyLogitsProcessor(1.3)(torch.tensor([[1, 2, 1]]), torch.from_numpy(LOGITS.copy())[None])
    np.testing.assert_allclose(choice._penalized(LOGITS, [1, 2, 1]), expected[0].numpy(), rtol=1e-6)
    assert choice(LOGITS, [1, 2, 1]) == 3
    assert choice(LOGITS, []) == 1


def test_at_a_temperature_tokens_come_as_often_as_they_are_likely() -> None:
    choice = Choice(Decoding((0,), temperature=0.5))
    choice._chance = np.random.default_rng(0)
    drawn = np.bincount([choice(LOGITS, []) for _ in range(4_000)], minlength=4) / 4_000
    likelihood = np.exp(LOGITS / 0.5) / np.exp(LOGITS / 0.5).sum()
    np.testing.assert_allclose(drawn, likelihood, atol=0.03)
