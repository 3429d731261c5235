"""What every speech model has to offer, and what it is given. No torch, so that anyone may import it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from dropscribe.core.types import EngineInfo, RawTranscript, SpeechTask

Audio = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class TranscribeRequest:
    """One chunk's circumstances.

    `context` holds names and topics; `task` is whether to transcribe or to translate, and no engine gets one that it
    cannot do. `language` is the code of what is spoken, empty where the model is to find out; models that take
    no language pass it over. The model polls `cancel` at least once a second and then returns what it has with
    `FinishReason.CANCELLED`. `progress` is called with the seconds of the chunk that are read so far.
    """

    context: str = ""
    language: str = ""
    task: SpeechTask = SpeechTask.TRANSCRIBE
    cancel: threading.Event = field(default_factory=threading.Event)
    progress: Callable[[float], None] = lambda _seconds: None


class Transcriber(Protocol):
    """A resident model. `transcribe` may be called from `info.slots` threads at once."""

    @property
    def info(self) -> EngineInfo:
        """What this model is; constant after loading."""
        ...

    def transcribe(self, audio: Audio, request: TranscribeRequest) -> RawTranscript:
        """Read one chunk.

        `audio` is float32 of shape (samples,), mono, 24 kHz, in [-1, 1]. Times in the answer count from its
        first sample. Raises ModelError when this chunk failed and ModelFatalError when the process must end.
        """
        ...

    def close(self) -> None:
        """Give back memory and threads; no call may follow."""
        ...


class VoiceEncoder(Protocol):
    """A speaker encoder: what makes embeddings of voices. Those of encoders with other names are not to be compared."""

    @property
    def name(self) -> str:
        """What transcripts call it."""

    def embed(self, audio: NDArray[np.float32]) -> NDArray[np.float32]:
        """The embedding of who speaks, of length 1, in audio of shape (samples,): mono, 16 kHz, in [-1, 1]."""
