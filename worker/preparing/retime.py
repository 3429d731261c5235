"""Pure: brings decoded sound to its place in time, with silence where some is missing, stretched where a clock drifts.

A drift is undone by interpolation rather than by silence or cuts, which would fall into words.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from dropscribe.core.audio import SAMPLE_RATE
from dropscribe.worker.preparing.level import Samples
from dropscribe.worker.preparing.timeline import Piece

BLOCK = 10 * SAMPLE_RATE  # samples in memory at once
STRETCHED = SAMPLE_RATE  # the same of stretched sound, whose interpolation takes `TAPS` times that
TAPS = 16  # samples that each interpolated one is made of: up to 8 kHz, errors are 40 dB below the sound

STEPS = 1024  # places between two samples that are distinguished: rounding stays below that error


def _weights() -> NDArray[np.float32]:
    """What the samples around add to one at each of those places, of shape (STEPS, TAPS): a sinc in a Hann window."""
    away = np.arange(STEPS)[:, None] / STEPS - np.arange(1 - TAPS // 2, 1 + TAPS // 2)
    weights: NDArray[np.float32] = (np.sinc(away) * np.cos(np.pi / TAPS * away) ** 2).astype(np.float32)
    return weights


WEIGHTS = _weights()

Read = Callable[[int, int], Samples]


@dataclass(frozen=True, slots=True)
class _Part:
    """In samples: silence, and then the sound from `start` to `end`, in `size` samples."""

    silence: int
    start: int
    end: int
    size: int


def retimed(read: Read, total: int, pieces: Sequence[Piece]) -> Iterator[Samples]:
    """The sound in its pieces, in blocks of shape (samples,) and at most `BLOCK` samples.

    `read` gives the samples from a first one up to another, silence outside of the `total` that there are.
    """
    for part in _parts(total, pieces):
        yield from _silence(part.silence)
        is_stretched = part.size != part.end - part.start
        yield from _stretched(read, part) if is_stretched else _copied(read, part)


def length(total: int, pieces: Sequence[Piece]) -> int:
    """How many samples `retimed` gives."""
    return sum(part.silence + part.size for part in _parts(total, pieces))


def _parts(total: int, pieces: Sequence[Piece]) -> Iterator[_Part]:
    """Each piece as so many samples of silence and of sound, without rounding errors that add up."""
    edges = [0, *(min(round(piece.end * SAMPLE_RATE), total) for piece in pieces[:-1]), total]
    due, made = 0.0, 0
    for piece, start, end in zip(pieces, edges, edges[1:], strict=False):
        due += piece.silence
        silence = max(0, round(due * SAMPLE_RATE) - made) if piece.silence else 0
        due += piece.length
        size = round(due * SAMPLE_RATE) - made - silence if piece.is_stretched else end - start
        made += silence + size
        yield _Part(silence, start, end, size)


def _silence(samples: int) -> Iterator[Samples]:
    """So many samples of silence, in blocks."""
    for start in range(0, samples, BLOCK):
        yield np.zeros(min(BLOCK, samples - start), np.float32)


def _copied(read: Read, part: _Part) -> Iterator[Samples]:
    """The samples of a part as they are, in blocks."""
    for at in range(part.start, part.end, BLOCK):
        yield read(at, min(at + BLOCK, part.end))


def _stretched(read: Read, part: _Part) -> Iterator[Samples]:
    """The samples of a part, made longer or shorter, in blocks."""
    for first in range(0, part.size, STRETCHED):
        made = np.arange(first, min(first + STRETCHED, part.size), dtype=np.float64)
        places = part.start + (made + 0.5) * ((part.end - part.start) / part.size) - 0.5
        lowest, highest = int(places[0]) - TAPS, int(places[-1]) + TAPS
        yield _interpolated(read(lowest, highest), places - lowest)


def _interpolated(samples: Samples, places: NDArray[np.float64]) -> Samples:
    """The sound at places between its samples, which stand at whole numbers."""
    steps = np.rint(places * STEPS).astype(np.int64)
    first = steps // STEPS - TAPS // 2 + 1
    made: Samples = np.einsum("ij,ij->i", sliding_window_view(samples, TAPS)[first], WEIGHTS[steps % STEPS])
    return made
