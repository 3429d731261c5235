"""Files that mean harm read nothing, connect nowhere, take no more than their share, are refused in one sentence."""

from __future__ import annotations

import contextlib
import ctypes
import json
import logging
import os
import re
import select
import shutil
import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import av
import pytest

from dropscribe.core.errors import (
    DecodeLimitError,
    DropscribeError,
    NoRoomError,
    NotMediaError,
    OutsideRootError,
    SourceError,
    SpoolError,
)
from dropscribe.core.logs import JsonFormatter
from dropscribe.worker.preparing import media
from dropscribe.worker.preparing.decode import DecodeLimits, decode
from dropscribe.worker.preparing.staging import shown, stage
from tests.faults import corpus
from tests.media_files import LABEL, refused, tone, wav, write

OPENED, READ = 0x20, 0x1  # IN_OPEN and IN_ACCESS of <sys/inotify.h>
LIMITS = DecodeLimits(max_seconds=600, memory_mb=512, cpu_seconds=60, stall_seconds=60)
UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


@dataclass
class Canary:
    """A recording next door that says when it is touched, and a port that says when it is called."""

    path: Path
    watch: int
    tcp: socket.socket
    udp: socket.socket

    @property
    def port(self) -> int:
        return int(self.tcp.getsockname()[1])

    @property
    def was_touched(self) -> bool:
        try:
            return bool(os.read(self.watch, 4096))
        except BlockingIOError:
            return False

    @property
    def was_called(self) -> bool:
        return bool(select.select([self.tcp, self.udp], [], [], 0)[0])


@pytest.fixture
def canary(tmp_path: Path) -> Iterator[Canary]:
    folder = tmp_path / "secret"
    folder.mkdir()
    path = wav(folder / "canary.wav", tone(0.3))
    libc = ctypes.CDLL(None, use_errno=True)
    if not hasattr(libc, "inotify_init1"):
        pytest.skip("only Linux tells who opens a file")
    watch = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
    assert libc.inotify_add_watch(watch, bytes(path), OPENED | READ) >= 0
    with closing(socket.create_server(("127.0.0.1", 0))) as tcp, socket.socket(type=socket.SOCK_DGRAM) as udp:
        udp.bind(tcp.getsockname())
        tcp.setblocking(False)
        udp.setblocking(False)
        yield Canary(path, watch, tcp, udp)
    os.close(watch)


class TestLures:
    def test_the_canary_sings_where_the_lists_are_missing(self, canary: Canary, tmp_path: Path) -> None:
        lures = corpus.lures(canary.path, canary.port)
        (tmp_path / "a.ffconcat").write_text(lures["ffconcat"])
        (tmp_path / "a.m3u8").write_text(lures["hls url"])
        with av.open(str(tmp_path / "a.ffconcat"), options={"safe": "0"}):
            assert canary.was_touched
        with pytest.raises(av.FFmpegError):
            av.open(str(tmp_path / "a.m3u8"), options={"protocol_whitelist": "file,http,tcp"}, timeout=1.0)
        assert canary.was_called

    @pytest.mark.parametrize("disguise", corpus.DISGUISES)
    def test_a_playlist_in_disguise_is_refused_and_nothing_it_names_is_touched(
        self, disguise: str, canary: Canary, tmp_path: Path
    ) -> None:
        (tmp_path / "in").mkdir()
        for kind, text in corpus.lures(canary.path, canary.port).items():
            source = tmp_path / "in" / "source-x7"
            source.write_bytes(corpus.DISGUISES[disguise] + text.encode())
            with pytest.raises(NotMediaError):
                media.decode(source, tmp_path / "out.flac", tmp_path, 600)
            assert not canary.was_touched, kind
            assert not canary.was_called, kind

    @pytest.mark.parametrize("name", ["a.m3u8", "a.ffconcat", "a.sdp", "a.mpd", "a.avs", "a.vpy", "a.wav", "source-x7"])
    def test_no_name_makes_the_decoder_follow_a_lure(self, name: str, canary: Canary, tmp_path: Path) -> None:
        (tmp_path / "in").mkdir()
        (tmp_path / "in" / name).write_text(corpus.lures(canary.path, canary.port)["hls file"])
        refused(NotMediaError, tmp_path / "in" / name, LIMITS)
        assert not canary.was_touched
        assert not canary.was_called


