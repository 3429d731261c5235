"""Make the sample recordings again: `python samples/make.py`. Needs flite (`apt-get install flite`).

Each sample is read by flite's voices and written in another format; what is said goes to `references/`, away
from the recordings, where dropscribe's own transcripts belong.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
import soundfile
from numpy.typing import NDArray

SAMPLE_RATE = 16_000  # Hz; what flite's voices speak at
GAP = 0.5  # s between two sentences, on top of the silence that flite itself leaves
HERE = Path(__file__).parent

Pcm = NDArray[np.int16]


@dataclass(frozen=True, slots=True)
class Sample:
    """A recording to make: its file name, ffmpeg's name of the codec, and (voice, sentence) in order."""

    name: str
    codec: str
    lines: tuple[tuple[str, str], ...]


SAMPLES = (
    Sample(
        "meeting.wav",
        "pcm_s16le",
        (
            ("slt", "The meeting will start at nine in the morning."),
            ("slt", "Please bring the report about the new building."),
            ("slt", "We should ask the people at the front desk."),
        ),
    ),
    Sample(
        "news.mp3",
        "libmp3lame",
        (
            ("rms", "The price of oil has gone up for the third week in a row."),
            ("rms", "Members of the committee will vote on the plan next Thursday."),
            ("rms", "We have enough time to talk about the budget for next year."),
        ),
    ),
    Sample(
        "weather.flac",
        "flac",
        (
            ("awb", "The weather service expects heavy snow in the mountains tonight."),
            ("awb", "It will be cold and windy in the north tomorrow."),
            ("awb", "The children are going to school by bus today."),
        ),
    ),
    Sample(
        "hotel.m4a",
        "aac",
        (
            ("slt", "Could you send me the address of the hotel?"),
            ("rms", "Yes, I will send it to you this afternoon."),
            ("slt", "I would like to know how much the tickets cost."),
            ("rms", "They cost twenty dollars for each person."),
        ),
    ),
)


def main() -> int:
    """Write every sample and its reference; returns the exit code."""
    if shutil.which("flite") is None:
        sys.stderr.write("flite is not installed; install it with apt-get install flite\n")
        return 1
    references = HERE / "references"
    references.mkdir(exist_ok=True)
    for sample in SAMPLES:
        encode(assemble(sample.lines), HERE / sample.name, sample.codec)
        reference = references / Path(sample.name).with_suffix(".txt")
        reference.write_text("\n".join(text for _, text in sample.lines) + "\n", encoding="utf-8")
        size = (HERE / sample.name).stat().st_size
        sys.stdout.write(f"{sample.name}: {size / 1000:.0f} kB\n")
    return 0


def assemble(lines: tuple[tuple[str, str], ...]) -> Pcm:
    """The lines one after the other, 16 kHz mono."""
    gap = np.zeros(round(GAP * SAMPLE_RATE), np.int16)
    parts = [part for voice, text in lines for part in (gap, speak(voice, text))]
    return np.concatenate(parts[1:])


def speak(voice: str, text: str) -> Pcm:
    """One sentence in one of flite's voices."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "line.wav")
        subprocess.run(["flite", "-voice", voice, "-t", text, "-o", str(path)], check=True)
        pcm, rate = soundfile.read(path, dtype="int16")
    if rate != SAMPLE_RATE:
        raise ValueError(f"flite's voice {voice} speaks at {rate} Hz, not at {SAMPLE_RATE}; choose another")
    return np.asarray(pcm, np.int16)


def encode(pcm: Pcm, path: Path, codec: str) -> None:
    """Write samples to a file whose ending names the container."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=SAMPLE_RATE, layout="mono")
        if not isinstance(stream, av.AudioStream):
            raise TypeError(f"{codec} is not an audio codec; name another in SAMPLES")
        frame = av.AudioFrame.from_ndarray(pcm[np.newaxis], format="s16", layout="mono")
        frame.sample_rate = SAMPLE_RATE
        frame.pts = 0
        for fed in (frame, None):  # None: whatever the encoder still holds
            container.mux(stream.encode(fed))


if __name__ == "__main__":
    raise SystemExit(main())
