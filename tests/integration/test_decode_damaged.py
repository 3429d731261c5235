"""What a demuxer gives up in the middle of a file is not its end: what follows is heard, and what is lost is told."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import av
import numpy as np
import pytest
import soundfile

from dropscribe.core.types import Span
from dropscribe.worker.preparing import frames, media
from dropscribe.worker.preparing.containers import container_of
from dropscribe.worker.preparing.decode import Decoded
from tests.media_files import write
from tests.timed_media import onsets, three_sentences

LONGEST = 3600.0  # s
KINDS = {
    "opus stereo": ("libopus", 48_000, "stereo"),
    "opus": ("libopus", 48_000, "mono"),
    "vorbis stereo": ("vorbis", 44_100, "stereo"),
    "flac": ("flac", 16_000, "mono"),
}


@cache
def link(kind: str) -> bytes:
    """Six seconds of Ogg with a sentence at 2 s."""
    with TemporaryDirectory() as folder:
        path = Path(folder, "a.ogg")
        if kind == "vorbis":  # ffmpeg writes no mono
            soundfile.write(path, three_sentences(22_050, 6, [2]), 22_050, format="OGG", subtype="VORBIS")
        else:
            codec, rate, layout = KINDS[kind]
            write(path, "ogg", codec, rate, layout, samples=three_sentences(rate, 6, [2]))
        return path.read_bytes()


def heard(source: Path) -> tuple[Decoded, list[float]]:
    target = source.with_name("out.flac")
    return media.decode(source, target, source.parent, LONGEST), onsets(target)


def chained(folder: Path, *links: bytes) -> tuple[Decoded, list[float]]:
    source = folder / "a"
    source.write_bytes(b"".join(links))
    return heard(source)


@pytest.mark.parametrize(
    "kinds",
    [
        ("opus stereo", "opus", "opus stereo"),
        ("opus", "opus stereo"),
        ("opus", "opus"),
        ("vorbis stereo", "vorbis"),
        ("vorbis", "vorbis stereo"),
        ("opus", "vorbis", "flac", "opus stereo"),
    ],
    ids=", ".join,
)
def test_all_links_of_a_chained_ogg_are_heard_at_their_times(kinds: tuple[str, ...], tmp_path: Path) -> None:
    decoded, times = chained(tmp_path, *(link(kind) for kind in kinds))
    assert times == pytest.approx([6 * number + 2 for number in range(len(kinds))], abs=0.1)
    assert (decoded.truncated, decoded.damaged, decoded.silence_inserted) == (False, (), 0)


def broken(kind: str) -> bytes:
    """A link whose headers are damaged, but not what says that it is one."""
    data = bytearray(link(kind))
    if kind == "opus":
        data[data.index(b"OpusHead") + 8] = 0xFF  # a version of the format that nobody knows
    else:
        setup = data.index(b"\x05vorbis") + 20
        data[setup : setup + 380] = bytes(380)
    return bytes(data)


@pytest.mark.parametrize("kind", ["opus", "vorbis stereo"])
@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_link_that_cannot_be_read_is_told_and_the_others_keep_their_times(
    place: int, kind: str, tmp_path: Path
) -> None:
    links = [link("opus stereo")] * 3
    links[place] = broken(kind)
    decoded, times = chained(tmp_path, *links)
    assert times == pytest.approx([6 * number + 2 for number in range(3) if number != place], abs=0.1)
    (lost,) = decoded.damaged
    assert (lost.start, lost.end) == pytest.approx((6 * place, 6 * place + 6), abs=0.1)
    assert decoded.truncated is False


def test_what_a_demuxer_cannot_go_on_behind_is_told_by_the_length_in_the_header(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).normal(0, 0.1, 44_100 * 20)
    source = write(tmp_path / "a", "wv", "wavpack", samples=noise)
    data = bytearray(source.read_bytes())
    blocks = [at for at in range(len(data)) if data.startswith(b"wvpk", at)]
    middle = blocks[len(blocks) // 2]
    data[middle : middle + 3000] = bytes(3000)
    source.write_bytes(data)
    decoded, _ = heard(source)
    assert 5 < decoded.duration < 15
    assert decoded.damaged == (Span(pytest.approx(decoded.duration, abs=0.01), pytest.approx(20, abs=0.01)),)
    assert decoded.truncated is False


def test_a_chain_that_breaks_off_is_still_noticed(tmp_path: Path) -> None:
    source = tmp_path / "a"
    source.write_bytes(link("opus stereo") + link("opus"))
    os.truncate(source, source.stat().st_size - 3000)
    decoded, times = heard(source)
    assert times == pytest.approx([2, 8], abs=0.1)
    assert (decoded.truncated, decoded.damaged) == (True, ())


class Faulty:
    """A container whose demuxer calls something an I/O error before each packet, and goes on."""

    def __init__(self, container: Any) -> None:
        self._container = container
        self._packets: Iterator[Any] | None = None
        self._held: list[Any] = []
        self.failures = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._container, name)

    def demux(self, stream: Any) -> Iterator[Any]:
        self._packets = self._packets or self._container.demux(stream)
        yield from self._held
        self._held.clear()
        for packet in self._packets:
            if packet.size:
                self._held.append(packet)
                self.failures += 1
                raise av.error.OSError(errno.EIO, "Input/output error")
            yield packet


def test_a_demuxer_that_fails_all_the_time_has_the_disk_asked_once_and_few_moments_remembered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Faulty] = []
    asked: list[Path] = []

    @contextmanager
    def faulty(*of: Any) -> Iterator[Faulty]:
        with container_of(*of) as container:
            made.append(Faulty(container))
            yield made[-1]

    monkeypatch.setattr(media, "container_of", faulty)
    monkeypatch.setattr(frames, "check_readable", asked.append)
    monkeypatch.setattr(frames, "MAX_STOPS", 3)
    source = write(tmp_path / "a", "wav", "pcm_s16le", samples=three_sentences(44_100))
    decoded = media.decode(source, tmp_path / "out.flac", tmp_path, LONGEST)
    assert asked == [source]
    failures = made[-1].failures
    assert failures > 10
    assert (len(decoded.damaged), decoded.decode_errors) == (3, failures - 3)
    assert (decoded.duration, decoded.truncated) == (pytest.approx(20, abs=0.01), False)
