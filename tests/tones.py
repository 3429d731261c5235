"""Conversations of buzzing tones: the detector `energy` and the scripted model that `hears` take them for speech.

Each voice is a pitch; each syllable is read as a word.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

RATE = 24_000  # Hz; what the spool holds, so that nothing is resampled
PITCHES = (110.0, 190.0, 270.0, 350.0)  # Hz, one for each voice


@dataclass(frozen=True)
class Said:
    """One utterance: by which voice, from when to when, in seconds."""

    voice: int
    start: float
    end: float


def turns(seconds: float, *, voices: Sequence[int] = (0, 1, 2, 3), seed: int = 1, pause: float = 1.5) -> list[Said]:
    """About `seconds` of utterances of one to five seconds, by a voice other than the one before."""
    draw = random.Random(seed)
    said: list[Said] = []
    now = 1.0
    while now < seconds:
        others = [voice for voice in voices if not said or voice != said[-1].voice] or list(voices)
        length = draw.uniform(1, 5)
        said.append(Said(draw.choice(others), now, now + length))
        now += length + draw.uniform(0.6, pause)
    return said


def write(path: Path, said: Sequence[Said]) -> Path:
    """The utterances as a WAV file."""
    soundfile.write(path, _audio(tuple(said)), RATE, subtype="PCM_16")
    return path


@lru_cache(2)  # many tests of one file have the same, which takes seconds
def _audio(said: tuple[Said, ...]) -> NDArray[np.float32]:
    audio = np.zeros(round((said[-1].end + 1) * RATE), dtype=np.float32)
    for one in said:
        first, count = round(one.start * RATE), round((one.end - one.start) * RATE)
        audio[first : first + count] = buzz(PITCHES[one.voice], count, one.start)
    return audio


def buzz(pitch: float, count: int, seed: float) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    """Syllables of which no two are alike: the voice sways a little, and begins anywhere."""
    time_line = np.arange(count) / RATE
    phase = np.cumsum(pitch * (1 + 0.02 * np.sin(2 * np.pi * 0.37 * time_line + seed))) / RATE + seed
    voice = sum(np.sin(2 * np.pi * n * phase) / n for n in range(1, 12))
    syllables = np.clip(np.cos(2 * np.pi * 3.3 * time_line), 0, 1)
    return np.asarray(0.2 * voice * syllables, dtype=np.float32)


class ToneEncoder:
    """Makes embeddings of such voices: how strong the spectrum is at each pitch and its neighbours."""

    name = "tones"
    POINTS = np.arange(80.0, 400.0, 10.0)  # Hz

    def embed(self, audio: NDArray[np.float32]) -> NDArray[np.float32]:
        """See `models.base.VoiceEncoder`."""
        spectrum = np.abs(np.fft.rfft(audio * np.hanning(audio.size), 32_000))[:800]  # up to 400 Hz
        power = np.interp(self.POINTS, np.arange(800) * 0.5, np.convolve(spectrum, np.ones(20), "same"))
        return np.asarray(power / np.linalg.norm(power), np.float32)
