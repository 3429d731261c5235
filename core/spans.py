"""Pure: arithmetic of stretches of time. Every function is linear in what it reads, but for sorting."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence

from dropscribe.core.types import Span


def merged(spans: Iterable[Span]) -> list[Span]:
    """The same time as disjoint stretches in order; those that touch are joined."""
    joined: list[Span] = []
    for span in sorted(spans, key=lambda span: span.start):
        if joined and span.start <= joined[-1].end:
            joined[-1] = Span(joined[-1].start, max(joined[-1].end, span.end))
        else:
            joined.append(span)
    return joined


def clip(span: Span, within: Span) -> Span:
    """The part of the span inside `within`; without length, at the nearer edge, when there is none."""
    start = min(max(span.start, within.start), within.end)
    return Span(start, min(max(span.end, start), within.end))


def without(spans: Iterable[Span], holes: Iterable[Span]) -> list[Span]:
    """What the holes leave of the spans: disjoint, in order, nothing without length."""
    rest: list[Span] = []
    gaps = merged(holes)
    first = 0
    for span in merged(spans):
        while first < len(gaps) and gaps[first].end <= span.start:
            first += 1
        start, hole = span.start, first
        while hole < len(gaps) and gaps[hole].start < span.end:
            rest.append(Span(start, gaps[hole].start))
            start = gaps[hole].end
            hole += 1
        rest.append(Span(start, span.end))
    return [span for span in rest if span.end > span.start]


def covered(span: Span, cover: Sequence[Span]) -> float:
    """Seconds of the span that lie within `cover`, which is disjoint and in order."""
    seconds = 0.0
    at = max(0, bisect_right(cover, span.start, key=lambda other: other.start) - 1)
    while at < len(cover) and cover[at].start < span.end:
        seconds += max(0.0, min(span.end, cover[at].end) - max(span.start, cover[at].start))
        at += 1
    return seconds
