"""Holds a copy of VibeVoice-ASR against its source on recordings: one model in memory at a time."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path

from dropscribe.core.audio import SAMPLE_RATE
from dropscribe.core.settings import Settings
from dropscribe.models import inventory, parity
from dropscribe.models.base import Audio
from dropscribe.models.onnx import layout
from dropscribe.models.parity import LIMITS, Parity, Score
from dropscribe.models.vibevoice import memory_plan
from dropscribe.models.vibevoice.base import VibeVoiceBase
from dropscribe.models.vibevoice.output import StreamedOutput

PRECISIONS = {"F32": "fp32", "F64": "fp32", "F16": "fp16", "BF16": "bf16"}  # by safetensors' names
Told = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class ValidationResult:
    """What was compared in which precisions, how alike each recording's answers are, and the scores."""

    reference: str
    precision: str
    found: tuple[Parity, ...]
    scores: tuple[Score, ...]

    @property
    def passed(self) -> bool:
        """Every score is within its limit."""
        return all(map(attrgetter("passed"), self.scores))


def validate(source: Path, copy: Path, recordings: Sequence[Audio], settings: Settings, tell: Told) -> ValidationResult:
    """Read recordings (samples,) with both. Raises ModelUnavailableError when one cannot be loaded, and ModelError."""
    tell("reading with the source")
    model = _load(source, "auto", recordings, settings)
    reference = model.info.precision
    expected = [_answer(model, audio) for audio in recordings]
    model.close()
    del model
    gc.collect()  # before the second one comes
    tell("reading with the copy")
    model = _load(copy, _precision(copy), recordings, settings)
    precision = model.info.precision
    try:
        found = tuple(
            parity.compare(one, _answer(model, audio, one)) for one, audio in zip(expected, recordings, strict=True)
        )
    finally:
        model.close()
    return ValidationResult(reference, precision, found, tuple(parity.judge(found, LIMITS[precision])))


def _precision(folder: Path) -> str:
    """In which a copy computes: what it is quantized to, or what most of its weights are in."""
    if layout.is_export(folder):
        return "auto"
    checkpoint = inventory.examine(folder)
    return checkpoint.quantization or PRECISIONS.get(next(iter(checkpoint.dtypes), ""), "auto")


def _load(folder: Path, precision: str, recordings: Sequence[Audio], settings: Settings) -> VibeVoiceBase:
    """The model in a folder, by the engine of its layout, set up so that the same audio gives the same output."""
    chosen = settings.model_copy(
        update={
            "model": str(folder),
            "revision": "",
            "precision": precision,
            "batching": False,
            "model_slots": 1,
            "temperature": 0.0,
            "repetition_penalty": 1.0,
            "chunk_seconds": max(memory_plan.MIN_CHUNK, *(audio.size / SAMPLE_RATE for audio in recordings)),
        }
    )
    if layout.is_export(folder):
        from dropscribe.models.onnx.transcriber import Onnx

        return Onnx.load(chosen)
    from dropscribe.models.vibevoice.transcriber import VibeVoice

    return VibeVoice.load(chosen)


def _answer(model: VibeVoiceBase, audio: Audio, source: parity.ModelOutput | None = None) -> parity.ModelOutput:
    """What a model makes of a recording; the logits are those before the tokens of the source's answer, or its own."""
    never = threading.Event()
    words = model.prompt(audio, "")
    features = model.features(audio)
    heard = StreamedOutput(model.tokenizer, lambda _: None)
    budget = memory_plan.answer_budget(audio.size / SAMPLE_RATE)
    generation = model.proceed(model.embed(words, model.encode(audio, never)), budget, heard.listen, never)
    segments, _ = heard.end(generation.stop)
    text = " ".join(map(attrgetter("text"), segments))
    given = source or parity.ModelOutput(features, features, generation.tokens, text)
    logits = model.score(words, given.features, given.tokens)
    return parity.ModelOutput(features, logits, generation.tokens, text)
