"""Decoded sound on its way to the spool: lanes, each a channel in a file of its own, joined or kept apart.

Nothing holds more than a few seconds of a recording in memory.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from operator import attrgetter
from pathlib import Path
from typing import IO, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from dropscribe.core.audio import SAMPLE_RATE
from dropscribe.core.disk_errors import cannot_write
from dropscribe.core.error_translation import translated
from dropscribe.core.errors import SpoolError
from dropscribe.worker.preparing import retime
from dropscribe.worker.preparing.channels import Block, downmix
from dropscribe.worker.preparing.level import Level, Samples
from dropscribe.worker.preparing.timeline import Piece

Sample = TypeVar("Sample", np.float32, np.int16)

BLOCK = 10 * SAMPLE_RATE  # samples of a lane in memory at once
FLOAT_BYTES = 4
SAME = 0.99  # correlation from which on two channels hold the same sound: what differs is 17 dB below it


@dataclass(slots=True)
class Lane:
    """One channel, mono at 24 kHz as float32 in an unnamed file, how loud it is, and where its sound belongs in time.

    Without `pieces` it belongs where it stands. `size` are the samples in the file.
    """

    file: IO[bytes]
    level: Level = field(default_factory=Level)
    pieces: tuple[Piece, ...] = ()
    size: int = 0

    @classmethod
    def new(cls, scratch: Path) -> Lane:
        """An empty one. Raises NoRoomError or SpoolError."""
        with translated(OSError, into=_no_room):
            return cls(tempfile.TemporaryFile(dir=scratch))

    def add(self, samples: Samples) -> None:
        """Append samples, shape (samples,). Raises NoRoomError or SpoolError."""
        self.level.add(samples)
        self.size += samples.size
        with translated(OSError, into=_no_room):
            self.file.write(np.ascontiguousarray(samples, np.float32).data)

    def place(self, pieces: Sequence[Piece]) -> None:
        """Let the sound stand where `pieces` say; no samples may follow."""
        self.pieces = tuple(pieces)
        self.level.samples = retime.length(self.size, pieces)

    def blocks(self) -> Iterator[Samples]:
        """All of it at its times, in blocks of several seconds at most."""
        with translated(OSError, into=_no_room):
            self.file.flush()  # so a full disk may show only here
        pieces = self.pieces or (Piece(0.0, self.size / SAMPLE_RATE, self.size / SAMPLE_RATE),)
        yield from retime.retimed(self._read, self.size, pieces)

    def _read(self, start: int, end: int) -> Samples:
        """The samples from one up to another, silence outside of what there is."""
        first, last = max(start, 0), min(end, self.size)
        self.file.seek(first * FLOAT_BYTES)
        there = np.frombuffer(self.file.read(max(0, last - first) * FLOAT_BYTES), np.float32)
        return np.pad(there, (max(0, -start), max(0, end - self.size)))

    def scaled(self) -> Iterator[NDArray[np.int16]]:
        """All of it at its gain, its clicks limited to the peak of the rest."""
        gain, ceiling = np.float32(self.level.gain * 32767), self.level.ceiling * 32767
        for block in self.blocks():
            yield np.rint((block * gain).clip(-ceiling, ceiling)).astype(np.int16)


def side_by_side(lanes: Iterable[Iterable[NDArray[Sample]]]) -> Iterator[NDArray[Sample]]:
    """Blocks of all lanes, shape (lanes, samples); lanes that end earlier go on with silence."""
    nothing: NDArray[Any] = np.zeros(0, np.int16)
    following = [partial(next, evenly(lane), nothing) for lane in lanes]
    blocks = [take() for take in following]
    while size := max(map(attrgetter("size"), blocks)):
        yield np.stack([np.pad(block, (0, size - block.size)) for block in blocks])
        blocks = [take() for take in following]


def evenly(blocks: Iterable[NDArray[Sample]], size: int = BLOCK) -> Iterator[NDArray[Sample]]:
    """The same samples in blocks of one size, of which the last may be shorter.

    >>> [block.tolist() for block in evenly([np.arange(3), np.arange(3, 8)], size=4)]
    [[0, 1, 2, 3], [4, 5, 6, 7]]
    """
    held: NDArray[Any] = np.zeros(0, np.int16)
    for block in blocks:
        held = np.concatenate((held, block)) if held.size else block
        while held.size >= size:
            yield held[:size]
            held = held[size:]
    if held.size:
        yield held


def mixed(lanes: Sequence[Lane], into: Lane) -> tuple[Lane, float]:
    """The lanes as one; of those that hold a sound. Also for how many seconds they cancel each other out."""
    sounding = [lane for lane in lanes if not lane.level.is_silent]
    if len(sounding) < 2:
        return (sounding or lanes)[0], 0.0
    return into, sum(spread(block, [into]) for block in side_by_side(lane.blocks() for lane in sounding))


def copies(lanes: Sequence[Lane]) -> dict[int, int]:
    """Lanes that hold the same sound as one before them, and which; also where its phase or its gain is another."""
    gram = np.zeros((len(lanes), len(lanes)))
    for block in side_by_side(lane.blocks() for lane in lanes):
        wide = block.astype(np.float64)
        gram += wide @ wide.T
    scale = np.sqrt(np.diag(gram))
    alike = np.abs(gram) > SAME * np.maximum(np.outer(scale, scale), 1e-12)
    firsts = alike.argmax(axis=1).tolist()
    return {lane: first for lane, first in enumerate(firsts) if first < lane and alike[lane, first]}


@dataclass(frozen=True, slots=True)
class Spooled:
    """What the spool holds: the lanes, the numbers of their channels where they are apart, and remarks on others.

    `inverted` are the seconds for which tracks that were mixed cancel each other out.
    """

    lanes: tuple[Lane, ...]
    channels: tuple[int, ...] = ()
    remarks: tuple[str, ...] = ()
    inverted: float = 0.0

    @property
    def is_silent(self) -> bool:
        """True where there is no sound at all."""
        return all(lane.level.is_silent for lane in self.lanes)


def separated(lanes: Sequence[Lane]) -> Spooled:
    """Those of several lanes that are to be transcribed one by one: without silent ones, and each sound once.

    Where all hold the same, it is one recording, and there are no numbers of channels.
    """
    same = copies(lanes)
    remarks = _dropped(lanes, same)
    kept = [number for number in range(len(lanes)) if number not in remarks] or [0]
    channels = [] if same and len(kept) == 1 else [number + 1 for number in kept]
    return Spooled(tuple(lanes[number] for number in kept), tuple(channels), tuple(remarks.values()))


def _dropped(lanes: Sequence[Lane], same: Mapping[int, int]) -> dict[int, str]:
    """Why channels are not transcribed, in their order."""
    silent = {number: "is silent" for number, lane in enumerate(lanes) if lane.level.is_silent}
    reasons = silent | {number: f"holds the same sound as channel {first + 1}" for number, first in same.items()}
    return {number: f"channel {number + 1} {reasons[number]}" for number in sorted(reasons)}


def interleaved(lanes: Sequence[Lane]) -> Iterator[NDArray[np.int16]]:
    """Blocks of shape (samples, lanes), each lane at its own gain."""
    for block in side_by_side(lane.scaled() for lane in lanes):
        yield np.ascontiguousarray(block.T)


def spread(block: Block, lanes: Sequence[Lane]) -> float:
    """Add a block of shape (channels, samples) to the lanes: a channel each, or all channels as one.

    One lane takes the downmix of all channels, and so does each of several where a stream changed its channels on the
    way. Tells for how many seconds the channels cancelled each other out.
    """
    if len(block) == len(lanes) > 1:
        for lane, samples in zip(lanes, block, strict=True):
            lane.add(samples)
        return 0.0
    mono, inverted = downmix(block)
    for lane in lanes:
        lane.add(mono[0])
    return inverted


def _no_room(error: OSError) -> SpoolError:
    """The error for working data that cannot be written."""
    return cannot_write(f"its working data cannot be written ({error.strerror}); make room on that disk", error)


def longest(lanes: Iterable[Lane]) -> float:
    """Seconds of the longest."""
    return max((lane.level.samples for lane in lanes), default=0) / SAMPLE_RATE
