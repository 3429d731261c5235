"""Pure: where decoded sound belongs in time, by the timestamps of its container where they can be true.

A recording has two clocks: its samples, and its timestamps. The offset of a frame is its timestamp less the samples
before it. How the offsets move tells what happened:

    0 0 0 0 5 0 0 0 0       a wrong timestamp, or several that come back: they count for nothing
    0 0 0 0 5 5 5 5 5       a gap: silence of 5 s belongs there
    9 9 9 9 4 4 4 4 4       a clock that was set back: the sound goes on
    0 .03 .06 .09 .12       a clock 3 % faster than the samples: the sound is stretched
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from operator import attrgetter

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from dropscribe.core.types import Span

TOLERANCE = 0.1  # s by which offsets may differ: rounding of timestamps and encoder delay stay well below
STEADY = TOLERANCE / 10  # s; offsets that differ by less are taken as they are
ROUNDING = 1e-6  # s
MIN_FRAME = 0.0199  # s between frames that are remembered: 2.9 MB an hour at most
PERSISTENCE = 2.5  # s before and after a frame, of which the median offset is believed
MAX_EXCURSION = 60.0  # s; offsets that come back to the same value within that were wrong meanwhile
MAX_DRIFT = 0.1  # of the time; 44.1 kHz for 48 kHz is the largest that was seen (0.09)
EDGE = 0.2  # s at either end whose median stands for what lies beyond
MIN_EDGE, MAX_EDGE = 3, 9  # the same in frames
NEAR_ERROR = 0.3  # s around an error in which a hole belongs to it: decoders hold some frames back
NEAR = 4  # frames before and after one, of which the median tells on which side of a leap it is
BLOCK = 512  # frames of which medians are taken at once: a megabyte

Offsets = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Piece:
    """The sound from `start` to `end`, after `silence`, which is to last for `length`; all in seconds.

    `is_hole` says that the silence stands for sound that is missing.
    """

    start: float
    end: float
    length: float
    silence: float = 0.0
    is_hole: bool = False

    @property
    def is_stretched(self) -> bool:
        """Whether it is to last longer or shorter than it is."""
        return abs(self.length - (self.end - self.start)) > ROUNDING


@dataclass(frozen=True, slots=True)
class _Change:
    """How the offset changed from the frame at `since` to the frame at `at`: by drift, and by leaps between frames."""

    since: float
    at: float
    drift: float
    leap: float


@dataclass(slots=True)
class _Clock:
    """The frames of one clock: where they begin and their offsets.

    `origin` is the first moment of the streams beside the sound, None where there are none; `hole` is missing before.
    """

    start: float = 0.0
    origin: float | None = None
    hole: float = 0.0
    counts: bool = False
    lost: float = 0.0
    at: array[float] = field(default_factory=lambda: array("d"))
    offsets: array[float] = field(default_factory=lambda: array("d"))

    def add(self, at: float, time: float | None) -> None:
        """Remember a frame, unless one of the same moment is known."""
        time = at + self.lost if self.counts else time
        if time is not None and (not self.at or at - self.at[-1] >= MIN_FRAME):
            self.at.append(at)
            self.offsets.append(time - at)


class Timeline:
    """The frames of a recording as they are decoded; in seconds.

    `elapsed` is what the decoded sound lasts, `frames` how many frames it has, `latest` the last moment by timestamps.
    """

    def __init__(self) -> None:
        self._clocks = [_Clock()]
        self.elapsed = 0.0
        self.frames = 0
        self.latest = 0.0

    def restart(self, origin: float | None = None, *, hole: float = 0.0, counts: bool = False) -> None:
        """From here on another clock holds: another file, or the first.

        `origin` is the first moment of the streams beside the sound. `hole`: so many seconds are missing before it.
        `counts`: there are no timestamps of its own, so the samples are the clock, and packets that could not be
        decoded.
        """
        self._clocks.append(_Clock(self.elapsed, origin, hole, counts))

    def add(self, time: float | None, seconds: float) -> None:
        """A frame of that length was decoded, whose timestamp is `time`."""
        self._clocks[-1].add(self.elapsed, time)
        self.elapsed += seconds
        self.frames += 1
        self.latest = max(self.latest, (time or 0.0) + seconds)

    def lose(self, seconds: float) -> None:
        """A packet of that length could not be decoded."""
        self._clocks[-1].lost += seconds

    def pieces(self, limit: float) -> tuple[Piece, ...]:
        """All sound in order; silence that makes the whole longer than `limit` is not believed."""
        found: list[Piece] = []
        room = limit - self.elapsed
        ends = [*map(attrgetter("start"), self._clocks[1:]), self.elapsed]
        for clock, end in zip(self._clocks, ends, strict=True):
            for piece in _pieces(clock, end, room):
                if piece.silence or piece.end > piece.start:
                    room -= piece.silence
                    found.append(piece)
        return tuple(found)


def holes_at(pieces: Iterable[Piece], moments: Iterable[float]) -> tuple[Span, ...]:
    """The holes at moments of the decoded sound, where they are heard; without length where there is none."""
    heard, places = 0.0, []
    for piece in pieces:
        places.append((piece, heard))
        heard += piece.silence + piece.length
    return tuple(dict.fromkeys(_hole_at(places, moment, heard) for moment in moments))


def _hole_at(places: Sequence[tuple[Piece, float]], moment: float, whole: float) -> Span:
    """Where in the audio something is missing that broke off at a moment of the file."""
    for piece, heard in places:
        if piece.is_hole and abs(piece.start - moment) <= NEAR_ERROR:
            return Span(heard, heard + piece.silence)
    after = (
        heard + piece.silence + moment - piece.start for piece, heard in places if piece.start <= moment < piece.end
    )
    place = next(after, whole)
    return Span(place, place)


def _pieces(clock: _Clock, end: float, room: float) -> Iterator[Piece]:
    """The sound of one clock, with silence of `room` in all at most."""
    at, steady, leaps = _course(clock)
    if 0 < clock.hole <= room:
        room -= clock.hole
        yield Piece(clock.start, clock.start, 0.0, clock.hole, is_hole=True)
    pending = Piece(clock.start, clock.start, 0.0, _lead(clock, steady, room))
    room -= pending.silence
    for change in _changes(at, steady, leaps):
        if change.drift:
            yield _until(pending, change.since)
            pending = Piece(change.since, change.since, change.drift)
        if change.drift or 0 < change.leap <= room:
            yield _until(pending, change.at)
            pending = Piece(change.at, change.at, 0.0)
        if 0 < change.leap <= room:
            room -= change.leap
            pending = replace(pending, silence=change.leap, is_hole=True)
    yield _until(pending, end)


def _until(piece: Piece, end: float) -> Piece:
    """The piece up to there, as much longer or shorter as it was at its start."""
    return replace(piece, end=end, length=end - piece.start + piece.length)


def _lead(clock: _Clock, steady: Offsets, room: float) -> float:
    """Silence before sound that begins later than the streams beside it."""
    if clock.origin is None or not steady.size:
        return 0.0
    lead = float(steady[0]) + clock.start - clock.origin
    return lead if TOLERANCE < lead <= room else 0.0


def _course(clock: _Clock) -> tuple[Offsets, Offsets, Offsets]:
    """Where frames begin, the offset to be believed there, and the sum of all leaps of offsets up to there."""
    at, offsets = np.asarray(clock.at), np.asarray(clock.offsets)
    if at.size < 2:
        return at, offsets, offsets
    frame = float(np.median(np.diff(at)))
    edge = round(np.clip(EDGE / frame, MIN_EDGE, MAX_EDGE))
    half = round(np.clip(PERSISTENCE / frame, edge // 2 + 1, PERSISTENCE / MIN_FRAME))
    near = _medians(offsets, NEAR, edge)
    steady = _without_excursions(at, _supported(_medians(offsets, half, edge), near))
    steps = np.diff(steady, prepend=steady[0])
    return at, steady, np.cumsum(np.where(np.abs(steps) > min(frame / 2, TOLERANCE), steps, 0.0))


def _medians(offsets: Offsets, half: int, edge: int) -> Offsets:
    """The running median over `half` frames before and after each; there are `edge` frames at either end."""
    edges = np.median(offsets[:edge]), np.median(offsets[-edge:])
    padded = np.pad(offsets, half, constant_values=[edges])
    blocks = range(0, offsets.size, BLOCK)
    return np.concatenate([_middle(padded[start : start + BLOCK + 2 * half], half) for start in blocks])


def _middle(offsets: Offsets, half: int) -> Offsets:
    """Offsets without what deviates for a short time only, by a running median."""
    if np.ptp(offsets) <= STEADY:
        return offsets[half : offsets.size - half]
    return np.median(sliding_window_view(offsets, 2 * half + 1), axis=1)


def _supported(steady: Offsets, near: Offsets) -> Offsets:
    """Around a leap the median may be that of no frame nearby: then the one before or behind counts."""
    frames = np.arange(steady.size)
    is_supported = np.abs(steady - near) <= TOLERANCE
    before = steady[np.maximum.accumulate(np.where(is_supported, frames, 0))]
    behind = steady[np.minimum.accumulate(np.where(is_supported, frames, frames[-1])[::-1])[::-1]]
    return np.where(np.abs(near - before) <= np.abs(near - behind), before, behind)


def _without_excursions(at: Offsets, steady: Offsets) -> Offsets:
    """Offsets that leap away and come back to where they were stay there."""
    leaps = np.flatnonzero(np.abs(np.diff(steady)) > TOLERANCE) + 1
    ends = np.searchsorted(at[leaps], at[leaps] + MAX_EXCURSION)
    for number, (away, end) in enumerate(zip(leaps, ends, strict=True), start=1):
        before = steady[away - 1]
        later = leaps[number:end]
        back = later[np.abs(steady[later] - before) <= TOLERANCE]
        if back.size:
            steady[away : back[0]] = before
    return steady


def _changes(at: Offsets, steady: Offsets, leaps: Offsets) -> Iterator[_Change]:
    """Where the offset changes for good, each with its drift and its leap."""
    last = 0
    while (here := _next_change(steady, last)) < steady.size:
        seconds, leap = float(steady[here] - steady[last]), float(leaps[here] - leaps[last])
        drift, since, moment = seconds - leap, float(at[last]), float(at[here])
        if not STEADY < abs(drift) <= MAX_DRIFT * (moment - since):
            drift, leap = 0.0, seconds
        yield _Change(since, moment, drift, leap)
        last = here


def _next_change(steady: Offsets, last: int) -> int:
    """The first frame behind the last whose offset is another; the number of frames where there is none."""
    for start in range(last, steady.size, BLOCK):
        found = np.flatnonzero(np.abs(steady[start : start + BLOCK] - steady[last]) > TOLERANCE)
        if found.size:
            return start + int(found[0])
    return steady.size
