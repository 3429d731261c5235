"""One chunk through the model: the window from the spool, the answer in the recording's time, and its verdict."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import soundfile

from dropscribe.core.errors import DropscribeError, SpoolError
from dropscribe.core.settings import Settings
from dropscribe.core.types import Chunk, EngineInfo, RawTranscript, Span
from dropscribe.models.base import SAMPLE_RATE, Audio, TranscribeRequest
from dropscribe.store.chunks import ChunkWork
from dropscribe.worker import chunking
from dropscribe.worker.merging import lineup
from dropscribe.worker.runtime.context import WorkerContext
from dropscribe.worker.runtime.lease import Held
from dropscribe.worker.transcribing import quality_checks


class SpoolGoneError(DropscribeError):
    """The decoded audio is not in the spool any more; the job has to be prepared again."""


@dataclass(frozen=True, slots=True)
class CheckedHypothesis:
    """A model's answer in the recording's time, the reasons not to trust it, and the speech that nothing covers.

    `rules` are the names of the checks that gave the reasons.
    """

    result: RawTranscript
    engine: EngineInfo
    reasons: tuple[str, ...] = ()
    rules: tuple[str, ...] = ()
    missing: tuple[Span, ...] = ()


def read_spans(path: Path, spans: Sequence[Span], at: Sequence[float], seconds: float) -> Audio:
    """Stretches of the spool file, each placed `at` its moment in `seconds` of silence.

    Returns float32 of shape (samples,), 24 kHz. Raises SpoolGoneError when the file is not there, SpoolError when it
    cannot be read.
    """
    if not path.exists():
        raise SpoolGoneError(f"{path} is not in the spool; is DROPSCRIBE_SPOOL the same on every host?")
    audio: Audio = np.zeros(round(seconds * SAMPLE_RATE), dtype=np.float32)
    try:
        with soundfile.SoundFile(path) as file:
            for span, moment in zip(spans, at, strict=True):
                first, place = round(span.start * SAMPLE_RATE), round(moment * SAMPLE_RATE)
                file.seek(min(first, file.frames))
                file.read(out=audio[place : place + round(span.end * SAMPLE_RATE) - first])
    except (soundfile.LibsndfileError, OSError) as error:
        raise SpoolError(f"cannot read {path}: {error}; remove it, and the job is prepared again") from error
    return audio


def listen(context: WorkerContext, work: ChunkWork, held: Held) -> CheckedHypothesis:
    """Let the resident model read the chunk. Raises ModelError, or what `Held.check` raises."""
    if context.model is None:
        raise TypeError("a worker without a model got a chunk to read")
    window, spooled = work.chunk, context.spooled(work.claim.job_id)
    if work.clips:
        clips = lineup.from_json(work.clips).clips
        audio = read_spans(spooled, [c.source for c in clips], [c.at.start for c in clips], window.duration)
    else:
        audio = read_spans(spooled, [Span(window.start, window.end)], [0.0], window.duration)

    def progress(seconds: float) -> None:
        held.progress = min(max(held.progress, seconds), window.duration)

    began = time.monotonic()
    # A line-up's sentences are torn out of the talk: the names and topics would only tempt the model.
    request = TranscribeRequest(
        context="" if work.clips else work.context,
        language=context.settings.for_job(work.overrides).language,
        cancel=held.stop,
        progress=progress,
    )
    result = context.model.transcribe(audio, request)
    held.check()
    busy = time.monotonic() - began
    context.tally.read(window.duration, busy, prompt=result.prompt_tokens, output=result.output_tokens)
    heard = CheckedHypothesis(replace(result, timings=result.timings | {"model": busy}), context.model.info)
    return heard if work.clips else _judged(heard, work, limits(context.settings))


def limits(settings: Settings) -> quality_checks.CheckLimits:
    """The thresholds in force."""
    return quality_checks.CheckLimits(
        coverage=settings.min_speech_coverage,
        words_per_second=settings.max_words_per_second,
        slack=settings.segment_slack_seconds,
    )


def _judged(heard: CheckedHypothesis, work: ChunkWork, bounds: quality_checks.CheckLimits) -> CheckedHypothesis:
    """With its verdict, and in the recording's time."""
    offset = work.chunk.start
    verdict = quality_checks.check(
        heard.result, work.chunk.duration, [_moved(span, -offset) for span in work.speech], bounds
    )
    segments = tuple(segment.later(offset) for segment in heard.result.segments)
    return replace(
        heard,
        result=replace(heard.result, segments=segments),
        reasons=tuple(str(failure) for failure in verdict.failures),
        rules=tuple(dict.fromkeys(failure.rule for failure in verdict.failures)),
        missing=() if verdict.passed else tuple(_moved(span, offset) for span in verdict.missing),
    )


def _moved(span: Span, seconds: float) -> Span:
    return Span(span.start + seconds, span.end + seconds)


def halves(settings: Settings, work: ChunkWork, heard: CheckedHypothesis) -> tuple[Chunk, Chunk] | None:
    """What to read instead of an answer that failed its checks; None where it is good, or cannot be halved again."""
    if not heard.reasons or work.depth >= settings.max_halvings:
        return None
    return chunking.halve(
        work.chunk, work.speech, overlap=settings.overlap_seconds, smallest=settings.min_chunk_seconds
    )
