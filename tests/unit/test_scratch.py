"""Directories of scratch last as long as their process, whatever becomes of it."""

from __future__ import annotations

import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from dropscribe.core.errors import SpoolError
from dropscribe.worker.runtime import scratch

REPOSITORY = Path(__file__).parents[2]
HOLDS = """
import sys
from pathlib import Path
from dropscribe.worker.runtime import scratch
with scratch.directory(Path(sys.argv[1]), "a.wav") as folder:
    (folder / "copy").write_bytes(b"sound")
    print(folder, flush=True)
    sys.stdin.read()
"""


@contextmanager
def holding(path: Path) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """A process that has a directory."""
    command = [sys.executable, "-c", HOLDS, str(path)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, cwd=REPOSITORY, **pipes) as process:
        try:
            assert process.stdout
            yield process, Path(process.stdout.readline().strip())
        finally:
            process.kill()


def test_a_directory_is_private_and_gone_after_its_block(tmp_path: Path) -> None:
    with scratch.directory(tmp_path / "scratch", "a.wav") as folder:
        (folder / "copy").write_bytes(b"sound")
        assert folder.parent == tmp_path / "scratch"
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert list((tmp_path / "scratch").iterdir()) == []


def test_a_sweep_removes_what_a_killed_process_left_and_nothing_of_a_living_one(tmp_path: Path) -> None:
    with holding(tmp_path) as (_, living), holding(tmp_path) as (killed, left), holding(tmp_path) as (frozen, asleep):
        frozen.send_signal(signal.SIGSTOP)
        assert scratch.sweep(tmp_path) == []
        killed.kill()
        killed.wait()
        assert scratch.sweep(tmp_path) == [left]
        assert set(tmp_path.iterdir()) == {living, asleep}
        assert (living / "copy").read_bytes() == b"sound"


def test_strangers_in_scratch_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "notes").mkdir()
    (tmp_path / f"{scratch.PREFIX}file").touch()
    assert scratch.sweep(tmp_path) == []
    assert scratch.sweep(tmp_path / "not there") == []
    assert len(list(tmp_path.iterdir())) == 2


def test_a_sweep_at_any_moment_takes_no_directory_from_its_owner(tmp_path: Path) -> None:
    over = threading.Event()

    def sweep() -> None:
        while not over.is_set():
            scratch.sweep(tmp_path)

    def work(number: int) -> None:
        for _ in range(50):
            with scratch.directory(tmp_path, "a.wav") as folder:
                (folder / "copy").write_text(str(number))
                assert (folder / "copy").read_text() == str(number)

    with ThreadPoolExecutor(6) as threads:
        sweeps = [threads.submit(sweep) for _ in range(2)]
        try:
            for done in [threads.submit(work, number) for number in range(4)]:
                done.result()
        finally:
            over.set()
    assert [sweep.result() for sweep in sweeps] == [None, None]
    assert list(tmp_path.iterdir()) == []


def test_a_scratch_that_cannot_be_made_says_for_what_and_where(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(SpoolError, match=r"a\.wav in .*file/scratch: Not a directory; make room"),
        scratch.directory(tmp_path / "file" / "scratch", "a.wav"),
    ):
        pass
