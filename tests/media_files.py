"""Small recordings made on the spot, sound and damaged, for the tests of decoding."""

import atexit
import os
import struct
import wave
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from av.stream import Disposition

from dropscribe.core.errors import DropscribeError
from dropscribe.core.zygote import Zygote
from dropscribe.worker.preparing.decode import DecodeLimits, decode, new_zygote

SECONDS = 2.0
TONES = (440.0, 1000.0)  # Hz; both within the band of a telephone
LABEL = "talks/original.xyz"  # what the tests call the original
LIMITS = DecodeLimits(max_seconds=60, memory_mb=1024, cpu_seconds=30)

# name of the kind: container, codec, sample rate, layout, with a picture
FORMATS = {
    "wav": ("wav", "pcm_s16le", 44100, "stereo", False),
    "wav float": ("wav", "pcm_f32le", 48000, "mono", False),
    "wav 24 bit": ("wav", "pcm_s24le", 96000, "stereo", False),
    "wav telephone": ("wav", "pcm_mulaw", 8000, "mono", False),
    "mp3": ("mp3", "libmp3lame", 44100, "stereo", False),
    "flac": ("flac", "flac", 44100, "stereo", False),
    "ogg vorbis": ("ogg", "vorbis", 44100, "stereo", False),
    "opus": ("ogg", "libopus", 48000, "stereo", False),
    "m4a": ("ipod", "aac", 44100, "stereo", False),
    "m4a lossless": ("ipod", "alac", 44100, "stereo", False),
    "aac": ("adts", "aac", 44100, "stereo", False),
    "aiff": ("aiff", "pcm_s16be", 44100, "stereo", False),
    "amr": ("amr", "libopencore_amrnb", 8000, "mono", False),
    "3gp": ("3gp", "libopencore_amrnb", 8000, "mono", False),
    "wma": ("asf", "wmav2", 44100, "stereo", False),
    "mp4": ("mp4", "aac", 44100, "stereo", True),
    "mkv": ("matroska", "ac3", 48000, "5.1", True),
    "webm": ("webm", "libopus", 48000, "stereo", True),
    "mov": ("mov", "pcm_s16le", 48000, "stereo", True),
}

# The same of containers that few recorders write, and of other names for those above.
SELDOM = {
    "weba": ("webm", "libopus", 48000, "mono", False),
    "wmv": ("asf", "wmav2", 44100, "stereo", True),
    "3g2": ("3g2", "aac", 44100, "stereo", True),
    "f4v": ("f4v", "aac", 44100, "stereo", False),
    "mp2": ("mp2", "mp2", 44100, "stereo", False),
    "ts": ("mpegts", "mp2", 48000, "stereo", True),
    "mts": ("mpegts", "ac3", 48000, "stereo", True),
    "mpg": ("mpeg", "mp2", 48000, "stereo", True),
    "vob": ("vob", "ac3", 48000, "stereo", True),
    "avi": ("avi", "libmp3lame", 44100, "stereo", True),
    "avi sound": ("avi", "pcm_s16le", 44100, "stereo", False),
    "flv": ("flv", "aac", 44100, "stereo", True),
    "flv speech": ("flv", "nellymoser", 44100, "mono", False),
    "caf": ("caf", "pcm_s16le", 44100, "stereo", False),
    "ac3": ("ac3", "ac3", 48000, "stereo", False),
    "eac3": ("eac3", "eac3", 48000, "stereo", False),
    "mxf": ("mxf_opatom", "pcm_s16le", 48000, "mono", False),
    "wv": ("wv", "wavpack", 44100, "stereo", False),
    "tta": ("tta", "tta", 44100, "stereo", False),
}

PICTURES = {"webm": "libvpx", "flv": "flv"}  # codecs by container; elsewhere MPEG-4


def tone(seconds: float = SECONDS, rate: int = 24_000, level: float = 0.2) -> np.ndarray:
    clock = np.arange(round(seconds * rate)) / rate
    return level * sum(np.sin(2 * np.pi * pitch * clock) for pitch in TONES)


def sound_frames(samples: np.ndarray, rate: int, layout: str):
    """Frames of 20 ms with the same sound in every channel."""
    channels = av.AudioLayout(layout).nb_channels
    size = rate // 50
    for start in range(0, samples.size, size):
        block = np.repeat(samples[start : start + size].astype(np.float32)[None], channels, axis=0)
        frame = av.AudioFrame.from_ndarray(block, format="fltp", layout=layout)
        frame.sample_rate, frame.pts, frame.time_base = rate, start, Fraction(1, rate)
        yield frame


