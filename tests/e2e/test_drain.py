"""`dropscribe up --drain`: from folder to files, and the exit status that says how it went."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from subprocess import CompletedProcess

import numpy as np
import pytest
import soundfile

from dropscribe.core import reserved_names
from dropscribe.core.types import JobState
from dropscribe.store import queries
from dropscribe.store.roots import list_roots
from tests.e2e.harness import Machine, speech, wait_until, without_powers

MINUTES = "Minutes"  # what somebody wrote beside the recordings
MINE = "mine"


@dataclass(frozen=True, slots=True)
class Drained:
    """A machine whose folder `up --drain` has read, and how that ended."""

    machine: Machine
    ran: CompletedProcess[str]


@contextmanager
def drained(folder: Path, lay: Callable[[Machine], None], **settings: str) -> Iterator[Drained]:
    """A machine on which `lay` has laid out recordings, drained once."""
    machine = Machine(folder, **settings)
    try:
        lay(machine)
        yield Drained(machine, machine.run("up", str(machine.inbox), "--drain"))
    finally:
        machine.close()


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Drained]:
    """A folder of recordings with which nothing is wrong."""

    def lay(machine: Machine) -> None:
        (machine.inbox / "sub").mkdir()
        for seed, name in enumerate(("a.wav", "b.wav", "sub/c.wav")):
            speech(machine.inbox / name, seed=seed)
        speech(machine.inbox / "once.wav", seed=6)
        shutil.copy(machine.inbox / "once.wav", machine.inbox / "twice.wav")
        (machine.inbox / "notes.txt").write_text(MINUTES)
        soundfile.write(machine.inbox / "silence.flac", np.zeros(48_000), 16_000)
        speech(machine.inbox / "long.wav", seconds=45, seed=3)
        speech(machine.inbox / "talk.wav", seed=4)
        speech(machine.inbox / "talk.flac", seed=5)
        (machine.inbox / "talk.srt").write_text(MINE)

    with drained(tmp_path_factory.mktemp("good"), lay, CHUNK_SECONDS="10") as made:
        yield made


@pytest.fixture(scope="module")
def doubtful(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Drained]:
    """Recordings that break off, and one that the model does not read to its end."""

    def lay(machine: Machine) -> None:
        speech(machine.inbox / "a.wav", seconds=35)
        os.truncate(machine.inbox / "a.wav", 44 + 19 * 32_000)
        speech(machine.inbox / "b.wav", seconds=11, seed=2)
        os.truncate(machine.inbox / "b.wav", 2_000)  # what is there is too short for a word
        (machine.inbox / "half").mkdir()
        (machine.inbox / "half" / reserved_names.SETTINGS).write_text('context = "half"')
        speech(machine.inbox / "half" / "c.wav", seconds=20)

    script = json.dumps({"behave": "truncate", "when_context": "half"})
    with drained(tmp_path_factory.mktemp("doubtful"), lay, SCRIPTED_SCRIPT=script) as made:
        yield made


@pytest.fixture(scope="module")
def wrong(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Drained]:
    """A recording between files that are none, and a folder that may not be read."""

    def lay(machine: Machine) -> None:
        machine.prefix = without_powers()
        speech(machine.inbox / "good.wav")
        (machine.inbox / "text.wav").write_text("this is not audio\n" * 100)
        (machine.inbox / "list.mp3").write_text("#EXTM3U\n/etc/passwd\n")
        (machine.inbox / "secret").mkdir()
        speech(machine.inbox / "secret" / "x.wav")
        (machine.inbox / "secret").chmod(0)

    with drained(tmp_path_factory.mktemp("wrong"), lay) as made:
        yield made
        (made.machine.inbox / "secret").chmod(0o700)


def test_every_recording_gets_its_transcripts(good: Drained) -> None:
    machine, ran = good.machine, good.ran
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "9 recordings; left out: 1 other file, 0 hidden" in ran.stdout
    machine.assert_whole("a.wav", "b.wav")
    assert (machine.inbox / "sub" / "c.srt").exists()


def test_a_second_run_admits_nothing_twice_and_writes_nothing(good: Drained) -> None:
    machine = good.machine
    written = {path: path.stat().st_mtime_ns for path in machine.inbox.rglob("*.*")}
    second = machine.run("up", str(machine.inbox), "--drain", "--json")
    assert second.returncode == 0
    assert {path: path.stat().st_mtime_ns for path in machine.inbox.rglob("*.*")} == written
    *_, summary = map(json.loads, second.stdout.splitlines())
    assert summary["event"] == "summary"
    names = [
        "a.wav",
        "b.wav",
        "long.wav",
        "once.wav",
        "silence.flac",
        "sub/c.wav",
        "talk.flac",
        "talk.wav",
        "twice.wav",
    ]
    assert [job["path"] for job in summary["jobs"]] == names


def test_the_same_bytes_under_another_name_are_a_duplicate_with_a_transcript(good: Drained) -> None:
    machine = good.machine
    states = {machine.job("once.wav").state, machine.job("twice.wav").state}
    assert states == {JobState.DONE, JobState.DUPLICATE}
    one, other = machine.transcript("once"), machine.transcript("twice")
    assert one["segments"] == other["segments"]
    assert other["source"]["path"].endswith("twice.wav")


def test_silence_is_done_with_an_empty_transcript_and_a_note(good: Drained) -> None:
    good.machine.assert_whole("silence.flac")
    document = good.machine.transcript("silence")
    assert document["segments"] == []
    assert document["notes"] == ["no speech was found"]


def test_a_long_recording_is_read_in_chunks_and_comes_out_as_one(good: Drained) -> None:
    good.machine.assert_whole("long.wav")
    segments = good.machine.transcript("long")["segments"]
    starts = [segment["start"] for segment in segments]
    assert starts == sorted(starts)
    assert segments[0]["start"] < 1
    assert segments[-1]["end"] > 40


def test_files_of_others_are_never_overwritten_and_stems_never_collide(good: Drained) -> None:
    inbox = good.machine.inbox
    assert (inbox / "notes.txt").read_text() == MINUTES
    assert (inbox / "talk.srt").read_text() == MINE
    assert (inbox / "talk.wav.srt").exists()
    assert (inbox / "talk.flac.srt").exists()
    texts = list(inbox.glob("talk*.txt"))
    assert len(texts) == 2
    assert len({path.read_text() for path in texts}) == 2


def test_transcripts_go_to_a_mirror_when_the_share_is_read_only(
    make_machine: Callable[..., Machine], tmp_path: Path
) -> None:
    machine = make_machine(RESULTS=str(tmp_path / "results"), OUTPUTS="txt")
    (machine.inbox / "sub").mkdir()
    speech(machine.inbox / "sub" / "a.wav")
    assert machine.run("up", str(machine.inbox), "--drain").returncode == 0
    assert [path.name for path in machine.inbox.rglob("*")] == ["sub", "a.wav"]
    (written,) = (tmp_path / "results").rglob("*.txt")
    assert written.relative_to(tmp_path / "results").parts[1:] == ("sub", "a.txt")


def test_a_doubtful_transcript_is_suspect_and_status_3(doubtful: Drained) -> None:
    assert doubtful.ran.returncode == 3, doubtful.ran.stdout
    assert "breaks off" in doubtful.machine.job("half/c.wav").reason
    document = doubtful.machine.transcript("half/c")
    assert document["reasons"]
    assert document["missing"][0]["end"] > 15
    assert "SUSPECT" in (doubtful.machine.inbox / "half" / "c.txt").read_text()


def test_a_copy_that_broke_off_is_suspect_names_what_is_missing_and_status_3(doubtful: Drained) -> None:
    machine, ran = doubtful.machine, doubtful.ran
    assert ran.returncode == 3, ran.stdout
    assert "19 of 35 s are there" in machine.job("a.wav").reason
    assert "19 of 35 s are there" in ran.stdout
    assert "SUSPECT: the recording breaks off: 19 of 35 s are there" in (machine.inbox / "a.txt").read_text()
    lost = machine.transcript("a")["uncovered_speech"][-1]
    assert (lost["start"], lost["end"]) == (pytest.approx(19), pytest.approx(35, abs=0.1))
    assert machine.job("b.wav").state is JobState.SUSPECT
    assert "0 of 11 s are there" in machine.job("b.wav").reason


def test_what_is_no_recording_fails_with_a_reason_and_status_4(wrong: Drained) -> None:
    machine, ran = wrong.machine, wrong.ran
    assert ran.returncode == 4, ran.stdout
    machine.assert_whole("good.wav")
    for name in ("text.wav", "list.mp3"):
        job = machine.job(name)
        assert job.state is JobState.FAILED
        assert name in job.reason
        assert name in ran.stdout


def test_a_place_that_may_not_be_read_is_told_of_and_status_4(wrong: Drained) -> None:
    machine, ran = wrong.machine, wrong.ran
    told = machine.run("status").stdout
    examined = machine.run("doctor", "--json").stdout
    shown = machine.run("show", str(machine.inbox / "secret" / "x.wav"))
    assert ran.returncode == 4, ran.stdout + ran.stderr
    for text in (ran.stdout, told, examined):
        assert "secret/: Permission denied" in " ".join(text.split())  # of however many lines
    assert "secret/: Permission denied" in "".join(
        log.read_text() for log in (machine.home / "logs").glob("*-scheduler*")
    )
    assert shown.returncode == 1
    assert "cannot be read: Permission denied" in shown.stderr


def test_a_folder_that_may_not_be_read_is_no_folder_to_drain(machine: Machine) -> None:
    machine.prefix = without_powers()
    machine.inbox.chmod(0)
    ran = machine.run("up", str(machine.inbox), "--drain")
    machine.inbox.chmod(0o700)
    assert ran.returncode == 2, ran.stdout + ran.stderr
    assert "may not be read by this user" in ran.stderr
    assert str(machine.inbox) in ran.stderr


def test_folders_that_become_unreadable_or_are_at_the_start_are_told_of_once_and_waited_for(machine: Machine) -> None:
    machine.prefix = without_powers()
    other = machine.inbox.parent / "secret"
    other.mkdir(mode=0)
    machine.up(str(other))
    other.chmod(0o700)
    speech(other / "a.wav")
    wait_until("it is read", lambda: queries.list_jobs(machine.database, folder=str(other)))
    wait_until("both are online", lambda: all(root.online for root in list_roots(machine.database)))
    machine.inbox.chmod(0)
    wait_until("it is offline", lambda: not all(root.online for root in list_roots(machine.database)))
    machine.inbox.chmod(0o700)
    wait_until("it is online", lambda: all(root.online for root in list_roots(machine.database)))
    _, said = machine.stop()
    told = [line for line in said.splitlines() if "may not be read by this user" in line]
    assert [str(other) in line for line in told] == [True, False]
    assert f"{machine.inbox} is offline: it may not be read by this user" in told[1]
