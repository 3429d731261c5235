"""A transcript in pieces, as JSON: some of its segments, and who speaks in all of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from dropscribe.core.confidence import is_unsure
from dropscribe.core.types import Segment, Speaker, SpeakerNames, Transcript


def page(transcript: Transcript, said: SpeakerNames, revision: int, first: int, limit: int) -> dict[str, Any]:
    """So many segments from the number `first` on, as docs/api.md describes it.

    `said` is what people say of the speakers, and `revision` the number of the last correction.
    """
    shown = transcript.segments[first : first + limit]
    return {
        "job": transcript.job_id,
        "revision": revision,
        "total": len(transcript.segments),
        "duration": transcript.source.duration,
        "speakers": [*_speakers(transcript)],
        "next_speaker": _next_speaker(transcript, said),
        "uncovered_speech": [*map(asdict, transcript.uncovered_speech)],
        "first": first,
        "segments": [_document(number, segment) for number, segment in enumerate(shown, first)],
    }


def _speakers(transcript: Transcript) -> Iterator[dict[str, Any]]:
    """Who speaks, by number: also those of whom nothing is known but that."""
    known = {speaker.number: speaker for speaker in transcript.speakers}
    there = {segment.speaker for segment in transcript.segments if segment.speaker is not None}
    for number in sorted(there | known.keys()):
        speaker = known.get(number, Speaker(number))
        yield {
            "number": number,
            "name": speaker.name,
            "called": speaker.called,
            "seconds": speaker.seconds,
            "maybe_same": [*speaker.maybe_same],
            "recognized": speaker.recognized,
        }


def _next_speaker(transcript: Transcript, said: SpeakerNames) -> int:
    """The number of somebody new: that of nobody, nor of somebody who is another one in truth."""
    numbers = {segment.speaker for segment in transcript.segments if segment.speaker is not None}
    return max([*numbers, *(one.number for one in transcript.speakers), *said.merged, -1]) + 1


def _document(number: int, segment: Segment) -> dict[str, Any]:
    """A segment; of its words the text and when they are said."""
    return {
        "id": number,
        "start": segment.start,
        "end": segment.end,
        "text": segment.text,
        "speaker": segment.speaker,
        "kind": str(segment.kind),
        "confidence": segment.confidence,
        "unsure": is_unsure(segment),
        "corrected": segment.corrected,
        "words": [[word.start, word.end, word.text, word.corrected] for word in segment.words],
    }
