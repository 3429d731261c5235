"""Speak phrases with flite, and keep them with the times of their words."""

from __future__ import annotations

import functools
import random
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from tests.tiny.phrases import DIGITS, sample_texts

SAMPLE_RATE = 24_000  # Hz; what VibeVoice-ASR hears
VOICES = ("slt", "rms", "awb", "kal16")
STRETCH = (0.95, 1.3)  # of flite's own durations: a word must last two frames of 133 ms to be told from its double
MARGIN = 0.03  # s kept around the first and last word; flite's own silence is cut

Pcm = NDArray[np.int16]


@dataclass(frozen=True)
class Phrase:
    """What one voice says in one breath: `pcm` mono at 24 kHz, `words` (text, start, end) in seconds from its start."""

    voice: int
    pcm: Pcm
    words: tuple[tuple[str, float, float], ...]


def _flite(voice: str, text: str, *arguments: str) -> str:
    command = ["flite", "-voice", voice, *arguments, "-t", text]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


@functools.cache
def _phone_count(word: str) -> int:
    return sum(phone != "pau" for phone in _flite("slt", word, "-ps", "-o", "none").split())


def _word_times(text: str, segments: str) -> list[tuple[str, float, float]] | None:
    """Words with start and end, from flite's `phone:end` list; None where its phones are not the words' own."""
    phones, start = [], 0.0
    for segment in segments.split():
        phone, end = segment.rsplit(":", 1)
        if phone != "pau":
            phones.append((start, float(end)))
        start = float(end)
    words = text.split()
    if len(phones) != sum(map(_phone_count, words)):
        return None
    times, position = [], 0
    for word in words:
        count = _phone_count(word)
        times.append((word, phones[position][0], phones[position + count - 1][1]))
        position += count
    return times


def resample(samples: NDArray[np.float64], rate: int) -> NDArray[np.float64]:
    """From `rate` to 24 kHz through the spectrum, exact for a recording that begins and ends in silence."""
    count = round(samples.size * SAMPLE_RATE / rate)
    return np.fft.irfft(np.fft.rfft(samples), count) * (count / samples.size)


def speak(text: str, voice: int, stretch: float) -> Phrase | None:
    with tempfile.NamedTemporaryFile(suffix=".wav") as file:
        segments = _flite(VOICES[voice], text, "-psdur", "--setf", f"duration_stretch={stretch:.3f}", "-o", file.name)
        samples, rate = soundfile.read(file.name)
    times = _word_times(text, segments)
    if times is None:
        return None
    samples = resample(samples, rate)
    begin = max(0, round((times[0][1] - MARGIN) * SAMPLE_RATE))
    end = round((times[-1][2] + MARGIN) * SAMPLE_RATE)
    samples = samples[begin:end]
    level = np.sqrt(np.mean(samples**2))
    pcm = np.clip(samples * (0.06 / level) * 32_767, -32_767, 32_767).astype(np.int16)
    shift = begin / SAMPLE_RATE
    return Phrase(voice, pcm, tuple((word, start - shift, end - shift) for word, start, end in times))


def speak_all(
    count: int, *, held_out: bool, seed: int, vocabulary: tuple[str, ...] = DIGITS, threads: int = 2
) -> list[Phrase]:
    """`count` phrases (a few less where flite's phones do not add up), voices and durations drawn from `seed`."""
    draw = random.Random(seed)
    texts = sample_texts(count, held_out=held_out, seed=seed, vocabulary=vocabulary)
    jobs = [(text, index % len(VOICES), draw.uniform(*STRETCH)) for index, text in enumerate(texts)]
    with ThreadPoolExecutor(threads) as pool:
        spoken = pool.map(lambda job: speak(*job), jobs)
        return [phrase for phrase in spoken if phrase is not None]


def save(phrases: list[Phrase], path: Path) -> None:
    """Into one npz file: samples end to end, and a table of the words."""
    words = [(i, word, start, end) for i, phrase in enumerate(phrases) for word, start, end in phrase.words]
    np.savez(
        path,
        pcm=np.concatenate([phrase.pcm for phrase in phrases]),
        sizes=np.array([phrase.pcm.size for phrase in phrases]),
        voices=np.array([phrase.voice for phrase in phrases]),
        owners=np.array([word[0] for word in words]),
        words=np.array([word[1] for word in words]),
        times=np.array([word[2:] for word in words]),
    )


def load(path: Path) -> list[Phrase]:
    with np.load(path) as file:
        kept = {name: file[name] for name in file.files}
    pieces = np.split(kept["pcm"], np.cumsum(kept["sizes"])[:-1])
    words: list[list[tuple[str, float, float]]] = [[] for _ in pieces]
    for owner, word, (start, end) in zip(kept["owners"], kept["words"], kept["times"], strict=True):
        words[owner].append((str(word), float(start), float(end)))
    return [Phrase(int(kept["voices"][i]), piece, tuple(words[i])) for i, piece in enumerate(pieces)]
