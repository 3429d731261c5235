"""Slow copies, kill -9 of `up`, Ctrl-C, drained workers, poison: every job ends done, each transcript written once."""

from __future__ import annotations

import json
import os
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path

from dropscribe.core.types import JobState
from dropscribe.store.events import events_of
from dropscribe.store.fleet import list_workers
from tests.e2e.harness import Machine, speech, wait_until

SLOW = json.dumps({"seconds": 3})


def grow(source: Path, target: Path, seconds: float) -> None:
    """Copy as a slow network does."""
    data = source.read_bytes()
    steps = int(seconds / 0.2)
    with target.open("wb") as file:
        for step in range(steps):
            file.write(data[len(data) * step // steps : len(data) * (step + 1) // steps])
            file.flush()
            time.sleep(0.2)


def test_a_file_that_is_copied_slowly_is_transcribed_once_and_whole(
    make_machine: Callable[..., Machine], tmp_path: Path
) -> None:
    machine = make_machine(STABLE_SECONDS="2")
    machine.up()
    source = speech(tmp_path / "source.wav", seconds=10)
    grow(source, machine.inbox / "slow.wav", 8)
    machine.wait_for("slow.wav", JobState.DONE)
    status, _ = machine.stop()
    assert status == 0
    machine.assert_whole("slow.wav")
    assert machine.transcript("slow")["source"]["size"] == source.stat().st_size


def test_kill_9_of_up_itself_leaves_no_process_and_the_next_up_goes_on(make_machine: Callable[..., Machine]) -> None:
    machine = make_machine(SCRIPTED_SCRIPT=SLOW)
    names = [f"{seed}.wav" for seed in range(3)]
    for seed, name in enumerate(names):
        speech(machine.inbox / name, seed=seed)
    machine.up()
    machine.wait_for("0.wav", JobState.TRANSCRIBING, JobState.FINISHING, JobState.DONE)
    assert machine.process
    machine.process.kill()
    machine.end()
    wait_until("its children are gone too", lambda: not machine.processes())
    ran = machine.run("up", str(machine.inbox), "--drain")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    machine.assert_whole(*names)


def test_a_stop_gives_work_back_and_counts_no_loss(make_machine: Callable[..., Machine]) -> None:
    machine = make_machine(SCRIPTED_SCRIPT=json.dumps({"seconds": 600}))
    speech(machine.inbox / "a.wav")
    for number in (signal.SIGINT, signal.SIGTERM):
        machine.up()
        wait_until(
            "the model reads",
            lambda: machine.is_in("a.wav", JobState.TRANSCRIBING) and list_workers(machine.database)[1].doing,
        )
        status, output = machine.stop(number)
        assert status == 0, output
        assert not machine.processes()
        assert list_workers(machine.database) == []
        kinds = [event.kind for event in events_of(machine.database, machine.job("a.wav").id)]
        assert kinds[-1] == "released"
        assert "lost" not in kinds
    machine.environment["DROPSCRIBE_SCRIPTED_SCRIPT"] = ""
    assert machine.run("up", str(machine.inbox), "--drain").returncode == 0
    machine.assert_whole("a.wav")


def test_a_full_disk_of_results_is_told_by_up_and_the_status(
    make_machine: Callable[..., Machine], small_disk: Path
) -> None:
    free = os.statvfs(small_disk)
    (small_disk / "ballast").write_bytes(bytes(free.f_bavail * free.f_frsize - 8192))
    machine = make_machine(RESULTS=str(small_disk / "results"))
    speech(machine.inbox / "a.wav")
    machine.up()
    wait_until("it is deferred", lambda: machine.is_in("a.wav", JobState.FINISHING) and machine.job("a.wav").reason)
    said = f"deferred, to be tried again: {machine.job('a.wav').reason}"
    assert "is full" in said
    (warning,) = json.loads(machine.run("status", "--json").stdout)["warnings"]
    assert warning == f"a.wav {said}"
    _, output = machine.stop()
    assert output.count(f"warning: {machine.inbox / 'a.wav'} is {said}") == 1


def test_a_drained_worker_is_not_started_again_by_up_which_ends_in_order_after_the_last(machine: Machine) -> None:
    machine.up()
    wait_until("both are ready", lambda: [w.state for w in list_workers(machine.database)] == ["ready"] * 3)
    ran = machine.run("drain", f"{socket.gethostname()}-cpu", "--wait")
    assert ran.returncode == 0, ran.stderr
    wait_until("it is gone", lambda: not machine.processes("child cpu"))
    time.sleep(1.5)  # longer than `up` waits before it starts a child again
    assert [worker.role for worker in list_workers(machine.database)] == ["model", "scheduler"]
    ran = machine.run("drain", "--all", "--wait")
    assert ran.returncode == 0, ran.stderr
    status, output = machine.end()
    assert status == 0, output
    assert output.count("ended as requested; `dropscribe worker --role cpu` or the next") == 1
    assert output.count("ended as requested") == 2
    assert "all workers have ended, so `up` ends too" in output
    assert not machine.processes()
    assert list_workers(machine.database) == []
    speech(machine.inbox / "a.wav")
    assert machine.run("up", str(machine.inbox), "--drain").returncode == 0, "the next start brings them back"


def test_a_recording_that_kills_its_worker_is_parked_while_others_pass(make_machine: Callable[..., Machine]) -> None:
    machine = make_machine(SCRIPTED_SCRIPT=json.dumps({"behave": "segfault", "when_longer_than": 20}))
    speech(machine.inbox / "poison.wav", seconds=30, seed=1)
    speech(machine.inbox / "good.wav", seed=2)
    ran = machine.run("up", str(machine.inbox), "--drain")
    assert ran.returncode == 4, ran.stdout
    job = machine.job("poison.wav")
    assert job.state is JobState.PARKED
    assert f"dropscribe retry {job.id}" in job.reason
    machine.assert_whole("good.wav")
    machine.environment["DROPSCRIBE_SCRIPTED_SCRIPT"] = ""
    assert machine.run("retry", "--failed").returncode == 0
    assert machine.run("up", str(machine.inbox), "--drain").returncode == 0
    machine.assert_whole("poison.wav")
