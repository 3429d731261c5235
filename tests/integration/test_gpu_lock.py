"""The lock of a GPU between real processes: one at a time, told to those who wait, and gone with its process."""

from __future__ import annotations

import logging
import os
import pwd
import signal
import socket
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path

import pytest

from dropscribe.core.gpus import Gpu
from dropscribe.models.gpu import host_lock, lock
from dropscribe.models.gpu.placement import Placement

NOBODY = 65534
CARD = Gpu(0, "GPU-1", None, None, "580.95.05", "NVIDIA L4")

HOLD = """
import logging, sys
from pathlib import Path
from dropscribe.models.gpu.lock import held
logging.basicConfig(level="INFO", stream=sys.stdout, format="%(message)s")
with held(sys.argv[1], Path(sys.argv[2])):
    print("held", flush=True)
    sys.stdin.read()
"""

FORK = """
import os, signal, sys
from pathlib import Path
from dropscribe.models.gpu.lock import held
awaited, begun = os.pipe()
with held(sys.argv[1], Path(sys.argv[2])):
    child = os.fork()
    if not child:
        os.write(begun, b"x")  # by now it has let go of what it must not keep
        signal.pause()
    os.read(awaited, 1)
print(child, flush=True)
"""

Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def card() -> str:
    """The UUID of a GPU that no other test has: its lock is the whole host's."""
    return f"GPU-{uuid.uuid4()}"


@pytest.fixture
def start(tmp_path: Path, card: str) -> Iterator[Start]:
    """Start a process that takes the lock of a GPU, and holds it until its input ends."""
    with ExitStack() as stack:

        def begin(home: str = "home", gpu: str = card) -> subprocess.Popen[str]:
            command = [sys.executable, "-c", HOLD, gpu, str(tmp_path / home)]
            process = subprocess.Popen(command, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            stack.enter_context(process)
            stack.callback(process.kill)
            return process

        yield begin


def said(process: subprocess.Popen[str]) -> str:
    assert process.stdout
    return process.stdout.readline().strip()


def let_go(process: subprocess.Popen[str]) -> None:
    assert process.stdin
    process.stdin.close()
    process.wait(60)


def test_the_second_waits_says_so_and_goes_on_when_the_first_is_ready(start: Start) -> None:
    first = start()
    assert said(first) == "held"
    second = start()
    waiting = said(second)
    assert waiting.startswith("another worker is taking memory of this GPU; waiting")
    assert waiting.endswith(f"(process {first.pid} of {pwd.getpwuid(os.geteuid()).pw_name})")
    let_go(first)
    assert said(second).startswith("waited ")
    assert said(second) == "held"


def test_a_lock_is_gone_with_a_process_that_was_killed(start: Start) -> None:
    first = start()
    assert said(first) == "held"
    second = start()
    assert "waiting" in said(second)
    first.send_signal(signal.SIGKILL)
    assert said(second).startswith("waited ")
    assert said(second) == "held"


def test_a_service_and_a_shell_with_other_folders_take_turns(start: Start) -> None:
    first = start("of the service")
    assert said(first) == "held"
    second = start("of the shell")
    assert "waiting" in said(second)
    let_go(first)
    assert said(second).startswith("waited ")
    assert said(second) == "held"


def test_containers_that_share_a_home_alone_take_turns(
    card: str, tmp_path: Path, start: Start, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    first = start()
    assert said(first) == "held"
    monkeypatch.setattr(lock, "_named", lambda *_: nullcontext())  # as in a network of its own
    threading.Timer(0.2, let_go, [first]).start()
    with caplog.at_level(logging.INFO), lock.held(card, tmp_path / "home"):
        waiting, waited = caplog.messages
    assert str(tmp_path / "home" / f"dropscribe-gpu-{card}.lock") in waiting
    assert waited.startswith("waited ")


def test_whoever_keeps_the_name_of_a_gpu_from_other_users_is_named_and_passed_over(
    card: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with kept_by_a_stranger(f"dropscribe-gpu-{card}") as (pid, uid):
        monkeypatch.setattr(host_lock.os, "geteuid", lambda: uid + 1)
        with caplog.at_level(logging.INFO), lock.held(card, tmp_path, patience=0.5):
            waiting, going_on = caplog.messages
    assert f"waiting until it is ready (process {pid} of" in waiting
    assert going_on.startswith(f"process {pid} of ")
    assert "has kept the lock of this GPU for 0 s; going on without it" in going_on


@contextmanager
def kept_by_a_stranger(name: str) -> Iterator[tuple[int, int]]:
    """A process that has the name and answers nobody; its id and its user, who is not root."""
    uid = os.geteuid() or NOBODY
    told, tell = os.pipe()
    child = os.fork()
    if not child:
        os.setresuid(uid, uid, uid)
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(f"\0{name}".encode())
            server.listen()
            os.write(tell, b"!")
            signal.pause()
    try:
        os.read(told, 1)
        yield child, uid
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(told)
        os.close(tell)


def test_another_gpu_is_not_waited_for(start: Start) -> None:
    first, second = start(), start(gpu=f"GPU-{uuid.uuid4()}")
    assert (said(first), said(second)) == ("held", "held")


def test_a_worker_that_is_told_to_stop_stops_waiting(start: Start) -> None:
    first = start()
    assert said(first) == "held"
    second = start()
    assert "waiting" in said(second)
    second.send_signal(signal.SIGTERM)
    assert second.wait(60) == -signal.SIGTERM


def test_a_child_that_outlives_the_loading_keeps_no_lock(
    card: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    command = [sys.executable, "-c", FORK, card, str(tmp_path)]
    with subprocess.Popen(command, text=True, stdout=subprocess.PIPE) as parent:
        child = int(said(parent))
        try:
            with caplog.at_level(logging.INFO), lock.held(card, tmp_path):
                assert caplog.messages == []
        finally:
            os.kill(child, signal.SIGKILL)


def test_where_no_file_can_be_locked_the_log_says_so(
    card: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    with caplog.at_level(logging.WARNING), lock.held(card, tmp_path / "file" / "home"):
        (message,) = caplog.messages
    assert f"dropscribe-gpu-{card}.lock: Not a directory; start only one worker at a time" in message


@pytest.mark.parametrize(
    ("placement", "gpu", "name"),
    [
        (Placement(), "", ""),
        (Placement(), "GPU-2", "GPU-2"),
        (Placement(CARD, 3), "GPU-2", "GPU-1"),
        (Placement(workers=2), "", lock.MACHINE),
    ],
)
def test_whoever_measures_memory_holds_the_lock_of_what_he_measures(
    placement: Placement, gpu: str, name: str, tmp_path: Path
) -> None:
    with lock.turn(placement, tmp_path, gpu):
        taken = [path.name for path in tmp_path.iterdir()]
    assert taken == ([f"dropscribe-gpu-{name}.lock"] if name else [])
