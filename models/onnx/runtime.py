"""The graphs of an export in ONNX Runtime: from sound to embeddings, from a prompt to tokens. No torch."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path

import numpy as np
import onnxruntime
from onnxruntime import InferenceSession, OrtValue
from onnxruntime.capi import onnxruntime_pybind11_state as faults

from dropscribe.core.audio import SAMPLE_RATE
from dropscribe.core.error_translation import first_line, translated
from dropscribe.core.errors import ModelError, ModelMemoryError, ModelUnavailableError
from dropscribe.models import engine_errors
from dropscribe.models.base import Audio
from dropscribe.models.gpu.cuda_support import GPU_PROVIDER
from dropscribe.models.onnx.layout import DECODER, ENCODER, Manifest
from dropscribe.models.onnx.memory_budget import PIECE_SECONDS, PREFILL_TOKENS
from dropscribe.models.vibevoice.base import Numbers
from dropscribe.models.vibevoice.generation import CancelledError, Decoding, Generation, Stop, TokenSink

CPU_PROVIDER = "CPUExecutionProvider"
NUMPY = {"tensor(float)": np.float32, "tensor(float16)": np.float16}
ERRORS = (
    faults.Fail,
    faults.RuntimeException,
    faults.InvalidArgument,
    faults.NotImplemented,
    faults.InvalidGraph,
    faults.NoSuchFile,
    faults.InvalidProtobuf,
    faults.EPFail,
)


def _open(path: Path, gpu_memory: int | None) -> InferenceSession:
    """A session on the GPU, of which its arena takes at most so many bytes, or on the CPU with None."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors; its warnings are about its own optimizations
    providers = [] if gpu_memory is None else [(GPU_PROVIDER, {"gpu_mem_limit": gpu_memory})]
    try:
        return InferenceSession(path, options, providers=[*providers, CPU_PROVIDER])
    except ERRORS as error:
        raise ModelUnavailableError(
            f"ONNX Runtime cannot load {path}: {first_line(error)}", remedy="export it again"
        ) from error


def _failed(error: Exception) -> ModelError:
    """The error of ours for one of ONNX Runtime."""
    kind = ModelMemoryError if engine_errors.is_out_of_memory(error) else ModelError
    return kind(f"ONNX Runtime failed: {first_line(error)}", remedy="lower DROPSCRIBE_CHUNK_SECONDS if memory ran out")


