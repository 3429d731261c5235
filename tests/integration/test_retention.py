"""Retention: what was said goes when its time is over, with every copy of it that the store makes, and nobody waits."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, func, select, text, update

from dropscribe.core import corrections
from dropscribe.core.corrections import TextEdit
from dropscribe.core.errors import DropscribeError
from dropscribe.core.event_kinds import EventKind
from dropscribe.core.job_overrides import JobOverrides
from dropscribe.core.retention import Retention
from dropscribe.core.settings import Settings
from dropscribe.core.types import JobState, RawTranscript, Segment, SpeakerNames, Word
from dropscribe.scheduler.duties.retention import RetentionDuty
from dropscribe.store import (
    backup,
    chunks,
    commands,
    forget,
    jobs,
    notifications,
    queries,
    recording_moves,
    revisions,
    search,
    search_words,
    speakers,
    transcripts,
)
from dropscribe.store.events import events_of
from dropscribe.store.jobs import NewJob
from dropscribe.store.removals import removed
from dropscribe.store.revisions import NewRevision
from dropscribe.store.search import Query
from dropscribe.store.session import Database, open_database
from dropscribe.store.tables import jobs as jobs_table
from dropscribe.store.tables import lines, metadata
from tests.integration.console import ENGINE, Cli, admit, document, done, fail, finish, finish_again, prepare, read

DAY = 86_400.0
MARKER = "xylophone"


def age(database: Database, days: float, *ids: str) -> None:
    """Let these jobs have ended so long ago."""
    with database.begin() as connection:
        ago = jobs_table.c.finished_at - days * DAY
        connection.execute(update(jobs_table).where(jobs_table.c.id.in_(ids)).values(finished_at=ago))


def retain(database: Database, *, folders: dict[str, dict[str, str]] | None = None, **ages: str) -> int:
    """One round of the scheduler's duty under such settings; returns of how many jobs something was removed."""
    tables = {folder: {"retention": own} for folder, own in (folders or {}).items()}
    settings = Settings(folders=tables).having(Retention(**ages))
    return RetentionDuty(settings, database, "scheduler-1").look(threading.Event())


def told(database: Database, name: str, marker: str = MARKER) -> str:
    """A finished job with the marker wherever the text of a recording gets, each time as another word."""
    job_id = admit(database, name)
    prepare(database, job_id, (0.0, 60.0))
    work = chunks.claim(database, f"{job_id}.0", "model-1", 90)
    assert work
    words = (Word(0.0, 1.0, f"{marker}two"),)
    chunks.commit(database, work.claim, RawTranscript((Segment(0, 60, f"{marker}one", 0, words=words),)), engine=ENGINE)
    finish(database, job_id, text=f"{marker}three of them")
    speakers.say(database, job_id, SpeakerNames({0: f"{marker}four"}))
    claim = jobs.claim_finish(database, job_id, "cpu-1", 90)
    assert claim
    transcripts.save(database, claim, document(job_id, text=f"{marker}five"), {"recognized": {"0": f"{marker}six"}})
    jobs.complete(database, claim, JobState.DONE)
    edits = corrections.stored([TextEdit(0, f"{marker}seven", before=f"{marker}eight")])
    revisions.add(database, job_id, NewRevision("ann", edits, summary="1 text"))
    speakers.say(database, job_id, SpeakerNames({0: f"{marker}nine"}))
    revisions.undo(database, job_id, "ann")
    finish_again(database, job_id)
    return job_id


def found(database: Database, marker: str = MARKER) -> list[str]:
    """Where the marker is: tables, also the samples of PostgreSQL's planner; the files of SQLite."""
    if database.is_sqlite:
        folder = Path(database.engine.url.database or "").parent
        return [path.name for path in folder.rglob("*") if path.is_file() and marker.encode() in path.read_bytes()]
    names = [table.name for table in metadata.sorted_tables] + ["pg_statistic"]
    with database.read() as connection:
        rows = {name: connection.execute(text(f"SELECT one::text FROM {name} one")).scalars().all() for name in names}
    return [name for name, of_table in rows.items() if marker in str(of_table)]


def test_no_word_is_left_of_a_text_whose_time_is_over(database: Database) -> None:
    old, young = told(database, "a.wav"), done(database, "b.wav")
    if not database.is_sqlite:
        with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(text("ANALYZE"))
    age(database, 31, old)
    assert found(database)
    assert retain(database, text="30d") == 1
    assert found(database) == []
    assert transcripts.document(database, young)
    assert [hit.job for hit in search.find(database, Query(search_words.parse("you")))] == [young]
    assert retain(database, text="30d") == 0


