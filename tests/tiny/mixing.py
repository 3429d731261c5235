"""Mix phrases into short and long recordings, with the reference that the model is to write."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tests.tiny.synthesis import SAMPLE_RATE, Phrase

HOP = 3200  # samples of one audio embedding
MAX_WORDS = 8  # of a short recording
BREATH = 0.1  # s between two phrases of one turn
MAX_CLIP = 5.0  # s
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


@dataclass(frozen=True)
class Cue:
    """One turn before it is mixed: what one voice says in one go, after a pause (s), with a gain (dB)."""

    phrases: tuple[Phrase, ...]
    pause: float
    gain: float = 0.0


def assemble(cues: Sequence[Cue], tail: float, speed: float = 1.0) -> Recording:
    """The cues end to end and `tail` seconds of silence, not normalized, played `speed` times as fast."""
    speakers: dict[int, int] = {}
    pieces, turns, size = [], [], 0
    for cue in cues:
        voice, words, gap = cue.phrases[0].voice, [], cue.pause
        for phrase in cue.phrases:
            silence = np.zeros(round(gap * SAMPLE_RATE))
            begin = (size + silence.size) / SAMPLE_RATE
            samples = stretch(phrase.pcm, speed) * (10 ** (cue.gain / 20) / 32_768)
            words += [(word, begin + start / speed, begin + end / speed) for word, start, end in phrase.words]
            pieces += [silence, samples]
            size += silence.size + samples.size
            gap = BREATH
        turns.append(Turn(speakers.setdefault(voice, len(speakers)), voice, tuple(words)))
    pieces.append(np.zeros(round(tail * SAMPLE_RATE)))
    return Recording(np.concatenate(pieces).astype(np.float32), tuple(turns))


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
        room = MAX_WORDS
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
        cues, pause = [], self.draw.uniform(0.1, 0.7)
        for phrase in phrases:
            cues.append(Cue((phrase,), pause, self.draw.uniform(-4, 4)))
            pause = self.draw.uniform(0.3, 0.9)
        return self._finish(cues, self.draw.uniform(0.25, 0.6), speed)

    def talk(self, seconds: float) -> Recording:
        """Up to about so many seconds of two to four voices in turns of one or two phrases, quick or with long pauses,
        as a window cut at pauses out of a longer recording holds them."""
        voices = self.draw.sample(sorted(self.by_voice), self.draw.choice((2, 3, 4, 4, 4)))
        longest, spread = self.draw.choice((0.9, 2.5, 5.0, 5.0, 5.0)), self.draw.choice((0.0, 0.0, 1.5, 4.0))
        cues: list[Cue] = []
        voice, now, pause = -1, 0.0, self._edge()
        while now < seconds:
            voice = self.draw.choice([one for one in voices if one != voice])
            phrases = tuple(self.draw.choices(self.by_voice[voice], k=self.draw.randint(1, 2)))
            cues.append(Cue(phrases, pause, self.draw.uniform(-spread, spread)))
            now += pause + _length(phrases)
            pause = self.draw.uniform(0.35, longest)
        kept = cues[:-1] if now > seconds and len(cues) > 1 else cues
        return self._finish(kept, self._edge(), self.draw.uniform(1 - SPEED, 1 + SPEED))

    def lineup(self, clips: int) -> Recording:
        """So many clips of 2 to 5 s, each of one voice, with pauses of 0.5 to 1 s; a voice may come twice running."""
        voices = self.draw.sample(sorted(self.by_voice), self.draw.randint(1, len(self.by_voice)))
        spread = self.draw.choice((0.0, 1.5, 4.0))
        cues, pause = [], self.draw.uniform(0.0, 0.7)
        for _ in range(clips):
            cues.append(Cue(self._clip(self.draw.choice(voices)), pause, self.draw.uniform(-spread, spread)))
            pause = self.draw.uniform(0.5, 1)
        return self._finish(cues, self.draw.uniform(0.05, 0.7), self.draw.uniform(1 - SPEED, 1 + SPEED))

    def _clip(self, voice: int) -> tuple[Phrase, ...]:
        wanted, phrases = self.draw.uniform(2, 4), [self.draw.choice(self.by_voice[voice])]
        while (length := _length(phrases)) < wanted:
            room = [one for one in self.by_voice[voice] if length + BREATH + _length([one]) < MAX_CLIP]
            phrases.append(self.draw.choice(room))
        return tuple(phrases)

    def _edge(self) -> float:
        """Silence before the first or after the last turn of a window."""
        return self.draw.uniform(0.05, self.draw.choice((0.7, 0.7, 3.0)))

    def _finish(self, cues: Sequence[Cue], tail: float, speed: float) -> Recording:
        plain = assemble(cues, tail, speed)
        return Recording(normalize(plain.audio + self._noise(plain.audio.size)), plain.turns)

    def _noise(self, size: int) -> NDArray[np.float32]:
        """15 to 45 dB under the speech, white or brown; longer than the stock of noise, it comes round again."""
        noise = self.draw.choice(self.noises)
        start = self.draw.randrange(noise.size - size if size < noise.size else noise.size)
        noise = np.resize(np.roll(noise, -start), size) if start + size > noise.size else noise[start : start + size]
        return noise * np.float32(0.06 * 10 ** (-self.draw.uniform(15, 45) / 20))


def _length(phrases: Sequence[Phrase]) -> float:
    return sum(phrase.pcm.size for phrase in phrases) / SAMPLE_RATE + BREATH * (len(phrases) - 1)


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
