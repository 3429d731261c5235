"""Pure: which segments of which window make the timeline, where windows overlap.

The windows are joined from the first to the last. In an overlap each utterance is kept once, by the window on whose
side of the cut its middle lies. Both readings are compared, so that a few tenths of a second, or an utterance that
one of them splits, neither double a word nor lose it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import chain, pairwise
from operator import attrgetter, itemgetter
from typing import TypeVar

from dropscribe.core.spans import clip, covered, without
from dropscribe.core.types import Segment, SegmentKind, Span
from dropscribe.worker.merging.alignment import JITTER, Group, Hypothesis, groups, reading
from dropscribe.worker.merging.merge_overlap import EDGE, Overlap, merge_overlap

COVERED = 0.5  # of an utterance's time, taken from the other window: then that window heard this one too
INSTANT = 0.1  # s: an utterance without length is looked for within so much

Taken = tuple[int, Segment]
Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class ChunkOutcome:
    """One chunk's outcome; times in seconds of the recording.

    The model read `window`; what is said within `keep` is this chunk's to tell, and the kept spans follow each other
    without a gap. `reasons` say why it is not to be trusted, `missing` is speech that it did not read.
    """

    window: Span
    keep: Span
    segments: tuple[Segment, ...]
    reasons: tuple[str, ...] = ()
    missing: tuple[Span, ...] = ()


def in_order(parts: Sequence[ChunkOutcome]) -> list[int]:
    """Indices of the parts, by the time that is theirs to tell."""
    return sorted(range(len(parts)), key=lambda i: (parts[i].keep.start, parts[i].window.start))


def select(parts: Sequence[ChunkOutcome]) -> list[Taken]:
    """The timeline: index of the part and segment, by start; ends not before starts, nothing below 0 or without text.

    Takes n log n in the number of segments: only what reaches into an overlap is compared.

    Example: both windows heard 45 to 75 s, the first tells what is said before 60 s. The second split an utterance. It
    is kept once, as the first has it, so that nothing is cut in two. What one of them alone heard stays:

    >>> first = Segment(56, 62, "one two three four five six"), Segment(70, 72, "Yes.")
    >>> second = Segment(56.2, 59.9, "One two three four"), Segment(60.1, 62.1, "five six.")
    >>> parts = ChunkOutcome(Span(0, 75), Span(0, 60), first), ChunkOutcome(Span(45, 120), Span(60, 120), second)
    >>> [(part, segment.start, segment.end, segment.text) for part, segment in select(parts)]
    [(0, 56, 62, 'one two three four five six'), (0, 70, 72, 'Yes.')]
    """
    order = in_order(parts)
    done: list[Taken] = []
    latest = _heard(parts, order[0]) if order else []  # what the next window may have heard too
    for before, index in pairwise(order):
        fresh = _heard(parts, index)
        ends = (parts[i].window.end for i in {before, *map(itemgetter(0), latest)})
        overlap = Span(parts[index].window.start, max(ends))
        if overlap.duration > 0:
            settled, latest = _joined(parts, latest, fresh, overlap, _seam(parts[before], parts[index], overlap))
        else:
            settled, latest = latest, fresh
        done += settled
    return sorted(map(_tidy, done + latest), key=lambda taken: (taken[1].start, taken[1].end))


def _heard(parts: Sequence[ChunkOutcome], index: int) -> list[Taken]:
    """The segments with text that the part has."""
    return [(index, segment) for segment in parts[index].segments if segment.text.strip()]


def _tidy(taken: Taken) -> Taken:
    """The segment without a time below 0, or an end before its start.

    >>> _tidy((0, Segment(-0.5, 2.0, "Yes.")))[1].start
    0.0
    """
    index, segment = taken
    start = max(0.0, segment.start)
    return index, replace(segment, start=start, end=max(start, segment.end))


def _joined(
    parts: Sequence[ChunkOutcome], latest: Sequence[Taken], fresh: Sequence[Taken], overlap: Span, seam: Overlap
) -> tuple[list[Taken], list[Taken]]:
    """What is settled of the timeline so far, and the rest of it joined to the next window's reading."""
    since, until = overlap.start - JITTER, overlap.end + JITTER
    settled, reaching = _parted(latest, lambda taken: taken[1].end < since)
    early, later = _parted(fresh, lambda taken: taken[1].start <= until)
    left = [_reading(parts[index], index, segment, first=True) for index, segment in reaching]
    right = [_reading(parts[index], index, segment, first=False) for index, segment in early]
    return settled, _told(left, right, seam) + later


