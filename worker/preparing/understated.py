"""Files whose header claims less sound than they hold: a size that wrapped at 4 GiB, or a recorder that crashed.

ffmpeg believes such a size, and the rest would be lost without a word. Where what lies behind is sound, the file is
read through `MendedFile`, as if its header said so. Everything read here was written by a stranger, so each look is
bounded.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import BinaryIO, Literal

from dropscribe.worker.preparing.declared_size import MAX_CHUNKS, SLACK, UNKNOWN, UNKNOWN_BYTES

WRAP = 1 << 32  # bytes: where a size of four bytes begins again
MAX_HEAD = 16 << 20  # bytes before the sound: pictures and texts
SCAN = 1 << 20  # bytes read at once, looking for the last one that is not zero
W64_NAME = bytes.fromhex("f3acd3118cd100c04f8edb8a")  # the end of the names of its chunks


@dataclass(frozen=True, slots=True)
class Layout:
    """How a format is made of chunks: what it begins with, what ffmpeg calls it, where its first chunk begins.

    A chunk is a name, its size in `width` bytes, and its content, which is padded to a multiple of `pad` bytes. The
    size counts `counted` bytes more than the content. The chunk of the sound has `skipped` bytes before the sound. What
    the file is for (`purpose`) stands at its ninth byte.
    """

    magic: bytes
    format: str
    first: int
    sound: bytes
    width: int
    order: Literal["little", "big"]
    pad: int
    counted: int = 0
    skipped: int = 0
    purpose: bytes = b""

    def is_of(self, head: bytes) -> bool:
        """Does a file that begins like this have the layout?"""
        return head.startswith(self.magic) and head[8:].startswith(self.purpose)

    def knows_not(self, size: int) -> bool:
        """Is it a size that programs write who do not know it?"""
        return self.width == 4 and (size in UNKNOWN or size >= UNKNOWN_BYTES)


LAYOUTS = (
    Layout(
        magic=b"RIFF",
        format="wav",
        first=12,
        sound=b"data",
        width=4,
        order="little",
        pad=2,
        purpose=b"WAVE",
    ),
    Layout(
        magic=b"RF64",
        format="wav",
        first=12,
        sound=b"data",
        width=4,
        order="little",
        pad=2,
        purpose=b"WAVE",
    ),
    Layout(
        magic=b"FORM",
        format="aiff",
        first=12,
        sound=b"SSND",
        width=4,
        order="big",
        pad=2,
        skipped=8,
        purpose=b"AIF",
    ),
    Layout(
        magic=b"caff",
        format="caf",
        first=8,
        sound=b"data",
        width=8,
        order="big",
        pad=1,
        skipped=4,
    ),
    Layout(
        magic=bytes.fromhex("726966662e91cf11a5d628db04c10000"),
        format="w64",
        first=40,
        sound=b"data" + W64_NAME,
        width=8,
        order="little",
        pad=8,
        counted=24,
    ),
)
TAGS = (b"ID3", b"TAG", b"APETAGEX", b"LYRICSBEGIN")  # which programs put behind any file
RF64_SIZE = 28  # where the size of its sound stands: in its first chunk, in 8 bytes


@dataclass(frozen=True, slots=True)
class FileChunk:
    """One chunk: its name, where its size stands, where its content begins and how long that is, in bytes."""

    name: bytes
    size_at: int
    start: int
    size: int


@dataclass(frozen=True, slots=True)
class Understated:
    """The sound begins at `start`, is said to end at `claimed` and does at `end`; `format` is ffmpeg's name for it.

    `size_at` is where the size stands, in `width` bytes, and `added` what it counts beside the sound.
    """

    format: str
    start: int
    claimed: int
    end: int
    size_at: int
    width: int
    order: Literal["little", "big"]
    added: int

    @property
    def share(self) -> float:
        """The part of the sound that the header claims."""
        return (self.claimed - self.start) / (self.end - self.start)

    def size(self, sound: int) -> bytes:
        """The size as it has to stand there for so many bytes of sound; what does not fit means: up to the end."""
        most = (1 << 8 * self.width) - 1
        return min(sound + self.added, most).to_bytes(self.width, self.order)

    def excerpt(self, file: BinaryIO, first: int, last: int) -> bytes:
        """A file of the same kind that holds only the sound between two places; the first is a multiple of frames."""
        head = bytearray(_at(file, 0, self.start))
        head[self.size_at : self.size_at + self.width] = self.size(last - first)
        return bytes(head) + _at(file, first, last - first)


def find(file: BinaryIO) -> Understated | None:
    """What a file holds behind the sound that its header claims; None where that is all, or other chunks or nothing."""
    for layout in LAYOUTS:
        if layout.is_of(_at(file, 0, 16)):
            return _behind(file, layout, os.fstat(file.fileno()).st_size)
    return None


def _behind(file: BinaryIO, layout: Layout, size: int) -> Understated | None:
    """The sound behind the length that a header claims; None where there is none."""
    sound = next((chunk for chunk in _chunks(file, layout, size) if chunk.name == layout.sound), None)
    told = _told(file, layout, sound) if sound else None
    if told is None or told.start > MAX_HEAD:
        return None
    end = _end(file, layout, told.claimed, size)
    return replace(told, end=end) if told.start < told.claimed and told.claimed + SLACK < end else None


def _told(file: BinaryIO, layout: Layout, sound: FileChunk) -> Understated | None:
    """What the header says, as if that were all; None where it does not know."""
    start, added = sound.start + layout.skipped, layout.skipped + layout.counted
    width, size_at, size = layout.width, sound.size_at, sound.size
    if layout.magic == b"RF64":
        width, size_at, size = 8, RF64_SIZE, int.from_bytes(_at(file, RF64_SIZE, 8), "little")
    elif layout.knows_not(size):
        return None
    claimed = start + size - layout.skipped
    return Understated(
        format=layout.format,
        start=start,
        claimed=claimed,
        end=claimed,
        size_at=size_at,
        width=width,
        order=layout.order,
        added=added,
    )


def _end(file: BinaryIO, layout: Layout, claimed: int, size: int) -> int:
    """Where the sound ends: where chunks follow or the file ends, at the claimed end or at one that wrapped."""
    for end in range(claimed, size + 1, WRAP):
        next_chunk = end + -end % layout.pad
        follows = _at(file, end, 16).startswith(TAGS) or next(_chunks(file, layout, size, next_chunk), None)
        if follows or size - end < layout.pad:
            return end
    return _last_sound(file, claimed, size)


def _last_sound(file: BinaryIO, first: int, size: int) -> int:
    """The end of the last byte that is not zero: recorders reserve room that nothing is written to."""
    for end in range(size, first, -SCAN):
        start = max(first, end - SCAN)
        if block := _at(file, start, end - start).rstrip(b"\0"):
            return start + len(block)
    return first


def _chunks(file: BinaryIO, layout: Layout, size: int, first: int = 0) -> Iterator[FileChunk]:
    """The chunks from a place on, by default the first; up to the first thing that is not one."""
    return islice(_walk(file, layout, size, first or layout.first), MAX_CHUNKS)


def _walk(file: BinaryIO, layout: Layout, size: int, at: int) -> Iterator[FileChunk]:
    """The parts of a file, one after the other, as far as they are whole."""
    names = len(layout.sound)
    while len(head := _at(file, at, names + layout.width)) == names + layout.width and _is_name(head[:names]):
        start = at + len(head)
        length = int.from_bytes(head[names:], layout.order) - layout.counted
        is_whole = 0 <= length <= size - start
        if is_whole or head.startswith(layout.sound):
            yield FileChunk(head[:names], at + names, start, length)
        if not is_whole:
            return
        at = start + length + -(start + length) % layout.pad


def _is_name(name: bytes) -> bool:
    """Four letters, digits or blanks; in W64 with the same end for all."""
    return all(32 <= byte < 127 for byte in name[:4]) and name[4:] in {b"", W64_NAME}


def _at(file: BinaryIO, at: int, size: int) -> bytes:
    """Bytes at a place in the file, fewer at its end."""
    file.seek(at)
    return file.read(size)


class MendedFile(io.FileIO):
    """The file as it would be if its header gave the size of its sound, which ends it."""

    def __init__(self, path: Path, mended: Understated) -> None:
        super().__init__(path)
        self._size_at = mended.size_at
        self._size = mended.size(mended.end - mended.start)
        self._end = mended.end

    def read(self, size: int | None = -1, /) -> bytes:
        """See the base class."""
        at = self.tell()
        rest = max(0, self._end - at)
        data = bytearray(super().read(rest if size is None or size < 0 else min(size, rest)))
        for place, byte in enumerate(self._size, self._size_at - at):
            if 0 <= place < len(data):
                data[place] = byte
        return bytes(data)

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        """See the base class."""
        if whence == os.SEEK_END:
            return super().seek(self._end + offset)
        return super().seek(offset, whence)
