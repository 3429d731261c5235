"""Disks that are full, fail or do not answer while a recording is staged and decoded are told apart."""

from __future__ import annotations

import errno
import os
import signal
import threading
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
import soundfile

from dropscribe.core.errors import NoRoomError, NotMediaError, SpoolError
from dropscribe.core.zygote import Zygote
from dropscribe.worker.preparing import decode as parent
from dropscribe.worker.preparing import flac
from dropscribe.worker.preparing.decode import DecodeLimits, decode
from dropscribe.worker.preparing.staging import stage
from tests.faults.decoders import decoders
from tests.faults.shares import Share, eventually
from tests.media_files import LABEL, tone, wav

KIB = 1024
STALLING = DecodeLimits(max_seconds=600, cpu_seconds=60, stall_seconds=2)


def fill(disk: Path, *, leave: int) -> None:
    free = os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize
    (disk / "ballast").write_bytes(bytes(free - leave))


def noise(path: Path, seconds: float) -> Path:
    """Sound that FLAC cannot make small: 43 kB a second of it, 96 kB before."""
    return wav(path, np.random.default_rng(0).normal(0, 0.1, round(seconds * 24_000)).clip(-1, 1))


class TestFull:
    def test_a_copy_that_does_not_fit_waits_for_room_and_takes_none(self, small_disk: Path, tmp_path: Path) -> None:
        source = noise(tmp_path / "a.wav", 10)
        fill(small_disk, leave=100 * KIB)
        with pytest.raises(NoRoomError, match=r"a\.wav.*make room"):
            stage(source, tmp_path, small_disk / "scratch")
        assert list((small_disk / "scratch").iterdir()) == []

    def test_a_disk_that_fills_while_it_is_copied_to_is_told_and_left_clean(
        self, small_disk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        source = noise(tmp_path / "a.wav", 10)
        monkeypatch.setattr(
            "dropscribe.worker.preparing.staging._check_room", lambda *_: fill(small_disk, leave=100 * KIB)
        )
        with pytest.raises(NoRoomError, match=r"a\.wav.*No space left.*make room"):
            stage(source, tmp_path, small_disk / "scratch")
        assert list((small_disk / "scratch").iterdir()) == []

    @pytest.mark.parametrize("leave", [0, 4, 64, 700])
    def test_scratch_that_is_full_while_decoding_is_told_and_left_clean(
        self, leave: int, small_disk: Path, tmp_path: Path
    ) -> None:
        source = noise(tmp_path / "a.wav", 10)
        fill(small_disk, leave=leave * KIB)
        with pytest.raises(NoRoomError, match=rf"{LABEL}: its working data .*No space left.*make room"):
            decode(source, tmp_path / "out.flac", DecodeLimits(), label=LABEL, scratch=small_disk)
        assert {path.name for path in small_disk.iterdir()} == {"ballast"}
        assert not (tmp_path / "out.flac").exists()

    @pytest.mark.parametrize("leave", [0, 4, 8, 64, 200])
    def test_a_spool_that_is_full_is_told_and_left_clean(self, leave: int, small_disk: Path, tmp_path: Path) -> None:
        source = noise(tmp_path / "a.wav", 10)
        fill(small_disk, leave=leave * KIB)
        with pytest.raises(NoRoomError, match=rf"{LABEL}: its audio .*No space left.*make room"):
            decode(source, small_disk / "out.flac", DecodeLimits(), label=LABEL, scratch=tmp_path)
        assert {path.name for path in small_disk.iterdir()} == {"ballast"}

    def test_whatever_room_there_is_the_audio_is_whole_or_refused(self, small_disk: Path) -> None:
        block = np.random.default_rng(0).integers(-9000, 9000, 24_000, np.int16)
        whole = 0
        for leave in range(0, 120, 4):
            fill(small_disk, leave=leave * KIB)
            try:
                flac.write([block, block], small_disk / "out.flac")
            except NoRoomError:
                continue
            finally:
                (small_disk / "ballast").unlink()
            whole += 1
            assert soundfile.read(small_disk / "out.flac")[0].size == 48_000
        assert 0 < whole < 30


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_disk_that_tells_only_on_closing_that_it_had_no_room_is_heard(
    code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    close = os.close

    def closing(descriptor: int) -> None:
        name = os.readlink(f"/proc/self/fd/{descriptor}")
        close(descriptor)
        if "source-" in name:
            raise OSError(code, os.strerror(code))

    source = wav(tmp_path / "a.wav", tone(0.1))
    monkeypatch.setattr(os, "close", closing)
    with pytest.raises(NoRoomError, match="make room"):
        stage(source, tmp_path, tmp_path / "scratch")
    assert list((tmp_path / "scratch").iterdir()) == []


class TestSilent:
    def test_a_decoder_that_stands_still_is_ended_though_it_takes_no_cpu_time(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, zygote: Zygote | None
    ) -> None:
        monkeypatch.setattr(Path, "read_text", self.hidden)
        os.mkfifo(tmp_path / "a.wav")
        with pytest.raises(SpoolError, match=rf"{LABEL}: the decoder made no progress for 2 s.*DROPSCRIBE_HOME"):
            decode(tmp_path / "a.wav", tmp_path / "out.flac", STALLING, label=LABEL, zygote=zygote)
        assert [path.name for path in tmp_path.iterdir()] == ["a.wav"]
        assert not decoders()

    def hidden(self, *_: object, **__: object) -> str:
        """As /proc answers for decoders under `ProtectProc=invisible`."""
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))

    def test_a_process_that_computes_is_seen_to_move(self) -> None:
        has_moved = parent._watch(os.getpid())
        until = time.process_time() + 0.05
        while time.process_time() < until:
            pass
        assert has_moved()

    def test_a_decoder_that_was_stopped_by_a_signal_is_ended(self, tmp_path: Path, zygote: Zygote | None) -> None:
        source = noise(tmp_path / "a.wav", 60)
        stopper = threading.Thread(target=lambda: stop_one(source))
        stopper.start()
        with pytest.raises(SpoolError, match="made no progress"):
            decode(source, tmp_path / "out.flac", STALLING, label=LABEL, zygote=zygote)
        stopper.join()

    def test_a_disk_that_hangs_beyond_any_signal_is_left_alone(
        self, share: Share, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, zygote: Zygote | None
    ) -> None:
        monkeypatch.setattr(parent, "KILL_SECONDS", 0.2)
        noise(share.server / "a.wav", 1)
        share.tell(hang="a.wav")
        with pytest.raises(SpoolError, match="made no progress"):
            decode(share.path / "a.wav", tmp_path / "out.flac", STALLING, label=LABEL, zygote=zygote)
        (hung,) = decoders()
        source = wav(tmp_path / "b.wav", tone(0.1))
        decode(source, tmp_path / "out.flac", DecodeLimits(), label=LABEL, zygote=zygote)
        share.tell(heal=True)
        eventually(lambda: not psutil.pid_exists(hung.pid))


class TestFailing:
    def test_a_disk_that_cannot_be_read_is_blamed_and_not_the_recording(self, share: Share, tmp_path: Path) -> None:
        noise(share.server / "a.wav", 1)
        share.tell(fail="a.wav", errno=errno.EIO)
        with pytest.raises(SpoolError, match="working copy cannot be read"):
            decode(share.path / "a.wav", tmp_path / "out.flac", DecodeLimits(), label=LABEL)

    @pytest.mark.parametrize("code", [errno.EIO, errno.EPERM])
    def test_a_demuxer_that_calls_damage_an_error_of_the_disk_is_not_believed(
        self, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from dropscribe.worker.preparing import media

        def fail(*_: object, **__: object) -> None:
            raise OSError(code, os.strerror(code))

        monkeypatch.setattr(media.av, "open", fail)
        with pytest.raises(NotMediaError, match="damaged, or not media; check the file"):
            media.decode(wav(tmp_path / "a.wav", tone(0.1)), tmp_path / "out.flac", tmp_path, 60)


def stop_one(source: Path) -> None:
    """Stop the decoder for good, once it is under way."""
    while not (found := decoders()):
        time.sleep(0.01)
    os.kill(found[0].pid, signal.SIGSTOP)