def test_of_a_job_without_its_text_it_is_said_what_was_removed_and_why(store: Database, cli: Cli) -> None:
    job_id = told(store, "a.wav")
    age(store, 31, job_id)
    retain(store, text="30d")
    last = events_of(store, job_id)[-1]
    assert (last.kind, last.detail) == (EventKind.TEXT_REMOVED, "retention.text = 30d")
    shown = cli("show", job_id).out
    assert "text" in shown
    assert "retention.text = 30d" in shown
    assert cli("show", job_id, "--json").json["text_removed_at"]
    refused = cli("transcript", job_id)
    assert (refused.code, "was removed from the store" in refused.err) == (1, True)
    assert "was removed from the store" in cli("speakers", job_id).err
    assert "the text of 1 recording" in cli("status").out
    assert [one["why"] for one in cli("status", "--json").json["removals"]] == ["retention.text = 30d"]


def test_history_goes_whole_and_the_recording_is_not_admitted_again(store: Database, cli: Cli) -> None:
    over, younger = told(store, "a.wav"), done(store, "b.wav")
    failed = fail(store, "c.wav")
    waits = admit(store, "d.wav")
    age(store, 400, over, failed)
    assert retain(store, history="52w") == 2
    assert found(store) == []
    assert {job.id for job in queries.list_jobs(store)} == {younger, waits}
    missing = " ".join(cli("show", "/rec/a.wav").err.split())
    assert "the data of /rec/a.wav was removed" in missing
    assert "`dropscribe submit` has it transcribed again" in missing
    assert [(one.what, one.jobs) for one in removed(store, 9)] == [("job", 2)]


def test_requests_are_what_somebody_submitted(database: Database) -> None:
    asked = NewJob("/rec", "a.wav", 5, 7, "digest", "normal", submitted=True)
    (submitted,) = jobs.admit(database, [asked])
    claim = jobs.claim_prepare(database, submitted, "cpu", 90)
    assert claim
    jobs.fail(database, claim, "no audio")
    dropped = fail(database, "b.wav")
    age(database, 1, submitted, dropped)
    assert retain(database, requests="1h") == 1
    assert [job.id for job in queries.list_jobs(database)] == [dropped]


@pytest.mark.parametrize("kept", ["history", "requests"])
def test_a_job_is_kept_until_it_was_told_and_its_recording_archived(database: Database, kept: str) -> None:
    notifications.want(database, [notifications.MAIL])
    asked = NewJob("/rec", "a.wav", 5, 7, "digest", "normal", submitted=True)
    archived = replace(asked, path="b.wav", overrides=JobOverrides.read({"when_done": "archive"}))
    untold, unmoved, cancelled = jobs.admit(database, [asked, archived, replace(archived, path="c.wav")])
    for job_id in (untold, unmoved):
        claim = jobs.claim_prepare(database, job_id, "cpu", 90)
        assert claim
        jobs.fail(database, claim, "no audio")
    commands.cancel(database, cancelled)
    told = {one.job_id: one for one in notifications.take(database, notifications.MAIL, 9, 90)}
    for job_id in (unmoved, cancelled):
        notifications.delivered(database, told[job_id])
    age(database, 1, untold, unmoved, cancelled)
    assert retain(database, **{kept: "1h"}) == 1, "a recording whose job was cancelled is not archived"
    assert {job.id for job in queries.list_jobs(database)} == {untold, unmoved}
    notifications.failed(database, told[untold], "refused", None)
    assert retain(database, **{kept: "1h"}) == 1
    (move,) = recording_moves.due(database, "/rec")
    recording_moves.moved(database, move, "failed/b.wav")
    assert retain(database, **{kept: "1h"}) == 1
    assert queries.list_jobs(database) == []


def test_folders_have_times_of_their_own(database: Database) -> None:
    names = ("a.wav", "hr/a.wav", "hr/court/a.wav", "hrx/a.wav")
    general, hr, court, beside = (done(database, name) for name in names)
    age(database, 10, general, hr, court, beside)
    own = {"/rec/hr": {"text": "7d"}, "/rec/hr/court": {"text": ""}}
    assert retain(database, text="30d", folders=own) == 1
    has_text = {job.id for job in queries.list_jobs(database) if job.text_removed_at is None}
    assert has_text == {general, court, beside}
    age(database, 30, general, hr, court, beside)
    assert retain(database, text="30d", folders=own) == 2
    assert {job.id for job in queries.list_jobs(database) if job.text_removed_at is None} == {court}


