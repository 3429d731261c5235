"""What a file's own header says of its size, where ffmpeg would rather believe what is there: so a cut one is noticed.

Everything read here was written by a stranger: each look is bounded, and any nonsense means that nothing is claimed.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import BinaryIO

SLACK = 4096  # bytes; writers disagree on padding and on whether headers count
MAX_CHUNKS = 64  # of RIFF, AIFF and ASF; the one that is looked for stands among the first
MAX_BOXES = 100_000  # at the top of an MP4 file: a live recording has two a second
PAGE_BYTES = 65_307  # the largest page of Ogg: 27 of the header, 255 segments and 255 bytes in each
MAX_BYTES = 1 << 62  # no file is so large, and no seek takes more
UNKNOWN = range(0x7FFF0000, 0x80010000)  # sizes near 2 GiB: written to a pipe by a program that could not go back
UNKNOWN_BYTES = 0xFFFF0000  # from here on likewise

W64 = bytes.fromhex("726966662e91cf11a5d628db04c10000")
ASF = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")
ASF_FILE = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")
EBML, SEGMENT = bytes.fromhex("1a45dfa3"), bytes.fromhex("18538067")

# Where "Xing" or "Info" stands in the first frame of an mp3: behind four bytes of header and the side information
# of MPEG 1 stereo, MPEG 1 mono or MPEG 2 stereo, MPEG 2 mono.
XING = (36, 21, 13)
VBRI = 36  # the header of Fraunhofer's encoder, always at this place

OGG = b"OggS"
BOXES = frozenset(b"ftyp styp moov moof mdat free skip wide udta meta uuid sidx mfra pdin prft emsg".split())


def is_cut(file: BinaryIO) -> bool:
    """True when the file is smaller than its header says, by more than `SLACK` bytes."""
    size = os.fstat(file.fileno()).st_size
    return claimed_size(file) > size + SLACK


def claimed_size(file: BinaryIO) -> int:
    """Bytes up to the end of the sound by the file's own header; 0 where that does not say.

    Known for WAV, RF64, W64, AVI, AIFF, CAF, AU, Matroska, ASF and for MP4 without fragments.
    """
    head = _at(file, 0, 64)
    for magic, reader in READERS.items():
        if head.startswith(magic):
            return reader(file)
    end, in_fragments = _boxes(file)
    return 0 if in_fragments else end


def is_torn(file: BinaryIO) -> bool:
    """True when the file ends within a page of Ogg or a fragment of MP4, which tell nothing of the whole's size."""
    size = os.fstat(file.fileno()).st_size
    if _at(file, 0, 4) == OGG:
        return _ogg_page_end(file, size) > size
    end, in_fragments = _boxes(file)
    return in_fragments and end > size


def mp3_frames(file: BinaryIO) -> int:
    """Frames by the Xing, Info or VBRI header of an mp3 file; 0 where there is none."""
    frame = _at(file, _id3_end(_at(file, 0, 10)), 64)
    if len(frame) < 64 or frame[0] != 0xFF or frame[1] & 0xE0 != 0xE0:
        return 0
    for at in XING:
        if frame[at : at + 4] in {b"Xing", b"Info"} and frame[at + 7] & 1:
            return int.from_bytes(frame[at + 8 : at + 12], "big")
    return int.from_bytes(frame[VBRI + 14 : VBRI + 18], "big") if frame[VBRI : VBRI + 4] == b"VBRI" else 0


def _id3_end(head: bytes) -> int:
    """Where a tag of ID3v2 ends, which tells its size in four bytes of seven bits; 0 where there is none.

    >>> _id3_end(b"ID3" + bytes([4, 0, 0, 0, 0, 2, 1]))
    267
    """
    if not head.startswith(b"ID3") or len(head) < 10:
        return 0
    return 10 + sum((byte & 0x7F) << shift for byte, shift in zip(head[6:10], (21, 14, 7, 0), strict=True))


def _riff(file: BinaryIO) -> int:
    """Where a WAV or an AVI file says that it ends."""
    return _avi(file) if _at(file, 8, 4) == b"AVI " else _wav(file)


def _avi(file: BinaryIO) -> int:
    """Where the last list of pictures and sound ends; a long file has one for each GB or so, in a RIFF of its own."""
    at = end = 0
    for _ in range(MAX_CHUNKS):
        head = _at(file, at, 12)
        size = int.from_bytes(head[4:8], "little")
        if len(head) < 12 or not size:  # a recorder that crashed leaves sizes of 0
            break
        whole = at + 8 + size + size % 2
        if head[8:] == b"movi":
            end = whole
        at = at + 12 if head.startswith(b"RIFF") else whole
    return end


def _caf(file: BinaryIO) -> int:
    """Where the sound of a CAF file begins, whose length the file says; 0 where it does not."""
    at = 8
    for _ in range(MAX_CHUNKS):
        head = _at(file, at, 12)
        size = int.from_bytes(head[4:], "big", signed=True)
        if len(head) < 12 or not 0 <= size < MAX_BYTES:  # of the data, -1: it goes on to the end of the file
            return 0
        at += 12 + size
        if head.startswith(b"data"):
            return at
    return 0


