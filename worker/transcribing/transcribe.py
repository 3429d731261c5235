"""One chunk through the model: the window from the spool, the answer in the recording's time, and its check results."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from itertools import repeat
from operator import attrgetter

from dropscribe.core import engines
from dropscribe.core.settings import Settings
from dropscribe.core.types import Chunk, EngineInfo, RawTranscript, Segment, Span
from dropscribe.models.base import TranscribeRequest
from dropscribe.store.chunk_work import ChunkWork
from dropscribe.worker import chunking
from dropscribe.worker.runtime import spooled_audio
from dropscribe.worker.runtime.context import WorkerContext
from dropscribe.worker.runtime.lease import Held
from dropscribe.worker.transcribing import quality_checks


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


def listen(context: WorkerContext, work: ChunkWork, held: Held) -> CheckedHypothesis:
    """Let the resident model read the chunk. Raises ModelError, SettingsError, or what `Held.check` raises."""
    if context.model is None:
        raise TypeError("a worker without a model got a chunk to transcribe")
    window = work.chunk
    audio = spooled_audio.read(context.spooled(work.claim.job_id), work.span, window.channel)

    def progress(seconds: float) -> None:
        """Note how far the model is, in seconds of the chunk."""
        held.progress = min(max(held.progress, seconds), window.duration)

    began, settings = time.monotonic(), context.settings.for_job(work.overrides)
    engines.require_task(context.model.info.engine, settings.task)
    request = TranscribeRequest(
        context=work.context,
        language=settings.language,
        task=settings.task,
        cancel=held.stop,
        progress=progress,
    )
    result = context.model.transcribe(audio, request)
    held.check()
    busy = time.monotonic() - began
    context.tally.read(window.duration, busy, prompt=result.prompt_tokens, output=result.output_tokens)
    heard = CheckedHypothesis(replace(result, timings=result.timings | {"model": busy}), context.model.info)
    return _judged(heard, work, limits(context.settings))


def limits(settings: Settings) -> quality_checks.CheckLimits:
    """The thresholds in force."""
    return quality_checks.CheckLimits(
        coverage=settings.min_speech_coverage,
        words_per_second=settings.max_words_per_second,
        slack=settings.segment_slack_seconds,
        confidence=settings.min_confidence,
    )


def _judged(heard: CheckedHypothesis, work: ChunkWork, bounds: quality_checks.CheckLimits) -> CheckedHypothesis:
    """With its check results, and in the recording's time."""
    offset = work.chunk.start
    speech = map(Span.later, work.speech, repeat(-offset))
    verdict = quality_checks.check(heard.result, work.chunk.duration, speech, bounds)
    segments = tuple(map(Segment.later, heard.result.segments, repeat(offset)))
    missing = tuple(map(Span.later, verdict.missing, repeat(offset)))
    return replace(
        heard,
        result=replace(heard.result, segments=segments),
        reasons=tuple(map(str, verdict.failures)),
        rules=tuple(dict.fromkeys(map(attrgetter("rule"), verdict.failures))),
        missing=() if verdict.passed else missing,
    )


def halves(settings: Settings, work: ChunkWork, heard: CheckedHypothesis) -> tuple[Chunk, Chunk] | None:
    """What to read instead of an answer that failed its checks; None where it is good, or halving can do no more."""
    if not set(heard.rules) - quality_checks.KEPT_WHOLE or work.depth >= settings.max_halvings:
        return None
    return chunking.halve(
        work.chunk, work.speech, overlap=settings.overlap_seconds, smallest=settings.min_chunk_seconds
    )
