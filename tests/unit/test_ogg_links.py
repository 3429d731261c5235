"""The links of a chained Ogg file are found by their first pages, and by nothing that only looks like one."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from dropscribe.worker.preparing import ogg_links
from dropscribe.worker.preparing.ogg_links import OggLink

OPUS = b"OpusHead\x01\x01\0\0" + bytes(7)
VORBIS = b"\x01vorbis\0\0\0\0\x01" + (44_100).to_bytes(4, "little") + bytes(14)
SPEEX = b"Speex   " + bytes(28) + (16_000).to_bytes(4, "little") + bytes(24)
FLAC = b"\x7fFLAC\x01\0\0\x01fLaC\0\0\0\x22" + bytes(10) + (22_050 << 4).to_bytes(3, "big") + bytes(20)
THEORA = b"\x80theora" + bytes(30)


def page(content: bytes, flags: int = 0, position: int = 0, serial: int = 7, number: int = 0) -> bytes:
    lacing = bytes([255] * (len(content) // 255) + [len(content) % 255])
    numbers = position.to_bytes(8, "little") + serial.to_bytes(4, "little") + number.to_bytes(4, "little")
    return b"OggS\0" + bytes([flags]) + numbers + bytes(4) + bytes([len(lacing)]) + lacing + content


def stream(head: bytes, last: int, serial: int = 7, size: int = 3000) -> bytes:
    sound = random.Random(serial).randbytes(size)
    return page(head, 2, serial=serial) + page(sound, 0, last // 2, serial, 1) + page(sound, 4, last, serial, 2)


def found(tmp_path: Path, data: bytes) -> tuple[OggLink, ...]:
    path = tmp_path / "a"
    path.write_bytes(data)
    with path.open("rb") as file:
        return ogg_links.find(file)


def test_links_are_found_with_their_lengths_whatever_their_codec(tmp_path: Path) -> None:
    parts = [
        stream(OPUS, 96_000),
        stream(VORBIS, 44_100 * 3, 8),
        stream(SPEEX, 16_000 * 4, 9),
        stream(FLAC, 22_050 * 5, 10),
    ]
    links = found(tmp_path, b"".join(parts))
    assert [link.seconds for link in links] == [2, 3, 4, 5]
    assert [link.end - link.start for link in links] == [len(part) for part in parts]
    assert [link.start for link in links[1:]] == [link.end for link in links[:-1]]


@pytest.mark.parametrize("before", [ogg_links.BLOCK - 26, ogg_links.BLOCK - 13, ogg_links.BLOCK - 1, ogg_links.BLOCK])
def test_a_link_is_found_once_wherever_it_begins(before: int, tmp_path: Path) -> None:
    first = stream(OPUS, 96_000, size=1000)
    first += bytes(before - len(first))
    assert [link.start for link in found(tmp_path, first + stream(OPUS, 48_000))] == [0, before]


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(stream(OPUS, 96_000), id="one link"),
        pytest.param(page(THEORA, 2, serial=1) + stream(OPUS, 96_000), id="streams that are played together"),
        pytest.param(stream(OPUS, 96_000) + page(b"unknown codec", 2), id="no codec that is known"),
        pytest.param(stream(OPUS, 96_000) + page(OPUS, 0), id="not marked as first"),
        pytest.param(stream(OPUS, 96_000) + page(OPUS, 2, number=3), id="not numbered as first"),
        pytest.param(stream(OPUS, 96_000) + page(OPUS, 2)[:20], id="the head of a page alone"),
        pytest.param(stream(OPUS, 96_000) + page(OPUS, 2)[:26], id="the head of a page alone, as a whole"),
        pytest.param(b"RIFF" + stream(OPUS, 1) + stream(OPUS, 1), id="no Ogg"),
        pytest.param(b"", id="nothing"),
        pytest.param(b"OggS", id="four bytes"),
    ],
)
def test_what_is_no_chain_has_no_links(data: bytes, tmp_path: Path) -> None:
    assert found(tmp_path, data) == ()


def test_a_link_without_a_position_tells_no_length(tmp_path: Path) -> None:
    chain = stream(OPUS, 96_000) + page(OPUS, 2, serial=9) + page(bytes(100), 0, (1 << 64) - 1, 9, 1)
    assert [link.seconds for link in found(tmp_path, chain)] == [2, 0]


def test_the_number_of_links_is_bounded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(ogg_links, "MAX_LINKS", 3)
    assert len(found(tmp_path, stream(OPUS, 48_000) * 9)) == 3


def test_any_bytes_are_looked_at_without_an_error(tmp_path: Path) -> None:
    chain = stream(OPUS, 96_000) + stream(VORBIS, 44_100, 8)
    chance = random.Random(0)
    for _ in range(300):
        data = bytearray(chain)
        for _ in range(20):
            data[chance.randrange(len(data))] = chance.randrange(256)
        links = found(tmp_path, bytes(data[: chance.randrange(len(data))]))
        assert all(0 <= link.start < link.end <= os.path.getsize(tmp_path / "a") for link in links)
        assert all(link.seconds >= 0 for link in links)
