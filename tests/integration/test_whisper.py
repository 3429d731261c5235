"""The engine whisper on checkpoints that recite: real loading, conversion, decoding, alignment, whatever is heard."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("faster_whisper")
pytest.importorskip("transformers")

from ctranslate2.converters import TransformersConverter

from dropscribe.core.audio import SAMPLE_RATE
from dropscribe.core.errors import ModelUnavailableError, SettingsError
from dropscribe.core.settings import Settings
from dropscribe.core.types import FinishReason, JobState, SpeechTask
from dropscribe.models import inventory, registry
from dropscribe.models.base import Audio, TranscribeRequest
from dropscribe.models.checkpoints.known import WEIGHTS
from dropscribe.models.whisper import transcriber
from dropscribe.models.whisper.checkpoint import half_size
from dropscribe.models.whisper.transcriber import Whisper
from tests.integration.one_worker import MakeContext, admit, carry_through
from tests.tiny.whisper import reciting_whisper

SCRIPT = "<|1.00|> one two three<|2.50|><|4.00|> four five<|5.00|>"
TEXTS = ["one two three", "four five"]

Load = Callable[..., Whisper]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The home of all engines here, so that each checkpoint is converted once."""
    return tmp_path_factory.mktemp("whisper")


@pytest.fixture(scope="module")
def checkpoint(place: Path) -> Path:
    return reciting_whisper(place / "first", SCRIPT)


@pytest.fixture(scope="module")
def german(place: Path) -> Path:
    return reciting_whisper(place / "german", SCRIPT, language="de")


@pytest.fixture(scope="module")
def load(place: Path) -> Iterator[Load]:
    loaded: list[Whisper] = []

    def begin(checkpoint: Path, **settings: Any) -> Whisper:
        chosen = Settings(**({"engine": "whisper", "model": str(checkpoint), "home": place} | settings))
        engine = registry.create("whisper", chosen)
        assert isinstance(engine, Whisper)
        loaded.append(engine)
        return engine

    yield begin
    for engine in loaded:
        engine.close()


@pytest.fixture(scope="module")
def engine(load: Load, checkpoint: Path) -> Whisper:
    return load(checkpoint)


def noise(seconds: float) -> Audio:
    return np.random.default_rng(0).normal(0, 0.05, round(seconds * SAMPLE_RATE)).astype(np.float32)


def texts(engine: Whisper, seconds: float, **request: Any) -> list[str]:
    return [segment.text for segment in engine.transcribe(noise(seconds), TranscribeRequest(**request)).segments]


def test_an_answer_becomes_segments_with_the_times_of_their_words(engine: Whisper) -> None:
    answer = engine.transcribe(noise(30), TranscribeRequest())
    assert [segment.text for segment in answer.segments] == TEXTS
    assert (answer.ended, answer.language) == (FinishReason.COMPLETE, "en")
    assert answer.output_tokens == 9
    assert {(segment.speaker, segment.confidence) for segment in answer.segments} == {(None, 1.0)}
    first, second = answer.segments
    assert (first.start, first.end, second.start) == pytest.approx((1.0, 2.5, 4.0), abs=0.5)
    assert [word.text for word in first.words] == ["one", "two", "three"]
    assert [word.start for word in first.words] == pytest.approx([1.0, 1.5, 2.0], abs=0.3)
    assert all(first.start <= word.start < word.end <= first.end for word in first.words)


def test_a_chunk_is_read_window_by_window_with_progress(engine: Whisper) -> None:
    seen: list[float] = []
    answer = engine.transcribe(noise(90), TranscribeRequest(progress=seen.append))
    assert [segment.text for segment in answer.segments] == TEXTS * 3
    assert [round(segment.start) for segment in answer.segments[::2]] == [1, 31, 61]
    assert seen == sorted(seen)
    assert seen[-1] == 90.0


def test_nothing_is_told_beyond_the_end_of_the_chunk(engine: Whisper) -> None:
    answer = engine.transcribe(noise(3), TranscribeRequest())
    assert all(0 <= segment.start <= segment.end <= 3 for segment in answer.segments)
    assert engine.transcribe(noise(0), TranscribeRequest()).segments == ()


