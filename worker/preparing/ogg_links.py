"""The links of a chained Ogg file: whole recordings one after the other, as radio stations and recorders write them.

Each may have other channels, another sample rate and even another codec, where ffmpeg stops reading.
Everything read here was written by a stranger: each look is bounded, and nonsense does not count as a link.
"""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from operator import attrgetter
from typing import BinaryIO

MAGIC = b"OggS"
MAX_LINKS = 10_000
PAGE_BYTES = 65_307  # the largest page: 27 of the header, 255 segments and 255 bytes in each
BLOCK = 1 << 20  # bytes that are searched at once

# The first page of a stream: it says so by a flag, is at moment 0, has a serial number and is its page 0.
FIRST = re.compile(rb"OggS\x00[\x02\x03\x06\x07]\x00{8}(.{4})\x00{4}.{4}", re.DOTALL)
PAGE = re.compile(rb"OggS\x00[\x00-\x07](.{8})(.{4}).{8}", re.DOTALL)
HEAD_BYTES = 26  # of a page, before the number of its segments

# What first pages begin with, and samples a second of what their positions count; 0 is not sound.
CODECS: Mapping[bytes, Callable[[bytes], int]] = {
    b"OpusHead": lambda _: 48_000,
    b"\x01vorbis": lambda head: int.from_bytes(head[12:16], "little"),
    b"Speex   ": lambda head: int.from_bytes(head[36:40], "little"),
    b"\x7fFLAC": lambda head: int.from_bytes(head[27:30], "big") >> 4,
    b"\x80theora": lambda _: 0,
    b"fishead\0": lambda _: 0,
}


@dataclass(frozen=True, slots=True)
class OggLink:
    """A link from byte `start` to byte `end`, which lasts for `seconds` by its own positions (0: they do not say)."""

    start: int
    end: int
    seconds: float


@dataclass(frozen=True, slots=True)
class _FirstPage:
    start: int
    end: int
    serial: bytes
    rate: int


def find(file: BinaryIO) -> tuple[OggLink, ...]:
    """The links of a file that has several, in order; else none."""
    file.seek(0)
    if file.read(4) != MAGIC:
        return ()
    pages = list(itertools.islice(_first_pages(file), MAX_LINKS))
    # Streams that are played together begin side by side.
    ends = [-1, *map(attrgetter("end"), pages)]
    begins = [page for end, page in zip(ends, pages, strict=False) if end != page.start]
    if len(begins) < 2:
        return ()
    starts = [0, *map(attrgetter("start"), begins[1:]), os.fstat(file.fileno()).st_size]
    return tuple(
        OggLink(start, end, _seconds(file, page, end))
        for page, (start, end) in zip(begins, itertools.pairwise(starts), strict=True)
    )


def _first_pages(file: BinaryIO) -> Iterator[_FirstPage]:
    """The first page of each stream of sound in an Ogg file."""
    for start, serial in _found(file):
        file.seek(start + HEAD_BYTES)
        data = file.read(1 + 255 + 64)
        segments = data[0] if data else 0
        content = data[1 + segments :]
        end = start + HEAD_BYTES + 1 + segments + sum(data[1 : 1 + segments])
        known = [rate(content) for magic, rate in CODECS.items() if content.startswith(magic)]
        yield from (_FirstPage(start, end, serial, rate) for rate in known)


def _found(file: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """Where something looks like the head of a first page, and its serial number."""
    at, data = 0, b""
    while True:
        file.seek(at + len(data))
        more = file.read(BLOCK)
        data += more
        for found in FIRST.finditer(data):
            yield at + found.start(), found[1]
        if not more:
            return
        kept = data[-HEAD_BYTES + 1 :]  # a head that stands here is not whole
        at, data = at + len(data) - len(kept), kept


def _seconds(file: BinaryIO, page: _FirstPage, end: int) -> float:
    """How long the stream of that page lasts: its last position within its link."""
    file.seek(max(page.start, end - PAGE_BYTES))
    tail = file.read(min(PAGE_BYTES, end - page.start))
    last = [found[1] for found in PAGE.finditer(tail) if found[2] == page.serial]
    position = int.from_bytes(last[-1], "little", signed=True) if last else 0
    return max(0.0, position / page.rate) if page.rate else 0.0
