"""Shares that hang: a process that scans one may never return and be beyond any signal. The other folders go on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from dropscribe.core.settings import Settings
from dropscribe.core.types import JobState
from dropscribe.scheduler.scanning import scanner
from dropscribe.scheduler.scanning.scanner import Scanner
from dropscribe.scheduler.service import Scheduler
from dropscribe.scheduler.watching import outages, root_watch
from dropscribe.store import queries
from dropscribe.store.fleet import list_workers
from dropscribe.store.roots import list_roots
from dropscribe.store.session import Database, open_database
from tests.e2e.harness import PATIENCE, Machine, speech
from tests.faults.conftest import MakeWatched
from tests.faults.shares import REPOSITORY, Share, eventually

DEADLINE = 1.0  # seconds without progress, in these tests


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Database]:
    opened = open_database(f"sqlite:///{tmp_path / 'store.db'}", where="test")
    yield opened
    opened.close()


@pytest.fixture
def hasty(settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Settings:
    """Settings and times for whole schedulers, without the long waits."""
    monkeypatch.setattr(outages, "RETRY_SECONDS", 0.1)
    monkeypatch.setattr(root_watch, "MIN_REST", 0.1)
    monkeypatch.setattr(scanner, "RESOLVE_SECONDS", DEADLINE)
    quick = {
        "scan_deadline_seconds": DEADLINE,
        "stable_seconds": 0.1,
        "stable_seconds_network": 0.2,
        "scan_seconds": 0.3,
        "scan_seconds_network": 0.3,
    }
    return settings.model_copy(update=quick)


@contextmanager
def running(made: Scheduler) -> Iterator[None]:
    thread = threading.Thread(target=made.run)
    thread.start()
    try:
        yield
    finally:
        made.stop()
        thread.join(PATIENCE)
        assert not thread.is_alive()


def sources(database: Database) -> list[str]:
    return sorted(job.source for job in queries.list_jobs(database))


def reason(database: Database, folder: Path) -> str:
    """Why the folder is offline, as `status` shows it; empty while it is online."""
    return "".join(one.reason for one in list_roots(database) if one.path == str(folder) and not one.online)


def scanners_in(*states: str) -> list[int]:
    """Our scanner processes, perhaps only those in some states; those that were left behind and are gone never."""
    children = [one for one in psutil.Process().children() if one.status() != psutil.STATUS_ZOMBIE]
    scanning = [one for one in children if "dropscribe.scheduler.scanning.child" in one.cmdline()]
    return [one.pid for one in scanning if not states or one.status() in states]


def is_gone(pid: int) -> bool:
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def test_a_share_that_hangs_stops_no_other_folder_and_comes_back_by_itself(
    share: Share, store: Database, hasty: Settings, tmp_path: Path
) -> None:
    local = tmp_path.resolve() / "local"
    local.mkdir()
    share.put("sub/a.wav")
    with running(Scheduler(hasty, store, [share.path, local], "me")):
        eventually(lambda: sources(store) == [f"{share.path}/sub/a.wav"])
        share.tell(hang="sub")
        eventually(lambda: "beyond any signal" in reason(store, share.path))
        assert f"hangs in {share.path}/sub beyond" in reason(store, share.path)
        assert scanners_in(psutil.STATUS_DISK_SLEEP), "it really hangs in the kernel"
        (local / "b.wav").write_bytes(b"sound")
        eventually(lambda: f"{local}/b.wav" in sources(store))
        assert len(scanners_in()) == 2, "one that hangs, one for the other folder"
        share.put("sub/c.wav")
        share.tell(heal=True)
        eventually(lambda: f"{share.path}/sub/c.wav" in sources(store))
        assert reason(store, share.path) == ""
    assert len(sources(store)) == 3
    assert {job.state for job in queries.list_jobs(store)} == {"queued"}
    assert scanners_in() == []


def test_a_share_that_hangs_when_the_scheduler_starts_is_waited_for(
    share: Share, store: Database, hasty: Settings, tmp_path: Path
) -> None:
    local = tmp_path.resolve() / "local"
    local.mkdir()
    (local / "b.wav").write_bytes(b"sound")
    share.put("a.wav")
    share.tell(hang="")
    with running(Scheduler(hasty, store, [share.path, local], "me")):
        eventually(lambda: sources(store) == [f"{local}/b.wav"])
        eventually(lambda: "offline" in reason(store, share.path))
        assert len(scanners_in()) == 2, "the one that hung when the folder's name was resolved is not joined by another"
        share.tell(heal=True)
        eventually(lambda: len(sources(store)) == 2)


def test_results_on_a_share_that_hangs_stop_no_folder(
    share: Share, store: Database, hasty: Settings, tmp_path: Path
) -> None:
    local = tmp_path.resolve() / "local"
    local.mkdir()
    (local / "b.wav").write_bytes(b"sound")
    share.put("results/a.txt")
    share.tell(hang="")
    with running(Scheduler(hasty.model_copy(update={"results": share.path / "results"}), store, [local], "me")):
        eventually(lambda: sources(store) == [f"{local}/b.wav"])


def test_a_scheduler_stops_in_order_while_a_share_hangs(share: Share, store: Database, hasty: Settings) -> None:
    share.put("a.wav")
    patient = hasty.model_copy(update={"scan_deadline_seconds": 10 * PATIENCE})
    made = Scheduler(patient, store, [share.path], "me")
    with running(made):
        eventually(lambda: list_roots(store))
        share.tell(hang="")
        eventually(share.tell)
    assert not list_workers(store), "it struck itself off"


def test_no_second_process_follows_one_that_cannot_be_ended(share: Share, over: MakeWatched) -> None:
    share.put("a.wav")
    watched = over(share.path)
    watched.look(0.0)
    share.tell(hang="")
    watched.lose_patience_after(DEADLINE)
    watched.look(10.0)
    (stuck,) = scanners_in()
    assert f"process {stuck} hangs in {share.path} beyond any signal" in watched.reason
    watched.lose_patience_after(PATIENCE)
    began = time.monotonic()
    watched.look(20.0, 30.0, 40.0)
    assert time.monotonic() - began < PATIENCE, "nobody asks what cannot answer"
    assert scanners_in() == [stuck]
    share.tell(heal=True)
    eventually(lambda: is_gone(stuck))
    watched.look(50.0, 80.0)
    assert watched.admitted == ["a.wav"]


def test_an_unmounted_share_lets_go_of_the_process_that_hung_in_it(share: Share, over: MakeWatched) -> None:
    share.put("a.wav")
    watched = over(share.path)
    watched.look(0.0, 30.0)
    share.tell(hang="")
    watched.lose_patience_after(DEADLINE)
    watched.look(40.0)
    watched.lose_patience_after(PATIENCE)
    (stuck,) = scanners_in()
    share.unmount()
    eventually(lambda: is_gone(stuck))
    watched.look(50.0)
    assert "another filesystem" in watched.reason
    share.mount()
    watched.look(60.0)
    assert watched.watch.report.online
    assert watched.admitted == ["a.wav"]


def test_a_scanner_that_hangs_is_replaced_and_asked_less_often_each_time(
    over: MakeWatched, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.wav").write_bytes(b"sound")
    watched = over(tmp_path)
    watched.look(0.0)
    watched.lose_patience_after(0.2)
    waits = []
    for n in range(8):
        before = watched.watch.scanner.pid
        assert before
        os.kill(before, signal.SIGSTOP)
        watched.look(1000.0 * n)
        assert "no answer for 0 s" in watched.reason
        waits.append(watched.watch.next_look - 1000.0 * n)
        watched.lose_patience_after(PATIENCE)
        watched.watch.scanner.open(tmp_path)  # which starts another process
        assert watched.watch.scanner.pid != before
        watched.lose_patience_after(0.2)
    assert [round(wait / 10) for wait in waits] == [1, 2, 4, 8, 16, 32, 32, 32]
    watched.lose_patience_after(PATIENCE)
    watched.look(10_000.0, 10_010.0)
    assert watched.watch.report.online
    assert watched.admitted == ["a.wav"]


def test_a_scanner_that_was_killed_is_replaced_unnoticed(over: MakeWatched, tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(b"sound")
    watched = over(tmp_path)
    watched.look(0.0)
    pid = watched.watch.scanner.pid
    assert pid
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: is_gone(pid))
    watched.look(10.0)
    assert watched.watch.report.online
    assert watched.admitted == ["a.wav"]


def test_a_scanner_that_is_killed_in_the_middle_of_a_scan_costs_one_look(share: Share, over: MakeWatched) -> None:
    share.put("a.wav")
    watched = over(share.path)
    watched.look(0.0)
    share.tell(delay=2.0)
    pid = watched.watch.scanner.pid
    assert pid
    killer = threading.Timer(0.5, os.kill, (pid, signal.SIGKILL))
    killer.start()
    watched.look(30.0)
    killer.join()
    assert "somebody else ended the process" in watched.reason
    share.tell(heal=True)
    watched.look(40.0)
    assert watched.watch.report.online


LEAVE = """
import sys, time
from pathlib import Path
from dropscribe.scheduler.scanning.scanner import Scanner

