"""How long a file claims that its sound is, and whether it breaks off before."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import av
from av.audio.stream import AudioStream
from av.container import InputContainer

from dropscribe.core.error_translation import translated
from dropscribe.worker.preparing import declared_size
from dropscribe.worker.preparing.containers import unreadable

# Their length may be ffmpeg's guess from the bit rate, so it neither limits nor proves anything.
GUESSED_LENGTH = frozenset({"mp3", "aac", "amr", "ac3", "eac3", "dts"})
# ffmpeg corrects the length of these by what is there of the file, or has it only from there.
CORRECTED_LENGTH = frozenset({"asf", "ogg", "mpegts", "mpeg", "avi", "caf"})
# The length of these counts from the moment 0, also where nothing is until later.
LENGTH_FROM_ZERO = frozenset({"asf", "ogg", "matroska,webm"})

# Seconds by which sound may be shorter than its header says. Of whole files, 0.05 s was the most that was seen (WMA).
SHORTER = 0.3
FLAC_SHORTER = 0.05  # counts its samples exactly
ROUNDING = 0.01  # s
MP3_FRAMES = 4  # the same for mp3, whose header counts what encoders put before and after the sound; 2.7 were seen


@dataclass(frozen=True, slots=True)
class Cut:
    """Whether the file breaks off before its end, and how many seconds the whole has (0: nothing tells)."""

    truncated: bool
    claimed: float = 0.0


WHOLE = Cut(False)


def claimed_length(container: InputContainer) -> float:
    """Seconds from the first to the last moment of the container by its header, 0 where it does not say."""
    if container.format.name in GUESSED_LENGTH:
        return 0.0
    length, start = (container.duration or 0) / av.time_base, (container.start_time or 0) / av.time_base
    return max(0.0, length - start) if start > 0 and container.format.name in LENGTH_FROM_ZERO else length


def _claimed(file: BinaryIO, container: InputContainer, stream: AudioStream) -> tuple[float, float]:
    """Seconds of sound that the file claims, 0 where it does not say, and how many of them may be missing."""
    if frames := declared_size.mp3_frames(file):
        # Only layer 3 has that header: 1152 samples a frame, 576 at the sample rates of MPEG 2.
        frame = (1152 if stream.sample_rate >= 32_000 else 576) / stream.sample_rate
        return frames * frame, MP3_FRAMES * frame
    tolerance = FLAC_SHORTER if container.format.name == "flac" else SHORTER
    return _claimed_by_header(container, stream), tolerance


def _claimed_by_header(container: InputContainer, stream: AudioStream) -> float:
    """Seconds of sound by the container, 0 where it does not say."""
    name = container.format.name
    if name in CORRECTED_LENGTH:
        return 0.0
    if stream.duration is not None and stream.time_base is not None and claimed_length(container):
        # Matroska knows no length of a stream: it is ffmpeg's guess from the bit rate.
        return float(stream.duration * stream.time_base) if name != "matroska,webm" else 0.0
    # Matroska states one length for all streams, and a picture may outlast the sound.
    return claimed_length(container) if len(container.streams) == 1 else 0.0


def find_cut(source: Path, heard: float, container: InputContainer, stream: AudioStream) -> Cut:
    """Whether the file ends before the seconds or the bytes that it claims. Raises SpoolError."""
    with translated(OSError, into=unreadable), source.open("rb") as file:
        if declared_size.is_torn(file):
            return Cut(True)  # what ffmpeg says of its length is the length of what is there
        claimed, tolerance = _claimed(file, container, stream)
        if heard < claimed - tolerance:
            return Cut(True, claimed)
        if declared_size.is_cut(file):
            share = declared_size.claimed_size(file) / source.stat().st_size
            return Cut(True, claimed if claimed > heard + ROUNDING else heard * share)
        return Cut(False)
