"""Pure: a transcript as OpenAI's API answers it, whole or as events of a stream."""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from enum import StrEnum
from functools import reduce
from os.path import commonprefix
from typing import Any

from dropscribe.core.types import Segment, SpeechTask, Transcript
from dropscribe.serve.protocols.spoken_languages import name_of
from dropscribe.worker import outputs
from dropscribe.worker.outputs import text as wording

LETTERS = 26
WORD, SEGMENT = "word", "segment"


class AnswerFormat(StrEnum):
    """What `response_format` may be."""

    JSON = "json"
    TEXT = "text"
    SRT = "srt"
    VTT = "vtt"
    VERBOSE = "verbose_json"
    DIARIZED = "diarized_json"


def running(segments: Iterable[Segment]) -> str:
    """What was spoken, as one text."""
    said = [wording.clean(segment.text) for segment in segments if segment.is_speech]
    return reduce(wording.join, filter(None, said)) if any(said) else ""


def usage(transcript: Transcript) -> dict[str, Any]:
    """What is to be paid for, as OpenAI tells it: seconds of the recording."""
    return {"type": "duration", "seconds": math.ceil(transcript.source.duration)}


def brief(transcript: Transcript) -> dict[str, Any]:
    """The text alone."""
    return {"text": running(transcript.segments), "usage": usage(transcript)}


def verbose(transcript: Transcript, task: SpeechTask, details: Collection[str]) -> dict[str, Any]:
    """With language, length, and as `details` ask for it `segment`s and `word`s with their times."""
    told = {
        "task": task.value,
        "language": name_of(transcript.language),
        "duration": transcript.source.duration,
        **brief(transcript),
    }
    if SEGMENT in details:
        told["segments"] = [_segment(number, segment) for number, segment in enumerate(transcript.segments)]
    if WORD in details:
        words = (word for segment in transcript.segments for word in segment.words)
        told["words"] = [{"word": word.text, "start": word.start, "end": word.end} for word in words]
    return told


def _segment(number: int, segment: Segment) -> dict[str, Any]:
    """One segment. Figures of OpenAI's decoder that nobody measured here are 0; its tokens are not kept."""
    text = segment.text.encode()
    return {
        "id": number,
        "seek": 0,
        "start": segment.start,
        "end": segment.end,
        "text": segment.text,
        "tokens": [],
        "temperature": 0.0,
        "avg_logprob": math.log(segment.confidence) if segment.confidence else 0.0,
        "compression_ratio": len(text) / len(zlib.compress(text)),
        "no_speech_prob": 0.0,
    }


def diarized(transcript: Transcript) -> dict[str, Any]:
    """With who said what: people by their names, others by letters."""
    return {
        "task": SpeechTask.TRANSCRIBE.value,
        "duration": transcript.source.duration,
        **brief(transcript),
        "segments": turns(transcript),
    }


def turns(transcript: Transcript) -> list[dict[str, Any]]:
    """Each segment with its speaker, as an answer and a stream have it."""
    called = wording.names(transcript)
    return [
        {
            "type": "transcript.text.segment",
            "id": f"seg_{number}",
            "start": segment.start,
            "end": segment.end,
            "text": segment.text,
            "speaker": called.get(segment.speaker or 0) or letters(segment.speaker or 0),
        }
        for number, segment in enumerate(transcript.segments)
        if segment.is_speech
    ]


def letters(number: int) -> str:
    """What OpenAI calls a speaker, counted from 0.

    >>> letters(0), letters(25), letters(26)
    ('A', 'Z', 'AA')
    """
    more, last = divmod(number, LETTERS)
    return (letters(more - 1) if more else "") + chr(ord("A") + last)


def plain(transcript: Transcript) -> Transcript:
    """Without who speaks, and without marks of what is unsure: subtitles as other servers write them."""
    segments = tuple(replace(segment, speaker=None, confidence=None) for segment in transcript.segments)
    return replace(transcript, segments=segments, speakers=())


def subtitles(transcript: Transcript, fmt: str) -> str:
    """Subtitles in `srt` or `vtt`."""
    return outputs.render(plain(transcript), fmt).decode()


# The answers that are text; all others are JSON.
TEXTS: Mapping[AnswerFormat, Callable[[Transcript], str]] = {
    AnswerFormat.TEXT: lambda transcript: f"{running(transcript.segments)}\n",
    AnswerFormat.SRT: lambda transcript: subtitles(transcript, "srt"),
    AnswerFormat.VTT: lambda transcript: subtitles(transcript, "vtt"),
}


def delta(before: Sequence[Segment], fresh: Sequence[Segment]) -> dict[str, Any]:
    """The event that tells what was transcribed since, with the blank that belongs before it."""
    whole, known = running([*before, *fresh]), running(before)
    return {"type": "transcript.text.delta", "delta": whole[len(known) :]}


def rest(before: Sequence[Segment], transcript: Transcript) -> dict[str, Any]:
    """The event with what was not sent yet: the text from where it differs from what was sent."""
    whole = running(transcript.segments)
    return {"type": "transcript.text.delta", "delta": whole[len(commonprefix([running(before), whole])) :]}  # noqa: RUF071 (no paths)


def done(transcript: Transcript) -> dict[str, Any]:
    """The event that ends a stream."""
    return {"type": "transcript.text.done", "text": running(transcript.segments)}