def _parted(items: Iterable[Item], test: Callable[[Item], bool]) -> tuple[list[Item], list[Item]]:
    """Those that pass the test, and those that do not."""
    found: dict[bool, list[Item]] = {True: [], False: []}
    for item in items:
        found[test(item)].append(item)
    return found[True], found[False]


def _reading(part: ChunkOutcome, index: int, segment: Segment, *, first: bool) -> Hypothesis:
    """A segment as merging compares it; `torn` where the edge of its window cut it."""
    span = clip(segment.span, part.window)
    torn = span.end >= part.window.end - EDGE if first else span.start <= part.window.start + EDGE
    return reading(index, segment, span, torn=torn)


def _seam(before: ChunkOutcome, part: ChunkOutcome, overlap: Span) -> Overlap:
    """The cut, moved to the far edge of the overlap where only one of the two is to be trusted."""
    if overlap.duration <= 2 * EDGE:
        return Overlap(part.keep.start, overlap.end, overlap.start)
    first, last = overlap.start + EDGE, overlap.end - EDGE
    faulty = _faulty(before, overlap), _faulty(part, overlap)
    moved = {(True, False): Overlap(first, first, first), (False, True): Overlap(last, last, last)}
    return moved.get(faulty, Overlap(part.keep.start, last, first))


def _faulty(part: ChunkOutcome, overlap: Span) -> bool:
    """Is there a reason not to trust what the part has in the overlap?"""
    return bool(part.reasons) or any(gap.start < overlap.end and gap.end > overlap.start for gap in part.missing)


@dataclass(frozen=True, slots=True)
class _Side:
    """What one of two windows heard in their overlap, which are `parts` as far as they reach into it.

    At the times `shared` the other heard the same. What this one heard alone lies on its own side of the cut, `near`,
    or `beyond` it.
    """

    parts: frozenset[int]
    shared: list[Span]
    near: list[Hypothesis]
    beyond: list[Hypothesis]

    @classmethod
    def of(cls, found: Sequence[Group], side: int, cut: float) -> _Side:
        """Of the first window, `side` is 0, of the second 1."""
        both, single = _parted(found, all)
        shared = [*chain.from_iterable(map(itemgetter(side), both))]
        alone = [*chain.from_iterable(map(itemgetter(side), single))]
        near, beyond = _parted(alone, lambda one: (one.middle > cut) == bool(side))
        parts = frozenset(map(attrgetter("part"), shared + alone))
        return cls(parts, [*map(attrgetter("span"), shared)], near, beyond)


def _told(left: Sequence[Hypothesis], right: Sequence[Hypothesis], seam: Overlap) -> list[Taken]:
    """The timeline of two readings: what both have is spliced; what one has alone stays on its own side of the cut.

    Beyond the cut it stays too, unless the other window's reading has something else there, or the edge tore it.
    """
    found = groups(left, right)
    first, second = _Side.of(found, 0, seam.cut), _Side.of(found, 1, seam.cut)
    timeline = [taken for group in filter(all, found) for taken in merge_overlap(*group, seam)]
    timeline += map(_taken, first.near + second.near)
    timeline += map(_taken, _beyond(first, timeline, second))
    timeline += map(_taken, _beyond(second, timeline, first))
    return timeline


def _taken(one: Hypothesis) -> Taken:
    """A hypothesis as an entry of the timeline."""
    return one.part, one.segment


def _beyond(side: _Side, timeline: Sequence[Taken], other: _Side) -> list[Hypothesis]:
    """What one window alone has beyond the cut, where nothing that was taken from the other window stands for it.

    Where this window heard both, its own and what the other has too, two people talked at once: both stay. A sound
    does not stand for words.
    """
    taken = [segment for part, segment in timeline if part in other.parts]
    times, words = attrgetter("span"), filter(attrgetter("is_speech"), taken)
    cover = {
        SegmentKind.SPEECH: without(map(times, words), side.shared),
        SegmentKind.EVENT: without(map(times, taken), side.shared),
    }
    return [one for one in side.beyond if not one.torn and not _stands(one.span, cover[one.segment.kind])]


def _stands(span: Span, cover: Sequence[Span]) -> bool:
    """Is the span covered by what others said, except for an instant?"""
    wider = Span(span.start - INSTANT / 2, max(span.end, span.start) + INSTANT / 2)
    return covered(wider, cover) >= COVERED * wider.duration
