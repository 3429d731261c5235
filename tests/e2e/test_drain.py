"""`dropscribe up --drain`: from folder to files, and the exit status that says how it went."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from dropscribe.core.types import JobState
from dropscribe.scheduler.scanning.ignore import NameKind, classify
from dropscribe.store import queries
from dropscribe.store.roots import list_roots
from tests.conftest import SAMPLES
from tests.e2e.harness import Machine, speech, wait_until, without_powers


def test_every_recording_gets_its_transcripts_and_a_second_run_admits_nothing_twice(machine: Machine) -> None:
    (machine.inbox / "sub").mkdir()
    names = ["a.wav", "b.wav", "sub/c.wav"]
    for seed, name in enumerate(names):
        speech(machine.inbox / name, seed=seed)
    (machine.inbox / "notes.txt").write_text("Minutes")
    first = machine.run("up", str(machine.inbox), "--drain")
    assert first.returncode == 0, first.stdout + first.stderr
    assert "3 recordings; left out: 1 other file, 0 hidden" in first.stdout
    machine.assert_whole("a.wav", "b.wav")
    assert (machine.inbox / "sub" / "c.srt").exists()
    written = {path: path.stat().st_mtime_ns for path in machine.inbox.rglob("*.*")}
    second = machine.run("up", str(machine.inbox), "--drain", "--json")
    assert second.returncode == 0
    assert {path: path.stat().st_mtime_ns for path in machine.inbox.rglob("*.*")} == written
    *_, summary = map(json.loads, second.stdout.splitlines())
    assert summary["event"] == "summary"
    assert [job["path"] for job in summary["jobs"]] == names


def test_what_up_has_read_is_known_to_whoever_submits_it_again(
    make_machine: Callable[..., Machine], whisper_base: Path
) -> None:
    machine = make_machine(ENGINE="auto", LEASE_SECONDS="60")
    machine.environment |= {"HF_HOME": str(whisper_base), "CUDA_VISIBLE_DEVICES": ""}
    recording = speech(machine.inbox / "a.wav", 2)
    assert machine.run("up", str(machine.inbox), "--drain").returncode in {0, 3}
    assert "is known already" in machine.run("submit", str(recording)).stderr


def test_the_same_bytes_under_another_name_are_a_duplicate_with_a_transcript(machine: Machine) -> None:
    speech(machine.inbox / "a.wav")
    shutil.copy(machine.inbox / "a.wav", machine.inbox / "copy.wav")
    ran = machine.run("up", str(machine.inbox), "--drain")
    assert ran.returncode == 0, ran.stdout
    states = {machine.job("a.wav").state, machine.job("copy.wav").state}
    assert states == {JobState.DONE, JobState.DUPLICATE}
    one, other = machine.transcript("a"), machine.transcript("copy")
    assert one["segments"] == other["segments"]
    assert other["source"]["path"].endswith("copy.wav")


def test_what_is_no_recording_fails_with_a_reason_and_status_4(machine: Machine) -> None:
    speech(machine.inbox / "good.wav")
    (machine.inbox / "text.wav").write_text("this is not audio\n" * 100)
    (machine.inbox / "list.mp3").write_text("#EXTM3U\n/etc/passwd\n")
    ran = machine.run("up", str(machine.inbox), "--drain")
    assert ran.returncode == 4, ran.stdout
    machine.assert_whole("good.wav")
    for name in ("text.wav", "list.mp3"):
        job = machine.job(name)
        assert job.state is JobState.FAILED
        assert name in job.reason
        assert name in ran.stdout


def test_a_doubtful_transcript_is_suspect_and_status_3(make_machine: Callable[..., Machine]) -> None:
    machine = make_machine(SCRIPTED_SCRIPT=json.dumps({"behave": "truncate"}))
    speech(machine.inbox / "a.wav", seconds=20)
    ran = machine.run("up", str(machine.inbox), "--drain")
    assert ran.returncode == 3, ran.stdout
    assert "breaks off" in machine.job("a.wav").reason
    document = machine.transcript("a")
    assert document["reasons"]
    assert document["missing"][0]["end"] > 15
    assert "SUSPECT" in (machine.inbox / "a.txt").read_text()


def test_a_copy_that_broke_off_is_suspect_names_what_is_missing_and_status_3(machine: Machine) -> None:
    speech(machine.inbox / "a.wav", seconds=35)
    os.truncate(machine.inbox / "a.wav", 44 + 19 * 32_000)
    speech(machine.inbox / "b.wav", seconds=11, seed=2)
    os.truncate(machine.inbox / "b.wav", 2_000)  # what is there is too short for a word
    ran = machine.run("up", str(machine.inbox), "--drain")
    assert ran.returncode == 3, ran.stdout
    assert "19 of 35 s are there" in machine.job("a.wav").reason
    assert "19 of 35 s are there" in ran.stdout
    assert "SUSPECT: the recording breaks off: 19 of 35 s are there" in (machine.inbox / "a.txt").read_text()
    lost = machine.transcript("a")["uncovered_speech"][-1]
    assert (lost["start"], lost["end"]) == (pytest.approx(19), pytest.approx(35, abs=0.1))
    assert machine.job("b.wav").state is JobState.SUSPECT
    assert "0 of 11 s are there" in machine.job("b.wav").reason


def test_silence_is_done_with_an_empty_transcript_and_a_note(machine: Machine) -> None:
    soundfile.write(machine.inbox / "silence.flac", np.zeros(48_000), 16_000)
    ran = machine.run("up", str(machine.inbox), "--drain")
    assert ran.returncode == 0, ran.stdout
    machine.assert_whole("silence.flac")
    document = machine.transcript("silence")
    assert document["segments"] == []
    assert document["notes"] == ["no speech was found"]


def test_a_long_recording_is_read_in_chunks_and_comes_out_as_one(make_machine: Callable[..., Machine]) -> None:
    machine = make_machine(CHUNK_SECONDS="10")
    speech(machine.inbox / "long.wav", seconds=45)
    ran = machine.run("up", str(machine.inbox), "--drain")
    assert ran.returncode == 0, ran.stdout
    machine.assert_whole("long.wav")
    segments = machine.transcript("long")["segments"]
    starts = [segment["start"] for segment in segments]
    assert starts == sorted(starts)
    assert segments[0]["start"] < 1
    assert segments[-1]["end"] > 40


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


def test_files_of_others_are_never_overwritten_and_stems_never_collide(machine: Machine) -> None:
    speech(machine.inbox / "talk.wav", seed=1)
    speech(machine.inbox / "talk.flac", seed=2)
    (machine.inbox / "talk.srt").write_text("mine")
    assert machine.run("up", str(machine.inbox), "--drain").returncode == 0
    assert (machine.inbox / "talk.srt").read_text() == "mine"
    assert (machine.inbox / "talk.wav.srt").exists()
    assert (machine.inbox / "talk.flac.srt").exists()
    texts = list(machine.inbox.glob("*.txt"))
    assert len(texts) == 2
    assert len({path.read_text() for path in texts}) == 2


def test_the_samples_are_recognized_for_real(make_machine: Callable[..., Machine], whisper_base: Path) -> None:
    machine = make_machine(ENGINE="auto", LEASE_SECONDS="60")
    machine.environment |= {"HF_HOME": str(whisper_base), "CUDA_VISIBLE_DEVICES": ""}
    for sample in SAMPLES.iterdir():
        if sample.suffix in {".wav", ".mp3", ".flac", ".ogg", ".opus", ".m4a", ".mp4"}:
            shutil.copy(sample, machine.inbox)
    ran = machine.run("up", str(machine.inbox), "--drain")
    assert ran.returncode == 0, ran.stdout
    assert "Whisper base on the CPU: about one word in ten wrong in conversation" in ran.stdout
    for document in map(json.loads, (path.read_text() for path in machine.inbox.glob("*.json"))):
        assert (document["engine"]["engine"], document["engine"]["precision"]) == ("whisper", "int8")
        assert document["engine"]["model"] == "Systran/faster-whisper-base@ebe41f70"
        assert "about one word in ten wrong" in document["engine"]["notice"]
        assert len(" ".join(segment["text"] for segment in document["segments"]).split()) > 5


LONG = 2_000_000  # bytes of a recording that takes minutes to transcribe


@pytest.mark.timeout(600)  # three minutes of sound through a recognizer that may have a fraction of a core
def test_the_real_recordings_are_all_done(
    make_machine: Callable[..., Machine], audio: Path, whisper_base: Path
) -> None:
    machine = make_machine(ENGINE="whisper", LEASE_SECONDS="60")
    machine.environment |= {"HF_HOME": str(whisper_base), "CUDA_VISIBLE_DEVICES": ""}
    admitted = [path for path in audio.iterdir() if classify(path.name) is NameKind.ADMIT]
    recordings = [path for path in admitted if path.stat().st_size < LONG]
    for path in recordings:
        shutil.copy(path, machine.inbox)
    ran = machine.run("up", str(machine.inbox), "--drain")
    assert ran.returncode == 0, ran.stdout
    documents = {path.stem: json.loads(path.read_text()) for path in machine.inbox.glob("*.json")}
    assert documents.keys() == {path.stem for path in recordings}
    texts = {stem: " ".join(s["text"] for s in document["segments"]) for stem, document in documents.items()}
    assert all(texts.values()), texts
    assert {stem for stem, document in documents.items() if document["language"] != "en"} == {"french"}
    assert documents["french"]["language"] == "fr"
    assert "un podcast" in texts["french"], "it is not translated"
    assert "country can do for you" in texts["jfk"]


def test_a_place_that_may_not_be_read_is_told_of_and_status_4(machine: Machine) -> None:
    machine.prefix = without_powers()
    secret = machine.inbox / "secret"
    secret.mkdir()
    speech(machine.inbox / "good.wav")
    speech(secret / "x.wav")
    secret.chmod(0)
    ran = machine.run("up", str(machine.inbox), "--drain")
    told = machine.run("status").stdout
    examined = machine.run("doctor", "--json").stdout
    shown = machine.run("show", str(secret / "x.wav"))
    secret.chmod(0o700)
    assert ran.returncode == 4, ran.stdout + ran.stderr
    machine.assert_whole("good.wav")
    for text in (ran.stdout, told, examined):
        assert "secret/: Permission denied" in text
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


def test_a_folder_that_becomes_unreadable_is_told_of_once_and_waited_for(machine: Machine) -> None:
    machine.prefix = without_powers()
    machine.up()
    machine.inbox.chmod(0)
    wait_until("it is offline", lambda: not any(root.online for root in list_roots(machine.database)))
    machine.inbox.chmod(0o700)
    wait_until("it is online", lambda: any(root.online for root in list_roots(machine.database)))
    _, said = machine.stop()
    assert said.count("is offline: it may not be read by this user") == 1


def test_a_folder_that_may_not_be_read_at_the_start_is_told_of_and_waited_for(machine: Machine) -> None:
    machine.prefix = without_powers()
    other = machine.inbox.parent / "secret"
    other.mkdir(mode=0)
    machine.up(str(other))
    other.chmod(0o700)
    speech(other / "a.wav")
    wait_until("it is read", lambda: queries.list_jobs(machine.database, folder=str(other)))
    _, said = machine.stop()
    assert said.count("may not be read by this user") == 1
