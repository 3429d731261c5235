"""On a GPU audio is encoded as on a CPU, and what is moved off a small card changes no word."""

from __future__ import annotations

import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from dropscribe.core.settings import Settings
from dropscribe.models.vibevoice import loader, memory_plan
from dropscribe.models.vibevoice.dimensions import ModelDimensions
from dropscribe.models.vibevoice.encoder import Encoder
from dropscribe.models.vibevoice.memory_plan import Precision, Saving
from dropscribe.models.vibevoice.runner.runner import Runner
from dropscribe.models.vibevoice.streamed_encoder import EACH_BY_ITSELF, fastest, gelu_within
from dropscribe.models.vibevoice.transcriber import VibeVoice
from tests.integration.test_vibevoice_engine import noise

NEVER = threading.Event()
RECORDINGS = [noise(seconds, seed) for seed, seconds in enumerate((0.4, 9.3, 17.0, 3.1, 8.0, 12.2))]
TOLERANCE = 2e-3  # of the largest number: a card may compute the products of 32 bits in fewer


@pytest.mark.parametrize("rows", [1, 4])
def test_recordings_side_by_side_become_what_a_cpu_makes_of_each(
    checkpoint: Path, device: torch.device, rows: int, caplog: pytest.LogCaptureFixture
) -> None:
    here = Encoder(loader.load(str(checkpoint), "fp32", device=torch.device("cpu")).model)
    with caplog.at_level(logging.WARNING):
        there = Encoder(loader.load(str(checkpoint), "fp32", device=device).model, rows=rows)
        with ThreadPoolExecutor(len(RECORDINGS)) as pool:
            found = list(pool.map(lambda audio: there.encode(audio, NEVER).cpu(), RECORDINGS))
    for embeddings, audio in zip(found, RECORDINGS, strict=True):
        expected = here.encode(audio, NEVER)
        assert (embeddings - expected).abs().max() < TOLERANCE * expected.abs().max()
    assert "without CUDA graphs" not in caplog.text


def test_in_16_bits_a_gelu_within_its_product_is_right_on_this_card(checkpoint: Path, device: torch.device) -> None:
    model = loader.load(str(checkpoint), "bf16", device=device).model
    samples = 0.1 * torch.randn(2, 5 * 3200, dtype=torch.bfloat16, device=device)
    joins = EACH_BY_ITSELF._replace(feed=gelu_within)
    assert fastest(model, device, samples, joins)[1] == ""


@pytest.mark.parametrize("precision", ["fp32", "nf4"])
def test_what_is_moved_off_the_card_changes_no_word(checkpoint: Path, device: torch.device, precision: str) -> None:
    geometry = ModelDimensions.from_config(loader.read_config(str(checkpoint)))
    answers = {}
    for saving in Saving:
        loaded = loader.load(str(checkpoint), precision, device=device, saving=saving)
        plan = memory_plan.plan(
            memory_plan.GIB,
            geometry,
            Precision(precision),
            60,
            2,
            paged=loaded.attention != "sdpa",
            saving=saving,
        )
        model = VibeVoice(loaded, plan, Settings.model_validate({"model": str(checkpoint)}))
        audio = RECORDINGS[1]
        prompt = model.embed(model.prompt(audio, ""), model.encode(audio, NEVER))
        answers[saving] = model.proceed(prompt, 24, lambda _: True, NEVER).tokens
        assert isinstance(model._engine, Runner)
        model.close()
    assert answers[Saving.EMBEDDINGS] == answers[Saving.NONE]
    # In 16 bits, sums that the compiler joins are rounded elsewhere than those of encoders that are moved in.
    assert precision != "fp32" or answers[Saving.ENCODERS] == answers[Saving.NONE]
    assert len(answers[Saving.FP8_CACHE]) > 0
