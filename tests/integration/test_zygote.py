"""Decoders from a zygote do what those do that start as programs; whatever becomes of it, recordings are decoded."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from dropscribe.core import child_process
from dropscribe.core import zygote as zygotes
from dropscribe.core.errors import DropscribeError, NotMediaError
from dropscribe.core.zygote import Zygote
from dropscribe.worker.preparing.decode import Decoded, DecodeLimits, DecodeStoppedError, Listening, decode, new_zygote
from tests.faults.decoders import decoders
from tests.faults.shares import eventually
from tests.media_files import FORMATS, long_silence, refused, tone, wav, write

REPOSITORY = Path(__file__).parents[2]
HOURS = 10  # of silence, which take longer to decode than any test


@pytest.fixture(scope="module")
def module_zygote() -> Iterator[Zygote]:
    """One for the tests that do it no harm."""
    made = new_zygote()
    assert made
    yield made
    made.close()


@pytest.fixture
def own() -> Iterator[Zygote]:
    """One for a test that harms it."""
    made = new_zygote()
    assert made
    yield made
    made.close()


@pytest.fixture
def short(tmp_path: Path) -> Path:
    """A recording of a moment."""
    return wav(tmp_path / "short.wav", tone(0.1))


def decoded(source: Path, zygote: Zygote | None) -> tuple[Decoded, bytes]:
    """What is found out about it, and its sound, each channel by itself."""
    target = source.with_suffix(".out")
    found = decode(source, target, DecodeLimits(), Listening("separate", "all"), label="a", zygote=zygote)
    return found, target.read_bytes()


def works(source: Path, zygote: Zygote) -> bool:
    """Is it decoded, no matter by whom?"""
    return decoded(source, zygote)[0].duration == pytest.approx(0.1)


@pytest.mark.parametrize("kind", ["wav", "mp3", "opus", "m4a"])
def test_what_they_write_is_equal_to_the_byte(kind: str, tmp_path: Path, module_zygote: Zygote) -> None:
    container, codec, rate, layout, picture = FORMATS[kind]
    source = write(tmp_path / "a", container, codec, rate, layout, picture)
    assert decoded(source, module_zygote) == decoded(source, None)


def test_many_threads_use_it_at_once_and_it_grows_by_none(tmp_path: Path, module_zygote: Zygote) -> None:
    sources = [wav(tmp_path / f"{number}.wav", tone(number / 10)) for number in range(1, 9)]
    assert works(sources[0], module_zygote)
    before = psutil.Process(module_zygote.pid).memory_info().rss
    with ThreadPoolExecutor(4) as pool:
        lengths = [found.duration for found, _ in pool.map(lambda source: decoded(source, module_zygote), sources)]
    assert lengths == pytest.approx([number / 10 for number in range(1, 9)])
    assert psutil.Process(module_zygote.pid).memory_info().rss < before + (1 << 20)


def test_it_holds_nothing_of_its_worker_but_a_socket(short: Path, own: Zygote, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DROPSCRIBE_DATABASE_URL", "postgresql://u:s3cret@db/x")
    assert works(short, own)
    where = Path(f"/proc/{own.pid}")
    assert b"s3cret" not in (where / "environ").read_bytes()
    held = {fd.name: os.readlink(fd) for fd in (where / "fd").iterdir()}
    assert held.pop("0").startswith("socket:")
    assert held == {"1": "/dev/null", "2": "/dev/null"}
    assert len([*(where / "task").iterdir()]) == 1


def test_it_is_replaced_after_so_many_children(short: Path, own: Zygote, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zygotes, "MAX_CHILDREN", 2)
    assert works(short, own)
    first = own.pid
    assert first
    assert works(short, own)
    assert own.pid is None
    assert works(short, own)
    assert own.pid != first
    eventually(lambda: not psutil.pid_exists(first))


def struck(blow: Callable[[], None], source: Path, zygote: Zygote) -> DropscribeError | None:
    """What decoding raises if something strikes while the decoder is under way."""
    with ThreadPoolExecutor(1) as pool:
        result = pool.submit(decoded, source, zygote)
        eventually(decoders)
        blow()
        return result.exception()  # type: ignore[return-value]


def kill(number: signal.Signals) -> None:
    """Send a signal to the decoder."""
    os.kill(decoders()[0].pid, number)


def test_after_a_crash_the_next_decoder_has_another_layout_of_memory(tmp_path: Path, short: Path, own: Zygote) -> None:
    assert works(short, own)
    first, long = own.pid, long_silence(tmp_path / "long.wav", HOURS)
    assert isinstance(struck(lambda: kill(signal.SIGSEGV), long, own), NotMediaError)
    assert own.pid != first
    assert works(short, own)
    assert own.pid not in {first, None}


def test_a_refusal_is_no_crash(tmp_path: Path, module_zygote: Zygote, short: Path) -> None:
    assert works(short, module_zygote)
    first = module_zygote.pid
    (tmp_path / "a.wav").write_bytes(b"no sound")
    refused(NotMediaError, tmp_path / "a.wav", zygote=module_zygote)
    assert module_zygote.pid == first


def test_one_that_is_killed_takes_no_decoder_with_it(tmp_path: Path, short: Path, own: Zygote) -> None:
    assert works(short, own)
    stop = threading.Event()
    source = long_silence(tmp_path / "long.wav", HOURS)
    with ThreadPoolExecutor(1) as pool:
        result = pool.submit(decode, source, tmp_path / "out", DecodeLimits(), label="a", stop=stop, zygote=own)
        eventually(decoders)
        (decoder,) = decoders()
        assert own.pid
        os.kill(own.pid, signal.SIGKILL)
        eventually(lambda: psutil.Process(own.pid).status() == psutil.STATUS_ZOMBIE)
        assert works(short, own)
        assert decoder.is_running()
        stop.set()
        assert isinstance(result.exception(), DecodeStoppedError)


def test_one_that_does_not_answer_is_replaced(short: Path, own: Zygote, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zygotes, "REPLY_SECONDS", 0.2)
    assert works(short, own)
    first = own.pid
    assert first
    os.kill(first, signal.SIGSTOP)
    assert works(short, own)
    eventually(lambda: not psutil.pid_exists(first))
    assert works(short, own)
    assert own.pid


def stand_in(folder: Path, line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Python for a zygote does what the line says; decoders that start as programs are what they are."""
    script = folder / "python"
    script.write_text(f'#!/bin/sh\n[ -n "$4" ] && exec {shlex.quote(sys.executable)} "$@"\n{line}\n')
    script.chmod(0o700)
    monkeypatch.setattr(child_process.sys, "executable", str(script))