class TestPlaces:
    @pytest.fixture
    def root(self, tmp_path: Path) -> Path:
        (tmp_path / "root" / "sub").mkdir(parents=True)
        wav(tmp_path / "outside.wav", tone(0.1))
        return tmp_path / "root"

    def test_no_path_with_dots_leads_out_of_the_root(self, root: Path, tmp_path: Path) -> None:
        for way in ("../outside.wav", "sub/../../outside.wav", "./sub/.././../outside.wav", "../root/../outside.wav"):
            with pytest.raises(OutsideRootError, match="leads out of"):
                stage(root / way, root, tmp_path / "scratch")
        assert not (tmp_path / "scratch").exists()

    def test_links_of_every_kind_are_refused(self, root: Path, tmp_path: Path) -> None:
        targets = (tmp_path / "outside.wav", "/etc/passwd", "/proc/self/environ", "../outside.wav", "link", "nowhere")
        for target in targets:
            (root / "link").symlink_to(target)
            with pytest.raises(OutsideRootError, match=r"link or not a regular file; put the recording itself there"):
                stage(root / "link", root, tmp_path / "scratch")
            (root / "link").unlink()

    def test_a_folder_that_is_swapped_for_a_link_leads_nowhere(self, root: Path, tmp_path: Path) -> None:
        (root / "sub").rmdir()
        (root / "sub").symlink_to("/proc/self/root")
        with pytest.raises(OutsideRootError, match="leads out of"):
            stage(root / "sub" / "etc" / "passwd", root, tmp_path / "scratch")

    def test_what_is_no_file_is_refused_without_waiting(
        self, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        os.mkfifo(root / "pipe.wav")
        (root / "folder.wav").mkdir()
        monkeypatch.chdir(root)  # such an address may not be long
        with socket.socket(socket.AF_UNIX) as bound:
            bound.bind("socket.wav")
        for name in ("pipe.wav", "folder.wav", "socket.wav"):
            with pytest.raises(OutsideRootError, match="not a regular file; put the recording itself there"):
                stage(root / name, root, tmp_path / "scratch")
        assert not (tmp_path / "scratch").exists()

    @pytest.mark.parametrize("numbers", [(1, 5), (1, 8), (5, 0), (10, 200)])
    def test_a_device_is_refused(self, numbers: tuple[int, int], root: Path, tmp_path: Path) -> None:
        try:
            os.mknod(root / "device.wav", 0o600 | 0o020000, os.makedev(*numbers))
        except PermissionError:
            pytest.skip("this user may not make devices")
        with pytest.raises(OutsideRootError, match="not a regular file"):
            stage(root / "device.wav", root, tmp_path / "scratch")

    def test_a_file_larger_than_the_whole_disk_fails_before_a_byte_is_copied(self, root: Path, tmp_path: Path) -> None:
        source = root / "huge.wav"
        source.touch()
        try:
            os.truncate(source, 1 << 43)  # 8 TiB of nothing
        except OSError:
            pytest.skip("this filesystem has no such files")
        if shutil.disk_usage(root).total >= 1 << 43:
            pytest.skip("this disk really holds so much")
        with pytest.raises(SpoolError, match=r"huge\.wav.* DROPSCRIBE_HOME") as caught:
            stage(source, root, tmp_path / "scratch")
        assert not isinstance(caught.value, NoRoomError)  # which is worth waiting for
        assert list((tmp_path / "scratch").iterdir()) == []


class TestBombs:
    def test_an_hour_of_silence_in_a_tiny_file_takes_no_more_memory_than_a_minute(self, tmp_path: Path) -> None:
        source = corpus.silent_flac(tmp_path / "a.flac", 3600)
        assert source.stat().st_size < 1 << 20
        limits = DecodeLimits(max_seconds=7200, memory_mb=330)
        decoded = decode(source, tmp_path / "out.flac", limits, label=LABEL)
        assert (decoded.duration, decoded.silent) == (3600, True)

    @pytest.mark.parametrize("claims", [0, 24_000])
    def test_a_bomb_that_hides_its_length_stops_at_the_limit(self, claims: int, tmp_path: Path) -> None:
        source = corpus.silent_flac(tmp_path / "a.flac", 900, claims=claims)
        assert "DROPSCRIBE_DECODE_HOURS" in refused(DecodeLimitError, source, LIMITS)

    CLAIMS: tuple[tuple[str, Callable[[Path], Path]], ...] = (
        ("flac of 33 days", lambda path: corpus.silent_flac(path, 1, claims=(1 << 36) - 1)),
        ("m4a of 49 days", lambda path: corpus.claiming_m4a(path, 1 << 31)),
        ("mkv of ages", lambda path: corpus.claiming_mkv(path, 1e300)),
        ("mkv of 100 years", lambda path: corpus.claiming_mkv(path, 3.2e12)),
        ("mkv of infinity", lambda path: corpus.claiming_mkv(path, float("inf"))),
        ("mkv of no number", lambda path: corpus.claiming_mkv(path, float("nan"))),
        ("mkv of less than nothing", lambda path: corpus.claiming_mkv(path, -1e15)),
        *(
            (f"{container} of exabytes", partial(corpus.of_exabytes, container=container))
            for container in corpus.LENGTHS
        ),
        ("wav of 4 GiB", lambda path: corpus.claiming_wav(path, 40, (1 << 32) - 20, 4)),
        ("wav of 2 GiB", lambda path: corpus.claiming_wav(path, 40, 1 << 30, 4)),
    )

    @pytest.mark.parametrize("make", [pytest.param(make, id=name) for name, make in CLAIMS])
    def test_a_claim_of_years_is_refused_or_not_believed(self, make: Callable[[Path], Path], tmp_path: Path) -> None:
        source = make(tmp_path / "a")
        with contextlib.suppress(DecodeLimitError):
            assert decode(source, tmp_path / "out.flac", LIMITS, label=LABEL).duration < 3
            return
        assert "longer than 0.166667 h; split it" in refused(DecodeLimitError, source, LIMITS)

    def test_a_title_of_millions_of_letters_takes_neither_memory_nor_the_worker(self, tmp_path: Path) -> None:
        source = corpus.of_long_names(tmp_path / "a", 4 << 20)
        assert decode(source, tmp_path / "out.flac", DecodeLimits(memory_mb=400), label=LABEL).duration == 1

    @pytest.mark.parametrize("rate", [0, 1, 999, 768_001, (1 << 31) - 1, (1 << 32) - 1])
    def test_an_absurd_sample_rate_is_refused(self, rate: int, tmp_path: Path) -> None:
        refused(SourceError, corpus.claiming_wav(tmp_path / "a", corpus.WAV_RATE, rate, 4), LIMITS)

    @pytest.mark.parametrize("channels", [0, 65, 255, 1024, 65_535])
    def test_more_than_64_channels_and_none_at_all_are_refused(self, channels: int, tmp_path: Path) -> None:
        refused(SourceError, corpus.claiming_wav(tmp_path / "a", corpus.WAV_CHANNELS, channels, 2), LIMITS)

    def test_64_channels_at_a_high_rate_fit_the_memory(self, tmp_path: Path) -> None:
        source = wav(tmp_path / "a", tone(2.0).repeat(64), 768_000, 64)
        decoded = decode(source, tmp_path / "out.flac", LIMITS, label=LABEL)
        assert decoded.channels == 64

    def test_a_moment_years_ahead_fills_no_disk(self, tmp_path: Path) -> None:
        source = write(tmp_path / "a", "matroska", "libopus", 48_000, options={"live": "1"})
        data = bytearray(source.read_bytes())
        at = data.rindex(b"\x1f\x43\xb6\x75")  # the last cluster
        at = data.index(b"\xe7", at)  # its moment
        size = data[at + 1] & 0x7F
        data[at + 2 : at + 2 + size] = b"\x7f" * size
        source.write_bytes(data)
        decoded = decode(source, tmp_path / "out.flac", LIMITS, label=LABEL)
        assert decoded.duration <= LIMITS.max_seconds

    def test_one_damaged_number_does_not_silence_the_rest(self, tmp_path: Path) -> None:
        samples = tone(1.0)
        samples[5000] = 1e36
        source = write(tmp_path / "a", "wav", "pcm_f32le", 24_000, samples=samples)
        decoded = decode(source, tmp_path / "out.flac", LIMITS, label=LABEL)
        assert decoded.rms_dbfs + decoded.gain_db == pytest.approx(-25, abs=0.1)


class TestNames:
    @pytest.mark.parametrize("name", corpus.NAMES, ids=lambda name: str(corpus.NAMES.index(name)))
    def test_a_hostile_name_is_read_as_any_other(self, name: str, tmp_path: Path) -> None:
        source = wav(tmp_path / "a", tone(0.1)).rename(tmp_path / name)
        staged = stage(source, tmp_path, tmp_path / "scratch")
        assert decode(staged.path, tmp_path / "out.flac", LIMITS, label=shown(source)).duration == 0.1
        assert {path.name for path in tmp_path.iterdir()} == {name, "scratch", "out.flac"}

    @pytest.mark.parametrize("name", corpus.NAMES, ids=lambda name: str(corpus.NAMES.index(name)))
    def test_a_refusal_of_a_hostile_name_is_one_line_that_no_terminal_obeys(self, name: str, tmp_path: Path) -> None:
        (tmp_path / name).write_text("minutes")
        staged = stage(tmp_path / name, tmp_path, tmp_path / "scratch")
        with pytest.raises(NotMediaError) as caught:
            media.decode(staged.path, tmp_path / "out.flac", tmp_path, 600)
        (tmp_path / name).unlink()
        with pytest.raises(DropscribeError) as gone:
            stage(tmp_path / name, tmp_path, tmp_path / "scratch")
        for message in (str(gone.value), f"{shown(Path(name))}: {caught.value}"):
            assert not UNSAFE.search(message)
            record = logging.LogRecord("x", logging.INFO, "x", 1, "failed: %s", (message,), None)
            assert json.loads(JsonFormatter().format(record))["message"] == f"failed: {message}"


class TestSettings:
    @pytest.mark.parametrize(
        "limits",
        [
            DecodeLimits(max_seconds=float("inf")),
            DecodeLimits(max_seconds=1e300),
            DecodeLimits(memory_mb=10**30),
            DecodeLimits(cpu_seconds=10**30),
            DecodeLimits(cpu_seconds=(1 << 64) // 10**9 + 1),  # one second in the kernel's 64 bits of nanoseconds
            DecodeLimits(stall_seconds=float("inf")),
        ],
    )
    def test_limits_beyond_all_measure_are_none(self, limits: DecodeLimits, tmp_path: Path) -> None:
        source = wav(tmp_path / "a", tone(0.1))
        assert decode(source, tmp_path / "out.flac", limits, label=LABEL).duration == 0.1

    def test_limits_that_allow_nothing_are_told(self, tmp_path: Path) -> None:
        source = wav(tmp_path / "a", tone(0.1))
        assert "longer than" in refused(DecodeLimitError, source, DecodeLimits(max_seconds=1e-9))


def test_a_header_of_lies_about_chunks_costs_no_time(tmp_path: Path) -> None:
    """Chunks that lead back to themselves or past every end."""
    for size in (0, 0xFFFFFFFF, 0xFFFFFFF8):
        (tmp_path / "a").write_bytes(b"RIFF\0\0\0\0WAVE" + struct.pack("<4sI", b"junk", size) * 1000)
        refused(NotMediaError, tmp_path / "a", LIMITS)
