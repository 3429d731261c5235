"""Pure: cuts a recording into the chunks that a model reads in one go, at the widest pauses.

Greedy from the front. A chunk's window is the audio that the model gets, its `keep` the part whose text counts.
Neighbouring windows overlap by a few seconds, so that no utterance is torn, but each moment belongs to only one `keep`.
Silence before, after and between chunks is not transcribed, except for a margin.
"""

from __future__ import annotations

import itertools
import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import repeat
from operator import attrgetter

from dropscribe.core.spans import clip
from dropscribe.core.types import Chunk, Span

MARGIN = 0.5  # s of silence left around speech: soft onsets and trailing sounds, and the models expect some
REACH = 0.2  # the part of a chunk, around the end that is aimed at, in which a pause to cut at is looked for
NEARBY = 2.0  # s that a window's edge may move to a pause: models misread what begins in the middle of a word
MAX_SHARED = 0.25  # of a chunk: with more of it shared, keeps could shrink to nothing
FLOOR = 600.0  # s; see `target_for`


def plan(
    speech: Sequence[Span], duration: float, longest: float, *, target: float | None = None, overlap: float = 0.0
) -> tuple[Chunk, ...]:
    """Chunks in order, their windows within [0, duration] and at most `longest` seconds; none without speech.

    `speech` is in order and disjoint. The kept spans follow each other from 0 to `duration` without a gap, and each
    moment of speech lies within the window of the chunk that keeps it.

    What is left is shared equally, so that no crumb remains at the end, which a model would read without context:
    into as many chunks as come nearest to `target` seconds each (default: as few as there may be). A chunk is cut in
    the widest pause within a tenth of its share around its end, where `longest` permits; without a pause, hard at its
    share. Both neighbours hear half of `overlap` seconds beyond the cut, which are at most a quarter of `longest` and
    `target`, but nothing across a pause as long as that. The edge of a window in the middle of a word moves to a
    pause within 2 s if there is one.

    Raises ValueError unless `longest` and `target` are above zero and `overlap` is not below it.

    Example: 100 s in two chunks. The widest pause near the middle is that from 47 to 48.6 s, so the cut is at 47.8 s.
    Both chunks hear 2 s beyond it, and half a second of the silence before and after all speech:

    >>> speech = [Span(3, 30), Span(30.4, 47), Span(48.6, 53), Span(53.5, 97)]
    >>> [(chunk.start, chunk.end, chunk.keep.start, chunk.keep.end) for chunk in plan(speech, 100, 60, overlap=4)]
    [(2.5, 49.8, 0.0, 47.8), (45.8, 97.5, 47.8, 100)]
    """
    if longest <= 0 or (target is not None and target <= 0) or overlap < 0:
        raise ValueError(f"chunks must be longer than zero seconds, not {longest} (target {target}, shared {overlap})")
    heard = _Speech.within(speech, 0.0, duration)
    aim = min(target or longest, longest)
    shape = _Shape(longest, aim, min(overlap, MAX_SHARED * aim))
    return tuple(_chunks(heard, duration, shape)) if heard.starts else ()


def halve(chunk: Chunk, speech: Sequence[Span], *, overlap: float, smallest: float) -> tuple[Chunk, Chunk] | None:
    """Two chunks of the same index that hear the speech in `chunk` and share what it keeps; both keep some speech.

    The cut lies in the widest pause that touches the middle third of the speech that the chunk keeps, or in its very
    middle. The halves share `overlap` seconds, at most a quarter of the shorter one. None where no speech is kept, or
    the window of a half would be shorter than `smallest` seconds (above zero, so that halving comes to an end).
    """
    heard = _Speech.within(speech, chunk.start, chunk.end)
    kept = _Speech.within(speech, max(chunk.start, chunk.keep.start), min(chunk.end, chunk.keep.end))
    if not kept.starts:
        return None
    first, extent = kept.starts[0], kept.ends[-1] - kept.starts[0]
    third = Span(first + extent / 3, first + 2 * extent / 3)
    pause = _widest(kept.pauses(third), first + extent / 2)
    at = _middle(pause)
    cut = _Cut(at, _beyond(pause, min(overlap, MAX_SHARED * min(at - chunk.start, chunk.end - at))))
    opening = _opening(heard, cut, chunk.start)
    left = Chunk(
        index=chunk.index,
        start=chunk.start,
        end=_closing(heard, cut, chunk.end, MARGIN),
        keep=Span(chunk.keep.start, at),
        channel=chunk.channel,
    )
    right = Chunk(
        index=chunk.index,
        start=max(opening, heard.first(opening) - MARGIN),
        end=chunk.end,
        keep=Span(at, chunk.keep.end),
        channel=chunk.channel,
    )
    return (left, right) if min(left.duration, right.duration) >= smallest else None