def _wav(file: BinaryIO) -> int:
    """Where the sound of a WAV file ends, by its header."""
    begin, size = _sound(file, 12)
    return 0 if size in UNKNOWN or size >= UNKNOWN_BYTES else begin + size


def _rf64(file: BinaryIO) -> int:
    """WAV beyond 4 GiB: the real size of its sound stands in the first chunk."""
    head = _at(file, 12, 24)
    if not head.startswith(b"ds64") or len(head) < 24:
        return 0
    begin, _ = _sound(file, 20 + int.from_bytes(head[4:8], "little"))
    whole = _number(head[16:24], 8)
    return begin + whole if begin and 0 < whole < MAX_BYTES else 0


def _sound(file: BinaryIO, at: int) -> tuple[int, int]:
    """Where the content of the chunk `data` begins, and the size it is said to have; from `at` on, and 0 for none."""
    for _ in range(MAX_CHUNKS):
        head = _at(file, at, 8)
        size = int.from_bytes(head[4:], "little")
        if head.startswith(b"data") or len(head) < 8:
            return (at + 8, size) if len(head) == 8 else (0, 0)
        at += 8 + size + size % 2
    return 0, 0


def _aiff(file: BinaryIO) -> int:
    """Where an AIFF file ends, by its header."""
    size = int.from_bytes(_at(file, 4, 4), "big")
    return 0 if size in UNKNOWN or size >= UNKNOWN_BYTES or not size else 8 + size


def _au(file: BinaryIO) -> int:
    """Where an AU file ends, by its header."""
    head = _at(file, 4, 8)
    size = int.from_bytes(head[4:], "big")
    return 0 if size >= UNKNOWN_BYTES or not size else int.from_bytes(head[:4], "big") + size


def _boxes(file: BinaryIO) -> tuple[int, bool]:
    """Where the last of the boxes that an MP4 file consists of ends, and whether it was written in fragments.

    0 if the file has no boxes. What follows the boxes, such as a tag or zeros, is not a box and does not count.
    """
    at, in_fragments = 0, False
    for _ in range(MAX_BOXES):
        head = _at(file, at, 16)
        name, size = head[4:8], int.from_bytes(head[:4], "big")
        if size == 1 and len(head) == 16:
            size = int.from_bytes(head[8:], "big")
        if name not in BOXES or size < 8:  # a size of 0 means: to the end of the file
            break
        in_fragments |= name == b"moof"
        at += size
    return at, in_fragments


def _ogg_page_end(file: BinaryIO, size: int) -> int:
    """Where the last page of an Ogg file ends by its own header; beyond `size` where even that is incomplete."""
    start = max(0, size - PAGE_BYTES)
    tail = _at(file, start, PAGE_BYTES)
    at = tail.rfind(OGG)
    if at < 0:
        return 0
    segments = tail[at + 26] if len(tail) > at + 26 else 0
    table = tail[at + 27 : at + 27 + segments]
    return start + at + 27 + segments + sum(table)


def _matroska(file: BinaryIO) -> int:
    """Where the segment of a Matroska file ends, by its header."""
    _, size, start = _element(file, 0)
    name, size, start = _element(file, start + size)
    return start + size if name == SEGMENT and size else 0


def _element(file: BinaryIO, at: int) -> tuple[bytes, int, int]:
    """Name, size (0: unknown) and start of the content of an EBML element whose name has four bytes."""
    head = _at(file, at, 12)
    if len(head) < 12 or not head[4]:
        return b"", 0, at
    width = 9 - head[4].bit_length()
    size = int.from_bytes(head[4 : 4 + width], "big") - (1 << 7 * width)
    unknown = (1 << 7 * width) - 1
    return head[:4], 0 if size == unknown else size, at + 4 + width


def _asf(file: BinaryIO) -> int:
    """How large an ASF file is, by its header; 0 for one that was broadcast."""
    at = 30
    for _ in range(MAX_CHUNKS):
        head = _at(file, at, 92)
        if head.startswith(ASF_FILE) and len(head) == 92:
            is_broadcast = head[88] & 1
            return 0 if is_broadcast else _number(head[40:48], 8)
        at += max(24, _number(head[16:24], 8))
    return 0


def _number(data: bytes, size: int) -> int:
    """A number in the byte order of Intel; 0 where bytes are missing.

    >>> _number(bytes([1, 1]), 2), _number(bytes([1]), 2)
    (257, 0)
    """
    return int.from_bytes(data, "little") if len(data) == size else 0


def _at(file: BinaryIO, at: int, size: int) -> bytes:
    """Bytes at a place in the file, fewer at its end."""
    if at >= MAX_BYTES:
        return b""
    file.seek(at)
    return file.read(size)


READERS: dict[bytes, Callable[[BinaryIO], int]] = {
    b"RIFF": _riff,
    b"RF64": _rf64,
    b"FORM": _aiff,
    b"caff": _caf,
    b".snd": _au,
    W64: lambda file: _number(_at(file, 16, 8), 8),
    EBML: _matroska,
    ASF: _asf,
}
