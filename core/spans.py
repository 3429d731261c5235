"""Pure: arithmetic of stretches of time. Every function is linear in what it reads, except for sorting."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Hashable, Iterable, Iterator, Sequence
from itertools import pairwise
from typing import TypeVar

from dropscribe.core.types import Span

Key = TypeVar("Key", bound=Hashable)


def merged(spans: Iterable[Span]) -> list[Span]:
    """The same time as disjoint stretches in order; those that touch are joined.

    >>> merged([Span(4, 6), Span(0, 1), Span(5, 9)])
    [Span(start=0, end=1), Span(start=4, end=9)]
    """
    joined: list[Span] = []
    for span in sorted(spans, key=lambda span: span.start):
        if joined and span.start <= joined[-1].end:
            joined[-1] = Span(joined[-1].start, max(joined[-1].end, span.end))
        else:
            joined.append(span)
    return joined


def clip(span: Span, within: Span) -> Span:
    """The part of the span inside `within`; without length, at the nearer edge, when there is none.

    >>> clip(Span(1, 5), Span(2, 4)), clip(Span(7, 9), Span(2, 4))
    (Span(start=2, end=4), Span(start=4, end=4))
    """
    start = min(max(span.start, within.start), within.end)
    return Span(start, min(max(span.end, start), within.end))


def without(spans: Iterable[Span], holes: Iterable[Span]) -> list[Span]:
    """What the holes leave of the spans: disjoint, in order, nothing without length.

    >>> without([Span(0, 10)], [Span(2, 3), Span(8, 12)])
    [Span(start=0, end=2), Span(start=3, end=8)]
    """
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


def common(spans: Iterable[Span], others: Iterable[Span]) -> list[Span]:
    """What lies within both: disjoint, in order, nothing without length.

    >>> common([Span(0, 4), Span(6, 9)], [Span(3, 7)])
    [Span(start=3, end=4), Span(start=6, end=7)]
    """
    spans = merged(spans)
    return without(spans, without(spans, others))


def total(spans: Iterable[Span]) -> float:
    """Seconds of all spans; what several of them have counts for each.

    >>> total([Span(0, 4), Span(6, 9)])
    7
    """
    return sum(span.duration for span in spans)


def lasting(spans: Iterable[Span], seconds: float) -> list[Span]:
    """The spans that last so long at least."""
    return [span for span in spans if span.duration >= seconds]


def between(spans: Iterable[Span]) -> Iterator[Span]:
    """The pauses between spans that are disjoint and in order.

    >>> list(between([Span(0, 2), Span(3, 4)]))
    [Span(start=2, end=3)]
    """
    return (Span(left.end, right.start) for left, right in pairwise(spans))


def sweep(spans: Iterable[tuple[Key, Span]], *, touching: bool = False) -> Iterator[tuple[Span, list[Key]]]:
    """Goes through all starts and ends in order of time: the time from one to the next, and whose spans hold it.

    At one moment ends come before starts, unless spans that are `touching` share the moment; then the stretch between
    two of them has no length. Keys come in the order in which they came first.

    >>> for piece, keys in sweep([("a", Span(2, 5)), ("b", Span(4, 6))]):
    ...     print(piece.start, piece.end, keys)
    0.0 2 []
    2 4 ['a']
    4 5 ['a', 'b']
    5 6 ['b']
    """
    events = [event for key, span in spans for event in ((span.start, 1, key), (span.end, -1, key))]
    open_: Counter[Key] = Counter()
    before = 0.0
    for moment, step, key in sorted(events, key=lambda event: (event[0], -event[1] if touching else event[1])):
        yield Span(before, moment), list(+open_)
        open_[key] += step
        before = moment


def covered(span: Span, cover: Sequence[Span]) -> float:
    """Seconds of the span that lie within `cover`, which is disjoint and in order."""
    seconds = 0.0
    at = max(0, bisect_right(cover, span.start, key=lambda other: other.start) - 1)
    while at < len(cover) and cover[at].start < span.end:
        seconds += max(0.0, min(span.end, cover[at].end) - max(span.start, cover[at].start))
        at += 1
    return seconds
