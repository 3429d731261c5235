"""The lock of a GPU between real processes: one at a time, told to those who wait, and gone with its process."""

from __future__ import annotations

import fcntl
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from dropscribe.core.gpus import Gpu
from dropscribe.models.gpu import lock
from dropscribe.models.gpu.placement import Placement

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
with held("GPU-1", Path(sys.argv[1])):
    child = os.fork()
    if not child:
        signal.pause()
print(child, flush=True)
"""

Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start a process that takes the lock of a GPU, and holds it until its input ends."""
    with ExitStack() as stack:

        def begin(gpu: str = "GPU-1") -> subprocess.Popen[str]:
            command = [sys.executable, "-c", HOLD, gpu, str(tmp_path / "home")]
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


def test_the_second_waits_says_so_and_goes_on_when_the_first_is_ready(start: Start, tmp_path: Path) -> None:
    first = start()
    assert said(first) == "held"
    second = start()
    waiting = said(second)
    assert waiting.startswith("another worker is taking memory of this GPU; waiting")
    assert str(tmp_path / "home" / "dropscribe-gpu-GPU-1.lock") in waiting
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


def test_another_gpu_is_not_waited_for(start: Start) -> None:
    first, second = start("GPU-1"), start("GPU-2")
    assert (said(first), said(second)) == ("held", "held")


def test_a_worker_that_is_told_to_stop_stops_waiting(start: Start) -> None:
    first = start()
    assert said(first) == "held"
    second = start()
    assert "waiting" in said(second)
    second.send_signal(signal.SIGTERM)
    assert second.wait(60) == -signal.SIGTERM


def test_a_child_that_outlives_the_loading_keeps_no_lock(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", FORK, str(tmp_path)], text=True, stdout=subprocess.PIPE) as parent:
        child = int(said(parent))
        try:
            with (tmp_path / "dropscribe-gpu-GPU-1.lock").open() as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        finally:
            os.kill(child, signal.SIGKILL)


def test_where_no_lock_can_be_had_the_log_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").touch()
    with caplog.at_level(logging.WARNING), lock.held("GPU-1", tmp_path / "file" / "home"):
        (message,) = caplog.messages
    assert "dropscribe-gpu-GPU-1.lock: Not a directory; start only one worker at a time" in message


def test_all_processes_of_a_user_share_one_place(tmp_path: Path) -> None:
    home, runtime = tmp_path / "home", tmp_path / "run"
    assert lock.place(home, runtime) == home
    (runtime / str(os.getuid())).mkdir(parents=True)
    assert lock.place(home, runtime) == runtime / str(os.getuid())


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
    placement: Placement, gpu: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock, "place", lambda home: home)
    with lock.turn(placement, tmp_path, gpu):
        taken = [path.name for path in tmp_path.iterdir()]
    assert taken == ([f"dropscribe-gpu-{name}.lock"] if name else [])