def picture_frames(seconds: float):
    for index in range(round(seconds * 10)):
        frame = av.VideoFrame.from_ndarray(np.full((64, 64, 3), index, np.uint8), format="rgb24")
        frame.pts, frame.time_base = index, Fraction(1, 10)
        yield frame


def write(path: Path, container: str, codec: str | None, rate=44100, layout="mono", picture=False, **how) -> Path:
    """A file with the two tones (or `samples`); packets that begin within `hole` (seconds) are left out."""
    samples, (lost_from, lost_to) = how.get("samples", tone(rate=rate)), how.get("hole", (0, 0))
    with av.open(str(path), "w", format=container, options=how.get("options", {})) as out:
        video = out.add_stream(PICTURES.get(container, "mpeg4"), rate=10) if picture else None
        if video is not None:
            video.width = video.height = 64
            video.pix_fmt = "yuv420p"
        audio = out.add_stream(codec, rate=rate, layout=layout) if codec else None
        if codec in {"wmav1", "wmav2", "vorbis"}:
            audio.bit_rate, audio.codec_context.options = 64_000, {"strict": "experimental"}
        for stream, frames in ((video, picture_frames(SECONDS)), (audio, sound_frames(samples, rate, layout))):
            for frame in [*frames, None] if stream is not None else ():
                for packet in stream.encode(frame):
                    if stream is video or not lost_from <= packet.pts * packet.time_base < lost_to:
                        out.mux(packet)
    return path


# Where the size of the sound stands behind the name of its chunk, and how: which bytes, how many, in which order.
SIZES = {
    b"RF64": (b"ds64", 16, 8, "little"),
    b"RIFF": (b"data", 4, 4, "little"),
    b"FORM": (b"SSND", 4, 4, "big"),
    b"caff": (b"data", 4, 8, "big"),
    b"riff": (b"data\xf3\xac", 16, 8, "little"),
}


def claim_less(path: Path, share: float) -> Path:
    """The file with a header that claims only a share of its sound."""
    data = bytearray(path.read_bytes())
    name, offset, width, order = SIZES[bytes(data[:4])]
    at = data.index(name) + offset
    size = int.from_bytes(data[at : at + width], order)
    data[at : at + width] = (round(size * share) // 48 * 48 if share < 1 else size).to_bytes(width, order)
    path.write_bytes(data)
    return path


def write_tracks(path: Path, container: str, tracks: list[dict[str, Any]], rate: int = 24_000) -> Path:
    """A file with several sound tracks: of each its `samples`, and if need be `codec`, `layout`, `metadata`, `mark`."""
    with av.open(str(path), "w", format=container) as out:
        for track in tracks:
            track["stream"] = out.add_stream(
                track.get("codec", "pcm_s16le"), rate=rate, layout=track.get("layout", "mono")
            )
            track["stream"].metadata.update(track.get("metadata", {}))
            track["stream"].disposition = track.get("mark", Disposition(0))
        for track in tracks:
            for frame in [*sound_frames(track["samples"], rate, track.get("layout", "mono")), None]:
                out.mux(track["stream"].encode(frame))
    return path


@cache
def shared_zygote() -> Zygote | None:
    """One for all tests that do it no harm: it forks a decoder in an eighth of the CPU time that a start takes."""
    made = new_zygote()
    if made:
        atexit.register(made.close)
    return made


def wav(path: Path, samples: np.ndarray, rate=24_000, channels=1) -> Path:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes((samples * 32767).astype("<i2").tobytes())
    return path


def long_silence(path: Path, hours: float) -> Path:
    """A WAV file that takes no room on the disk."""
    size = round(hours * 3600) * 48_000
    head = struct.pack(
        "<4sI4s4sIHHIIHH4sI", b"RIFF", size + 36, b"WAVE", b"fmt ", 16, 1, 1, 24_000, 48_000, 2, 16, b"data", size
    )
    path.write_bytes(head)
    os.truncate(path, len(head) + size)
    return path


def refused(
    error: type[DropscribeError], source: Path, limits: DecodeLimits = LIMITS, zygote: Zygote | None = None
) -> str:
    """The message of the error, which must name the original and leave nothing behind."""
    before = set(source.parent.iterdir())
    with pytest.raises(error) as caught:
        decode(source, source.with_name("out.flac"), limits, label=LABEL, zygote=zygote)
    assert LABEL in str(caught.value)
    assert set(source.parent.iterdir()) == before
    return str(caught.value)
