"""Stores and files of the version before: what they hold under old names is read and shown under the new ones."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from sqlalchemy import insert, text, update

from dropscribe.admin.client import Client
from dropscribe.core import old_names
from dropscribe.scheduler.duties import notifier
from dropscribe.store import jobs, metrics_queries, notifications, queries, recovery, transcripts
from dropscribe.store.event_cursor import EventCursor
from dropscribe.store.events import postponed_since
from dropscribe.store.recording_moves import put_away
from dropscribe.store.session import Database
from dropscribe.store.tables import chunks as chunk_rows
from dropscribe.store.tables import events as event_rows
from dropscribe.store.tables import now, segments
from tests.integration.console import Cli, admit, done, prepare, read
from tests.schemas import conforms

BEFORE = Path(__file__).with_name("transcript_before_0_1.json").read_text(encoding="utf-8")


@pytest.fixture
def finished(store: Database) -> str:
    """A job whose transcript the version before wrote."""
    job_id = admit(store, "a.wav")
    prepare(store, job_id, (0.0, 60.0))
    read(store, job_id)
    claim = jobs.claim_finish(store, job_id, "cpu-1", 90)
    assert claim
    transcripts.save(store, claim, BEFORE)
    jobs.complete(store, claim, jobs.JobState.DONE)
    return job_id


def note(
    database: Database,
    job_id: str,
    kind: str,
    detail: str = "",
    *,
    where: str = "model-1",
    chunk: str = "",
    rules: Sequence[str] = (),
) -> None:
    """An event as the version before wrote it."""
    facts = {"kind": kind, "where": where, "detail": detail, "chunk": chunk, "rules": list(rules)}
    with database.begin() as connection:
        connection.execute(insert(event_rows).values(job_id=job_id, at=now(), **facts))


def test_the_transcript_of_before_has_old_names_only() -> None:
    document = json.loads(BEFORE)
    assert "quality" in document["segments"][0]
    assert "confidence" not in document["segments"][0]
    assert not document.keys() & set(old_names.TRANSCRIPT.values())


def test_segments_stored_with_a_quality_have_a_confidence(database: Database) -> None:
    job_id = admit(database, "a.wav")
    prepare(database, job_id, (0.0, 60.0))
    read(database, job_id)
    with database.begin() as connection:
        connection.execute(update(segments).values(quality=0.25))
    ((segment,),) = [chunk.segments for chunk in transcripts.transcribed(database, job_id).chunks]
    assert segment.confidence == 0.25


def test_a_transcript_of_before_is_exported_searched_and_forgotten(finished: str, cli: Cli, tmp_path: Path) -> None:
    written = cli("export", finished, "--format", "html", "--to", str(tmp_path / "pages"), "--json").json
    page = Path(written["files"][0]["path"]).read_text(encoding="utf-8")
    assert "unsure: confidence 31%" in page
    assert "00:00:10 to 00:00:50: speech that this transcript does not cover" in page
    assert "maybe the same as" in page
    assert "Uncovered speech: 00:00:10 to 00:00:50" in cli("transcript", finished, "--format", "txt").out
    assert cli("search", "hello", "--json").json["hits"][0]["job"] == finished
    assert cli("forget", finished, "--yes").code == 0


def test_speakers_are_told_by_both_names(finished: str, cli: Cli) -> None:
    told = cli("speakers", finished, "--json").json
    conforms(told, "speakers")
    assert [one["maybe_same"] for one in told["speakers"]] == [[1], [0]]
    assert [one["perhaps"] for one in told["speakers"]] == [[1], [0]]


def test_a_job_is_told_by_both_names(store: Database, cli: Cli) -> None:
    done(store, "a.wav", jobs.JobState.SUSPECT)
    for job in cli("jobs", "--json").json["jobs"]:
        assert job["uncovered_speech"] == [{"start": 10.0, "end": 70.0}]
        assert job["transcribed_seconds"] == 60.0
        for old, new in old_names.JOB.items():
            assert job[old] == job[new]


def test_a_worker_tells_its_work_by_both_names(store: Database, cli: Cli) -> None:
    from dropscribe.store import chunks, fleet

    fleet.register(store, "model-1", host="here", pid=1, role="model", state="ready")
    job_id = admit(store, "a.wav")
    prepare(store, job_id, (0.0, 60.0))
    assert chunks.claim(store, f"{job_id}.0", "model-1", 90)
    with store.begin() as connection:
        connection.execute(update(chunk_rows).values(progress=12.0))
    ((work,),) = [worker["work"] for worker in cli("workers", "--json").json["workers"]]
    assert (work["step"], work["old_step"]) == ("transcribing", "reading")
    assert work["read"] == work["transcribed_seconds"] == 12.0


def test_a_notification_tells_uncovered_speech_by_both_names(store: Database) -> None:
    notifications.want(store, {notifications.OF_ALL})
    done(store, "a.wav", jobs.JobState.SUSPECT)
    (one,) = notifications.take(store, notifications.WEBHOOK, 1, 60)
    told = notifier.payload(store, one, queries.job(store, one.job_id))
    assert told["missing"] == told["uncovered_speech"] == [{"start": 10.0, "end": 70.0}]


def test_events_of_before_are_shown_by_their_new_kinds(store: Database, cli: Cli) -> None:
    job_id = admit(store, "a.wav")
    for kind in old_names.EVENTS:
        note(store, job_id, kind, chunk="0" if kind in {"reading", "read"} else "")
    events = cli("show", job_id, "--json").json["events"]
    assert [event["kind"] for event in events] == ["admitted", *old_names.EVENTS.values()]
    assert [event["old_kind"] for event in events] == ["admitted", *old_names.EVENTS]


def test_the_attempts_of_before_are_told_as_those_of_now(store: Database, cli: Cli) -> None:
    job_id = admit(store, "a.wav")
    prepare(store, job_id, (0.0, 60.0))
    note(store, job_id, "reading", chunk="0")
    note(store, job_id, "read", chunk="0")
    told = cli("show", job_id, "--json").json
    conforms(told, "show")
    assert [(one["step"], one["old_step"], one["chunk"], one["outcome"]) for one in told["attempts"]] == [
        ("prepare", "prepare", "", "prepared"),
        ("transcribe", "read", "0", "transcribed"),
    ]


def test_jobs_that_were_postponed_by_the_version_before_are_told_of(database: Database) -> None:
    job_id = admit(database, "a.wav")
    cursor = EventCursor.at_end(database)
    note(database, job_id, "postponed", "the share is away")
    note(database, job_id, "deferred", "the share is away still")
    assert [one.reason for one in postponed_since(cursor)] == ["the share is away", "the share is away still"]


@pytest.mark.parametrize("kind", ["died", "crashed"])
def test_why_a_worker_crashed_is_known_by_either_kind(database: Database, kind: str) -> None:
    job_id = admit(database, "a.wav")
    assert jobs.claim_prepare(database, job_id, "cpu-1", 90)
    note(database, job_id, kind, "no memory", where="cpu-1")
    assert recovery.expire_of(database, "cpu-1", 1) == 1
    assert "(no memory)" in queries.job(database, job_id).reason


@pytest.mark.parametrize("kind", ["moved", "archived"])
def test_an_archived_recording_is_found_by_the_path_it_was_dropped_at(database: Database, kind: str) -> None:
    job_id = admit(database, "done/a.wav")
    note(database, job_id, kind, "from a.wav to done/a.wav")
    assert put_away(database, "/rec/a.wav") == job_id


def test_events_of_before_are_counted_with_those_of_now(database: Database) -> None:
    job_id = admit(database, "a.wav")
    first = EventCursor.at_end(database).after
    note(database, job_id, "reading", chunk="0")
    note(database, job_id, "transcribing", chunk="1")
    note(database, job_id, "failed_checks", rules=["pace", "loop"])
    note(database, job_id, "failed_checks", rules=["speech_rate"])
    found = metrics_queries.happened(database, first, EventCursor.at_end(database).after)
    assert found.events["transcribing"] == 2
    assert dict(found.rules) == {"speech_rate": 2, "loop": 1}


def test_a_job_that_was_told_to_move_its_recording_is_shown_with_archive(store: Database, cli: Cli) -> None:
    job_id = admit(store, "a.wav")
    with store.begin() as connection:
        connection.execute(text("UPDATE jobs SET overrides = :stored"), {"stored": '{"when_done": "move"}'})
    assert cli("show", job_id, "--json").json["overrides"] == {"when_done": "archive"}
    assert "when_done archive" in cli("show", job_id).out


def test_an_old_setting_is_noted_on_standard_error_once_and_not_in_the_json(
    store: Database, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DROPSCRIBE_GATE_COVERAGE", "0.5")
    shown = cli("config", "--json")
    assert shown.err.count("DROPSCRIBE_GATE_COVERAGE is the old name") == 1
    found = {one["name"]: one for one in shown.json["settings"]}
    assert (found["min_speech_coverage"]["value"], found["min_speech_coverage"]["source"]) == ("0.5", "environment")


def test_a_program_that_uses_the_client_is_warned_of_old_settings(
    store: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DROPSCRIBE_MOST_HALVINGS", "1")
    with pytest.warns(FutureWarning, match="say DROPSCRIBE_MAX_HALVINGS"), Client() as client:
        assert client.job(admit(store, "a.wav")).state is jobs.JobState.QUEUED