def test_cancelling_is_noticed_while_a_window_is_read(engine: Whisper, monkeypatch: pytest.MonkeyPatch) -> None:
    reading, told = threading.Event(), threading.Event()
    detained = engine.model.encode

    def encode(features: Any) -> Any:
        reading.set()
        told.wait()
        return detained(features)

    monkeypatch.setattr(engine.model, "encode", encode)
    request = TranscribeRequest()
    threading.Thread(target=lambda: reading.wait() and request.cancel.set()).start()
    assert engine.transcribe(noise(30), request).ended is FinishReason.CANCELLED
    told.set()
    assert texts(engine, 30) == TEXTS


def test_what_stays_repetitive_at_every_temperature_is_a_loop(engine: Whisper, monkeypatch: pytest.MonkeyPatch) -> None:
    read = engine.model.generate_with_fallback

    def repetitive(*given: Any) -> Any:
        answer, probability, temperature, _ = read(*given)
        return answer, probability, temperature, 33.5  # of "one two three" over and over, as the library has it

    monkeypatch.setattr(engine.model, "generate_with_fallback", repetitive)
    assert engine.transcribe(noise(30), TranscribeRequest()).ended is FinishReason.LOOP


def test_an_endless_repetition_comes_to_an_end(load: Load, place: Path) -> None:
    circling = load(reciting_whisper(place / "circles", "<|0.00|> one two three one<|20.00|>"))
    answer = circling.transcribe(noise(30), TranscribeRequest())
    assert (
        answer.ended is FinishReason.LOOP or answer.segments == ()
    )  # invented in silence, as far as its words' times tell


def test_the_language_is_found_out_and_recorded(load: Load, german: Path) -> None:
    engine = load(german)
    found = engine.transcribe(noise(30), TranscribeRequest())
    assert ([segment.text for segment in found.segments], found.language) == (TEXTS, "de")
    told = engine.transcribe(noise(30), TranscribeRequest(language="fr"))
    assert told.language == "fr"
    with pytest.raises(SettingsError, match=r"does not know the language dd .*did you mean (.* or )?de"):
        engine.transcribe(noise(1), TranscribeRequest(language="dd"))


def test_a_model_of_english_alone_is_not_asked_for_german(load: Load, place: Path) -> None:
    english = reciting_whisper(place / "english alone", SCRIPT, language="")
    assert load(english).transcribe(noise(30), TranscribeRequest()).language == "en"
    with pytest.raises(SettingsError, match=r"does not know the language de .*; it knows en"):
        load(english, language="de")