one = Scanner()
one.open(Path(sys.argv[1]))
print(one.pid, flush=True)
time.sleep(600)
"""


def test_a_scanner_ends_with_a_scheduler_that_is_killed(tmp_path: Path) -> None:
    command = [sys.executable, "-c", LEAVE, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=REPOSITORY, text=True) as owner:
        assert owner.stdout
        pid = int(owner.stdout.readline())
        assert psutil.pid_exists(pid)
        owner.kill()
    eventually(lambda: is_gone(pid))


def test_a_scanner_needs_neither_the_database_nor_the_settings() -> None:
    code = "import dropscribe.scheduler.scanning.child, sys; print(*sys.modules)"
    printed = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, check=True, capture_output=True, text=True)
    loaded = {name.partition(".")[0] for name in printed.stdout.split()}
    assert not loaded & {"pydantic", "sqlalchemy", "celery", "watchdog", "numpy", "asyncio"}


def test_a_scanner_holds_no_folder_busy(tmp_path: Path) -> None:
    one = Scanner()
    one.open(tmp_path)
    assert os.readlink(f"/proc/{one.pid}/cwd") == "/"
    assert not any(os.readlink(link).startswith(str(tmp_path)) for link in Path(f"/proc/{one.pid}/fd").iterdir())
    one.close()


def test_up_works_on_the_other_folders_while_a_share_hangs_at_its_start(share: Share, tmp_path: Path) -> None:
    quick = {"STABLE_SECONDS_NETWORK": "0.3", "SCAN_SECONDS_NETWORK": "1", "SCAN_DEADLINE_SECONDS": "2"}
    machine = Machine(tmp_path / "machine", RESULTS=str(tmp_path / "results"), **quick)
    speech(share.server / "far.wav", seed=2)
    share.tell(hang="")
    try:
        machine.up(str(share.path))
        speech(machine.inbox / "near.wav")
        machine.wait_for("near.wav", JobState.DONE)
        assert not machine.jobs("far.wav")
        share.tell(heal=True)
        machine.wait_for("far.wav", JobState.DONE)
        status, said = machine.stop()
        assert status == 0
        assert f"warning: {share.path} does not answer; waiting for it" in said
    finally:
        machine.close()


def test_watch_admits_from_the_other_folders_while_a_share_hangs_at_its_start(share: Share, tmp_path: Path) -> None:
    machine = Machine(tmp_path / "machine", STABLE_SECONDS="0.3", SCAN_DEADLINE_SECONDS="2")
    speech(machine.inbox / "near.wav")
    machine.home.mkdir(mode=0o700, exist_ok=True)
    (machine.home / "dropscribe.toml").write_text("# is asked for in which folder it lies\n")
    share.tell(hang="")
    command = [sys.executable, "-m", "dropscribe", "watch", str(machine.inbox), str(share.path)]
    with subprocess.Popen(command, env=machine.environment) as scheduler:
        try:
            eventually(lambda: (machine.home / "dropscribe.db").exists() and machine.jobs("near.wav"))
            eventually(lambda: reason(machine.database, share.path))
            scheduler.terminate()
            assert scheduler.wait(PATIENCE) == 0
        finally:
            scheduler.kill()
            share.tell(heal=True)
            machine.close()
