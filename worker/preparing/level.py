"""Pure: how loud a recording is, and the one gain that brings its speech to the level that models expect."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from dropscribe.core.audio import SAMPLE_RATE

Samples = NDArray[np.float32]

TARGET_DBFS = -25.0  # RMS; what VibeVoice-ASR's own processor brings its input to
MAX_GAIN_DB = 40.0  # speech at -65 dBFS still gets there; below is hiss, and louder hiss helps nobody
FLOOR = 1e-6  # -120 dBFS, the least level reported
STEP = 1 / 32768  # one step of 16 bits

FRAME = SAMPLE_RATE // 100  # samples; a period of the lowest voices, so that each frame of a vowel has a peak
HELD = 5  # frames: speech lasts longer, a click does not
CLICK = 4.0  # times louder (12 dB) than what lasts so long around it


@dataclass(slots=True)
class Level:
    """Running measure of one channel; amplitudes in full scale, `energy` the sum of squares.

    `peak` is the highest sample. Neither `energy` nor `loudest`, the highest that the gain has to leave room for, knows
    of clicks: one would hold down the gain of a whole recording.
    """

    samples: int = 0
    energy: float = 0.0
    loudest: float = 0.0
    peak: float = 0.0

    @property
    def rms(self) -> float:
        """Root mean square of all samples so far."""
        return math.sqrt(self.energy / max(self.samples, 1))

    @property
    def is_silent(self) -> bool:
        """True where no sample reaches one step of 16 bits."""
        return self.peak < STEP

    @property
    def gain(self) -> float:
        """The factor that brings the RMS to -25 dBFS; less if a peak would clip that is not a click, 40 dB at most."""
        if self.is_silent:
            return 1.0
        wanted = 10 ** (TARGET_DBFS / 20) / max(self.rms, FLOOR)
        return min(wanted, 1 / max(self.loudest, FLOOR), 10 ** (MAX_GAIN_DB / 20))

    @property
    def ceiling(self) -> float:
        """The amplitude after the gain beyond which there are only clicks."""
        return min(1.0, self.loudest * self.gain) if self.loudest >= STEP else 1.0

    def add(self, block: Samples) -> None:
        """Count in a block, shape (samples,)."""
        if not block.size:
            return
        starts = np.arange(0, block.size, FRAME)
        peaks = np.maximum.reduceat(np.abs(block), starts)
        energies = np.add.reduceat(np.square(block, dtype=np.float64), starts)
        lasting = peaks <= CLICK * held(peaks)
        self.samples += block.size
        self.energy += float(energies[lasting].sum())
        self.loudest = max(self.loudest, float(peaks[lasting].max(initial=0.0)))
        self.peak = max(self.peak, float(peaks.max()))


def held(peaks: Samples) -> Samples:
    """For each frame the level that lasts for `HELD` frames which include it; both have the shape (frames,).

    >>> held(np.array([1, 1, 9, 9, 1, 1, 5, 5, 5, 5, 5], np.float32)).tolist()
    [1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 5.0, 5.0, 5.0, 5.0, 5.0]
    """
    size = min(HELD, peaks.size)
    lowest = sliding_window_view(peaks, size).min(axis=1)
    lasting: Samples = sliding_window_view(np.pad(lowest, size - 1), size).max(axis=1)
    return lasting


def decibels(amplitude: float) -> float:
    """An amplitude in dBFS, -120 at the least."""
    return 20 * math.log10(max(amplitude, FLOOR))
