"""Mix phrases into recordings of one to four turns, with the reference that the model is to write."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tests.tiny.synthesis import SAMPLE_RATE, Phrase

HOP = 3200  # samples of one audio embedding
MOST_WORDS = 8
SPEED = 0.06  # a recording is played up to so much faster or slower
TURNS = {1: 0.25, 2: 0.35, 3: 0.28, 4: 0.12}  # number of turns, and how often


@dataclass(frozen=True)
class Turn:
    """Who (numbered by first appearance) says what, when: seconds; `words` are (text, start, end)."""

    speaker: int
    voice: int
    words: tuple[tuple[str, float, float], ...]

    @property
    def start(self) -> float:
        return self.words[0][1]

    @property
    def end(self) -> float:
        return self.words[-1][2]

    @property
    def text(self) -> str:
        return " ".join(word for word, _, _ in self.words)


@dataclass(frozen=True)
class Recording:
    """`audio` (samples,) float32 mono at 24 kHz, normalized as the processor does, and what is said in it."""

    audio: NDArray[np.float32]
    turns: tuple[Turn, ...]


def answer(turns: Sequence[Turn]) -> str:
    """The JSON that the model writes, times in tenths of a second."""
    segments = [
        {"Start": round(turn.start, 1), "End": round(turn.end, 1), "Speaker": turn.speaker, "Content": turn.text}
        for turn in turns
    ]
    return json.dumps(segments, separators=(",", ":"))


def normalize(audio: NDArray[np.float32]) -> NDArray[np.float32]:
    """To -25 dBFS, and to full scale where that would clip: the arithmetic of the feature extractor."""
    audio = audio * np.float32(10 ** (-25 / 20) / (np.sqrt(np.mean(audio**2)) + 1e-6))
    peak = np.max(np.abs(audio))
    return audio / (peak + np.float32(1e-6)) if peak > 1 else audio


class Mixer:
    """Draws recordings from phrases; the same seed draws the same ones."""

    def __init__(self, phrases: Sequence[Phrase], seed: int | str) -> None:
        self.draw = random.Random(seed)
        self.by_voice: dict[int, list[Phrase]] = {}
        for phrase in phrases:
            self.by_voice.setdefault(phrase.voice, []).append(phrase)
        noise = np.random.default_rng(self.draw.getrandbits(32)).standard_normal(40 * SAMPLE_RATE)
        self.noises = [noise.astype(np.float32), _brown(noise)]

    def _voices(self, turns: int) -> list[int]:
        """A voice for each turn, never the same twice running; from the third turn on mostly one that was heard."""
        voices = [self.draw.choice(sorted(self.by_voice))]
        while len(voices) < turns:
            others = [voice for voice in sorted(self.by_voice) if voice != voices[-1]]
            heard = [voice for voice in others if voice in voices]
            voices.append(self.draw.choice(heard if heard and self.draw.random() < 0.6 else others))
        return voices

    def _phrases(self) -> list[Phrase]:
        chosen: list[Phrase] = []
        room = MOST_WORDS
        for voice in self._voices(self.draw.choices(tuple(TURNS), tuple(TURNS.values()))[0]):
            phrase = self.draw.choice(self.by_voice[voice])
            if len(phrase.words) > room:
                break
            chosen.append(phrase)
            room -= len(phrase.words)
        return chosen

    def next(self) -> Recording:
        """One to four turns with pauses between, each with its gain, over noise, at a speed of its own."""
        phrases, speed = self._phrases(), self.draw.uniform(1 - SPEED, 1 + SPEED)
        speakers: dict[int, int] = {}
        pieces, turns, now = [], [], self.draw.uniform(0.1, 0.7)
        silence = now
        for phrase in phrases:
            samples = stretch(phrase.pcm, speed) * (10 ** (self.draw.uniform(-4, 4) / 20) / 32_768)
            pieces += [np.zeros(round(silence * SAMPLE_RATE)), samples]
            begin = sum(piece.size for piece in pieces[:-1]) / SAMPLE_RATE
            words = tuple((word, begin + start / speed, begin + end / speed) for word, start, end in phrase.words)
            turns.append(Turn(speakers.setdefault(phrase.voice, len(speakers)), phrase.voice, words))
            silence = self.draw.uniform(0.3, 0.9)
        pieces.append(np.zeros(round(self.draw.uniform(0.25, 0.6) * SAMPLE_RATE)))
        audio = np.concatenate(pieces).astype(np.float32)
        return Recording(normalize(audio + self._noise(audio.size)), tuple(turns))

    def _noise(self, size: int) -> NDArray[np.float32]:
        """15 to 45 dB under the speech, white or brown."""
        noise = self.draw.choice(self.noises)
        start = self.draw.randrange(noise.size - size)
        return noise[start : start + size] * np.float32(0.06 * 10 ** (-self.draw.uniform(15, 45) / 20))


def stretch(pcm: NDArray[np.int16], speed: float) -> NDArray[np.float64]:
    """Played `speed` times as fast, pitch included, by linear interpolation."""
    moved: NDArray[np.float64] = np.interp(np.arange(0, pcm.size - 1, speed), np.arange(pcm.size), pcm)
    return moved


def _brown(noise: NDArray[np.float64]) -> NDArray[np.float32]:
    """Low-pass of the first order at about 500 Hz, scaled to deviation one."""
    spectrum = np.fft.rfft(noise)
    spectrum /= 1 + 1j * np.arange(spectrum.size) * (SAMPLE_RATE / noise.size / 500)
    brown = np.fft.irfft(spectrum, noise.size)
    unit: NDArray[np.float32] = (brown / brown.std()).astype(np.float32)
    return unit