def test_only_one_scheduler_removes(database: Database) -> None:
    age(database, 31, done(database, "a.wav"), done(database, "b.wav"))

    def look(name: str) -> int:
        return RetentionDuty(Settings().having(Retention(text="30d")), database, name).look(threading.Event())

    assert look("one") == 2
    age(database, 31, done(database, "c.wav"))
    assert look("two") == 0
    assert look("one") == 1


def test_a_duty_that_is_told_to_stop_leaves_the_rest(database: Database) -> None:
    age(database, 31, done(database, "a.wav"))
    stopped = threading.Event()
    stopped.set()
    assert RetentionDuty(Settings().having(Retention(text="30d")), database, "one").look(stopped) == 0


# Nobody waits


def test_a_long_transcript_is_removed_by_a_few_hundred_rows_at_a_time(database: Database) -> None:
    job_id = done(database, "a.wav")
    told_of = json.loads(document(job_id))
    told_of["segments"] = told_of["segments"][:1] * 1_300
    with database.begin() as connection:
        search.index(connection, job_id, json.dumps(told_of))
    age(database, 31, job_id)
    left: list[int] = []

    def count(_connection: object) -> None:
        with watching.read() as reader:
            left.append(reader.execute(select(func.count()).select_from(lines)).scalar_one())

    watching = open_database(database.engine.url.render_as_string(hide_password=False))
    event.listen(database.engine, "commit", count)  # before each
    retain(database, text="30d")
    event.remove(database.engine, "commit", count)
    watching.close()
    assert (left[0], left[-1]) == (1_300, 0)
    assert max(before - after for before, after in pairwise(left)) == forget.ROWS_AT_ONCE


