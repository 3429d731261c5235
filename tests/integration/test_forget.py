"""Forgetting recordings: nothing of what was said is left, in the tables or in the file, and nothing comes back."""

from __future__ import annotations

import hashlib
import sqlite3
import threading
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select, text

from dropscribe.core.errors import StoreError
from dropscribe.core.types import JobState
from dropscribe.store import ended, forget, jobs, queries, scrubbing, search, search_words
from dropscribe.store.jobs import NewJob
from dropscribe.store.search import Query
from dropscribe.store.session import BUSY_MS, Database, open_database
from dropscribe.store.tables import forgotten, metadata
from dropscribe.store.tables import jobs as jobs_table
from tests.integration.console import Cli, admit, document, done, fail, finish, prepare, read

KEEPS = {
    "alembic_version",
    "ended",
    "forgotten",
    "last_turns",
    "locks",
    "outputs",
    "removals",
    "roots",
    "speeds",
    "switches",
    "workers",
}


def rows(database: Database) -> dict[str, int]:
    """How many rows each table has that may mention a recording."""
    with database.read() as connection:
        return {
            table.name: connection.execute(select(func.count()).select_from(table)).scalar_one()
            for table in metadata.sorted_tables
            if table.name not in KEEPS
        }


def test_what_is_forgotten_is_gone_from_every_table(database: Database) -> None:
    gone, kept = done(database, "a.wav"), done(database, "b.wav")
    both = rows(database)
    assert forget.rows_of(database, gone) > 0
    assert forget.forget(database, [gone]) == [gone]
    assert rows(database) == {name: count // 2 for name, count in both.items()}
    assert ended.count_by_state(database) == {JobState.DONE: 1}
    assert [hit.job for hit in search.find(database, Query(search_words.parse("you")))] == [kept]
    assert forget.rows_of(database, gone) == 0


def test_a_forgotten_recording_is_not_admitted_again_until_it_changes_or_is_submitted(database: Database) -> None:
    recording = NewJob("/rec", "a.wav", 5, 7, "digest", "normal")
    (job_id,) = jobs.admit(database, [recording])
    fail_it = jobs.claim_prepare(database, job_id, "cpu", 90)
    assert fail_it
    jobs.fail(database, fail_it, "no audio")
    forget.forget(database, [job_id])
    assert jobs.admit(database, [recording]) == []
    assert len(jobs.admit(database, [NewJob("/rec", "a.wav", 5, 8, "digest", "normal")])) == 1
    assert len(jobs.admit(database, [recording], again=True)) == 1
    with database.read() as connection:
        assert "a.wav" not in str(connection.execute(select(forgotten)).all())


def test_what_is_under_way_is_not_forgotten(database: Database) -> None:
    waits = admit(database, "a.wav")
    assert forget.forget(database, [waits]) == []
    assert queries.job(database, waits)


def test_another_job_of_the_same_content_can_still_be_worked_on(database: Database) -> None:
    leader = done(database, "a.wav")
    forget.forget(database, [leader])
    second = admit(database, "b.wav")
    claim = jobs.claim_prepare(database, second, "cpu", 90)
    assert claim
    assert jobs.lead_or_follow(database, claim, leader) == (None, [])  # the content of a job in these tests is its id


def test_nothing_that_was_said_is_left_in_the_file_of_sqlite(tmp_path: Path) -> None:
    opened = open_database(f"sqlite:///{tmp_path}/x.db")
    kept = done(opened, "b.wav")
    secret = done(opened, "patient.wav", text="xylophone diagnosis")
    with opened.begin() as connection:  # its speakers were named meanwhile, so that it is written again
        search.index(connection, secret, document(secret, text="xylophone diagnosis"))
    files = [tmp_path / "x.db", tmp_path / "x.db-wal"]

    def found(word: bytes) -> bool:
        return any(word in path.read_bytes() for path in files if path.exists())

    assert found(b"xylophone")
    assert forget.forget(opened, [secret]) == [secret]
    assert scrubbing.scrub(opened)
    assert not found(b"xylophone")
    assert not found(b"patient")
    assert [hit.job for hit in search.find(opened, Query(search_words.parse("you")))] == [kept]
    opened.close()


def test_a_reader_only_delays_the_scrubbing(tmp_path: Path) -> None:
    opened = open_database(f"sqlite:///{tmp_path}/x.db")
    opened_too = open_database(f"sqlite:///{tmp_path}/x.db")
    gone = done(opened, "a.wav")
    with opened_too.read() as connection:
        connection.execute(select(jobs_table.c.id)).all()
        forget.forget(opened, [gone])
        with opened.engine.raw_connection().driver_connection as raw:
            raw.execute("PRAGMA busy_timeout = 10")
        assert not scrubbing.scrub(opened)
    assert scrubbing.scrub(opened)
    opened.close()
    opened_too.close()


def test_an_error_of_sqlite_while_its_log_is_emptied_is_one_of_the_store(tmp_path: Path) -> None:
    opened = open_database(f"sqlite:///{tmp_path}/x.db")
    forget.forget(opened, [done(opened, "a.wav")])
    raw: Any = opened.engine.raw_connection().driver_connection  # the only one of the pool

    def refuse(_action: int, _name: str | None, value: str | None, *_: str | None) -> int:
        return sqlite3.SQLITE_DENY if value == "TRUNCATE" else sqlite3.SQLITE_OK

    raw.set_authorizer(refuse)
    with pytest.raises(StoreError, match="the log of the store cannot be emptied: not authorized"):
        scrubbing.scrub(opened)
    assert raw.execute("PRAGMA busy_timeout").fetchone() == (BUSY_MS,)
    assert not scrubbing.is_scrubbed(opened)
    raw.set_authorizer(None)
    assert scrubbing.scrub(opened)
    assert scrubbing.is_scrubbed(opened)
    opened.close()


def test_scrubbing_ends_when_its_process_does_and_is_left_to_the_next(tmp_path: Path) -> None:
    opened = open_database(f"sqlite:///{tmp_path}/x.db")
    forget.forget(opened, [done(opened, "a.wav")])
    stop = threading.Event()
    stop.set()
    assert not scrubbing.scrub(opened, stop)
    assert not scrubbing.is_scrubbed(opened)
    assert scrubbing.scrub(opened)
    opened.close()


# As a person does it


def placed(store: Database, folder: Path, name: str, content: bytes = b"said") -> tuple[str, Path]:
    """A finished job, whose transcript lies in the folder."""
    job_id = admit(store, name, str(folder))
    prepare(store, job_id, (0.0, 60.0))
    read(store, job_id)
    file = folder / f"{name}.txt"
    file.write_bytes(content)
    finish(store, job_id, file=file, sha256=hashlib.sha256(content).hexdigest())
    return job_id, file


def test_a_dry_run_shows_what_would_go_and_removes_nothing(store: Database, cli: Cli, tmp_path: Path) -> None:
    job_id, file = placed(store, tmp_path, "a.wav")
    shown = cli("forget", job_id, "--outputs")
    assert shown.code == 0
    assert "nothing was removed yet; --yes forgets 1 job" in shown.out
    assert "1 removed" in shown.out
    assert file.exists()
    assert queries.job(store, job_id)


def test_files_are_kept_unless_asked_for_and_those_somebody_edited_always(
    store: Database, cli: Cli, tmp_path: Path
) -> None:
    one, kept = placed(store, tmp_path, "a.wav")
    two, removed = placed(store, tmp_path, "b.wav")
    three, edited = placed(store, tmp_path, "c.wav")
    edited.write_text("mine")
    assert cli("forget", one, "--yes").code == 0
    told = cli("forget", two, three, "--outputs", "--yes", "--json").json
    assert told["forgotten"] is True
    assert {file["path"]: file["fate"] for job in told["jobs"] for file in job["files"]} == {
        str(removed): "removed",
        str(edited): "kept: edited since",
    }
    assert (kept.exists(), removed.exists(), edited.exists()) == (True, False, True)
    assert "no jobs yet" in cli("jobs").out


def test_a_job_whose_files_cannot_be_reached_is_kept(store: Database, cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "away").mkdir()
    away, _ = placed(store, tmp_path / "away", "a.wav")
    here, file = placed(store, tmp_path, "b.wav")
    (tmp_path / "away").rename(tmp_path / "renamed")
    shown = cli("forget", away, here, "--outputs")
    assert (shown.code, "--yes forgets 1 job" in shown.out, "1 not reachable" in shown.out) == (0, True, True)
    done_it = cli("forget", away, here, "--outputs", "--yes")
    assert done_it.code == 1
    assert "1 job forgotten" in done_it.out
    assert f"{away} stays in the store" in done_it.err
    assert (file.exists(), [job.id for job in queries.list_jobs(store)]) == (False, [away])
    (tmp_path / "renamed").rename(tmp_path / "away")
    told = cli("forget", away, "--outputs", "--yes", "--json")
    assert (told.code, told.json["jobs"][0]["files"][0]["fate"]) == (0, "removed")
    assert queries.list_jobs(store) == []


def test_a_path_means_all_jobs_of_that_recording(store: Database, cli: Cli, tmp_path: Path) -> None:
    for digest in ("one", "two"):
        recording = NewJob(str(tmp_path), "a.wav", 5, 7, digest, "normal")
        (job_id,) = jobs.admit(store, [recording], again=True)
        claim = jobs.claim_prepare(store, job_id, "cpu", 90)
        assert claim
        jobs.fail(store, claim, "no audio")
    assert len(cli("forget", "a.wav", "--yes", "--json").json["jobs"]) == 2
    assert queries.list_jobs(store) == []


def test_jobs_are_chosen_by_age_state_and_folder(store: Database, cli: Cli) -> None:
    old, failed, young = done(store, "x/a.wav"), fail(store, "b.wav"), done(store, "c.wav")
    admit(store, "d.wav")
    with store.begin() as connection:
        ago = text("UPDATE jobs SET finished_at = finished_at - 864000 WHERE id IN (:one, :two)")
        connection.execute(ago, {"one": old, "two": failed})

    def chosen(*options: str) -> set[str]:
        return {job["id"] for job in cli("forget", "--json", *options).json["jobs"]}

    assert chosen("--older-than", "9d") == {old, failed}
    assert chosen("--older-than", "9d", "--state", "done") == {old}
    assert chosen("--state", "done", "--state", "failed") == {old, failed, young}
    assert chosen("--folder", "/rec/x") == {old}
    assert chosen("--state", "queued") == set()


@pytest.mark.parametrize("wrong", [[], ["x", "--state", "done"], ["--older-than", "soon"]])
def test_a_choice_that_means_nothing_is_refused(store: Database, cli: Cli, wrong: list[str]) -> None:
    assert cli("forget", "--yes", *wrong).code == 2


def test_a_job_under_way_is_to_be_cancelled_first(store: Database, cli: Cli) -> None:
    gone, runs = done(store, "a.wav"), admit(store, "b.wav")
    shown = cli("forget", gone, runs, "--yes")
    assert shown.code == 2
    assert f"dropscribe cancel {runs}" in " ".join(shown.err.split())
    assert queries.job(store, gone), "all or nothing"
