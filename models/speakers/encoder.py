"""The speaker encoder resident in memory: CAM++ by sherpa-onnx, speech in, 192 numbers out."""

from __future__ import annotations

import tempfile
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dropscribe.core.error_translation import explained
from dropscribe.core.errors import ModelUnavailableError
from dropscribe.core.installing import how_to_install
from dropscribe.models.checkpoints import fetch, known
from dropscribe.models.checkpoints.known import SPEAKER_ENCODER
from dropscribe.models.progress import Tell

SAMPLE_RATE = 16_000  # Hz; what the encoder takes
MIN_SAMPLES = SAMPLE_RATE // 10  # 0.1 s; of less than two frames (25 ms every 10 ms) the encoder makes no numbers

Embedding = NDArray[np.float32]  # shape (192,), length 1: the dot product of two is their cosine similarity


class SpeakerEncoder:
    """CAM++ on one thread of the CPU. `name` is what transcripts call it; embeddings of other names do not compare.

    `embed` may be called from several threads at once. Each call computes without holding the GIL.
    """

    def __init__(self, weights: Path, name: str) -> None:
        """Load the ONNX file `weights`. Raises ModelUnavailableError when sherpa-onnx is not installed."""
        self.name = name
        self._extractor = _extractor(weights)

    def embed(self, audio: NDArray[np.float32]) -> Embedding:
        """The embedding of who speaks, shape (192,), length 1.

        `audio` is float32 of shape (samples,), mono, 16 kHz, in [-1, 1], and of one speaker: 1.5 s suffice, and more is
        more certain. Raises ValueError below 0.1 s (`MIN_SAMPLES`).
        """
        if audio.size < MIN_SAMPLES:
            raise ValueError(
                f"{audio.size} samples are too short to distinguish speakers; at least {MIN_SAMPLES} are needed"
            )
        stream = self._extractor.create_stream()
        stream.accept_waveform(SAMPLE_RATE, audio)
        stream.input_finished()
        found = np.asarray(self._extractor.compute(stream), np.float32)
        embedding: Embedding = found / np.linalg.norm(found)
        return embedding


def load(tell: Tell) -> SpeakerEncoder:
    """The encoder, its weights fetched if they are not here and verified each time.

    Raises ModelUnavailableError when sherpa-onnx is not installed or no source gives the weights.
    """
    require()  # else its weights would be fetched for nothing
    folder, _ = fetch.fetch(SPEAKER_ENCODER.name, "", tell)
    return SpeakerEncoder(
        folder / SPEAKER_ENCODER.files[0].name, known.title(SPEAKER_ENCODER.name, SPEAKER_ENCODER.revision)
    )


def require() -> None:
    """Raise ModelUnavailableError when sherpa-onnx is not installed, or cannot be imported."""
    _runtime()


def _runtime() -> Any:
    """The package that runs the encoder. Raises ModelUnavailableError where it is missing."""
    with explained(
        ImportError,
        ModelUnavailableError,
        "the speaker encoder of CPU workers is not installed",
        remedy=f"install it: {how_to_install('cpu')}",
    ):
        return import_module("sherpa_onnx")


def _extractor(weights: Path) -> Any:
    """The encoder itself, from weights that are fixed first. Raises ModelUnavailableError."""
    runtime = _runtime()
    with tempfile.NamedTemporaryFile(prefix="dropscribe-", suffix=".onnx") as mended:
        mended.write(_mended(weights.read_bytes()))
        mended.flush()
        config = runtime.SpeakerEmbeddingExtractorConfig(model=mended.name, num_threads=1, provider="cpu")
        problem = f"sherpa-onnx cannot load {weights}"
        with explained(RuntimeError, ModelUnavailableError, problem, remedy="fetch it again"):
            return runtime.SpeakerEmbeddingExtractor(config)


def _mended(model: bytes) -> bytes:
    """The same model, computed as it was trained by any version of ONNX Runtime.

    PyTorch exports its means over 100 frames with `count_include_pad`. The versions that sherpa-onnx has brought divide
    the last, shorter window by 100 then, which turns the embedding of 1.5 s by 14 degrees. There is no padding, so that
    nothing else goes by that attribute.
    """
    return model.replace(b"count_include_pad\x18\x01", b"count_include_pad\x18\x00")