@pytest.fixture
def crash(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that dies over its second kind of rows."""
    drain, calls = forget._drain, []

    def once(*arguments: Any) -> None:
        calls.append(arguments)
        if len(calls) == 2:
            raise KeyboardInterrupt
        drain(*arguments)

    monkeypatch.setattr(forget, "_drain", once)


def test_what_a_crash_left_is_removed_by_the_next_round(database: Database, crash: None) -> None:
    job_id = told(database, "a.wav")
    age(database, 31, job_id)
    with pytest.raises(KeyboardInterrupt):
        retain(database, text="30d")
    assert queries.job(database, job_id).text_removed_at is not None
    assert retain(database, text="30d") == 1
    assert found(database) == []


def spoken(database: Database, path: str, state: JobState) -> str:
    """A job that was transcribed and came to that state."""
    if state is not JobState.FAILED:
        return done(database, path, state)
    job_id = admit(database, path)
    prepare(database, job_id, (0.0, 60.0))
    read(database, job_id)
    claim = jobs.claim_finish(database, job_id, "cpu-1", 90)
    assert claim
    jobs.fail(database, claim, "no room for names")
    return job_id


def rename(database: Database, job_id: str) -> None:
    job = queries.job(database, job_id)
    found = NewJob(job.root, "back.wav", job.size, job.mtime_ns, "digest", "normal")
    assert recording_moves.adopt_renamed(database, found, [job.path]) == job_id


def rerun(database: Database, job_id: str) -> None:
    commands.rerun(database, job_id, NewJob("/rec", "a.wav", 1, 1, "digest", "normal"))


@pytest.mark.parametrize(
    ("ended", "begin"),
    [
        (JobState.DONE, rerun),
        (JobState.FAILED, rerun),
        (JobState.SUSPECT, commands.retry),
        (JobState.FAILED, commands.retry),
        (JobState.FAILED, rename),
    ],
)
def test_a_job_that_begins_anew_before_its_text_is_gone_is_transcribed_whole(
    database: Database, ended: JobState, begin: Callable[[Database, str], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = spoken(database, "failed/a.wav", ended)
    drain = forget._drain

    def dies_at_chunks(opened: Database, table: Any, which: Any) -> None:
        if table.name == "chunks":
            raise KeyboardInterrupt
        drain(opened, table, which)

    monkeypatch.setattr(forget, "_drain", dies_at_chunks)
    with pytest.raises(KeyboardInterrupt):
        forget.remove_text(database, [job_id], "why")
    begin(database, job_id)
    assert queries.job(database, job_id).state is JobState.QUEUED
    prepare(database, job_id, (0.0, 60.0))
    read(database, job_id, text="once more")
    (chunk,) = transcripts.transcribed(database, job_id).chunks
    assert [segment.text for segment in chunk.segments] == ["once more"]


def failed_duplicate(database: Database, path: str) -> str:
    """A job that has the text of another one, and failed when its files were to be written again."""
    leader, follower = done(database, "leads.wav"), admit(database, path)
    claim = jobs.claim_prepare(database, follower, "cpu-1", 90)
    assert claim
    assert jobs.lead_or_follow(database, claim, leader)[0] == leader
    written = jobs.claim_finish(database, follower, "cpu-1", 90)
    assert written
    transcripts.save(database, written, document(follower, text=MARKER))
    jobs.fail(database, written, "no room for names")
    return follower


def test_the_text_of_a_duplicate_that_failed_goes_too(database: Database, crash: None) -> None:
    follower = failed_duplicate(database, "a.wav")
    age(database, 31, follower)
    assert found(database)
    with pytest.raises(KeyboardInterrupt):
        retain(database, text="30d")
    assert retain(database, text="30d") == 1
    assert found(database) == []
    assert retain(database, text="30d") == 0


# What can be done with a job whose text is gone


def test_who_wants_it_again_gets_its_recording_transcribed(database: Database) -> None:
    again, doubtful = done(database, "a.wav"), done(database, "b.wav", JobState.SUSPECT)
    forget.remove_text(database, [again, doubtful], "why")
    assert queries.job(database, again).progress == 1.0
    assert commands.rerun(database, again, NewJob("/rec", "a.wav", 1, 1, "digest", "normal")) is JobState.QUEUED
    assert commands.retry(database, doubtful) is JobState.QUEUED
    for job_id in (again, doubtful):
        assert queries.job(database, job_id).text_removed_at is None
        prepare(database, job_id, (0.0, 60.0))
        read(database, job_id, text="once more")
        finish(database, job_id, text="once more", file=Path(f"/rec/{job_id}.once-more.txt"))
        assert "once more" in (transcripts.document(database, job_id) or "")


def test_nobody_names_the_speakers_of_a_text_that_is_gone(database: Database) -> None:
    job_id = done(database, "a.wav")
    forget.remove_text(database, [job_id], "why")
    with pytest.raises(DropscribeError, match="was removed from the store"):
        speakers.say(database, job_id, SpeakerNames({0: "Bert"}))
    assert queries.job(database, job_id).state is JobState.DONE


def test_equal_content_is_transcribed_anew(database: Database) -> None:
    leader = done(database, "a.wav")
    forget.remove_text(database, [leader], "why")
    claim = jobs.claim_prepare(database, admit(database, "b.wav"), "cpu", 90)
    assert claim
    assert jobs.lead_or_follow(database, claim, leader) == (None, [])  # the content of a job in these tests is its id


def test_what_is_under_way_keeps_its_text(database: Database) -> None:
    job_id = done(database, "a.wav")
    speakers.say(database, job_id, SpeakerNames({0: "Bert"}))
    assert forget.remove_text(database, [job_id], "why") == []
    assert transcripts.document(database, job_id)


# Copies


def test_an_older_backup_that_is_restored_is_emptied_too(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/home/x.db"
    store = open_database(url)
    age(store, 31, told(store, "a.wav"))
    backup.dump(url, tmp_path / "copy")
    assert MARKER.encode() in (tmp_path / "copy").read_bytes()
    assert retain(store, text="30d") == 1
    store.close()
    aside = backup.restore(url, tmp_path / "copy")
    assert aside
    aside.unlink()
    restored = open_database(url)
    assert found(restored)
    assert retain(restored, text="30d") == 1
    assert found(restored) == []
    restored.close()


def test_what_was_removed_while_somebody_read_is_overwritten_later(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/home/x.db"
    store, reader = open_database(url), open_database(url)
    age(store, 31, told(store, "a.wav"))
    with reader.read() as connection:
        connection.execute(select(jobs_table.c.id)).all()
        assert retain(store, text="30d") == 1
        assert found(store)
    assert retain(store) == 0
    assert found(store) == []
    store.close()
    reader.close()
