"""What the first bytes of a WAV file say of its sound, which distinguishes parts of one recording from others."""

from __future__ import annotations

import os
import struct
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from dropscribe.core.safe_open import descriptor_of

HEAD_BYTES = 1 << 16  # recorders put descriptions of some thousand bytes before the format
MAX_CHUNKS = 32  # before the sound; a file made to keep us busy has more
_FORMAT = struct.Struct("<HHIIHH")  # kind, channels, samples a second, bytes a second, bytes of a frame, bits


class WavHeader(NamedTuple):
    """The format of a WAV file's sound, `rate` in samples and `speed` in bytes a second."""

    kind: int
    channels: int
    rate: int
    speed: int
    bits: int

    def seconds(self, size: int) -> float:
        """About how long a file of so many bytes sounds; what stands before the sound is some milliseconds of it."""
        return size / self.speed


def parsed(head: bytes) -> WavHeader | None:
    """The format by the first bytes of a file; None if they are not a WAV header.

    >>> form = struct.pack("<HHIIHH", 1, 1, 8000, 16000, 2, 16)
    >>> parsed(b"RIFF" + bytes(4) + b"WAVEfmt " + struct.pack("<I", 16) + form)
    WavHeader(kind=1, channels=1, rate=8000, speed=16000, bits=16)
    """
    if head[:4] not in {b"RIFF", b"RF64", b"BW64"} or head[8:12] != b"WAVE":
        return None
    at = 12
    for _ in range(MAX_CHUNKS):
        size = int.from_bytes(head[at + 4 : at + 8], "little")
        if head[at : at + 4] == b"fmt " and len(head) >= at + 8 + _FORMAT.size <= at + 8 + size:
            kind, channels, rate, speed, _, bits = _FORMAT.unpack_from(head, at + 8)
            return WavHeader(kind, channels, rate, speed, bits) if speed else None
        at += 8 + size + size % 2
    return None


def header_of(root: Path, relative: str) -> WavHeader | None:
    """That of a file below the root; None where it is gone, cannot be read or is not one."""
    with suppress(OSError), descriptor_of(root / relative) as descriptor:
        return parsed(os.read(descriptor, HEAD_BYTES))
    return None
