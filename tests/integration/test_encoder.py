"""Audio becomes the embeddings of transformers' own encoders, however it is cut and whatever is encoded beside it."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
from torch import Tensor

from bench.encoder import AIM, counts
from dropscribe.core.audio import SAMPLE_RATE
from dropscribe.core.errors import ModelError
from dropscribe.models.base import Audio
from dropscribe.models.vibevoice import encoder as encoder_module
from dropscribe.models.vibevoice.dimensions import PUBLISHED
from dropscribe.models.vibevoice.encoder import Encoder
from dropscribe.models.vibevoice.encoder_step import EncoderStep
from dropscribe.models.vibevoice.generation import CancelledError
from dropscribe.models.vibevoice.streamed_encoder import (
    EACH_BY_ITSELF,
    StreamedEncoder,
    compiled,
    fastest,
    gelu_within,
)
from tests.conftest import missing
from tests.integration.test_vibevoice_engine import noise
from tests.tiny.checkpoint import build_model, build_processor

CPU = torch.device("cpu")
HOP = 3200
FP32_TOLERANCE = 1e-5  # of the largest number: sums are taken in another order
NEVER = threading.Event()

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def model() -> Any:
    """Random, with scales of residuals that are no powers of two, as those round nothing."""
    made = build_model(build_processor(), layers=1)
    for name, weight in made.named_parameters():
        if name.endswith("gamma"):
            torch.nn.init.uniform_(weight, 0.2, 0.9)
    return made.requires_grad_(requires_grad=False)


@pytest.fixture(scope="module")
def narrow(model: Any) -> Any:
    """The same in 16 bits."""
    made = build_model(build_processor(), layers=1).to(torch.bfloat16)
    made.load_state_dict(model.state_dict())
    return made.requires_grad_(requires_grad=False)


def transformers_own(model: Any, audio: Audio) -> Tensor:
    padded = torch.nn.functional.pad(torch.from_numpy(audio), (0, -audio.size % HOP))
    with torch.no_grad():
        found: Tensor = model.get_audio_features(padded[None, None].to(model.dtype), sample=False).pooler_output[0]
    return found.float()


def off(found: Tensor, expected: Tensor) -> float:
    """The largest difference, relative to the largest number."""
    return float((found.float() - expected).abs().max() / expected.abs().max())


@pytest.mark.parametrize("piece", [40, 13, 1])  # the last is shorter than the convolutions' memory
def test_rows_of_pieces_of_any_length_become_what_transformers_makes_of_each_as_a_whole(model: Any, piece: int) -> None:
    recordings = [noise(40 * HOP / SAMPLE_RATE, seed) for seed in (1, 2)]
    encode = StreamedEncoder(model, CPU)
    states = torch.zeros(2, encode.state_size)
    samples = torch.stack([*map(torch.from_numpy, recordings)])
    found = torch.cat([encode(part, states) for part in torch.split(samples, piece * HOP, dim=1)], dim=1)
    assert found.shape == (2, 40, 128)
    for row, audio in zip(found, recordings, strict=True):
        assert off(row, transformers_own(model, audio)) < FP32_TOLERANCE


def test_in_16_bits_they_are_as_near_to_those_in_32_as_transformers_own(model: Any, narrow: Any) -> None:
    audio = noise(4, 3)
    exact = transformers_own(model, audio)
    found = Encoder(narrow).encode(audio, NEVER)
    assert found.dtype == torch.bfloat16
    assert off(found, exact) < 1.5 * off(transformers_own(narrow, audio), exact)


def test_many_threads_get_what_each_would_get_alone_with_fewer_rows_than_they_are(model: Any) -> None:
    recordings = [noise(seconds, seed) for seed, seconds in enumerate((0.1, 3.3, 7.9, 1.0, 5.2, 0.4, 2.6))]
    together = Encoder(model, piece_seconds=1.5, rows=3)
    with ThreadPoolExecutor(len(recordings)) as pool:
        found = list(pool.map(lambda audio: together.encode(audio, NEVER), recordings))
    for embeddings, audio in zip(found, recordings, strict=True):
        assert len(embeddings) == together.count(audio)
        assert off(embeddings, transformers_own(model, audio)) < FP32_TOLERANCE


def watch(monkeypatch: pytest.MonkeyPatch, before: Callable[[EncoderStep, int], None]) -> list[int]:
    """Call `before` with the step and the number of recordings before each piece; the list grows by that number."""
    run, sizes = EncoderStep.run, []

    def watched(step: EncoderStep, pieces: Any) -> list[Tensor]:
        sizes.append(len(pieces))
        before(step, len(pieces))
        return run(step, pieces)

    monkeypatch.setattr(EncoderStep, "run", watched)
    return sizes


def test_a_cancelled_recording_takes_no_further_piece_and_leaves_the_others(
    model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    cancel, encoder = threading.Event(), Encoder(model, piece_seconds=1.0, rows=2)
    sizes = watch(monkeypatch, lambda _, __: cancel.set() if len(sizes) == 3 else None)
    with pytest.raises(CancelledError):
        encoder.encode(noise(9, 1), cancel)
    assert sizes == [1, 1, 1]
    other = noise(2.5, 2)
    assert off(encoder.encode(other, NEVER), transformers_own(model, other)) < FP32_TOLERANCE


def test_when_memory_runs_out_fewer_recordings_go_on_in_shorter_pieces(
    model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(encoder_module, "MIN_PIECE", 0.5)
    encoder = Encoder(model, piece_seconds=2.0, rows=4)

    def short_of_memory(step: EncoderStep, _: int) -> None:
        if encoder.rows * step.piece_tokens > 8:
            raise torch.OutOfMemoryError("CUDA out of memory")

    watch(monkeypatch, short_of_memory)
    recordings = [noise(2.2, seed) for seed in range(3)]
    with ThreadPoolExecutor(3) as pool:
        found = list(pool.map(lambda audio: encoder.encode(audio, NEVER), recordings))
    for embeddings, audio in zip(found, recordings, strict=True):
        assert off(embeddings, transformers_own(model, audio)) < FP32_TOLERANCE
    assert (encoder.rows, encoder.piece_seconds) == (1, 1.0)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (torch.OutOfMemoryError("CUDA out of memory"), "out of GPU memory"),
        (ValueError("of the compiler"), "ValueError"),
    ],
)
def test_where_even_the_smallest_piece_cannot_be_encoded_the_recording_fails_and_the_next_is_tried(
    model: Any, monkeypatch: pytest.MonkeyPatch, error: Exception, said: str
) -> None:
    encoder, full = Encoder(model, rows=2), [True]

    def broken(*_: object) -> None:
        if full[0]:
            raise error

    watch(monkeypatch, broken)
    audio = noise(1, 1)
    with pytest.raises(ModelError, match=said):
        encoder.encode(audio, NEVER)
    full[0] = False
    assert off(encoder.encode(audio, NEVER), transformers_own(model, audio)) < FP32_TOLERANCE


def test_weights_that_lie_elsewhere_are_moved_for_their_turn_every_one_of_them(model: Any) -> None:
    elsewhere = torch.device("meta")  # where nothing that was left behind could be computed with
    encode = StreamedEncoder(model, elsewhere)
    assert encode.moves
    states = torch.zeros(2, encode.state_size, device=elsewhere)
    found = encode(torch.zeros(2, 5 * HOP, device=elsewhere), states)
    assert (found.device, found.shape) == (elsewhere, (2, 5, 128))
    here = StreamedEncoder(model, CPU)
    audio, states = torch.randn(1, 5 * HOP), torch.zeros(1, here.state_size)
    expected = here(audio, states.clone())
    here.moves = True
    assert torch.equal(here(audio, states), expected)


def test_a_compiler_that_is_not_there_or_is_wrong_is_done_without(model: Any) -> None:
    def lacking(*_: object) -> Any:
        raise RuntimeError("backend='inductor' raised:\nCannot find a working triton installation.\nMore information")

    def wrong(x: Tensor, y: Tensor, *others: Any) -> tuple[Tensor, Tensor]:
        return EACH_BY_ITSELF.add_and_norm(x, 1.5 * y, *others)

    samples = 0.1 * torch.randn(1, 3 * HOP)
    states = torch.zeros(1, StreamedEncoder(model, CPU).state_size)
    expected = StreamedEncoder(model, CPU)(samples, states.clone())
    for joins, reason in (
        (EACH_BY_ITSELF._replace(add_and_norm=lacking), "Cannot find a working triton installation."),
        (EACH_BY_ITSELF._replace(add_and_norm=wrong), "wrong numbers on this card"),
        (EACH_BY_ITSELF._replace(feed=lacking), "Cannot find a working triton installation."),
    ):
        chosen, why = fastest(model, CPU, samples, joins)
        assert reason in why
        assert torch.equal(chosen(samples, states.clone()), expected)
    assert fastest(model, CPU, samples, EACH_BY_ITSELF)[1] == ""


@pytest.mark.filterwarnings("default")
def test_what_the_compiler_joins_is_what_single_operations_compute() -> None:
    if shutil.which("c++") is None:
        missing("a C++ compiler")
    x, y = torch.randn(2, 2, 50, 64)
    scale, weight = torch.rand(2, 64)
    arguments = scale, weight, 1e-5
    for found, expected in zip(
        compiled().add_and_norm(x, y, *arguments), EACH_BY_ITSELF.add_and_norm(x, y, *arguments), strict=True
    ):
        assert off(found, expected) < FP32_TOLERANCE


def test_a_gelu_within_its_product_is_computed_in_16_bits_alone_and_changes_nothing_else(
    model: Any, narrow: Any
) -> None:
    joins = EACH_BY_ITSELF._replace(feed=gelu_within)
    samples = 0.1 * torch.randn(2, 5 * HOP)
    for one, tolerance in ((model, 0.0), (narrow, 1e-3)):
        encoders = [StreamedEncoder(one, CPU, way) for way in (EACH_BY_ITSELF, joins)]
        states = torch.zeros(2, encoders[0].state_size, dtype=one.dtype)
        expected, found = (encode(samples.to(one.dtype), states.clone()) for encode in encoders)
        assert off(found, expected.float()) <= tolerance


def test_the_form_of_gelu_that_a_card_has_within_a_product_is_far_below_rounding_to_16_bits(
    model: Any, narrow: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    audio = noise(4, 3)
    exact = transformers_own(model, audio)
    rounding = off(transformers_own(narrow, audio), exact)
    for block in model.modules():
        if hasattr(block, "ffn"):
            monkeypatch.setattr(block.ffn, "activation", torch.nn.GELU(approximate="tanh"))
    assert 0 < off(transformers_own(model, audio), exact) < rounding / 10


def test_a_second_of_audio_moves_0_8_gb_at_most_where_transformers_moves_2_8() -> None:
    rival, ours = counts(PUBLISHED, 8, 4)
    assert rival.bytes.total() / 32 > 2.77e9
    assert ours.bytes.total() / 32 < AIM
    assert ours.kernels < rival.kernels / 2
