"""One `up` that goes on whatever happens to it: kill -9 of its processes, renames, cancellations, files by the dozen.

Each test leaves it at work for the next. Each recording has a name and a sound of its own.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from dropscribe.core import reserved_names
from dropscribe.core.types import JobState
from dropscribe.store.fleet import list_workers
from dropscribe.store.roots import list_roots
from tests.e2e.harness import Machine, speech, wait_until

# As long as a third of the sound; and what has this context is never read to its end.
SCRIPT = {"realtime_factor": 3, "behave": "hang", "when_context": "endless"}
ROLES = {
    "dropscribe.admin.local.child model": 1,
    "dropscribe.admin.local.child cpu": 2,
    "dropscribe.admin.local.child scheduler": 3,
    "unixsocket:": 4,  # the private Redis, whatever server it is
}


@pytest.fixture(scope="module")
def missing(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that is watched and not there yet."""
    return tmp_path_factory.mktemp("later") / "missing"


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory, missing: Path) -> Iterator[Machine]:
    """A machine with the scripted model, whose `up` runs over its inbox and the missing folder."""
    made = Machine(tmp_path_factory.mktemp("machine"), SCRIPTED_SCRIPT=json.dumps(SCRIPT))
    try:
        made.up(str(missing), "--wait-for-folders")
        yield made
    finally:
        made.close()


def reads(machine: Machine) -> bool:
    """True while the model has a recording."""
    return any(worker.doing for worker in list_workers(machine.database) if worker.role == "model")


def test_a_file_renamed_in_the_queue_is_transcribed_under_its_new_name(machine: Machine) -> None:
    assert machine.run("pause").returncode == 0
    speech(machine.inbox / "old.wav", seed=11)
    machine.wait_for("old.wav", JobState.QUEUED)
    (machine.inbox / "old.wav").rename(machine.inbox / "new.wav")
    wait_until("the job follows its file", lambda: machine.is_in("new.wav", JobState.QUEUED))
    assert machine.run("resume").returncode == 0
    machine.wait_for("new.wav", JobState.DONE)
    machine.assert_whole("new.wav")
    assert machine.jobs("old.wav") == []


def test_a_file_that_vanished_for_good_fails_with_the_reason(machine: Machine) -> None:
    machine.run("pause")
    speech(machine.inbox / "gone.wav", seed=12)
    machine.wait_for("gone.wav", JobState.QUEUED)
    (machine.inbox / "gone.wav").unlink()
    machine.run("resume")
    assert "check that it is still there" in machine.wait_for("gone.wav", JobState.FAILED).reason


@pytest.mark.parametrize("victim", ROLES)
def test_kill_9_of_any_process_in_the_middle_of_a_job_loses_nothing(machine: Machine, victim: str) -> None:
    first, second = (f"{ROLES[victim]}{letter}.wav" for letter in "ab")
    speech(machine.inbox / first, 12, seed=20 + ROLES[victim])
    machine.wait_for(first, JobState.TRANSCRIBING)
    wait_until("the model reads", lambda: reads(machine))
    machine.kill(victim)
    speech(machine.inbox / second, seed=30 + ROLES[victim])
    for name in (first, second):
        machine.wait_for(name, JobState.DONE)
    machine.assert_whole(first, second)


def test_a_running_job_can_be_cancelled(machine: Machine) -> None:
    folder = machine.inbox / "endless"
    folder.mkdir()
    (folder / reserved_names.SETTINGS).write_text('context = "endless"')
    speech(folder / "a.wav", seed=41)
    wait_until("the model reads", lambda: machine.is_in("endless/a.wav", JobState.TRANSCRIBING) and reads(machine))
    assert machine.run("cancel", str(folder / "a.wav")).returncode == 0
    machine.wait_for("endless/a.wav", JobState.CANCELLED)
    assert not (folder / "a.txt").exists()


def test_a_folder_that_is_missing_is_waited_for_and_stops_no_other(machine: Machine, missing: Path) -> None:
    wait_until(
        "the missing folder is reported",
        lambda: any(not r.online and "not exist" in r.reason for r in list_roots(machine.database)),
    )
    speech(machine.inbox / "here.wav", seed=51)
    machine.wait_for("here.wav", JobState.DONE)
    missing.mkdir()
    speech(missing / "there.wav", seed=52)
    machine.wait_for("there.wav", JobState.DONE)


def test_a_second_up_on_the_same_state_is_refused_by_name(machine: Machine) -> None:
    assert machine.process
    second = machine.run("up", str(machine.inbox))
    assert second.returncode == 1
    assert str(machine.process.pid) in second.stderr


def test_submit_waits_for_a_single_file_of_any_folder(machine: Machine, tmp_path: Path) -> None:
    recording = speech(tmp_path / "elsewhere.wav", seed=61)
    sent = machine.run("submit", str(recording), "--wait", "--priority", "high", "--context", "Ada Lovelace")
    assert sent.returncode == 0, sent.stderr
    assert (tmp_path / "elsewhere.srt").exists()
    again = machine.run("submit", str(recording), "--context", "Ada Lovelace")
    assert "known already" in again.stderr
    missing = machine.run("submit", str(tmp_path / "nothing.wav"))
    assert missing.returncode == 2
    assert "nothing.wav" in missing.stderr


def test_fifty_files_at_once_are_each_transcribed_once(machine: Machine) -> None:
    names = [f"{seed}.wav" for seed in range(100, 150)]
    writers = [
        threading.Thread(target=speech, args=(machine.inbox / name, 1.0), kwargs={"seed": int(Path(name).stem)})
        for name in names
    ]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    wait_until("all are done", lambda: all(machine.is_in(name, JobState.DONE) for name in names), 180)
    machine.assert_whole(*names)