def target_for(duration: float, longest: float, slots: int, *, overlap: float, floor: float = FLOOR) -> float | None:
    """Seconds to aim at for the chunks of a recording, of which a fleet reads `slots` at once; None: one will do.

    All slots get an equal part, in as few rounds as `longest` allows: in a last round that is not full some wait for
    the others. No part is shorter than `floor` seconds. A speaker must speak several times to be recognized again,
    which takes minutes in a conversation. And each cut costs its overlap once more. At ten minutes, 30 s of overlap are
    5 % more work. Parts stay a tenth below `longest`, so that cuts can move to a pause.
    """
    overlap = min(overlap, MAX_SHARED * min(longest, floor))
    fewest = 1 if duration <= longest else _parts(duration, longest / (1 + REACH / 2), overlap)
    rounds = math.ceil(fewest / max(1, slots))
    most = math.floor((duration - overlap) / (floor - overlap))
    count = max(fewest, min(rounds * slots, most))
    return None if count == 1 else (duration - overlap) / count + overlap


def _parts(seconds: float, each: float, overlap: float) -> int:
    """How many parts of at most `each` seconds, overlapping, cover so many."""
    return max(1, math.ceil((seconds - overlap) / (each - overlap)))


def _chunks(heard: _Speech, duration: float, shape: _Shape) -> Iterator[Chunk]:
    """Chunk after chunk: each ends at the best cut near its share, the last takes what is left."""
    kept = opening = 0.0  # where the next chunk's keep begins, and where its window may
    for index in itertools.count():
        first = heard.first(opening)
        extent = heard.ends[-1] - first
        if shape.count(extent) == 1:
            margin = min(shape.margin, (shape.longest - extent) / 2)
            end = min(duration, heard.ends[-1] + margin)
            yield Chunk(index, max(opening, first - margin), end, Span(kept, duration))
            return
        start = max(opening, first - shape.margin)
        cut = _cut(heard, kept, start, shape.share(extent), shape)
        end = _closing(heard, cut, start + shape.longest, shape.margin)
        yield Chunk(index, start, end, Span(kept, cut.at))
        opening, kept = _opening(heard, cut, kept), cut.at


def _cut(heard: _Speech, kept: float, start: float, share: float, shape: _Shape) -> _Cut:
    """Where the chunk ends whose window begins at `start`. After `kept` by a stretch of speech at least."""
    half = shape.overlap / 2
    latest = start + min((1 + REACH / 2) * share, shape.longest) - half
    reach = Span(latest - REACH * share, latest)
    pauses = [pause for pause in heard.pauses(reach) if pause.start > kept]
    pause = _widest(pauses, start + share - half)
    return _Cut(_middle(pause), _beyond(pause, shape.overlap))


def _widest(pauses: Iterable[Span], wish: float) -> Span:
    """The widest pause, of equals the one next to `wish`; without any, that moment."""
    return max(pauses, key=lambda pause: (pause.duration, -abs(_middle(pause) - wish)), default=Span(wish, wish))


def _middle(span: Span) -> float:
    """The moment halfway.

    >>> _middle(Span(1, 4))
    2.5
    """
    return (span.start + span.end) / 2


