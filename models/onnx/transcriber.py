"""VibeVoice-ASR served by ONNX Runtime, on a CPU or a GPU, from an export. No torch."""

from __future__ import annotations

import gc
import json
import logging
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tokenizers import Tokenizer

from dropscribe.core import machine_memory
from dropscribe.core.error_translation import explained
from dropscribe.core.errors import ModelUnavailableError
from dropscribe.core.settings import Settings
from dropscribe.core.types import EngineInfo
from dropscribe.models.base import Audio
from dropscribe.models.gpu import cuda_support, lock, memory
from dropscribe.models.gpu.allowance import CUDA_CONTEXT
from dropscribe.models.gpu.placement import ANYWHERE, Placement
from dropscribe.models.onnx import layout, memory_budget
from dropscribe.models.onnx.layout import Manifest
from dropscribe.models.onnx.runtime import Decoder, SpeechEncoder
from dropscribe.models.vibevoice.base import Numbers, VibeVoiceBase
from dropscribe.models.vibevoice.dimensions import ModelDimensions
from dropscribe.models.vibevoice.generation import Decoding, Generation, TokenListener, TokenSink

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class Prompt:
    """The tokens of a request; ids past the vocabulary are rows of `speech`, float32 of shape (tokens, hidden)."""

    ids: Sequence[int]
    speech: Numbers

    def __len__(self) -> int:
        """Tokens, words and audio."""
        return len(self.ids)


class Onnx(VibeVoiceBase):
    """A Transcriber by ONNX Runtime; safe for any number of threads."""

    def __init__(self, folder: Path, manifest: Manifest, settings: Settings, room: int, *, on_gpu: bool) -> None:
        """Load the graphs of a checked export into so many bytes of memory. Raises ModelUnavailableError."""
        began = time.monotonic()
        geometry = read_geometry(folder)
        slots = settings.fixed_slots
        wanted = settings.chunk_seconds
        longest = memory_budget.longest_chunk(geometry, manifest, room, wanted, slots, on_gpu=on_gpu)
        self._vocabulary = manifest.vocabulary
        arena = room - CUDA_CONTEXT if on_gpu else None
        self._encoder = SpeechEncoder(folder, manifest, gpu_memory=arena)
        self._decoder = Decoder(folder, arena)
        self._decoding = Decoding(
            manifest.ends, temperature=settings.temperature, repetition_penalty=settings.repetition_penalty
        )
        seconds = round(time.monotonic() - began, 1)
        log.info("loaded %s in %s in %.1f s on the %s", folder, manifest.dtype, seconds, "GPU" if on_gpu else "CPU")
        super().__init__(
            EngineInfo(
                engine="onnx",
                model=str(folder),
                precision=manifest.dtype,
                slots=slots,
                longest_chunk=longest,
                load_seconds=seconds,
            ),
            read_tokenizer(folder),
            manifest.wording,
            hop=manifest.hop,
            most_audio=geometry.audio_tokens(longest),
            most_tokens=settings.max_new_tokens,
        )

    @classmethod
    def load(cls, settings: Settings, placement: Placement = ANYWHERE) -> Onnx:
        """Check, load and warm up. Raises ModelUnavailableError with the reason."""
        if not settings.model:
            raise ModelUnavailableError("onnx reads an export", remedy="name its folder (DROPSCRIBE_MODEL)")
        folder = Path(settings.model).expanduser()
        manifest = layout.read(folder)
        if problem := next(iter(layout.problems(folder, manifest)), ""):
            raise ModelUnavailableError(f"{folder} is not whole: {problem}")
        if settings.precision not in {"auto", manifest.dtype}:
            raise ModelUnavailableError(
                f"{folder} comes in {manifest.dtype}, not in {settings.precision}",
                remedy="set DROPSCRIBE_PRECISION=auto",
            )
        on_gpu = cuda_support.examine("onnxruntime").computes
        with lock.turn(placement, settings.home, memory.first_gpu() if on_gpu else ""):
            room = memory.plannable(settings.gpu_share) if on_gpu else None
            room = machine_memory.allowance(placement.workers) if room is None else room
            model = cls(folder, manifest, settings, room, on_gpu=on_gpu)
            model.warm_up()
        gc.freeze()  # as for the other engine: collections do not look through what stays
        return model

    def close(self) -> None:
        """Give the memory back."""
        del self._encoder, self._decoder
        gc.unfreeze()

    def encode(self, audio: Audio, cancel: threading.Event) -> Numbers:
        """See `VibeVoiceBase`."""
        return self._encoder.encode(audio, cancel)

    def embed(self, words: Sequence[int], audio: Numbers) -> Prompt:
        """See `VibeVoiceBase`."""
        rows = range(self._vocabulary, self._vocabulary + len(audio))
        return Prompt(self._wording.insert(words, rows), audio)

    def proceed(self, prompt: Prompt, budget: int, listen: TokenListener, cancel: threading.Event) -> Generation:
        """See `VibeVoiceBase`."""
        return self._decoder.generate(prompt.ids, prompt.speech, budget, TokenSink(listen, cancel), self._decoding)

    def features(self, audio: Audio) -> Numbers:
        """See `VibeVoiceBase`."""
        return self._encoder.encode(audio, threading.Event())

    def score(self, words: Sequence[int], features: Numbers, answer: Sequence[int]) -> Numbers:
        """See `VibeVoiceBase`."""
        return self._decoder.score(self.embed(words, features).ids, features, answer)


def read_geometry(folder: Path) -> ModelDimensions:
    """The shape of the model. Raises ModelUnavailableError."""
    with explained(
        (OSError, ValueError), ModelUnavailableError, f"cannot read {folder / 'config.json'}", remedy="export it again"
    ):
        return ModelDimensions.from_config(json.loads((folder / "config.json").read_text(encoding="utf-8")))


def read_tokenizer(folder: Path) -> Tokenizer:
    """The tokenizer beside the graphs. Raises ModelUnavailableError."""
    with explained(
        (OSError, ValueError),
        ModelUnavailableError,
        f"cannot read {folder / 'tokenizer.json'}",
        remedy="export it again",
    ):
        return Tokenizer.from_buffer((folder / "tokenizer.json").read_bytes())
