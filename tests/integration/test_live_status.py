"""The live status, on a terminal and without one."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import termios
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import pytest
from rich.console import Console

from dropscribe.admin.ask import live_status
from dropscribe.admin.context import Context
from dropscribe.admin.state import fleet_status, status_view
from dropscribe.core.routing import ResidentModel
from dropscribe.core.settings_loading import load
from dropscribe.store import chunks, fleet, leases, queries
from dropscribe.store.session import Database
from tests.integration.console import ENGINE, admit, fail, prepare

# As from a terminal: a runner in the background may have handed down that SIGINT is ignored.
CODE = (
    "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
    "from dropscribe.admin.cli.main import run; run()"
)
COMMAND = [sys.executable, "-c", CODE, "status", "--watch"]


@pytest.fixture
def busy(store: Database) -> Database:
    """A model worker that has read a third of a chunk, and one that has nothing to do."""
    fleet.register(store, "gpu-1", host="here", pid=1, role="model", state="ready")
    fleet.register(store, "cpu-1", host="here", pid=2, role="cpu", state="ready")
    engine = replace(ENGINE, memory_held=10_000_000_000)
    fleet.heartbeat(store, "gpu-1", engine=engine, audio=80e6, busy=8e6, memory=2_000_000_000)
    job_id = admit(store, "talk.wav")
    prepare(store, job_id, (0.0, 60.0), (60.0, 120.0))
    work = chunks.claim(store, f"{job_id}.1", "gpu-1", 90, ResidentModel.of(engine))
    assert work
    leases.renew(store, work.claim, 90, progress=20.0)
    fail(store, "noise.wav", "there is no sound in it")
    return store


def shown(store: Database) -> str:
    console = Console(width=200, file=None, record=True, markup=False)
    with console.capture() as captured:
        seen = live_status.Seen(
            fleet_status.gather(store, load()), queries.last_troubles(store, 5), "the store is away"
        )
        console.print(live_status._view(seen))
    return captured.get()


def test_the_view_tells_each_chunk_with_memory_and_speed_and_the_last_troubles(busy: Database) -> None:
    text = shown(busy)
    for part in ("cpu-1", "gpu-1", "2.0 GB", "10.0 GB", "10.0 x", "talk.wav", "60-120 s", "33%", "the store is away"):
        assert part in text
    assert "noise.wav" in text
    assert "there is no sound in it" in text
    assert "1 min 40 s being transcribed" in text


def test_the_view_lists_what_is_worked_on_and_then_what_waits_with_place_and_time_left(busy: Database) -> None:
    soon, later = admit(busy, "soon.wav"), admit(busy, "later.wav")
    for job_id in (soon, later):
        prepare(busy, job_id, (0.0, 50.0))
    rows = [line.split() for line in shown(busy).splitlines() if ".wav" in line]
    assert rows[:3] == [
        ["talk.wav", "transcribing", "17%", "2", "min", "00", "s", "15", "s"],
        ["soon.wav", "waiting", "0%", "50", "s", "1", "9.0", "s"],
        ["later.wav", "waiting", "0%", "50", "s", "2", "20", "s"],
    ]


def test_of_many_recordings_the_first_are_shown_and_the_others_counted(busy: Database) -> None:
    for number in range(status_view.SHOWN_RECORDINGS + 4):
        admit(busy, f"{number}.wav")
    text = shown(busy)
    assert "3.wav" in text
    assert "12.wav" not in text
    assert "and 5 more recordings" in text


def test_on_a_low_screen_fewer_recordings_are_shown_so_that_warnings_are_seen(busy: Database) -> None:
    for number in range(9):
        admit(busy, f"{number}.wav")
    now = fleet_status.gather(busy, load())
    for height, most in ((24, status_view.LEAST_RECORDINGS), (60, status_view.SHOWN_RECORDINGS)):
        console = Console(width=200, file=None, record=True, markup=False)
        with console.capture() as captured:
            console.print(status_view.draw(now, height))
        lines = captured.get().splitlines()
        assert sum(".wav" in line and "-" in line.split() for line in lines) == most - 1, "one has a length"
        assert "warning: no scheduler" in captured.get()


def test_one_line_tells_the_state_of_things(busy: Database) -> None:
    told = live_status.line(fleet_status.gather(busy, load()))
    parts = "1 transcribing, 1 failed", "audio left: 1 min 40 s being transcribed", "10.0 times real time", "10 s left"
    assert told.startswith("; ".join(parts))


@dataclass
class Screen:
    """A terminal in which the status is watched."""

    process: subprocess.Popen[bytes]
    keyboard: int
    seen: bytes = b""

    def wait_for(self, what: bytes) -> None:
        while what not in self.seen:
            self.seen += os.read(self.keyboard, 4096)


@contextmanager
def terminal() -> Iterator[Screen]:
    """Starts the command in a session whose terminal we hold."""
    keyboard, screen = pty.openpty()
    before = termios.tcgetattr(screen)
    environment = os.environ | {"TERM": "xterm"}
    code = f"import fcntl, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); {CODE}"
    command = [sys.executable, "-c", code, "status", "--watch"]
    streams = {"stdin": screen, "stdout": screen, "stderr": screen}
    process = subprocess.Popen(command, **streams, env=environment, start_new_session=True)
    try:
        yield Screen(process, keyboard)
        assert process.wait(60) == 0
        assert termios.tcgetattr(screen) == before
    finally:
        process.kill()
        process.wait()
        os.close(keyboard)
        os.close(screen)


@pytest.mark.parametrize("key", [b"q", b"\x1b", b"\x04", b"\x03"])
def test_a_key_ends_it_and_leaves_the_terminal_as_it_was(busy: Database, key: bytes) -> None:
    with terminal() as screen:
        screen.wait_for(b"talk.wav")
        os.write(screen.keyboard, b"x" + key)  # another key does nothing


def test_without_a_terminal_it_is_lines_until_it_is_interrupted(busy: Database) -> None:
    with subprocess.Popen(COMMAND, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as running:
        assert running.stdout
        assert running.stderr
        assert b"1 transcribing" in running.stdout.readline()
        running.send_signal(signal.SIGINT)
        assert running.stderr.read() == b""
    assert running.returncode == 0


def test_a_store_that_is_away_is_told_and_waited_for(busy: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    context = Context()
    seen = live_status._poll(context)
    context.database.close()
    url = "postgresql://127.0.0.1:1/none"
    monkeypatch.setattr(context, "database", Database(url))
    again = live_status._again(context, seen)
    assert again.status == seen.status
    assert "dropscribe doctor" in again.note
    context.close()
