"""From sound to embeddings: recordings of many threads side by side, piece by piece, in bounded memory."""

from __future__ import annotations

import logging
import math
import threading
from collections import deque
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from dropscribe.core.errors import ModelError
from dropscribe.models import engine_errors
from dropscribe.models.base import Audio
from dropscribe.models.vibevoice.encoder_step import EncoderStep
from dropscribe.models.vibevoice.generation import CancelledError
from dropscribe.models.vibevoice.memory_plan import PIECES

log = logging.getLogger(__name__)

MIN_PIECE = PIECES[-1]  # s; below, the weights take more memory than the piece


@dataclass(eq=False)
class _Recording:
    """One on its way: `found` are the embeddings of its first `done` tokens, of `tokens` in all."""

    audio: Audio
    tokens: int
    cancel: threading.Event
    found: list[Tensor] = field(default_factory=list)
    done: int = 0
    error: ModelError | CancelledError | None = None

    @property
    def is_over(self) -> bool:
        """Is there nothing more to do for this audio?"""
        return self.done >= self.tokens or self.error is not None

    def start_over(self) -> None:
        """Forget what was encoded so far."""
        self.found, self.done = [], 0

    def take(self, embeddings: Tensor) -> None:
        """Take in the embeddings of the next piece."""
        self.found.append(embeddings[: self.tokens - self.done])
        self.done += len(self.found[-1])


class Encoder:
    """As many recordings at once as there are rows, whatever the number of threads; others wait for a row.

    Whichever of the waiting threads has the lock computes the next piece of all of them. States go from piece to piece,
    so the embeddings do not depend on where the cuts are. The published model adds noise to them; here it is left out,
    so that the same audio has the same transcript.
    """

    def __init__(self, model: Any, piece_seconds: float = PIECES[0], rows: int = 1) -> None:
        """`model` is a VibeVoiceAsrForConditionalGeneration."""
        self._model = model
        self.hop = int(model.config.acoustic_tokenizer_encoder_config.hop_length)
        self.rows, self.piece_seconds = rows, piece_seconds  # less than that after memory ran out
        self._step: EncoderStep | None = None
        self._lock = threading.Lock()
        self._waiting: deque[_Recording] = deque()
        self._running: list[_Recording] = []  # by their rows

    def count(self, audio: Audio) -> int:
        """Tokens that so much audio of shape (samples,) becomes."""
        return math.ceil(audio.size / self.hop)

    def encode(self, audio: Audio, cancel: threading.Event) -> Tensor:
        """Embeddings (tokens, hidden) of float32 samples (samples,) at 24 kHz, taken as loud as they are.

        `cancel` is looked at before each piece. Raises CancelledError, ModelError or ModelFatalError.
        """
        recording = _Recording(audio, self.count(audio), cancel)
        self._waiting.append(recording)
        while not recording.is_over:
            with self._lock:
                if not recording.is_over:
                    self._next_pieces()
        if recording.error:
            raise recording.error
        found = torch.cat(recording.found)
        for piece in recording.found:
            if piece.is_cuda:  # computed on another stream, which must not take its memory before it is read here
                piece.record_stream(torch.cuda.current_stream(piece.device))
        return found

    def _next_pieces(self) -> None:
        """One piece of every recording that has a row."""
        try:
            step = self._step = self._step or EncoderStep(self._model, self.rows, self.piece_seconds)
            self._leave(step)
            self._join(step)
            if self._running:
                length = step.piece_tokens * self.hop
                pieces = [one.audio[one.done * self.hop :][:length] for one in self._running]
                for recording, embeddings in zip(self._running, step.run(pieces), strict=True):
                    recording.take(embeddings)
                self._leave(step)
        except Exception as error:  # noqa: BLE001 (errors of PyTorch's compiler are not RuntimeErrors; nobody is left behind)
            self._recover(error)

    def _join(self, step: EncoderStep) -> None:
        """Begin with what waits, as far as there is room."""
        while self._waiting and len(self._running) < self.rows:
            step.begin(len(self._running))
            self._running.append(self._waiting.popleft())

    def _leave(self, step: EncoderStep) -> None:
        """Rows of those that are over go to the last ones, so that the first rows are those in use."""
        for recording in (*self._running, *self._waiting):
            if recording.cancel.is_set() and not recording.is_over:
                recording.error = CancelledError()
        for recording in [one for one in self._waiting if one.is_over]:
            self._waiting.remove(recording)  # in place: other threads append meanwhile
        for row in reversed(range(len(self._running))):
            if self._running[row].is_over:
                last = len(self._running) - 1
                step.move(last, row)
                self._running[row] = self._running[last]
                self._running.pop()

    def _recover(self, error: Exception) -> None:
        """After out-of-memory, begin again with less at once; after anything else, fail who was running."""
        if engine_errors.is_out_of_memory(error) and (self.rows > 1 or self.piece_seconds > MIN_PIECE):
            error.with_traceback(None)  # its frames hold memory of the step
            self._step = None
            if self.rows > 1:
                self.rows //= 2
            else:
                self.piece_seconds = max(MIN_PIECE, self.piece_seconds / 2)
            log.warning("out of memory; now %d recordings, pieces of %.0f s", self.rows, self.piece_seconds)
            for recording in reversed(self._running):
                recording.start_over()
                self._waiting.appendleft(recording)
            torch.cuda.empty_cache()
        else:
            for recording in self._running or self._waiting:
                recording.error = engine_errors.translate(error)
        self._running = []