class SpeechEncoder:
    """Embeddings of audio, which is read in pieces; the state of the convolutions goes from one to the next."""

    def __init__(
        self, folder: Path, manifest: Manifest, piece_seconds: float = PIECE_SECONDS, gpu_memory: int | None = None
    ) -> None:
        """On the GPU, with at most so many bytes, or on the CPU. Raises ModelUnavailableError."""
        self._session = _open(folder / ENCODER, gpu_memory)
        self._hop = manifest.hop
        self._piece = max(1, int(piece_seconds * SAMPLE_RATE) // self._hop) * self._hop  # a cut tears no token
        state = self._session.get_inputs()[1]
        self._start = np.zeros(state.shape, dtype=NUMPY[state.type])

    def encode(self, audio: Audio, cancel: threading.Event) -> Numbers:
        """Embeddings, float32 of shape (tokens, hidden), of audio, float32 of shape (samples,) at 24 kHz.

        It is taken as loud as it is. `cancel` is looked at before each piece. Raises CancelledError and ModelError.
        """
        padded = np.zeros(math.ceil(audio.size / self._hop) * self._hop, dtype=np.float32)
        padded[: audio.size] = audio
        state, found = self._start, []
        for begin in range(0, padded.size, self._piece):
            if cancel.is_set():
                raise CancelledError
            piece = padded[None, begin : begin + self._piece]
            with translated(ERRORS, into=_failed):
                embeddings, state = self._session.run(None, {"audio": piece, "state": state})
            found.append(embeddings)
        return np.concatenate(found)


@dataclass(slots=True)
class Cache:
    """Keys and values of all layers, for so many tokens; they stay where they were computed."""

    values: list[OrtValue]
    length: int = 0


class Decoder:
    """The language model; each answer has a cache of its own, so that many threads may use it."""

    def __init__(self, folder: Path, gpu_memory: int | None = None) -> None:
        """On the GPU, with at most so many bytes, or on the CPU. Raises ModelUnavailableError."""
        self._session = _open(folder / DECODER, gpu_memory)
        self._device = "cuda" if self._session.get_providers()[0] == GPU_PROVIDER else "cpu"
        self._past = [port for port in self._session.get_inputs() if port.name.startswith("past.")]
        self._outputs = [*map(attrgetter("name"), self._session.get_outputs())]

    def empty(self) -> Cache:
        """The cache before the first token."""
        heads, size = self._past[0].shape[1], self._past[0].shape[3]
        nothing = np.zeros((1, heads, 0, size), dtype=NUMPY[self._past[0].type])
        return Cache([OrtValue.ortvalue_from_numpy(nothing, self._device) for _ in self._past])

    def read(self, ids: Sequence[int], speech: OrtValue, cache: Cache, keep: Sequence[int]) -> Numbers:
        """Logits after those of the tokens that `keep` names by index: float32 of shape (kept, vocabulary).

        The tokens join the cache. Ids past the vocabulary are rows of `speech`. Raises ModelError.
        """
        after = cache.length + len(ids)
        binding = self._session.io_binding()
        integers = {
            "input_ids": np.array([ids], dtype=np.int64),
            "attention_mask": np.ones((1, after), dtype=np.int64),
            "position_ids": np.arange(cache.length, after, dtype=np.int64)[None],
            "keep": np.array(keep, dtype=np.int64),
        }
        for name, values in integers.items():
            binding.bind_cpu_input(name, values)
        binding.bind_ortvalue_input("speech", speech)
        for port, value in zip(self._past, cache.values, strict=True):
            binding.bind_ortvalue_input(port.name, value)
        for name in self._outputs:
            binding.bind_output(name, "cpu" if name == "logits" else self._device)
        with translated(ERRORS, into=_failed):
            self._session.run_with_iobinding(binding)
        logits, *cache.values = binding.get_outputs()
        cache.length = after
        found: Numbers = logits.numpy()[0]
        return found

    def place(self, embeddings: Numbers) -> OrtValue:
        """Embeddings, float32 of shape (tokens, hidden), where they are needed."""
        return OrtValue.ortvalue_from_numpy(embeddings, self._device)

    def score(self, prompt: Sequence[int], embeddings: Numbers, answer: Sequence[int]) -> Numbers:
        """Logits before each token of an answer that is given, float32 of shape (answer, vocabulary).

        Raises ModelError.
        """
        cache, speech = self.empty(), self.place(embeddings)
        found = [self._prefill(prompt, speech, cache, threading.Event())[None]]
        for begin in range(0, len(answer) - 1, PREFILL_TOKENS):
            piece = answer[begin : min(begin + PREFILL_TOKENS, len(answer) - 1)]
            found.append(self.read(piece, speech, cache, range(len(piece))))
        return np.concatenate(found)

    def _prefill(self, prompt: Sequence[int], speech: OrtValue, cache: Cache, cancel: threading.Event) -> Numbers:
        """Logits (vocabulary) after a prompt, which is read in pieces. Raises CancelledError."""
        logits = np.empty((0, 0), dtype=np.float32)
        for begin in range(0, len(prompt), PREFILL_TOKENS):
            if cancel.is_set():
                raise CancelledError
            piece = prompt[begin : begin + PREFILL_TOKENS]
            logits = self.read(piece, speech, cache, [len(piece) - 1])
        found: Numbers = logits[-1]
        return found

    def generate(
        self, prompt: Sequence[int], embeddings: Numbers, budget: int, ear: TokenSink, decoding: Decoding
    ) -> Generation:
        """Continue a prompt by at most `budget` tokens, which `ear` hears one by one. Raises ModelError."""
        began = time.monotonic()
        cache, speech, choice = self.empty(), self.place(embeddings), Choice(decoding)
        try:
            logits = self._prefill(prompt, speech, cache, ear.cancel)
        except CancelledError:
            return Generation((), Stop.CANCELLED)
        first = time.monotonic()
        while True:
            ear.take([*ear.tokens, choice(logits, ear.tokens)])
            if ear.is_over(budget, decoding.eos):
                break
            [logits] = self.read(ear.tokens[-1:], speech, cache, [0])
        reason = ear.reason(decoding.eos)
        return Generation(tuple(ear.tokens), reason, first - began, time.monotonic() - first)


class Choice:
    """The next token: the likeliest, or drawn by chance, with words of the answer so far made less likely."""

    def __init__(self, decoding: Decoding) -> None:
        """One for each answer."""
        self._decoding = decoding
        self._chance = np.random.default_rng()

    def __call__(self, logits: Numbers, answer: Sequence[int]) -> int:
        """An id, given logits (vocabulary) and the tokens so far."""
        scores = self._penalized(logits, answer)
        if not self._decoding.temperature:
            return int(scores.argmax())
        likelihood = np.exp((scores - scores.max()).astype(np.float64) / self._decoding.temperature)
        return int(self._chance.choice(scores.size, p=likelihood / likelihood.sum()))

    def _penalized(self, logits: Numbers, answer: Sequence[int]) -> Numbers:
        """Logits in which what the answer has already is less likely, as transformers does it."""
        penalty = self._decoding.repetition_penalty
        if penalty == 1.0 or not answer:
            return logits
        said = np.unique(answer)
        scores = logits.copy()
        scores[said] = np.where(logits[said] < 0, logits[said] * penalty, logits[said] / penalty)
        return scores
