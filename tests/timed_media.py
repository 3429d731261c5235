"""Matroska files whose packets are at any times, however wrong, with three sentences to be found in them."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import soundfile

RATE = 16_000  # Hz
PACKET = 0.02  # s
SECONDS = 20.0
SENTENCES = (2.0, 9.0, 15.0)  # s at which they begin
SENTENCE_SECONDS = 1.5

Packet = tuple[float, bytes]


def three_sentences(rate: int = RATE, seconds: float = SECONDS, at: Iterable[float] = SENTENCES) -> np.ndarray:
    """A tone for each sentence, and silence between them."""
    samples = np.zeros(round(seconds * rate))
    tone = 0.3 * np.sin(2 * np.pi * 440 * np.arange(round(SENTENCE_SECONDS * rate)) / rate)
    for start in at:
        samples[round(start * rate) :][: tone.size] = tone
    return samples


def packets(samples: np.ndarray, seconds: float = PACKET) -> list[Packet]:
    """The sound in packets of 16 bits, each with the time at which it belongs."""
    size = round(seconds * RATE)
    data = (samples * 32767).astype("<i2")
    return [(start / RATE, data[start : start + size].tobytes()) for start in range(0, data.size, size)]


def timed(time: Callable[[int, float], float], seconds: float = PACKET) -> list[Packet]:
    """The three sentences in packets, with the times that `time` makes of their numbers and their true times."""
    return [(time(number, true), data) for number, (true, data) in enumerate(packets(three_sentences(), seconds))]


def _element(name: str, content: bytes) -> bytes:
    return bytes.fromhex(name) + (len(content) | 1 << 56).to_bytes(8, "big") + content


def _number(name: str, value: int) -> bytes:
    return _element(name, value.to_bytes(8, "big"))


def _float(name: str, value: float) -> bytes:
    return _element(name, struct.pack(">d", value))


def mka(path: Path, sound: Iterable[Packet], duration: float | None = SECONDS) -> Path:
    """A Matroska file of PCM, each packet in a cluster of its own; `duration` is what its header says."""
    head = _element("1a45dfa3", _element("4282", b"matroska") + _number("4287", 4) + _number("4285", 2))
    info = _number("2ad7b1", 1_000_000) + (_float("4489", duration * 1000) if duration is not None else b"")
    pcm = _float("b5", RATE) + _number("9f", 1) + _number("6264", 16)
    track = _number("d7", 1) + _number("73c5", 1) + _number("83", 2) + _element("86", b"A_PCM/INT/LIT")
    clusters = [
        _element("1f43b675", _number("e7", round(time * 1000)) + _element("a3", b"\x81\0\0\x80" + data))
        for time, data in sound
    ]
    body = _element("1549a966", info) + _element("1654ae6b", _element("ae", track + _element("e1", pcm)))
    path.write_bytes(head + _element("18538067", body + b"".join(clusters)))
    return path


def onsets(decoded: Path, level: float = 0.02) -> list[float]:
    """When sound begins after half a second of silence."""
    samples, rate = soundfile.read(decoded)
    loud = np.flatnonzero(np.abs(samples) > level)
    begins = np.diff(loud, prepend=-rate) > rate / 2
    return [float(at) / rate for at in loud[begins]]