def test_without_one_a_decoder_is_started_as_a_program_and_it_is_tried_again_later(
    short: Path, own: Zygote, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with monkeypatch.context() as changed:
        stand_in(short.parent, "exit 1", changed)
        assert works(short, own)
        assert works(short, own)
    assert [record.getMessage() for record in caplog.records] == [
        "decoders cannot be forked (it ended during its start); each recording starts a process"
    ]
    assert own.pid is None
    monkeypatch.setattr(own, "_retry_at", 0.0)
    assert works(short, own)
    assert own.pid


REFUSES_TO_FORK = """
import errno, os, socket, sys
control = socket.socket(fileno=0)
control.send(b"ready")
while socket.recv_fds(control, 64, 3)[1]:
    control.send(str(-errno.EAGAIN).encode())
"""


def test_where_it_may_not_fork_none_is_started_for_each_recording(
    short: Path, own: Zygote, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    stand_in(short.parent, f"exec {shlex.quote(sys.executable)} -c '{REFUSES_TO_FORK}'", monkeypatch)
    assert works(short, own)
    assert works(short, own)
    (said,) = [record.getMessage() for record in caplog.records]
    assert "Resource temporarily unavailable" in said
    assert own.pid is None


def test_one_that_hangs_while_it_starts_is_not_waited_for(
    short: Path, own: Zygote, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(zygotes, "READY_SECONDS", 0.2)
    stand_in(short.parent, "exec sleep 60", monkeypatch)
    assert works(short, own)
    assert not [child for child in psutil.Process().children() if child.name() == "sleep"]


def test_an_order_to_stop_is_heard_while_it_starts(
    tmp_path: Path, own: Zygote, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(zygotes, "READY_SECONDS", 2.0)
    stand_in(tmp_path, "exec sleep 60", monkeypatch)
    source = long_silence(tmp_path / "long.wav", HOURS)
    stop = threading.Event()
    stop.set()
    with pytest.raises(DecodeStoppedError):
        decode(source, tmp_path / "out", DecodeLimits(), label="a", stop=stop, zygote=own)


def test_once_it_is_closed_nothing_is_forked_any_more(short: Path) -> None:
    zygote = new_zygote()
    assert zygote
    assert works(short, zygote)
    first = zygote.pid
    zygote.close()
    assert not psutil.pid_exists(first or 0)
    assert works(short, zygote)
    assert zygote.pid is None


def test_a_process_with_threads_forks_nothing() -> None:
    code = (
        "import threading, time; from dropscribe.core import zygote_child;"
        "threading.Thread(target=time.sleep, args=(9,), daemon=True).start(); zygote_child.serve(print)"
    )
    ended = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert "has started threads" in ended.stderr
