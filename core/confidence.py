"""Pure: how sure a recognizer is of its words, and how little is too little. Not every engine says."""

from __future__ import annotations

from collections.abc import Iterable
from statistics import fmean

from dropscribe.core.types import Segment

UNSURE = 0.5  # below this confidence words are rather wrong than right, by the recognizer's own word
INSTANT = 0.1  # s; a segment without length counts for as much


def is_unsure(segment: Segment) -> bool:
    """True where the recognizer gave the segment a low confidence."""
    return is_low(segment.confidence)


def is_low(figure: float | None) -> bool:
    """True for a confidence in which words are rather wrong than right; not where the recognizer gave none."""
    return figure is not None and figure < UNSURE


def average(segments: Iterable[Segment]) -> float | None:
    """The confidence in all words, weighted by time; None where the recognizer gave none.

    >>> average([Segment(0.0, 3.0, "It rains.", confidence=0.9), Segment(3.0, 4.0, "Does it?", confidence=0.5)])
    0.8
    """
    known = [(s.confidence, max(s.end - s.start, INSTANT)) for s in segments if s.confidence is not None]
    if not known:
        return None
    figures, seconds = zip(*known, strict=True)
    return fmean(figures, seconds)
