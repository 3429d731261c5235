"""The transcriber on a tiny checkpoint: what it asks the model, and what it makes of the answer."""

from __future__ import annotations

import json
import threading
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dropscribe.core.audio import SAMPLE_RATE
from dropscribe.core.errors import ModelError, SettingsError
from dropscribe.core.settings import Settings
from dropscribe.core.types import FinishReason, Segment, SegmentKind
from dropscribe.models import registry
from dropscribe.models.base import Audio, TranscribeRequest
from dropscribe.models.vibevoice.generation import Stop
from dropscribe.models.vibevoice.output import STUCK_TOKENS, StreamedOutput
from dropscribe.models.vibevoice.runner.runner import Runner
from dropscribe.models.vibevoice.settings import VibeVoiceSettings
from dropscribe.models.vibevoice.transcriber import VibeVoice
from tests.e2e.harness import wait_until

ANSWER = [
    {"Start": 0.0, "End": 1.5, "Speaker": 0, "Content": "one two — 三"},
    {"Start": 1.5, "End": 2.25, "Speaker": 1, "Content": "[Music]"},
]


@pytest.fixture(scope="module")
def model(one_thread: None, checkpoint: Path) -> Iterator[VibeVoice]:
    loaded = load(checkpoint, model_slots=2)
    yield loaded
    loaded.close()


def load(checkpoint: Path, **settings: Any) -> VibeVoice:
    chosen = Settings(**({"engine": "vibevoice", "model": str(checkpoint), "chunk_seconds": 30} | settings))
    found = registry.create("vibevoice", chosen)
    assert isinstance(found, VibeVoice)
    return found


def noise(seconds: float) -> Audio:
    size = round(seconds * SAMPLE_RATE)
    return np.random.default_rng(0).normal(0, 0.05, size).astype(np.float32)


def saying(model: VibeVoice, text: str, *, then: int) -> Callable[..., None]:
    """A hook that puts words into the model's mouth, and `then` one over and over."""
    script = model.loaded.processor.tokenizer(text, add_special_tokens=False)["input_ids"]
    lock = threading.Lock()

    def hook(_module: Any, _inputs: Any, logits: torch.Tensor) -> torch.Tensor:
        with lock:
            word = script.pop(0) if script else then
        return torch.nn.functional.one_hot(torch.full(logits.shape[:-1], word), logits.shape[-1]).to(logits)

    return hook


@pytest.fixture
def say(model: VibeVoice) -> Iterator[Callable[..., None]]:
    handles: list[Any] = []
    end = model.loaded.processor.tokenizer.eos_token_id
    engine = model._engine
    assert isinstance(engine, Runner)

    def begin(text: str, then: int = end) -> None:
        # Who stops listening has an answer at once; the model may still compute the next word of it.
        wait_until("nobody else is answered", lambda: not engine._scheduler.has_work)
        handles.append(model.loaded.model.lm_head.register_forward_hook(saying(model, text, then=then)))

    yield begin
    for handle in handles:
        handle.remove()


