"""Pure: one stretch of speech that two windows transcribed, kept once: up to a word the first, then the second.

The words of both are aligned. Every position where the alignment agrees is a place to change over, and so are the ends,
where one reading is taken whole. The best place, in this order: loses no word; keeps no hypothesis that its window's
edge tore; cuts no utterance in two; is nearest to the end of the first window's time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import accumulate, chain, pairwise, repeat
from operator import attrgetter
from typing import NamedTuple

from dropscribe.core.types import Segment
from dropscribe.worker.merging.alignment import Hypothesis

EDGE = 1.0  # s at the edge of a window: words that are cut off there are guessed at, and a word takes about 0.4 s
MAX_WORDS = 1000  # aligned on either side: 30 s hold about 150 words; a model's endless repetition more


@dataclass(frozen=True, slots=True)
class Overlap:
    """Where two windows meet, in seconds.

    The first tells what is said before `cut`, the second the rest. Words of the first before `left_until` and words of
    the second from `right_from` on are worth keeping. Those beyond lie at an edge, or come from a window that is not
    reliable there.
    """

    cut: float
    left_until: float
    right_from: float


class _Side(NamedTuple):
    """One reading of the stretch, `n` words: what lies between them, at positions 0 to n."""

    readings: Sequence[Hypothesis]
    words: list[str]
    moments: list[float]  # s, when position p is
    ends: list[bool]  # no utterance is cut at position p
    worth: list[int]  # how many of the first p words may not be lost


class _Gap(NamedTuple):
    """Words, from one position to another in each reading, that do not agree."""

    left: tuple[int, int]
    right: tuple[int, int]


def merge_overlap(left: Sequence[Hypothesis], right: Sequence[Hypothesis], seam: Overlap) -> list[tuple[int, Segment]]:
    """Part and segment of what is taken of two readings of the same speech, each in order of time and not empty.

    Example: the two agree on "again on monday". The first has two words before that, the second three words after it.
    Only after "monday" no word is lost. There the first is a whole utterance, and the second is cut:

    >>> from dropscribe.worker.merging.alignment import reading
    >>> first = reading(0, Segment(50, 54, "We meet again on Monday"), Span(50, 54), torn=False)
    >>> second = reading(1, Segment(51, 56.1, "again on Monday at ten o'clock."), Span(51, 56.1), torn=False)
    >>> taken = merge_overlap([first], [second], Overlap(cut=53, left_until=74, right_from=46))
    >>> [(part, round(segment.start, 1), segment.end, segment.text) for part, segment in taken]
    [(0, 50, 54, 'We meet again on Monday'), (1, 53.8, 56.1, "at ten o'clock.")]
    """
    first = _side(left, lambda one, at: at < min(seam.left_until, one.span.end - EDGE * one.torn))
    second = _side(right, lambda one, at: at > max(seam.right_from, one.span.start + EDGE * one.torn))
    i, j = _place(first, second, seam.cut)
    at = (first.moments[i] + second.moments[j]) / 2
    return [*_before(left, i, at), *_since(right, j, at)]


def _side(readings: Sequence[Hypothesis], is_worth: Callable[[Hypothesis, float], bool]) -> _Side:
    """The words of one window's hypotheses in one row, and how many of them are worth keeping up to each place."""
    of_word = [*chain.from_iterable(repeat(one, len(one.words)) for one in readings)]
    words = [*chain.from_iterable(map(attrgetter("words"), readings))]
    return _Side(
        readings,
        [*map(attrgetter("text"), words)],
        [*map(attrgetter("begins"), words), readings[-1].span.end],
        [*(word is one.words[0] for one, word in zip(of_word, words, strict=True)), True],
        [*accumulate(map(is_worth, of_word, map(attrgetter("at"), words)), initial=0)],
    )


def _place(left: _Side, right: _Side, cut: float) -> tuple[int, int]:
    """The positions before which the left and from which the right reading is taken."""

    def cost(place: tuple[int, int, int]) -> tuple[int, int, int, float]:
        """Words lost, then torn ends kept, then segments cut, then the distance from the middle: the least is best."""
        i, j, lost = place
        torn = (i == len(left.words) and left.readings[-1].torn) + (j == 0 and right.readings[0].torn)
        trims = (not left.ends[i]) + (not right.ends[j])
        return lost, torn, trims, abs((left.moments[i] + right.moments[j]) / 2 - cut)

    i, j, _ = min(_places(left, right), key=cost)
    return i, j


def _places(left: _Side, right: _Side) -> Iterator[tuple[int, int, int]]:
    """Positions to change over at, with the number of words lost there.

    In a gap as many words as the other reading has are read differently, not lost.
    """
    blocks = list(_blocks(left.words, right.words))
    ends = [(0, 0, 0), *blocks, (len(left.words), len(right.words), 0)]
    gaps = [_Gap((i + size, k), (j + size, m)) for (i, j, size), (k, m, _) in pairwise(ends)]
    before = list(accumulate((_lost(right.worth, gap.right, gap.left) for gap in gaps), initial=0))
    after = list(accumulate((_lost(left.worth, gap.left, gap.right) for gap in reversed(gaps)), initial=0))[::-1]
    if not blocks:  # read quite differently: neither has more than the other
        before, after = [0, 0], [0, 0]
    yield 0, 0, after[0]
    for number, (i, j, size) in enumerate(blocks, 1):
        yield from ((i + step, j + step, before[number] + after[number]) for step in range(size + 1))
    yield len(left.words), len(right.words), before[-1]


def _lost(worth: list[int], dropped: tuple[int, int], kept: tuple[int, int]) -> int:
    """How many words of one window are lost where the other one's are kept instead.

    >>> _lost([0, 1, 2, 3], (0, 3), (0, 1))
    2
    """
    return max(0, worth[dropped[1]] - worth[dropped[0]] - (kept[1] - kept[0]))


def _blocks(left: list[str], right: list[str]) -> Iterator[tuple[int, int, int]]:
    """Where both have the same words: position in each, and how many; in order, none empty."""
    if left == right:
        yield 0, 0, len(left)
        return
    skipped = max(0, len(left) - MAX_WORDS)
    matcher = SequenceMatcher(None, left[skipped:], right[:MAX_WORDS], autojunk=False)
    yield from ((skipped + i, j, size) for i, j, size in matcher.get_matching_blocks() if size)


def _before(readings: Sequence[Hypothesis], position: int, at: float) -> Iterator[tuple[int, Segment]]:
    """The segments of the words before a position, the last one cut at it."""
    for reading in readings:
        if position >= len(reading.words):
            yield reading.part, reading.segment
        elif position > 0:
            yield reading.part, reading.before(position, at)
        position -= len(reading.words)


def _since(readings: Sequence[Hypothesis], position: int, at: float) -> Iterator[tuple[int, Segment]]:
    """The segments of the words from a position on, the first one cut at it."""
    for reading in readings:
        if position <= 0:
            yield reading.part, reading.segment
        elif position < len(reading.words):
            yield reading.part, reading.since(position, at)
        position -= len(reading.words)
