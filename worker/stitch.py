"""Chunks into one timeline: order, speakers, what is missing. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from core.types import Segment, Span


@dataclass(frozen=True, slots=True)
class Part:
    """One chunk's outcome; times in seconds of the recording."""

    span: Span
    segments: tuple[Segment, ...]
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Stitched:
    """One recording's outcome."""

    segments: tuple[Segment, ...]
    reasons: tuple[str, ...]
    missing: tuple[Span, ...]
    notes: tuple[str, ...]


UNMATCHED = "speakers are numbered anew in each chunk: a voice may have several numbers"


def stitch(parts: Sequence[Part], speech: Sequence[Span]) -> Stitched:
    """Join the chunks of one recording; `speech` is where speech was detected.

    Each chunk's speakers get numbers of their own, since nothing says yet which of them share a voice.
    """
    ordered = sorted(parts, key=lambda part: part.span.start)
    segments: list[Segment] = []
    voices = 0
    several = 0
    for part in ordered:
        own = {s.speaker for s in part.segments if s.speaker is not None}
        segments += [_renumber(segment, voices) for segment in part.segments]
        voices += max(own) + 1 if own else 0
        several += bool(own)
    return Stitched(
        tuple(_in_order(segments)),
        tuple(f"{_clock(part.span)}: {reason}" for part in ordered for reason in part.reasons),
        tuple(gap for part in ordered if part.reasons for gap in _missing(part, speech)),
        (UNMATCHED,) if several > 1 else (),
    )


def _renumber(segment: Segment, first: int) -> Segment:
    return segment if segment.speaker is None else replace(segment, speaker=segment.speaker + first)


def _in_order(segments: Sequence[Segment]) -> list[Segment]:
    """By start, with ends never before starts."""
    ordered = sorted(segments, key=lambda segment: (segment.start, segment.end))
    return [replace(s, start=max(0.0, s.start), end=max(s.start, s.end, 0.0)) for s in ordered]


def _missing(part: Part, speech: Sequence[Span]) -> list[Span]:
    """Speech in a failed chunk after the last thing that was read in it."""
    reached = max((segment.end for segment in part.segments), default=part.span.start)
    return [
        Span(max(span.start, reached), min(span.end, part.span.end))
        for span in speech
        if span.end > reached and span.start < part.span.end
    ]


def _clock(span: Span) -> str:
    return f"{_time(span.start)}-{_time(span.end)}"


def _time(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}"
