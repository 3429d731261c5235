"""The decoder keeps to its limits, dies with its worker, and every way it can end has one clear error."""

import os
import shlex
import signal
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from dropscribe.core import child_process
from dropscribe.core.errors import (
    DecodeLimitError,
    DecoderKilledError,
    DropscribeError,
    NotMediaError,
    SourceError,
    SpoolError,
)
from dropscribe.worker.preparing import decode as parent
from dropscribe.worker.preparing.decode import BEGUN, DecodeLimits, DecodeStoppedError, decode
from tests.faults.decoders import decoders
from tests.media_files import LIMITS, SECONDS, long_silence, refused, tone, wav

PYTHON = sys.executable
PICTURE = 15 << 20  # bytes; a block of FLAC metadata holds at most 16 MiB


def memory_bomb(path: Path, pictures: int) -> Path:
    """A FLAC file whose many embedded pictures a reader keeps in memory; a sparse file."""
    stream_info = struct.pack(">HH6xQ16x", 4096, 4096, (24_000 << 44) | (15 << 36))
    image = struct.pack(">II9sI16xI", 3, 9, b"image/png", 0, PICTURE)
    with path.open("wb") as file:
        file.write(b"fLaC" + struct.pack(">I", len(stream_info)) + stream_info)
        for _ in range(pictures):
            file.write(struct.pack(">I", 6 << 24 | len(image) + PICTURE) + image)
            file.seek(PICTURE, os.SEEK_CUR)
        file.truncate()
    return path


def test_memory_is_limited(tmp_path, zygote):
    source = memory_bomb(tmp_path / "a.flac", pictures=40)
    assert "DROPSCRIBE_DECODE_MEMORY_MB" in refused(DecodeLimitError, source, DecodeLimits(memory_mb=400), zygote)


def test_cpu_time_is_limited(tmp_path, zygote):
    source = long_silence(tmp_path / "a.wav", hours=10)
    assert "DROPSCRIBE_DECODE_CPU_SECONDS" in refused(DecodeLimitError, source, DecodeLimits(cpu_seconds=1), zygote)


def test_a_working_file_that_grows_too_large_is_refused(tmp_path, monkeypatch, zygote):
    monkeypatch.setattr(DecodeLimits, "file_bytes", 1 << 16)
    assert "disk" in refused(SpoolError, wav(tmp_path / "a.wav", tone()), zygote=zygote)


def test_modules_in_the_working_directory_are_not_imported(tmp_path, monkeypatch):
    (tmp_path / "numpy.py").write_text("raise SystemExit('imported from the drop folder')")
    monkeypatch.chdir(tmp_path)
    decoded = decode(wav(tmp_path / "a.wav", tone()), tmp_path / "out.flac", LIMITS, label="a.wav")
    assert decoded.duration == SECONDS


def test_a_decoder_that_is_told_to_stop_ends_and_leaves_nothing(tmp_path, zygote):
    stop = threading.Event()
    stop.set()
    source = long_silence(tmp_path / "a.wav", hours=10)
    with pytest.raises(DecodeStoppedError):
        decode(source, tmp_path / "out.flac", DecodeLimits(), label="a.wav", stop=stop, zygote=zygote)
    assert list(tmp_path.iterdir()) == [source]


@pytest.mark.parametrize(
    ("number", "error", "words"),
    [
        (signal.SIGSEGV, NotMediaError, "crashed the decoder"),
        (signal.SIGABRT, NotMediaError, "crashed the decoder"),
        (signal.SIGXCPU, DecodeLimitError, "longer to decode"),
    ],
)
def test_a_decoder_that_dies_is_the_fault_of_the_file(number, error, words, tmp_path, monkeypatch):
    monkeypatch.setattr(child_process.sys, "executable", _script(tmp_path, f"kill -{int(number)} $$"))
    assert words in refused(error, wav(tmp_path / "a.wav", tone()))


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_decoder_that_was_killed_is_not_the_fault_of_the_file(number, tmp_path, monkeypatch):
    monkeypatch.setattr(child_process.sys, "executable", _script(tmp_path, f"kill -{int(number)} $$"))
    assert "ran out of memory" in refused(DecoderKilledError, wav(tmp_path / "a.wav", tone()))
    assert DecoderKilledError.retryable


