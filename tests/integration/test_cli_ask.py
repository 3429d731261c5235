"""The command line against a real store: what the commands that ask answer."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from dropscribe.core.routing import ResidentModel
from dropscribe.core.types import EngineInfo, JobState
from dropscribe.store import chunks, fleet, leases
from dropscribe.store.roots import RootReport, UnreadablePlace, report_roots
from dropscribe.store.session import Database
from dropscribe.worker.outputs import FORMATS
from tests.integration.console import ENGINE, Cli, Ended, admit, document, done, fail, prepare, read

pytestmark = pytest.mark.usefixtures("environment")


def test_a_place_that_cannot_be_read_is_shown_whatever_its_name(store: Database, cli: Cli) -> None:
    places = [UnreadablePlace("caf\udce9; bar/", "Permission denied")]
    report_roots(store, [RootReport("/rec", "here", "ext4", online=True, unreadable=places, unreadable_count=1)])
    text = cli("status").out
    text.encode()
    assert "bar/: Permission denied" in " ".join(text.split())
    (folder,) = cli("status", "--json").json["folders"]
    assert folder["unreadable"] == [
        {"place": "caf\udce9; bar/", "reason": "Permission denied", "remedy": "let the scheduler read them"}
    ]


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
    report_roots(store, [RootReport("/rec", "here", "ext4", online=False, reason="unmounted", files=4)])
    told = cli("status", "--json").json
    assert {state: count for state, count in told["jobs"].items() if count} == {
        "done": 1,
        "failed": 1,
        "transcribing": 1,
        "queued": 1,
    }
    assert told["unfinished"] == 2
    assert {phase: count for phase, count in told["phases"].items() if count} == {"waiting": 2, "done": 1, "failed": 1}
    assert told["waiting"] == {"audio_seconds": 200.0, "unprepared_files": 1}
    left = {"audio_seconds": 200.0, "transcribing_seconds": 0.0, "waiting_seconds": 200.0, "unprepared_files": 1}
    assert told["backlog"] == left
    assert (told["speed"], told["seconds_to_finish"]) == (10.0, 20.0)
    assert [worker["alive"] for worker in told["workers"]] == [True]
    text = cli("status").out
    assert "for tests only" in text  # the engine's notice
    assert "2 waiting, 1 done, 1 failed" in text
    assert "3 min 20 s waiting, 1 file of unknown length" in text
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


def test_how_a_model_computes_attention_and_why_is_told(store: Database, cli: Cli) -> None:
    engine = EngineInfo("vibevoice", "a", "fp16", attention="sdpa", attention_reason="the card is too old")
    fleet.register(store, "model-1", host="here", pid=1, role="model", state="ready")
    fleet.heartbeat(store, "model-1", engine=engine)
    fleet.register(store, "cpu-1", host="here", pid=2, role="cpu", state="ready")
    assert cli("workers").out.splitlines()[-1] == "model-1: attention by sdpa, since the card is too old"
    known = cli("workers", "--json").json["workers"][1]["engine"]
    assert (known["attention"], known["attention_reason"]) == ("sdpa", "the card is too old")


def test_what_waits_for_a_model_worker_and_who_is_busy_are_seen(store: Database, cli: Cli) -> None:
    fleet.register(store, "model-1", host="here", pid=1, role="model", state="ready")
    job_id = admit(store, "a.wav")
    prepare(store, job_id, (0.0, 100.0), (100.0, 200.0))
    assert "waiting" in cli("jobs", "--state", "waiting").out
    assert cli("jobs", "--state", "transcribing").out == "no such jobs\n"
    assert " ready " in cli("workers").out
    assert chunks.claim(store, f"{job_id}.0", "model-1", 90)
    assert "transcribing" in cli("jobs", "--state", "transcribing").out
    assert cli("jobs", "--state", "waiting").out == "no such jobs\n"
    assert " busy " in cli("workers").out
    assert cli("show", job_id, "--json").json["transcribing_chunks"] == 1


def test_the_place_in_the_queue_and_the_time_left_are_in_jobs_and_show(store: Database, cli: Cli) -> None:
    fleet.register(store, "model-1", host="here", pid=1, role="model", state="ready")
    fleet.heartbeat(store, "model-1", engine=ENGINE, audio=80e6, busy=8e6)
    first, second = admit(store, "a.wav"), admit(store, "b.wav")
    prepare(store, first, (0.0, 30.0), (20.0, 40.0))
    prepare(store, second, (0.0, 100.0))
    work = chunks.claim(store, f"{first}.0", "model-1", 90, ResidentModel.of(ENGINE))
    assert work
    leases.renew(store, work.claim, 90, progress=20.0)
    told = {job["id"]: job for job in cli("jobs", "--json").json["jobs"]}
    assert [(told[job]["phase"], told[job]["place"]) for job in (first, second)] == [
        ("transcribing", None),
        ("waiting", 1),
    ]
    assert [told[job]["seconds_left"] for job in (first, second)] == pytest.approx([3.0, 13.0], rel=1e-3)
    assert "place in the queue  1" in cli("show", second).out
    assert "13 s" in cli("jobs", "--state", "waiting").out


def test_progress_is_told_in_the_recordings_own_length_though_its_chunks_overlap(store: Database, cli: Cli) -> None:
    job_id = admit(store, "a.wav")
    prepare(store, job_id, (0.0, 30.0), (20.0, 40.0))
    read(store, job_id)
    assert "60%, 24 s of 40 s transcribed" in cli("show", job_id).out
    assert cli("show", job_id, "--json").json["transcribed_length"] == 24.0
    assert cli("status", "--json").json["backlog"]["audio_seconds"] == 16.0
    read(store, job_id, 1)
    assert "100%, 40 s of 40 s transcribed" in cli("show", job_id).out


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
    assert cli("show", "").err.startswith("error: the name of the job is empty")


def test_show_tells_the_whole_story_of_a_job(store: Database, cli: Cli) -> None:
    job_id = done(store, "a.wav", JobState.SUSPECT)
    text = cli("show", job_id).out
    for part in ("/rec/a.wav", "suspect", "speech is missing", "0:00:10-0:01:10", "16000 Hz", f"/rec/{job_id}.txt"):
        assert part in text
    assert text.index("admitted") < text.index("prepared") < text.rindex("suspect")
    told = cli("show", job_id, "--json").json
    assert told["uncovered_speech"] == [{"start": 10.0, "end": 70.0}]
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