def _beyond(pause: Span, overlap: float) -> float:
    """Seconds that neighbours hear beyond a cut: a pause as long as the overlap has torn nothing apart."""
    return overlap / 2 if pause.duration < overlap else 0.0


def _opening(heard: _Speech, cut: _Cut, earliest: float) -> float:
    """Where the window after a cut may begin."""
    edge = max(earliest, cut.at - cut.beyond)
    return heard.settled(edge, Span(max(earliest, edge - cut.slack), min(cut.at, edge + cut.slack)))


def _closing(heard: _Speech, cut: _Cut, limit: float, margin: float) -> float:
    """Where the window before a cut ends."""
    edge = min(limit, cut.at + cut.beyond)
    edge = heard.settled(edge, Span(max(cut.at, edge - cut.slack), min(limit, edge + cut.slack)))
    return min(edge, heard.last(edge) + margin)


def _inside(pause: Span, moment: float) -> float:
    """The nearest moment within a pause that leaves a margin on either side, or halves it."""
    margin = min(MARGIN, pause.duration / 2)
    return min(max(moment, pause.start + margin), pause.end - margin)


@dataclass(frozen=True, slots=True)
class _Shape:
    """What chunks are to be like, in seconds: how long at most, how long at best, how much neighbours share."""

    longest: float
    aim: float
    overlap: float

    @property
    def margin(self) -> float:
        """Seconds of the silence around its speech that a window has at most."""
        return min(MARGIN, self.aim / 10)

    def count(self, extent: float) -> int:
        """Into how many chunks to cut so much: as near to the aim as `longest` permits."""
        nearest = round((extent - self.overlap) / (self.aim - self.overlap))
        return max(nearest, _parts(extent, self.longest, self.overlap))

    def share(self, extent: float) -> float:
        """Seconds of one of them."""
        return (extent - self.overlap) / self.count(extent) + self.overlap


@dataclass(frozen=True, slots=True)
class _Cut:
    """Where neighbours part, and how many seconds `beyond` it either of them hears."""

    at: float
    beyond: float

    @property
    def slack(self) -> float:
        """Seconds that the edge of a window may move to a pause."""
        return min(NEARBY, self.beyond / 2)


@dataclass(frozen=True, slots=True)
class _Speech:
    """Stretches of speech in order and disjoint, found by bisection."""

    starts: list[float]
    ends: list[float]

    @classmethod
    def within(cls, spans: Iterable[Span], start: float, end: float) -> _Speech:
        """The parts of the spans between two moments."""
        clipped = map(clip, spans, repeat(Span(start, end)))
        real = [span for span in clipped if span.duration > 0]
        return cls([*map(attrgetter("start"), real)], [*map(attrgetter("end"), real)])

    def first(self, moment: float) -> float:
        """The first moment of speech from here on. Raises IndexError where there is none."""
        return max(moment, self.starts[bisect_right(self.ends, moment)])

    def last(self, moment: float) -> float:
        """The last moment of speech until here. Raises IndexError where there is none."""
        return min(moment, self.ends[bisect_left(self.starts, moment) - 1])

    def pauses(self, reach: Span) -> list[Span]:
        """The pauses between two stretches that touch `reach`, in order."""
        before = max(0, bisect_right(self.starts, reach.start) - 1)
        after = bisect_right(self.ends, reach.end)
        ends, starts = self.ends[before:after], self.starts[before + 1 : after + 1]
        return [*map(Span, ends, starts)]  # none follows the last stretch

    def settled(self, moment: float, reach: Span) -> float:
        """The moment itself, or if it is in the middle of speech, the nearest within a pause in reach."""
        index = bisect_right(self.starts, moment) - 1
        if index < 0 or not self.starts[index] < moment < self.ends[index]:
            return moment
        places = map(_inside, self.pauses(reach), repeat(moment))
        within = [place for place in places if reach.start <= place <= reach.end]
        return min(within, key=lambda place: abs(place - moment), default=moment)