def test_a_decoder_that_fails_for_another_reason_gives_it(tmp_path, monkeypatch):
    monkeypatch.setattr(child_process.sys, "executable", _script(tmp_path, "echo No module named av >&2; exit 1"))
    assert "No module named av" in refused(DropscribeError, wav(tmp_path / "a.wav", tone()))


@pytest.mark.parametrize("line", ["exit 1", "exit 0", "kill -9 $$"])
def test_a_reason_that_the_decoder_gives_is_short_and_can_be_printed(line, tmp_path, monkeypatch):
    (tmp_path / "said").write_text("first\n\x1b[2J" + "x" * 100_000)
    monkeypatch.setattr(child_process.sys, "executable", _script(tmp_path, f"cat {tmp_path}/said >&2; {line}"))
    said = refused(DropscribeError, wav(tmp_path / "a.wav", tone()))
    assert len(said) < 1200
    assert said.isprintable()


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("echo ValueError: 7 >&2; exit 1", "broke the decoder, so it is damaged or malicious: ValueError: 7"),
        ("exit 0", "broke the decoder, so it is damaged or malicious: no reason given"),
        ("kill -USR1 $$", "crashed the decoder (SIGUSR1)"),
        ("kill -TERM $$", "crashed the decoder (SIGTERM)"),
        ("kill -35 $$", "crashed the decoder (signal 35)"),
    ],
)
def test_what_goes_wrong_once_a_recording_is_opened_is_the_fault_of_the_file(line, words, tmp_path, monkeypatch):
    monkeypatch.setattr(child_process.sys, "executable", _script(tmp_path, f"echo {BEGUN.strip()}; {line}"))
    assert words in refused(NotMediaError, wav(tmp_path / "a.wav", tone()))


@pytest.mark.parametrize(
    "line", ["kill -ILL $$", f"echo {BEGUN.strip()}; echo ImportError: libav.so >&2; exit 1", "echo '{}'"]
)
def test_a_decoder_that_breaks_over_a_sound_of_ours_too_is_the_fault_of_the_host(line, tmp_path, monkeypatch):
    monkeypatch.setattr(child_process.sys, "executable", _script(tmp_path, line, for_all=True))
    with pytest.raises(DropscribeError, match="the decoder of this host does not work") as refused_by_host:
        decode(wav(tmp_path / "a.wav", tone()), tmp_path / "out.flac", LIMITS, label="a.wav")
    assert not isinstance(refused_by_host.value, SourceError)
    assert {path.name for path in tmp_path.iterdir()} == {"a.wav", "python"}


def test_a_package_that_is_missing_is_the_fault_of_the_host(tmp_path, monkeypatch):
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "sitecustomize.py").write_text(
        "import sys; sys.modules['numpy.ma'] = None"
    )  # imported late, with a median
    monkeypatch.setattr(child_process, "import_path", lambda: {"PYTHONPATH": os.pathsep.join([str(broken), *sys.path])})
    with pytest.raises(DropscribeError, match=r"numpy\.ma") as refused_by_host:
        decode(wav(tmp_path / "a.wav", tone()), tmp_path / "out.flac", LIMITS, label="a.wav")
    assert not isinstance(refused_by_host.value, SourceError)


def test_a_decoder_that_is_killed_once_a_recording_is_opened_is_tried_again(tmp_path, monkeypatch):
    monkeypatch.setattr(child_process.sys, "executable", _script(tmp_path, f"echo {BEGUN.strip()}; kill -KILL $$"))
    assert "(SIGKILL)" in refused(DecoderKilledError, wav(tmp_path / "a.wav", tone()))


