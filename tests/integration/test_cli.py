"""The command line against a real store: what it answers, what it changes, and how it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from dropscribe.admin.cli.main import app
from dropscribe.core.queue import CPU_QUEUE, Doorbell
from dropscribe.core.settings import load
from dropscribe.core.types import JobState
from dropscribe.store import chunks, fleet, jobs, queries, recovery, speakers
from dropscribe.store.fleet import RootReport
from dropscribe.store.session import Database
from dropscribe.store.speakers import Said
from dropscribe.worker.outputs import FORMATS
from tests.integration.console import (
    ENGINE,
    Cli,
    Ended,
    admit,
    document,
    done,
    fail,
    finish_again,
    give_up,
    prepare,
    process,
    read,
    state_of,
)
from tests.unit.test_documents import NAMES

DOC = (Path(__file__).parents[2] / "docs" / "cli.md").read_text()
HEAVY = "alembic av celery kombu models numpy redis scheduler torch transformers watchdog worker".split()

pytestmark = pytest.mark.usefixtures("environment")


def read_said(store: Database, job_id: str) -> Said:
    return speakers.read(queries.job(store, job_id).speakers)


# Asking


def test_the_status_of_an_empty_store_is_calm(store: Database, cli: Cli) -> None:
    shown = cli("status")
    assert shown.code == 0
    assert "none yet" in shown.out
    assert "warning" not in shown.out
    assert cli("status", "--json").json["warnings"] == []


def test_the_status_tells_jobs_audio_speed_and_what_is_wrong(store: Database, cli: Cli) -> None:
    done(store, "a.wav")
    fail(store, "b.wav")
    waiting = admit(store, "c.wav")
    prepare(store, waiting, (0.0, 100.0), (100.0, 300.0))
    read(store, waiting)
    admit(store, "d.wav")
    fleet.register(store, "model-1", host="here", pid=1, role="model", state="ready")
    fleet.heartbeat(store, "model-1", engine=ENGINE, audio=80.0, busy=8.0)
    fleet.report_roots(store, [RootReport("/rec", "here", "ext4", online=False, reason="unmounted", files=4)])
    told = cli("status", "--json").json
    assert {state: count for state, count in told["jobs"].items() if count} == {
        "done": 1,
        "failed": 1,
        "transcribing": 1,
        "queued": 1,
    }
    assert told["unfinished"] == 2
    assert told["waiting"] == {"audio_seconds": 200.0, "unprepared_files": 1}
    assert (told["speed"], told["seconds_to_finish"]) == (10.0, 20.0)
    assert [worker["alive"] for worker in told["workers"]] == [True]
    text = cli("status").out
    assert "for tests only" in text  # the engine's notice
    assert "3 min 20 s of audio and 1 file of unknown length" in text
    assert "warning: no scheduler" in text
    assert "warning: no CPU worker" in text
    assert "warning: no model worker" not in text
    assert "offline: unmounted" in text


def test_a_worker_that_missed_three_heartbeats_is_shown_as_silent(
    store: Database, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet.register(store, "cpu-1", host="here", pid=1, role="cpu", state="ready")
    assert "silent" not in cli("workers").out
    monkeypatch.setenv("DROPSCRIBE_RENEW_SECONDS", "0.0001")
    assert "silent" in cli("workers").out
    (worker,) = cli("workers", "--json").json["workers"]
    assert (worker["id"], worker["alive"]) == ("cpu-1", False)


def test_what_waits_for_a_model_worker_and_who_is_busy_are_seen(store: Database, cli: Cli) -> None:
    fleet.register(store, "model-1", host="here", pid=1, role="model", state="ready")
    job_id = admit(store, "a.wav")
    prepare(store, job_id, (0.0, 100.0), (100.0, 200.0))
    assert "0%, waits" in cli("jobs").out
    assert " ready " in cli("workers").out
    assert chunks.claim(store, f"{job_id}.0", "model-1", 90)
    assert "waits" not in cli("jobs").out
    assert " busy " in cli("workers").out
    assert cli("show", job_id, "--json").json["reading"] == 1


def test_jobs_are_chosen_by_state_folder_and_number(store: Database, cli: Cli, tmp_path: Path) -> None:
    folder = tmp_path / "rec"
    folder.mkdir()
    (tmp_path / "link").symlink_to(folder)
    first = admit(store, "one/a.wav", str(folder))
    second = admit(store, "two/b.wav", str(folder))
    failed = fail(store, "c.wav")

    def listed(*options: str) -> list[str]:
        return [job["id"] for job in cli("jobs", "--json", *options).json["jobs"]]

    assert listed() == [failed, second, first]
    assert listed("--state", "failed", "--state", "parked") == [failed]
    assert listed("--folder", "link/one") == [first]
    assert listed("--limit", "1") == [failed]
    assert cli("jobs", "--json", "--limit", "1").json["more"] is True
    assert cli("jobs", "--json", "--limit", "3").json["more"] is False
    assert listed("--limit", "0") == [failed, second, first]
    table = cli("jobs").out
    assert all(job in table for job in (first, second, failed))
    assert "it is not audio" in table


def test_no_jobs_is_a_sentence(store: Database, cli: Cli) -> None:
    assert "no jobs yet" in cli("jobs").out
    assert "no such jobs" in cli("jobs", "--state", "done").out


def test_a_job_is_found_by_id_prefix_and_path(store: Database, cli: Cli, tmp_path: Path) -> None:
    folder = tmp_path / "rec"
    folder.mkdir()
    (tmp_path / "link").symlink_to(folder)
    job_id = admit(store, "a.wav", str(folder))
    for name in (job_id, job_id[:5].upper(), "rec/a.wav", "link/a.wav", str(folder / "a.wav"), "./rec/../rec/a.wav"):
        assert cli("show", name, "--json").json["id"] == job_id


def test_a_name_that_no_or_many_jobs_have_is_refused(store: Database, cli: Cli) -> None:
    ids = [admit(store, f"{number}.wav") for number in range(40)]
    starts = [job_id[0] for job_id in ids]
    shared = next(start for start in starts if starts.count(start) > 1)
    many = cli("show", shared)
    assert (many.code, many.out) == (1, "")
    assert "type more" in many.err
    for nothing in ("zzzzzzzzz", "none/such.wav", "b\udcffd.wav"):
        assert cli("show", nothing).code == 1


def test_show_tells_the_whole_story_of_a_job(store: Database, cli: Cli) -> None:
    job_id = done(store, "a.wav", JobState.SUSPECT)
    text = cli("show", job_id).out
    for part in ("/rec/a.wav", "suspect", "speech is missing", "0:00:10-0:01:10", "16000 Hz", f"/rec/{job_id}.txt"):
        assert part in text
    assert text.index("admitted") < text.index("prepared") < text.rindex("suspect")
    told = cli("show", job_id, "--json").json
    assert told["missing"] == [{"start": 10.0, "end": 70.0}]
    assert told["speech"] == [{"start": 0.0, "end": 60.0}]
    assert [file["written"] for file in told["files"]] == [True]
    assert [event["kind"] for event in told["events"]][:2] == ["admitted", "preparing"]


def test_names_cannot_command_the_terminal_and_json_keeps_them(store: Database, cli: Cli) -> None:
    name = "x\x1b]0;owned\x07\x1b[2J\nb\udce9\u202egnp.wav"
    job_id = admit(store, name)
    for command in (["jobs"], ["show", job_id]):
        shown = cli(*command).out
        assert "xb" in shown.replace(" ", "")
        assert not set(shown) & set("\x1b\x07\u202e\udce9")
    assert cli("show", job_id, "--json").json["path"] == name


def test_a_transcript_is_printed_in_every_format(store: Database, cli: Cli) -> None:
    job_id = done(store, "a.wav")
    assert cli("transcript", job_id).out.count("hello there") == 1
    assert "-->" in cli("transcript", job_id, "--format", "srt").out
    assert cli("transcript", job_id, "-f", "vtt").out.startswith("WEBVTT")
    assert cli("transcript", job_id, "--format", "json").out == document(job_id)


def test_a_transcript_is_written_to_a_file_that_is_not_there_yet(store: Database, cli: Cli, tmp_path: Path) -> None:
    job_id = done(store, "a.wav")
    for fmt in FORMATS:
        assert cli("transcript", job_id, "-f", fmt, "-o", f"talk.{fmt}") == Ended(0, "", "")
    assert (tmp_path / "talk.json").read_text() == document(job_id)
    assert (tmp_path / "talk.docx").read_bytes().startswith(b"PK")
    assert f'src="{os.path.relpath("/rec/a.wav", tmp_path)}"' in (tmp_path / "talk.html").read_text()
    again = cli("transcript", job_id, "-f", "docx", "-o", "talk.txt")
    assert again.code == 1
    assert "talk.txt exists already; remove it" in again.err
    assert not list(tmp_path.glob(".dropscribe*"))


def test_no_terminal_is_given_what_is_no_text(store: Database) -> None:
    job_id = done(store, "a.wav")
    mother, child = os.openpty()
    command = [
        sys.executable,
        "-c",
        "from dropscribe.admin.cli.main import run; run()",
        "transcript",
        job_id,
        "-f",
        "docx",
    ]
    refused = subprocess.run(command, stdout=child, stderr=subprocess.PIPE, text=True, timeout=60)
    os.close(child)
    os.close(mother)
    assert refused.returncode == 2
    assert "--output" in refused.stderr


def test_a_suspect_transcript_is_printed_with_a_remark(store: Database, cli: Cli) -> None:
    shown = cli("transcript", done(store, "a.wav", JobState.SUSPECT))
    assert shown.code == 0
    assert "speech is missing" in shown.err
    assert "speech is missing" not in shown.out


def test_a_job_without_a_transcript_says_so(store: Database, cli: Cli) -> None:
    shown = cli("transcript", admit(store, "a.wav"))
    assert (shown.code, shown.out) == (1, "")
    assert "queued and has no transcript" in shown.err


def test_config_tells_sources_and_masks_passwords(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DROPSCRIBE_DATABASE_URL", "postgresql://me:hunter2@db/x")
    Path("dropscribe.toml").write_text('engine = "scripted"\n')
    for shown in (cli("config"), cli("config", "--json")):
        assert "hunter2" not in shown.out
        assert "***" in shown.out
    told = {setting["name"]: setting for setting in cli("config", "--json").json["settings"]}
    assert told["database_url"]["source"] == "environment"
    assert (told["engine"]["value"], told["engine"]["source"]) == ("scripted", "dropscribe.toml")
    assert told["spool"]["source"] == "default"


# Submitting


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    path = tmp_path / "talk.wav"
    path.write_bytes(b"sound")
    return path


def submitted(cli: Cli, *arguments: str) -> dict[str, Any]:
    (job,) = cli("submit", *arguments, "--json").json["jobs"]
    return job


def test_a_submitted_recording_is_told_its_context_and_its_hotwords(
    store: Database, redis: str, cli: Cli, recording: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("mine.txt").write_text("Ada, Babbage\n")
    Path("ours.txt").write_text("Byron\n")
    monkeypatch.setenv("DROPSCRIBE_CONTEXT", "engines")
    monkeypatch.setenv("DROPSCRIBE_HOTWORDS", "ours.txt")
    jobs_by_context = {
        job["context"]: job
        for job in (
            submitted(cli, str(recording)),
            submitted(cli, str(recording), "--hotwords", "mine.txt"),
            submitted(cli, str(recording), "--context", "a talk"),
            submitted(cli, str(recording), "--context", "a talk", "--hotwords", "mine.txt"),
        )
    }
    assert set(jobs_by_context) == {"engines; Byron", "engines; Ada, Babbage", "a talk; Byron", "a talk; Ada, Babbage"}
    assert len({job["settings_digest"] for job in jobs_by_context.values()}) == 4
    again = cli("submit", str(recording))
    assert "is known already" in again.err
    Path("ours.txt").write_text("Byron, Menabrea\n")
    assert submitted(cli, str(recording))["context"] == "engines; Byron, Menabrea"


def test_hotwords_that_cannot_be_read_admit_nothing(store: Database, redis: str, cli: Cli, recording: Path) -> None:
    shown = cli("submit", str(recording), "--hotwords", "trems.txt")
    assert (shown.code, shown.out) == (2, "")
    assert "cannot read the hotwords file trems.txt: No such file or directory; mend it, or name another" in shown.err
    Path("long.txt").write_text("x" * 10_001)
    assert "has 10,001 characters and 10,000 are allowed" in cli("submit", str(recording), "--hotwords", "long.txt").err
    assert queries.list_jobs(store) == []


def test_what_nobody_may_read_is_not_submitted(
    store: Database, cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recording = tmp_path / "a.wav"
    recording.write_bytes(b"x")
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may read everything
    shown = cli("submit", str(recording))
    assert (shown.code, shown.err) == (
        2,
        f"error: you may not read {recording}; make it readable (chmod u+r), or ask whom it belongs to\n",
    )


def test_a_file_is_not_watched_and_is_called_one(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("x")
    ended = process("up", str(tmp_path / "README.md"))
    assert (ended.code, ended.out) == (2, "")
    assert "README.md is a file, not a folder; name the folder that it lies in" in ended.err


@pytest.mark.parametrize("command", ["watch", "up"])
def test_nothing_starts_without_its_hotwords(command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DROPSCRIBE_HOTWORDS", "gone.txt")
    ended = process(command, str(tmp_path))
    assert (ended.code, ended.out) == (2, "")
    assert f"error: cannot read the hotwords file {tmp_path / 'gone.txt'}: No such file" in ended.err
    assert not (tmp_path / "home").exists()


# Changing


def test_speakers_are_listed_with_who_may_be_the_same(store: Database, cli: Cli) -> None:
    job_id = done(store, "a.wav")
    shown = cli("speakers", job_id)
    assert shown.code == 0
    assert [line.split() for line in shown.out.splitlines() if line.lstrip()[:1].isdigit()] == [
        ["0", "Speaker", "1", "2.0", "s", "2"],
        ["1", "Bob", "1.0", "s"],
        ["2", "Speaker", "3", "1.0", "s", "0"],
    ]
    assert cli("speakers", job_id, "--json").json["speakers"][1] == {
        "number": 1,
        "name": "Bob",
        "seconds": 1.0,
        "perhaps": [],
    }


def test_speakers_are_named_and_merged_by_number_or_name(store: Database, redis: str, cli: Cli) -> None:
    job_id = done(store, "a.wav")
    assert cli("speakers", job_id, "--name", "0=Ada Lovelace", "--name", "bob=Charles").code == 0
    assert state_of(store, job_id) is JobState.FINISHING
    bell = Doorbell(load())
    assert bell.depth(CPU_QUEUE) == 1
    bell.close()
    assert read_said(store, job_id) == Said({0: "Ada Lovelace", 1: "Charles"}, {})
    finish_again(store, job_id)
    assert cli("speakers", job_id, "--merge", "Speaker 3=0", "--name", "1=").code == 0
    assert read_said(store, job_id) == Said({0: "Ada Lovelace"}, {2: 0})
    finish_again(store, job_id)
    assert cli("speakers", job_id, "--merge", "2=2").code == 0
    assert read_said(store, job_id) == Said({0: "Ada Lovelace"}, {})


def test_speakers_go_by_what_was_said_of_them_before_the_files_tell_it(store: Database, cli: Cli) -> None:
    job_id = done(store, "a.wav")
    said = cli("speakers", job_id, "--name", "0=Ada", "--name", "1=Bob", "--merge", "2=0")
    assert said.out == f"{job_id}: noted; its files are written again by the next `dropscribe up` or worker\n"
    assert said.err == "note: nothing of dropscribe runs here; the next `dropscribe up FOLDER` does it\n"
    shown = cli("speakers", job_id, "--json").json["speakers"]
    assert [(one["number"], one["name"], one["seconds"]) for one in shown] == [(0, "Ada", 3.0), (1, "Bob", 1.0)]
    cli("speakers", job_id, "--name", "Ada=", "--merge", "2=2")
    assert [one["name"] for one in cli("speakers", job_id, "--json").json["speakers"]] == ["", "Bob", ""]
    assert jobs.claim_finish(store, job_id, "cpu-1", 90)
    assert "is finishing" in cli("speakers", job_id, "--name", "0=Eve").err, "a worker has begun without it"


def test_speakers_say_that_files_are_written_now_where_a_worker_is_there(store: Database, redis: str, cli: Cli) -> None:
    job_id = done(store, "a.wav")
    assert "by the next `dropscribe up` or worker" in cli("speakers", job_id, "--name", "0=Ada").out
    fleet.register(store, "cpu-1", host="here", pid=1, role="cpu", state="ready")
    assert cli("speakers", job_id, "--name", "0=Eve").out == f"{job_id}: noted; its files are written again now\n"


@pytest.mark.parametrize(
    ("option", "value", "complaint"),
    [
        ("--name", "Ada", "write NUMBER=NAME, such as 0=Alice"),
        ("--name", "7=Ada", "there is no speaker 7; the speakers are 0 (Speaker 1), 1 (Bob), 2 (Speaker 3)"),
        ("--merge", "2=Eve", "there is no speaker Eve"),
    ],
)
def test_a_speaker_that_is_not_there_is_refused(
    store: Database, cli: Cli, option: str, value: str, complaint: str
) -> None:
    job_id = done(store, "a.wav")
    shown = cli("speakers", job_id, option, value)
    assert (shown.code, state_of(store, job_id)) == (2, JobState.DONE)
    assert complaint in " ".join(shown.err.split())


def test_speakers_cannot_be_merged_in_a_circle(store: Database, cli: Cli) -> None:
    job_id = done(store, "a.wav")
    shown = cli("speakers", job_id, "--merge", "0=1", "--merge", "1=0")
    assert shown.code == 2
    assert "would be merged with itself" in shown.err


def test_speakers_of_a_job_without_transcript_are_not_named(store: Database, cli: Cli) -> None:
    shown = cli("speakers", admit(store, "a.wav"), "--name", "0=Ada")
    assert shown.code == 1
    assert "has no transcript yet" in " ".join(shown.err.split())


def test_retry_restarts_and_rings(store: Database, redis: str, cli: Cli) -> None:
    job_id = fail(store, "a.wav")
    shown = cli("retry", "/rec/a.wav")
    assert (shown.code, shown.err) == (0, "")
    assert state_of(store, job_id) == JobState.QUEUED
    bell = Doorbell(load())
    assert bell.depth(CPU_QUEUE) == 1
    bell.close()


def test_a_redis_of_ones_own_that_is_away_is_named(store: Database, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DROPSCRIBE_REDIS_URL", "redis://localhost:1")
    shown = cli("retry", fail(store, "a.wav"), fail(store, "b.wav"))
    assert shown.code == 0
    assert shown.err.count("warning: Redis at redis://localhost:1") == 1
    assert "Nothing is lost" in shown.err


def test_retry_without_redis_warns_once_and_loses_nothing(store: Database, cli: Cli) -> None:
    names = [fail(store, "a.wav"), fail(store, "b.wav")]
    shown = cli("retry", *names)
    assert shown.code == 0
    assert shown.err == "note: nothing of dropscribe runs here; the next `dropscribe up FOLDER` does it\n"
    assert {state_of(store, name) for name in names} == {JobState.QUEUED}
    assert len(recovery.unsent(store, "prepare", 3600, 10)) == 2  # so the reconciler sends them


def test_retry_goes_on_after_a_job_that_cannot_be_retried(store: Database, redis: str, cli: Cli) -> None:
    good, bad = done(store, "a.wav"), fail(store, "b.wav")
    shown = cli("retry", good, "zzzz", bad)
    assert shown.code == 1
    assert shown.err.count("error: ") == 2
    assert state_of(store, bad) == JobState.QUEUED


def test_retry_failed_means_failed_and_parked(store: Database, redis: str, cli: Cli) -> None:
    failed, good, lost = give_up(store, admit(store, "a.wav")), done(store, "b.wav"), admit(store, "c.wav")
    assert jobs.claim_prepare(store, lost, "dead", -1)
    recovery.expire(store, 1)
    assert state_of(store, lost) == JobState.PARKED
    assert cli("retry", "--failed").code == 0
    assert [state_of(store, one) for one in (failed, good, lost)] == [JobState.QUEUED, JobState.DONE, JobState.QUEUED]
    assert "no job is failed" in cli("retry", "--failed").out


def test_retry_failed_leaves_what_a_retry_cannot_help_and_says_so(store: Database, redis: str, cli: Cli) -> None:
    hopeless, hopeful = fail(store, "a.wav"), give_up(store, admit(store, "b.wav"))
    shown = cli("retry", "--failed")
    assert shown.code == 0
    assert "1 job left as they are, for the recordings themselves are at fault" in shown.out
    assert [state_of(store, one) for one in (hopeless, hopeful)] == [JobState.FAILED, JobState.QUEUED]
    assert cli("retry", "--failed", "--all").code == 0
    assert state_of(store, hopeless) == JobState.QUEUED
    give_up(store, hopeless)  # for another reason this time
    assert "at fault" not in cli("retry", "--failed").out
    assert state_of(store, hopeless) == JobState.QUEUED


def test_retry_needs_names_or_failed_but_not_both(store: Database, cli: Cli) -> None:
    assert cli("retry").code == 2
    assert cli("retry", "--failed", "k3v9").code == 2
    assert cli("retry", "--all", "k3v9").code == 2


def test_cancel_ends_what_waits_and_asks_the_worker_of_what_runs(store: Database, cli: Cli) -> None:
    waits, runs, over = admit(store, "a.wav"), admit(store, "b.wav"), done(store, "c.wav")
    assert jobs.claim_prepare(store, runs, "cpu-1", 90)
    shown = cli("cancel", waits, runs, over)
    assert shown.code == 1
    assert f"{waits} is cancelled" in shown.out
    assert cli("show", waits, "--json").json["progress"] == 0
    assert f"{runs} is preparing; its worker stops" in shown.out
    assert "nothing to cancel" in shown.err
    assert queries.job(store, runs).cancel_requested


def test_pause_and_resume_are_seen_in_the_status(store: Database, cli: Cli) -> None:
    assert cli("pause").code == 0
    assert cli("status", "--json").json["paused_since"] == pytest.approx(store.clock(), abs=60)
    assert "paused" in cli("status").out
    assert cli("resume").code == 0
    assert cli("status", "--json").json["paused_since"] is None


# Checking


def by_name(shown: Ended) -> dict[str, dict[str, str]]:
    return {check["name"]: check for check in shown.json["checks"]}


def test_the_doctor_finds_a_sound_machine_sound(
    store: Database, redis: str, cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DROPSCRIBE_ENGINE", "scripted")
    host = os.uname().nodename
    fleet.report_roots(store, [RootReport(str(tmp_path), host, "ext4", online=True, files=3)])
    shown = cli("doctor", "--json")
    found = by_name(shown)
    for name in ("database", "clock", f"folder {tmp_path}", "decoder", "engine"):
        assert found[name]["level"] == "ok", found[name]
    assert "redis" in found
    assert shown.code == 0
    assert "decodes" in cli("doctor").out


def test_the_doctor_of_a_fresh_machine_names_the_first_command(cli: Cli, tmp_path: Path) -> None:
    found = by_name(cli("doctor", "--json"))
    assert (found["database"]["level"], found["redis"]["level"]) == ("warn", "warn")
    assert "dropscribe up" in found["database"]["remedy"]
    assert not (tmp_path / "home").exists()


def test_the_doctor_fails_where_a_configured_server_is_gone(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DROPSCRIBE_REDIS_URL", "redis://:secret@127.0.0.1:1/0")
    monkeypatch.setenv("DROPSCRIBE_DATABASE_URL", "postgresql://127.0.0.1:1/none")
    shown = cli("doctor", "--json")
    found = by_name(shown)
    assert shown.code == 1
    assert (found["database"]["level"], found["redis"]["level"]) == ("fail", "fail")
    assert "secret" not in shown.out


# How a command ends


@pytest.mark.parametrize("command", ["status", "jobs", "show x", "transcript x", "workers", "retry x", "pause"])
def test_a_store_that_is_not_there_is_named_and_not_made(command: str, cli: Cli, tmp_path: Path) -> None:
    shown = cli(*command.split())
    assert (shown.code, shown.out) == (1, "")
    assert shown.err.startswith("error: nothing here yet")
    assert "dropscribe up FOLDER" in shown.err
    assert not (tmp_path / "home").exists()


def test_a_wrong_setting_exits_2_and_names_the_right_one(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DROPSCRIBE_REDIS_ULR", "redis://x")
    shown = cli("status")
    assert shown.code == 2
    assert "did you mean DROPSCRIBE_REDIS_URL?" in shown.err


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["statsu"], "status"),
        (["status", "--jsno"], "--json"),
        (["jobs", "--state", "faild"], "failed"),
        (["worker"], "--role"),
        (["show"], "JOB"),
        (["status", "--watch", "--json"], "exclude"),
    ],
)
def test_a_usage_error_exits_2_with_a_hint(arguments: list[str], hint: str, cli: Cli) -> None:
    shown = cli(*arguments)
    assert (shown.code, shown.out) == (2, "")
    assert hint in shown.err


def test_an_interrupted_command_exits_130(store: Database, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("dropscribe.admin.ask.status.show", interrupt)
    assert cli("status").code == 130


def test_verbose_adds_the_traceback(cli: Cli) -> None:
    assert "Traceback" not in cli("status").err
    assert "Traceback" in cli("-v", "status").err


def test_the_version_is_told(cli: Cli) -> None:
    assert cli("--version").out.startswith("dropscribe ")


@pytest.mark.parametrize("path", sorted(NAMES - {"dropscribe COMMAND --help", "dropscribe models"}))
def test_every_command_has_help_with_an_example_and_is_documented(path: str, cli: Cli) -> None:
    shown = cli(*path.split()[1:], "--help")
    assert shown.code == 0
    assert path in shown.out.partition("Examples:")[2]
    assert f"### {path}\n" in DOC


# As a process


def test_asking_imports_nothing_heavy(store: Database) -> None:
    code = (
        "import sys; from dropscribe.admin.cli.main import main; from dropscribe.admin.context import Context\n"
        "rooms = lambda: {name.removeprefix('dropscribe.').partition('.')[0] for name in sys.modules}\n"
        "before = rooms()\n"
        "code = main(['status'], Context())\n"
        "after = rooms()\n"
        "print(*sorted(before & {'sqlalchemy', 'pydantic', 'rich', 'store'}), sep=',')\n"
        f"print(*sorted(after & set({HEAVY})), sep=',')\n"
        "sys.exit(code)"
    )
    ended = process(code=code)
    assert ended.code == 0
    assert ended.out.splitlines()[-2:] == ["", ""]


def test_a_defect_is_one_line_and_exit_1() -> None:
    code = "from dropscribe.admin.ask import status\nfrom dropscribe.admin.cli import main\ndel status.show\nmain.run()"
    ended = process("status", code=code)
    assert (ended.code, ended.out) == (1, "")
    assert ended.err.count("\n") == 1
    assert ended.err.startswith("internal error: AttributeError")
    assert "Traceback" in process("-v", "status", code=code).err


def test_a_reader_that_has_seen_enough_is_no_error(store: Database) -> None:
    for number in range(3):
        admit(store, f"{number}.wav")
    command = [sys.executable, "-c", "from dropscribe.admin.cli.main import run; run()", "jobs", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as running:
        assert running.stdout
        assert running.stderr
        running.stdout.close()
        assert running.stderr.read() == b""


def test_the_status_is_redrawn_until_ctrl_c(store: Database) -> None:
    # As from a terminal: a runner in the background may have handed down that SIGINT is ignored.
    code = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
        "from dropscribe.admin.cli.main import run; run()"
    )
    command = [sys.executable, "-c", code, "status", "--watch"]
    environment = os.environ | {"TTY_COMPATIBLE": "1"}  # as on a terminal
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment) as running:
        assert running.stdout
        assert running.stderr
        shown = b""
        while shown.count(b"none yet") < 2:
            piece = os.read(running.stdout.fileno(), 4096)
            assert piece
            shown += piece
        running.send_signal(signal.SIGINT)
        assert running.stderr.read() == b""
    assert running.returncode == 0


def test_a_locale_without_unicode_shows_what_it_can(store: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    admit(store, "日本.wav")
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    ended = process("jobs")
    assert ended.code == 0
    assert "??.wav" in ended.out


def test_commands_are_grouped() -> None:
    panels = {command.rich_help_panel for command in app.registered_commands}
    assert panels == {"Run", "Ask", "Change", "Check"}
