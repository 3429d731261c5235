"""Pure: the sub-windows of speech that are embedded one by one."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

from dropscribe.core.spans import clip
from dropscribe.core.types import Span

# So much holds enough of a voice, and seldom two people. Longer sub-windows blur the changes of speaker, a finer step
# costs more and is hardly better (docs/measurements.md).
SECONDS = 1.25
STEP = 0.75
SHORTEST = 0.3  # s: a "yes"; of less a voice cannot be recognized


def sub_windows(speech: Iterable[Span], within: Span) -> Iterator[Span]:
    """Sub-windows of each span of speech, as far as it lies `within`, in order; together they cover it.

    Example: the last one ends with the speech:

    >>> [(one.start, one.end) for one in sub_windows([Span(0, 2.5)], Span(0, 60))]
    [(0.0, 1.25), (0.75, 2.0), (1.25, 2.5)]
    """
    for span in speech:
        inside = clip(span, within)
        if inside.duration >= SHORTEST:
            steps = math.ceil(max(0.0, inside.duration - SECONDS) / STEP)
            yield from (Span(inside.start + n * STEP, inside.start + n * STEP + SECONDS) for n in range(steps))
            yield Span(max(inside.start, inside.end - SECONDS), inside.end)