def test_a_signal_without_a_name_is_told_by_its_number(tmp_path, monkeypatch):
    monkeypatch.setattr(child_process.sys, "executable", _script(tmp_path, "kill -35 $$"))
    assert "(signal 35)" in refused(DecoderKilledError, wav(tmp_path / "a.wav", tone()))


ENDLESS = "1e9, " * 3_000_000


@pytest.mark.parametrize(
    "answer",
    [
        "[]",
        "{}",
        "nonsense",
        '{"error": "SystemExit", "reason": "0"}',
        '{"error": "NotMediaError", "reason": [1]}',
        ENDLESS,
    ],
    ids=["list", "nothing", "nonsense", "another error", "wrong type", "endless"],
)
def test_an_answer_that_makes_no_sense_is_the_fault_of_the_file(answer, tmp_path, monkeypatch):
    (tmp_path / "answer").write_text(answer)
    monkeypatch.setattr(child_process.sys, "executable", _script(tmp_path, f"cat {tmp_path}/answer"))
    assert "damaged or malicious" in refused(NotMediaError, wav(tmp_path / "a.wav", tone()))


def test_a_decoder_that_hangs_is_killed_with_all_that_it_started(tmp_path, monkeypatch):
    monkeypatch.setattr(parent.DecodeLimits, "wall_seconds", 0.5)
    monkeypatch.setattr(
        child_process.sys, "executable", _script(tmp_path, f"sleep 60 & echo $! > {tmp_path}/pid; wait")
    )
    (tmp_path / "pid").touch()
    refused(DecodeLimitError, wav(tmp_path / "a.wav", tone()))
    assert _ends(int((tmp_path / "pid").read_text()))


@pytest.mark.parametrize("zygote", ["None", "new_zygote()"])
def test_the_decoder_does_not_outlive_its_worker(zygote, tmp_path):
    source = long_silence(tmp_path / "a.wav", hours=10)
    code = (
        "from pathlib import Path; from dropscribe.worker.preparing.decode import *;"
        f"decode(Path({str(source)!r}), Path({str(tmp_path / 'out')!r}), DecodeLimits(), label='a', zygote={zygote})"
    )
    with subprocess.Popen([sys.executable, "-c", code], cwd=Path(__file__).parents[2]) as worker:
        while not (found := decoders(worker.pid)) or not _ignores_stop_signals(found[0].pid):
            assert worker.poll() is None
            time.sleep(0.02)
        children = psutil.Process(worker.pid).children()  # the zygote is another
        worker.kill()
    assert all(_ends(child.pid) for child in children)


def test_a_decoder_whose_worker_is_gone_before_it_began_does_not_begin(tmp_path: Path) -> None:
    orphan = "import os; os.environ['PARENT_PROCESS'] = '1'; from dropscribe.core.child_process import *"
    code = f"{orphan}; die_with_parent(signal.SIGKILL); print('begun')"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert (ended.returncode, ended.stdout) == (-signal.SIGKILL, b"")


def _ignores_stop_signals(pid: int) -> bool:
    """What the child does once its end is tied to its parent's. A shell may have it ignore SIGINT from the start."""
    status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return bool(int(status["SigIgn"], 16) & 1 << signal.SIGTERM - 1)


def _script(folder: Path, line: str, *, for_all: bool = False) -> str:
    """Stands in for Python: a child that ends as no test could make the real one end, unless it decodes our sound."""
    path = folder / "python"
    ours = "" if for_all else f'case "$4" in *control-*) exec {shlex.quote(PYTHON)} "$@";; esac'
    path.write_text(f"#!/bin/sh\n{ours}\n{line}\n")
    path.chmod(0o700)
    return str(path)


def _ends(pid: int) -> bool:
    """Wait until the process is gone; the test's own time limit ends a vain wait."""
    while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
        time.sleep(0.02)
    return True
