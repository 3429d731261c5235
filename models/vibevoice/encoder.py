"""From sound to embeddings: the two audio encoders and the projector, piece by piece in bounded memory."""

from __future__ import annotations

import logging
import math
import threading
from typing import Any

import torch
from torch import Tensor

from dropscribe.core.audio import SAMPLE_RATE
from dropscribe.models import engine_errors
from dropscribe.models.base import Audio
from dropscribe.models.vibevoice.generation import CancelledError

log = logging.getLogger(__name__)

MIN_PIECE = 5.0  # s; below, the weights take more memory than the piece


class Encoder:
    """One recording at a time, whatever the number of threads: memory is planned for one piece.

    The convolutions carry their state from piece to piece, so the embeddings do not depend on where the cuts are.
    The published model adds noise to them; here it is left out, so that the same audio has the same transcript.
    """

    def __init__(self, model: Any, piece_seconds: float) -> None:
        """`model` is a VibeVoiceAsrForConditionalGeneration."""
        self._model = model
        self.hop = int(model.config.acoustic_tokenizer_encoder_config.hop_length)
        self._lock = threading.Lock()
        self._set_piece(piece_seconds)

    def count(self, audio: Audio) -> int:
        """Tokens that so much audio of shape (samples,) becomes."""
        return math.ceil(audio.size / self.hop)

    def encode(self, audio: Audio, cancel: threading.Event) -> Tensor:
        """Embeddings (tokens, hidden) of float32 samples (samples,) at 24 kHz, taken as loud as they are.

        `cancel` is looked at before each piece. Raises CancelledError, ModelError or ModelFatalError.
        """

        def look(*_: object) -> None:
            if cancel.is_set():
                raise CancelledError

        with self._lock:
            hook = self._model.model.acoustic_tokenizer_encoder.register_forward_pre_hook(look)
            try:
                return self._encode(audio)
            except RuntimeError as error:  # PyTorch's; GPU errors have no other class in common
                raise engine_errors.translate(error) from error
            finally:
                hook.remove()

    def _encode(self, audio: Audio) -> Tensor:
        while True:
            try:
                return self._features(audio)
            except torch.OutOfMemoryError:
                if self._piece_seconds <= MIN_PIECE:
                    raise
            self._set_piece(self._piece_seconds / 2)
            log.warning("out of GPU memory; audio is read in pieces of %.0f s from now on", self._piece_seconds)
            torch.cuda.empty_cache()

    @torch.no_grad()
    def _features(self, audio: Audio) -> Tensor:
        padded = torch.zeros(1, 1, self.count(audio) * self.hop)
        padded[0, 0, : audio.size] = torch.from_numpy(audio)
        samples = padded.to(device=self._model.device, dtype=self._model.dtype)
        features: Tensor = self._model.get_audio_features(samples, sample=False).pooler_output
        return features[0]

    def _set_piece(self, seconds: float) -> None:
        self._piece_seconds = max(seconds, MIN_PIECE)
        hops = int(self._piece_seconds * SAMPLE_RATE) // self.hop  # a cut within a token would tear it
        self._model.config.acoustic_tokenizer_chunk_size = hops * self.hop
