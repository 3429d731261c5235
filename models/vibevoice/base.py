"""VibeVoice-ASR in memory, whatever computes it: audio in, who said what and when out. No torch."""

from __future__ import annotations

import logging
import math
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dropscribe.core.audio import SAMPLE_RATE
from dropscribe.core.error_translation import translated
from dropscribe.core.errors import ModelDoesNotFitError, ModelError, ModelMemoryError
from dropscribe.core.types import EngineInfo, FinishReason, RawTranscript
from dropscribe.models.base import Audio, TranscribeRequest
from dropscribe.models.vibevoice import memory_plan
from dropscribe.models.vibevoice.generation import CancelledError, Generation, TokenListener
from dropscribe.models.vibevoice.output import StreamedOutput
from dropscribe.models.vibevoice.prompt import Wording

if TYPE_CHECKING:
    from tokenizers import Tokenizer

log = logging.getLogger(__name__)

WARM_UP_SECONDS = 2.0  # of silence: every kernel runs once
WARM_UP_TOKENS = 8
Numbers = NDArray[np.float32]
CANCELLED = RawTranscript((), FinishReason.CANCELLED)


class VibeVoiceBase(ABC):
    """A Transcriber; those that inherit from it encode the audio and continue the prompt."""

    def __init__(
        self,
        info: EngineInfo,
        tokenizer: Tokenizer,
        wording: Wording,
        *,
        hop: int,
        most_audio: int,
        most_tokens: int,
    ) -> None:
        """`hop` samples become a token; a chunk has at most `most_audio` of those, its answer `most_tokens`."""
        self.info = info
        self.tokenizer = tokenizer
        self._wording = wording
        self._hop = hop
        self._most_audio = most_audio
        self._most_tokens = most_tokens

    @abstractmethod
    def encode(self, audio: Audio, cancel: threading.Event) -> Any:
        """Embeddings of shape (tokens, hidden), where they are needed; `audio` is as `Transcriber.transcribe` takes it.

        Raises CancelledError, ModelError, ModelFatalError.
        """

    @abstractmethod
    def embed(self, words: Sequence[int], audio: Any) -> Any:
        """The prompt of `words` with the embeddings of the audio in their place; its `len()` are its tokens.

        Raises ModelError and ModelFatalError.
        """

    @abstractmethod
    def proceed(self, prompt: Any, budget: int, listen: TokenListener, cancel: threading.Event) -> Generation:
        """The answer to a prompt of `embed`. Raises ModelError and ModelFatalError."""

    @abstractmethod
    def close(self) -> None:
        """Stop serving and give the memory back."""

    @abstractmethod
    def features(self, audio: Audio) -> Numbers:
        """Embeddings, float32 of shape (tokens, hidden), for comparing them."""

    @abstractmethod
    def score(self, words: Sequence[int], features: Numbers, answer: Sequence[int]) -> Numbers:
        """Logits, float32 of shape (answer, vocabulary), before each token of an answer that is given."""

    def transcribe(self, audio: Audio, request: TranscribeRequest) -> RawTranscript:
        """See `Transcriber`. Raises SettingsError when the context is too long."""
        if not audio.size:
            return RawTranscript(())
        seconds = audio.size / SAMPLE_RATE
        if math.ceil(audio.size / self._hop) > self._most_audio:
            raise ModelError(
                f"a chunk of {seconds:.1f} s came to a model that takes at most {self.info.longest_chunk:g} s on this "
                "machine",
                remedy="set DROPSCRIBE_CHUNK_SECONDS to that",
            )
        budget = min(self._most_tokens, memory_plan.answer_budget(seconds))
        answer = StreamedOutput(self.tokenizer, lambda end: request.progress(min(end, seconds)))
        return self._transcribe(audio, request, answer, budget)

    def warm_up(self) -> None:
        """Read a moment of silence, so that the first recording does not pay for what is set up on first use.

        Raises ModelDoesNotFitError if memory runs out, and ModelError.
        """
        began = time.monotonic()
        silence = np.zeros(round(WARM_UP_SECONDS * SAMPLE_RATE), dtype=np.float32)
        answer = StreamedOutput(self.tokenizer, lambda _: None)
        with translated(ModelMemoryError, into=lambda error: ModelDoesNotFitError(error.problem, remedy=error.remedy)):
            self._transcribe(silence, TranscribeRequest(), answer, WARM_UP_TOKENS)
        log.info("warmed up in %.1f s", time.monotonic() - began)

    def prompt(self, audio: Audio, context: str) -> list[int]:
        """The tokens of the request, with a single one where the audio belongs."""
        return self._wording.tokens(self.tokenizer, audio.size / SAMPLE_RATE, context)

    def _transcribe(
        self, audio: Audio, request: TranscribeRequest, answer: StreamedOutput, budget: int
    ) -> RawTranscript:
        """Encode, then write the answer, listened to while it is written."""
        words = self.prompt(audio, request.context)
        began = time.monotonic()
        try:
            # The prompt alone is kept: it holds a copy of the embeddings, as large as they are.
            prompt = self.embed(words, self.encode(audio, request.cancel))
        except CancelledError:
            return CANCELLED
        encoded = time.monotonic()
        generation = self.proceed(prompt, budget, answer.listen, request.cancel)
        segments, ended = answer.end(generation.stop)
        timings = {"encoder": encoded - began, "prefill": generation.prefill, "decode": generation.decode}
        return RawTranscript(segments, ended, len(prompt), len(generation.tokens), budget=budget, timings=timings)
