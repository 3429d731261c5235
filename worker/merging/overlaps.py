"""Pure: which segments of which window make the timeline, where windows overlap.

The windows are joined from the first to the last. In an overlap each utterance is told once, by the window on whose
side of the cut its middle lies. Both readings are compared, so that a few tenths of a second, or an utterance that
one of them splits, neither double a word nor lose it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import inf

from dropscribe.core.spans import clip, covered, without
from dropscribe.core.types import Segment, SegmentKind, Span
from dropscribe.worker.merging.alignment import JITTER, Hypothesis, groups, reading
from dropscribe.worker.merging.merge_overlap import EDGE, Overlap, merge_overlap

COVERED = 0.5  # of an utterance's time, taken from the other window: then that window heard this one too
INSTANT = 0.1  # s: an utterance without length is looked for within so much

Taken = tuple[int, Segment]


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
    """
    done: list[Taken] = []
    latest: list[Taken] = []  # what the next window may have read too
    order = in_order(parts)
    for at, index in enumerate(order):
        before = order[max(0, at - 1) : at]
        fresh = [(index, segment) for segment in parts[index].segments if segment.text.strip()]
        heard = {*before, *(i for i, _ in latest)}
        overlap = Span(parts[index].window.start, max((parts[i].window.end for i in heard), default=-inf))
        if overlap.duration > 0:
            settled, latest = _joined(parts, latest, fresh, overlap, _seam(parts[before[0]], parts[index], overlap))
            done += settled
        else:
            done += latest
            latest = fresh
    return sorted((_tidy(taken) for taken in done + latest), key=lambda taken: (taken[1].start, taken[1].end))


def _tidy(taken: Taken) -> Taken:
    index, segment = taken
    start = max(0.0, segment.start)
    return index, replace(segment, start=start, end=max(start, segment.end))


def _joined(
    parts: Sequence[ChunkOutcome], latest: Sequence[Taken], fresh: Sequence[Taken], overlap: Span, seam: Overlap
) -> tuple[list[Taken], list[Taken]]:
    """What is settled of the timeline so far, and the rest of it joined to the next window's reading."""
    since, until = overlap.start - JITTER, overlap.end + JITTER
    settled = [taken for taken in latest if taken[1].end < since]
    left = [_reading(parts[i], i, segment, first=True) for i, segment in latest if segment.end >= since]
    right = [_reading(parts[i], i, segment, first=False) for i, segment in fresh if segment.start <= until]
    later = [taken for taken in fresh if taken[1].start > until]
    return settled, _told(left, right, seam) + later


def _reading(part: ChunkOutcome, index: int, segment: Segment, *, first: bool) -> Hypothesis:
    span = clip(Span(segment.start, segment.end), part.window)
    torn = span.end >= part.window.end - EDGE if first else span.start <= part.window.start + EDGE
    return reading(index, segment, span, torn=torn)


def _seam(before: ChunkOutcome, part: ChunkOutcome, overlap: Span) -> Overlap:
    """The cut, moved to the far edge of the overlap where only one of the two is to be trusted."""
    if overlap.duration <= 2 * EDGE:
        return Overlap(part.keep.start, overlap.end, overlap.start)
    first, last = overlap.start + EDGE, overlap.end - EDGE
    doubtful = _faulty(before, overlap), _faulty(part, overlap)
    if doubtful == (True, False):
        return Overlap(first, first, first)
    if doubtful == (False, True):
        return Overlap(last, last, last)
    return Overlap(part.keep.start, last, first)


def _faulty(part: ChunkOutcome, overlap: Span) -> bool:
    return bool(part.reasons) or any(gap.start < overlap.end and gap.end > overlap.start for gap in part.missing)


def _told(left: Sequence[Hypothesis], right: Sequence[Hypothesis], seam: Overlap) -> list[Taken]:
    """The timeline of two readings: what both have is spliced; what one has alone stays on its own side of the cut.

    Beyond the cut it stays too, unless the other window's reading has something else there, or the edge tore it.
    """
    found = groups(left, right)
    both = [group for group in found if group[0] and group[1]]
    ours = [one for mine, others in found if not others for one in mine]
    theirs = [one for others, mine in found if not others for one in mine]
    timeline = [taken for group in both for taken in merge_overlap(*group, seam)]
    timeline += [_taken(one) for one in ours if one.middle <= seam.cut]
    timeline += [_taken(one) for one in theirs if one.middle > seam.cut]
    heard = [one for mine, _ in both for one in mine]
    timeline += _beyond([one for one in ours if one.middle > seam.cut], heard, timeline, right)
    heard = [one for _, mine in both for one in mine]
    timeline += _beyond([one for one in theirs if one.middle <= seam.cut], heard, timeline, left)
    return timeline


def _taken(one: Hypothesis) -> Taken:
    return one.part, one.segment


def _beyond(
    alone: Sequence[Hypothesis], heard: Sequence[Hypothesis], timeline: Sequence[Taken], other: Sequence[Hypothesis]
) -> list[Taken]:
    """What one window alone has beyond the cut, where nothing that was taken from the other window stands for it.

    Where this window heard both, its own and what the other has too, two people talked at once: both stay. A sound
    does not stand for words.
    """
    parts = {one.part for one in other}
    taken = [segment for part, segment in timeline if part in parts]
    known = [one.span for one in heard]
    of_words = without((_span(s) for s in taken if s.kind is SegmentKind.SPEECH), known)
    of_all = without((_span(s) for s in taken), known)
    return [
        _taken(one)
        for one in alone
        if not one.torn and not _stands(one.span, of_all if one.segment.kind is SegmentKind.EVENT else of_words)
    ]


def _span(segment: Segment) -> Span:
    return Span(segment.start, max(segment.start, segment.end))


def _stands(span: Span, cover: Sequence[Span]) -> bool:
    wider = Span(span.start - INSTANT / 2, max(span.end, span.start) + INSTANT / 2)
    return covered(wider, cover) >= COVERED * wider.duration