@pytest.mark.parametrize("context", ["", "Ada Lovelace, Charles Babbage; about engines"])
@pytest.mark.parametrize("seconds", [0.1, 2.0, 3.456])
def test_the_prompt_is_the_one_that_the_processor_makes(model: VibeVoice, context: str, seconds: float) -> None:
    audio = noise(seconds)
    processor = model.loaded.processor
    inputs = processor.apply_transcription_request(audio, prompt=context or None)
    expected = inputs["input_ids"][0].tolist()
    place = processor.audio_token_id
    words = model.prompt(audio, context)
    at = words.index(place)
    assert [*words[:at], *[place] * (-(-audio.size // 3200)), *words[at + 1 :]] == expected


def test_a_context_that_is_too_long_is_refused(model: VibeVoice) -> None:
    with pytest.raises(SettingsError, match=r"the context has .* tokens"):
        model.transcribe(noise(1), TranscribeRequest(context="zyx " * 2_400))


def test_an_answer_becomes_segments_with_progress_and_numbers(model: VibeVoice, say: Callable[..., None]) -> None:
    say("assistant\n" + json.dumps(ANSWER))
    progress: list[float] = []
    result = model.transcribe(noise(2), TranscribeRequest(progress=progress.append))
    assert result.ended is FinishReason.COMPLETE
    assert result.segments == (
        Segment(0.0, 1.5, "one two — 三", 0),
        Segment(1.5, 2.25, "[Music]", 1, SegmentKind.EVENT),
    )
    assert progress[-1] == 2.0  # never past the chunk's end
    assert result.prompt_tokens == len(model.prompt(noise(2), "")) - 1 + 15
    assert result.output_tokens > 30
    assert set(result.timings) == {"encoder", "prefill", "decode"}
    assert min(result.timings.values()) > 0


def test_the_embeddings_of_the_audio_lie_in_the_prompt_alone(
    model: VibeVoice, say: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    encode, made, kept = model.encode, [], []

    def watched(audio: Audio, cancel: threading.Event) -> torch.Tensor:
        found = encode(audio, cancel)
        made.append(weakref.ref(found))
        return found

    monkeypatch.setattr(model, "encode", watched)
    say("assistant\n" + json.dumps(ANSWER))
    model.transcribe(noise(2), TranscribeRequest(progress=lambda _: kept.append(made[0]() is not None)))
    assert kept
    assert not any(kept)


def test_errors_of_the_device_in_the_thread_of_the_caller_are_told_as_the_models(model: VibeVoice) -> None:
    words = model.prompt(noise(1), "")
    with pytest.raises(ModelError, match="the model failed"):
        model.embed(words, torch.zeros(8, 5))
    nowhere = torch.zeros(8, 128, device="meta")  # cannot be copied to where the model is
    with pytest.raises(ModelError, match="the model failed"):
        model.proceed(nowhere, 10, lambda _: True, threading.Event())


def test_an_answer_that_stops_in_the_middle_is_truncated(model: VibeVoice, say: Callable[..., None]) -> None:
    say(json.dumps(ANSWER)[:-20])
    result = model.transcribe(noise(2), TranscribeRequest())
    assert result.ended is FinishReason.TRUNCATED
    assert [segment.text for segment in result.segments] == ["one two — 三"]


def test_a_loop_in_what_is_said_is_stopped_at_once(model: VibeVoice, say: Callable[..., None]) -> None:
    said = json.dumps(ANSWER)[:-1] + ', {"Start": 2.25, "End": 3.0, "Speaker": 0, "Content": "'
    [again] = model.loaded.processor.tokenizer(" one", add_special_tokens=False)["input_ids"]
    say(said, then=again)
    result = model.transcribe(noise(2), TranscribeRequest())
    assert result.ended is FinishReason.LOOP
    assert len(result.segments) == 2
    assert result.output_tokens < 1_000  # of the 3,024 that so short a chunk may take


def test_a_loop_outside_of_any_segment_is_stopped_too(model: VibeVoice, say: Callable[..., None]) -> None:
    say("", then=7)
    result = model.transcribe(noise(2), TranscribeRequest())
    assert (result.ended, result.segments) == (FinishReason.LOOP, ())
    assert STUCK_TOKENS <= result.output_tokens < 2_000


def test_a_cancelled_request_keeps_what_it_has(model: VibeVoice, say: Callable[..., None]) -> None:
    said = json.dumps(ANSWER)[:-1] + ', {"Start": 2.25, "End": 3.0, "Speaker": 0, "Content": "'
    say(said + " ".join(map(str, range(1_000))))
    request = TranscribeRequest(progress=lambda seconds: request.cancel.set() if seconds == 2.0 else None)
    result = model.transcribe(noise(2), request)
    assert result.ended is FinishReason.CANCELLED
    assert [segment.text for segment in result.segments] == ["one two — 三", "[Music]"]


def test_a_request_cancelled_beforehand_costs_nothing(model: VibeVoice) -> None:
    request = TranscribeRequest()
    request.cancel.set()
    result = model.transcribe(noise(20), request)
    assert (result.ended, result.output_tokens, result.segments) == (FinishReason.CANCELLED, 0, ())


def test_no_audio_is_no_words(model: VibeVoice) -> None:
    assert model.transcribe(noise(0), TranscribeRequest()).ended is FinishReason.COMPLETE


def test_audio_longer_than_planned_is_refused(model: VibeVoice) -> None:
    with pytest.raises(ModelError, match=r"40\.0 s .* at most 30 s .*DROPSCRIBE_CHUNK_SECONDS"):
        model.transcribe(noise(40), TranscribeRequest())


def test_two_at_once_are_answered_as_each_alone(checkpoint: Path, model: VibeVoice) -> None:
    alone = load(checkpoint, own={"vibevoice": VibeVoiceSettings(batching=False)}, max_new_tokens=60)
    batched = load(checkpoint, model_slots=2, max_new_tokens=60)
    recordings = [noise(seconds) for seconds in (1.2, 2.7)]
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(lambda audio: batched.transcribe(audio, TranscribeRequest()), recordings))
    for audio, result in zip(recordings, found, strict=True):
        expected = alone.transcribe(audio, TranscribeRequest())
        assert (result.output_tokens, result.ended) == (expected.output_tokens, expected.ended)
    assert (alone.info.slots, batched.info.slots) == (1, 2)
    batched.close()


@pytest.mark.parametrize("precision", ["bf16", "int8", "nf4"])
def test_every_precision_serves(checkpoint: Path, precision: str) -> None:
    served = load(checkpoint, precision=precision, max_new_tokens=12)
    result = served.transcribe(noise(1), TranscribeRequest())
    served.close()
    assert served.info.precision == precision
    assert 0 < result.output_tokens <= 12


def test_the_engine_tells_what_it_is(checkpoint: Path, model: VibeVoice) -> None:
    info = model.info
    assert (info.engine, info.model, info.precision) == ("vibevoice", str(checkpoint), "fp32")
    assert (info.slots, info.longest_chunk) == (2, 30.0)


def test_letters_that_are_split_between_tokens_stay_whole(model: VibeVoice) -> None:
    tokenizer = model.loaded.processor.tokenizer
    text = json.dumps(ANSWER, ensure_ascii=False)
    answer = StreamedOutput(tokenizer.backend_tokenizer, lambda _: None)
    for token in tokenizer(text, add_special_tokens=False)["input_ids"]:
        answer.listen([token])
    segments, ended = answer.end(Stop.EOS)
    assert (segments[0].text, ended) == ("one two — 三", FinishReason.COMPLETE)
