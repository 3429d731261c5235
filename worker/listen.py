"""One chunk through the model: the window from the spool, the answer in the recording's time."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import soundfile

from core.errors import DropscribeError, SpoolError
from core.types import EngineInfo, RawTranscript, Span
from models.base import SAMPLE_RATE, Audio, TranscribeRequest
from store.chunks import ChunkWork
from worker import gate
from worker.context import WorkerContext
from worker.lease import Held


class SpoolGoneError(DropscribeError):
    """The decoded audio is not in the spool any more; the job has to be prepared again."""


@dataclass(frozen=True, slots=True)
class Heard:
    """A model's answer in the recording's time, and the reasons not to trust it."""

    result: RawTranscript
    engine: EngineInfo
    reasons: tuple[str, ...]


def read_window(path: Path, start: float, end: float) -> Audio:
    """Samples of the spool file from `start` to `end` seconds: float32, shape (samples,), 24 kHz.

    Raises SpoolGoneError when the file is not there, SpoolError when it cannot be read.
    """
    if not path.exists():
        raise SpoolGoneError(f"{path} is not in the spool; is DROPSCRIBE_SPOOL the same on every host?")
    try:
        with soundfile.SoundFile(path) as file:
            first = round(start * SAMPLE_RATE)
            file.seek(min(first, file.frames))
            samples: Audio = file.read(round(end * SAMPLE_RATE) - first, dtype=np.float32)
            return samples
    except (soundfile.LibsndfileError, OSError) as error:
        raise SpoolError(f"cannot read {path}: {error}; remove it, and the job is prepared again") from error


def listen(context: WorkerContext, work: ChunkWork, held: Held) -> Heard:
    """Let the resident model read the chunk. Raises ModelError, or what `Held.check` raises."""
    if context.model is None:
        raise TypeError("a worker without a model got a chunk to read")
    audio = read_window(context.spooled(work.claim.job_id), work.start, work.end)

    def progress(seconds: float) -> None:
        held.progress = min(max(held.progress, seconds), work.end - work.start)

    began = time.monotonic()
    request = TranscribeRequest(context=work.context, cancel=held.stop, progress=progress)
    result = context.model.transcribe(audio, request)
    held.check()
    busy = time.monotonic() - began
    context.tally.add(work.end - work.start, busy)
    speech = [Span(start - work.start, end - work.start) for start, end in work.speech]
    reasons = gate.check(result, work.end - work.start, speech)
    return Heard(_absolute(result, work.start, busy), context.model.info, reasons)


def _absolute(result: RawTranscript, offset: float, busy: float) -> RawTranscript:
    moved = tuple(replace(s, start=s.start + offset, end=s.end + offset) for s in result.segments)
    return replace(result, segments=moved, timings=result.timings | {"model": busy})
