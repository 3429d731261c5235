"""Pure: cuts a recording into the chunks that a model reads in one go, at the widest pauses.

Greedy from the front. Silence before, after and between chunks belongs to none of them but for a margin.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import pairwise

from core.types import Chunk, Span

MARGIN = 0.5  # s of silence left around speech: soft onsets and trailing sounds, and the models expect some
REACH = 0.2  # the part of a chunk, at its end, in which a pause to cut at is looked for


def plan(speech: Sequence[Span], duration: float, longest: float, *, target: float | None = None) -> tuple[Chunk, ...]:
    """Chunks in order, disjoint, each within [0, duration] and at most `longest` seconds.

    `speech` is in order and disjoint; each moment of it lies in exactly one chunk. A recording whose speech
    fits into `longest` is one chunk. Otherwise a chunk ends at the widest pause in the last fifth before
    `target` seconds, in the middle of that pause or 0.5 s into it; without a pause, hard at `target`.
    Without a `target` the rest is aimed to be shared equally, so that no crumb is left at the end, which
    a model would read without context. Raises ValueError unless `longest` and `target` are above zero.
    """
    if longest <= 0 or (target is not None and target <= 0):
        raise ValueError(f"chunks must be longer than zero seconds, not {longest} (target {target})")
    rest = _within(speech, 0.0, duration)
    chunks: list[Chunk] = []
    edge = 0.0  # where the chunk before ended
    while rest:
        window = _next(rest, edge, duration, longest, target)
        chunks.append(Chunk(len(chunks), window.start, window.end))
        edge = window.end
        rest = _within(rest, edge, duration)
    return tuple(chunks)


def _next(rest: Sequence[Span], edge: float, duration: float, longest: float, target: float | None) -> Span:
    """The first chunk of what remains, not before `edge`."""
    extent = Span(rest[0].start, rest[-1].end)
    if extent.duration <= longest:
        margin = min(MARGIN, (longest - extent.duration) / 2)
        return Span(max(edge, extent.start - margin), min(duration, extent.end + margin))
    start = max(edge, extent.start - MARGIN)
    aim = min(target, longest) if target else extent.duration / math.ceil(extent.duration / longest)
    return Span(start, _cut(rest, start + (1 - REACH) * aim, start + aim, start + longest))


def _cut(rest: Sequence[Span], earliest: float, latest: float, limit: float) -> float:
    """Where a chunk ends: in the widest pause that touches the window, the later of equals, or at `latest`.

    The margin may exceed the window, but not `limit`.
    """
    pauses = [Span(left.end, right.start) for left, right in pairwise(rest)]
    within = [pause for pause in pauses if pause.end > earliest and pause.start <= latest]
    if not within:
        return latest
    widest = max(within, key=lambda pause: (pause.duration, pause.start))
    return min(widest.start + min(MARGIN, widest.duration / 2), limit)


def _within(spans: Iterable[Span], start: float, end: float) -> list[Span]:
    """The parts of the spans between two moments."""
    clipped = (Span(max(span.start, start), min(span.end, end)) for span in spans)
    return [span for span in clipped if span.start < span.end]