def test_a_checkpoint_translates_where_it_can(
    engine: Whisper, load: Load, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prompts: list[list[int]] = []
    generate = engine.model.generate_with_fallback

    def listen(encoded: Any, prompt: list[int], *others: Any) -> Any:
        prompts.append(prompt)
        return generate(encoded, prompt, *others)

    monkeypatch.setattr(engine.model, "generate_with_fallback", listen)
    mark = engine.model.hf_tokenizer.token_to_id("<|translate|>")
    assert texts(engine, 30) == TEXTS
    assert not any(mark in prompt for prompt in prompts)
    prompts.clear()
    engine.transcribe(noise(3), TranscribeRequest(task=SpeechTask.TRANSLATE))
    assert prompts
    assert all(mark in prompt for prompt in prompts)
    english = reciting_whisper(place / "english alone", SCRIPT, language="")
    with pytest.raises(SettingsError, match=r"cannot translate .*such as large-v3"):
        load(english, task="translate")
    with pytest.raises(SettingsError, match="turbo cannot translate"):
        transcriber.check_task("translate", "dropbox-dash/faster-whisper-large-v3-turbo", is_multilingual=True)


def test_names_are_told_for_every_window_and_bounded(engine: Whisper, monkeypatch: pytest.MonkeyPatch) -> None:
    prompts: list[list[int]] = []
    generate = engine.model.generate_with_fallback

    def listen(encoded: Any, prompt: list[int], *others: Any) -> Any:
        prompts.append(prompt)
        return generate(encoded, prompt, *others)

    monkeypatch.setattr(engine.model, "generate_with_fallback", listen)
    engine.transcribe(noise(60), TranscribeRequest(context="nine\neight"))
    told = [engine.model.hf_tokenizer.decode(prompt) for prompt in prompts]
    assert told == [" nine eight"] * 2
    with pytest.raises(SettingsError, match="223 are allowed"):
        engine.transcribe(noise(1), TranscribeRequest(context="nine " * 300))


def test_it_says_what_it_is(engine: Whisper, checkpoint: Path) -> None:
    info = engine.info
    assert (info.engine, info.model, info.precision, info.slots) == ("whisper", str(checkpoint), "int8", 1)
    assert info.longest_chunk == transcriber.MAX_CHUNK


def test_a_checkpoint_is_converted_once(load: Load, checkpoint: Path, engine: Whisper, place: Path) -> None:
    kept = sorted((place / "models").iterdir())
    assert all(not path.name.startswith(".") for path in kept)
    assert texts(load(checkpoint), 30) == TEXTS
    assert sorted((place / "models").iterdir()) == kept


def test_a_converted_checkpoint_is_read_as_it_is(load: Load, engine: Whisper, place: Path, tmp_path: Path) -> None:
    [*_, kept] = sorted((place / "models").iterdir(), key=lambda path: path.stat().st_mtime)
    copy = Path(shutil.copytree(kept, tmp_path / "converted"))
    found = inventory.examine(copy)
    assert (found.layout, found.problems) == ("ctranslate2", ())
    load(copy, home=tmp_path)
    assert not (tmp_path / "models").exists()


@pytest.mark.parametrize(
    ("kept", "bits"), [("float32", 32), ("float16", 16), ("int8", 13)]
)  # not all of it becomes int8
def test_weights_of_any_type_are_planned_by_their_number(
    kept: str, bits: int, engine: Whisper, place: Path, checkpoint: Path, tmp_path: Path
) -> None:
    converted, folder = next((place / "models").iterdir()), tmp_path / kept
    TransformersConverter(str(checkpoint)).convert(str(folder), quantization=kept)
    half = half_size(folder)
    assert half == pytest.approx(half_size(converted), rel=0.02), "but for the scales of int8"
    assert (folder / WEIGHTS).stat().st_size == pytest.approx(half * bits / 16, rel=0.05)


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_precisions_that_a_cpu_has(load: Load, checkpoint: Path, precision: str) -> None:
    engine = load(checkpoint, precision=precision)
    assert engine.info.precision == precision
    assert texts(engine, 30) == TEXTS


def test_a_precision_that_there_is_not_is_refused(load: Load, checkpoint: Path) -> None:
    with pytest.raises(
        ModelUnavailableError, match="whisper has no nf4 on a CPU; set DROPSCRIBE_PRECISION to one of auto"
    ):
        load(checkpoint, precision="nf4")


def test_what_is_no_whisper_is_refused(load: Load, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "qwen2"}')
    with pytest.raises(ModelUnavailableError, match="holds a model of type qwen2, not whisper"):
        load(tmp_path)


def test_a_checkpoint_without_all_weights_is_refused(load: Load, checkpoint: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    broken = Path(shutil.copytree(checkpoint, tmp_path / "broken"))
    weights = load_file(broken / "model.safetensors")
    del weights["model.decoder.layer_norm.weight"]
    save_file(weights, broken / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelUnavailableError, match=r"lacks 1 weights, the first model\.decoder\.layer_norm\.weight"):
        load(broken, home=tmp_path)
    assert list((tmp_path / "models").iterdir()) == []


def test_an_id_that_is_not_here_is_fetched(load: Load, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: list[str] = []

    def fetched(name: str, *_others: Any) -> tuple[Path, str]:
        asked.append(name)
        raise ModelUnavailableError("no network in this test")

    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("dropscribe.models.checkpoints.fetch.fetch", fetched)
    with pytest.raises(ModelUnavailableError, match="no network"):
        load(Path("openai/whisper-tiny"))
    assert asked == ["openai/whisper-tiny"]


def test_a_recording_becomes_files_with_words_and_language(
    make_context: MakeContext, recording: Path, load: Load, german: Path
) -> None:
    context = replace(make_context(), model=load(german))
    job = carry_through(context, admit(context, recording))
    document = json.loads(recording.with_suffix(".json").read_text())
    assert (document["language"], document["engine"]["engine"]) == ("de", "whisper")
    assert " ".join(segment["text"] for segment in document["segments"]) == " ".join(TEXTS)
    assert [word["text"] for word in document["segments"][0]["words"]] == ["one", "two", "three"]
    assert job.state in {JobState.DONE, JobState.SUSPECT}  # what it recites need not fit the recording
