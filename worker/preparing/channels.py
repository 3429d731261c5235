"""Pure: the sound of several channels: what is damage, what is an offset, and what they have in common."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dropscribe.core.audio import SAMPLE_RATE

Block = NDArray[np.float32]  # of shape (channels, samples), full scale is 1

LOUDEST = 2.0**31  # full scale of the widest integers: programs write those as floats too. Beyond is damage
HALF = SAMPLE_RATE // 80  # samples on either side of the one whose offset is looked for: 25 ms in all, so that speech
# (from 75 Hz on) stays, and a step of the offset is over within what `level` takes for a click
WIDTH = 2 * HALF + 1
PIECE = SAMPLE_RATE // 10  # samples for which it is decided together whether channels cancel each other out
VANISHED = 0.2  # of the energy that the mean of unrelated channels would have: 7 dB less


def only_sound(block: Block) -> Block:
    """The block with silence for what damaged floats say: one of them would hold the gain of the whole file down."""
    with np.errstate(invalid="ignore"):  # NaN is not within any bound
        sound = np.abs(block) <= LOUDEST
    return block if sound.all() else np.where(sound, block, np.float32(0))


class OffsetFilter:
    """Takes the offset out of a stream of blocks: the mean of the 25 ms around each sample.

    Until as much was seen, and from where the stream ends on, it is the mean of the first and of the last of them.

    >>> offset = OffsetFilter()
    >>> blocks = [offset.take(np.full((1, 1000), 0.3, np.float32)), offset.flush()]
    >>> [block.shape for block in blocks], float(max(abs(block).max() for block in blocks)) < 1e-6
    ([(1, 700), (1, 300)], True)
    """

    def __init__(self) -> None:
        self._held: Block | None = None  # what is still to be given, and HALF samples before it

    def take(self, block: Block) -> Block:
        """Give what is known by now; the rest follows with the next block."""
        if self._held is None:
            self._held = _mean(block[:, :WIDTH]).repeat(HALF, axis=1)
        joined = np.concatenate((self._held, block), axis=1)
        self._held = joined[:, max(0, joined.shape[1] - 2 * HALF) :]
        return _without_mean(joined)

    def flush(self) -> Block:
        """Give the rest, shape (1, 0) where there was nothing."""
        if self._held is None:
            return np.zeros((1, 0), np.float32)
        tail = _mean(self._held[:, -WIDTH:]).repeat(HALF, axis=1)
        return _without_mean(np.concatenate((self._held, tail), axis=1))


def _mean(block: Block) -> Block:
    """The offset of each channel in a block; shape (channels, 1)."""
    mean: Block = block.mean(axis=1, keepdims=True, dtype=np.float64).astype(np.float32)
    return mean


def _without_mean(joined: Block) -> Block:
    """Of all samples but HALF at either end."""
    total = np.cumsum(np.pad(joined, ((0, 0), (1, 0))), axis=1, dtype=np.float64)
    means = (total[:, WIDTH:] - total[:, :-WIDTH]) / WIDTH
    return (joined[:, HALF : HALF + means.shape[1]] - means).astype(np.float32)


def downmix(block: Block) -> tuple[Block, float]:
    """One channel, shape (1, samples): the mean, and one of the channels where they cancel each other out.

    The mean cannot be louder than the loudest channel. Also tells for how many seconds one channel was taken: the
    first that is within 3 dB of the loudest.

    Example: the second channel is the first with its phase inverted, so that their mean is silence:

    >>> sound = np.sin(np.arange(24_000, dtype=np.float32))
    >>> mono, seconds = downmix(np.stack([sound, -sound]))
    >>> bool((mono == sound).all()), seconds
    (True, 1.0)
    """
    mean = block.mean(axis=0, keepdims=True)
    if len(block) == 1 or not block.size:
        return mean, 0.0
    starts = np.arange(0, block.shape[1], PIECE)
    energy = np.add.reduceat(np.square(block), starts, axis=1)
    vanished = np.add.reduceat(np.square(mean), starts, axis=1)[0] * len(block) < VANISHED * energy.mean(axis=0)
    if not vanished.any():
        return mean, 0.0
    chosen = (energy >= energy.max(axis=0) / 2).argmax(axis=0)
    of_sample = np.arange(block.shape[1]) // PIECE
    one = block[chosen[of_sample], np.arange(block.shape[1])]
    taken = vanished[of_sample]
    return np.where(taken, one, mean), int(taken.sum()) / SAMPLE_RATE
