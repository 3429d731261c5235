"""`dropscribe backup` and `restore`: the whole store in one file; what is newer is not transcribed again."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest
from sqlalchemy import update

from dropscribe.core.types import JobState
from dropscribe.store import backup, fleet, queries, tables, transcripts
from dropscribe.store.session import HEAD, Database
from dropscribe.store.tables import VERSION
from dropscribe.worker import cpu_tasks
from tests import servers
from tests.integration.console import Cli, done
from tests.integration.older_store import REVISIONS, older_store
from tests.integration.one_worker import MakeContext, admit, carry_through, queued
from tests.schemas import conforms
from tests.stores import SQLiteTemplate


@pytest.fixture(autouse=True)
def programs(monkeypatch: pytest.MonkeyPatch) -> None:
    """PostgreSQL's programs on PATH, where they are installed."""
    if found := servers.find_postgresql():
        monkeypatch.setenv("PATH", f"{found}{os.pathsep}{os.environ['PATH']}")


def test_a_backup_made_at_work_brings_back_every_transcript(store: Database, cli: Cli, tmp_path: Path) -> None:
    known = done(store, "a.wav", text="the budget of next year")
    file = tmp_path / "all.backup"
    with store.begin() as connection:  # somebody works on it
        made = cli("backup", str(file), "--json")
        connection.rollback()
    assert (made.code, made.json["recordings"]) == (0, 1)
    conforms(made.json, "backup")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith("all.")] == ["all.backup"]
    document = transcripts.document(store, known)
    newer = done(store, "b.wav", text="said later")

    conforms(cli("restore", str(file), "--json").json, "restore")
    planned = cli("restore", str(file))
    assert planned.code == 0
    assert "knows 2 recordings" in planned.out
    assert queries.job(store, newer)
    store.close()
    restored = cli("restore", str(file), "--yes", "--json")
    assert restored.code == 0, restored.err
    conforms(restored.json, "restore")
    assert (restored.json["recordings"], restored.json["newer"]) == (1, 1)
    assert [job.id for job in queries.list_jobs(store)] == [known]
    assert transcripts.document(store, known) == document
    if store.is_sqlite:  # what was there is kept
        assert backup.known_jobs(Database(f"sqlite:///{restored.json['before']}")) == {known, newer}


def test_it_says_what_becomes_of_newer_recordings(
    store: Database, cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "all.backup"
    cli("backup", str(file))
    done(store, "b.wav")
    store.close()
    assert "taken over from it" in cli("restore", str(file), "--yes").out
    done(store, "b.wav")
    store.close()
    monkeypatch.setenv("DROPSCRIBE_OUTPUTS", "txt,srt")
    assert "they are transcribed again, as json is not" in cli("restore", str(file), "--yes").out


def test_nothing_is_restored_below_processes_at_work_or_from_what_is_no_store(
    store: Database, cli: Cli, tmp_path: Path
) -> None:
    file = tmp_path / "all.backup"
    cli("backup", str(file))
    exists = cli("backup", str(file))
    assert (exists.code, "name a new file" in exists.err) == (2, True)
    assert cli("restore", str(tmp_path / "nothing"), "--yes").code == 2
    noise = tmp_path / "noise"
    noise.write_bytes(os.urandom(5000))
    kept = done(store, "a.wav")
    store.close()
    refused = cli("restore", str(noise), "--yes")
    assert refused.code != 0
    assert [job.id for job in queries.list_jobs(store)] == [kept]
    fleet.register(store, "gpu-1", host="here", pid=1, role="model", state="ready")
    at_work = cli("restore", str(file), "--yes")
    assert (at_work.code, "stop `dropscribe up`" in at_work.err) == (2, True)


def test_a_backup_by_an_earlier_version_is_brought_to_this_one_and_on_postgresql_only_in_an_empty_database(
    database_url: str, environment: None, cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DROPSCRIBE_DATABASE_URL", database_url)
    store = older_store(database_url, REVISIONS[-2])
    known = backup.known_jobs(store)
    backup.dump(database_url, tmp_path / "older")
    if not store.is_sqlite:
        store.migrate()
        refused = cli("restore", str(tmp_path / "older"), "--yes")
        assert refused.code == 1
        assert f"(tables {REVISIONS[-2]}, those in" in refused.err
        assert "restore into it" in refused.err
        assert backup.known_jobs(store) == known
        with store.begin() as connection:
            connection.exec_driver_sql("DROP SCHEMA public CASCADE")
            connection.exec_driver_sql("CREATE SCHEMA public")
    else:
        Path(store.engine.url.database or "").unlink()
    store.close()
    restored = cli("restore", str(tmp_path / "older"), "--yes")
    assert restored.code == 0, restored.err
    assert (store.version(), backup.known_jobs(store)) == (HEAD, known)
    store.close()


def test_a_backup_by_a_newer_version_is_refused_and_nothing_is_changed(
    store: Database, cli: Cli, tmp_path: Path, database_url: str
) -> None:
    known = done(store, "a.wav")
    set_version(store, "9999")
    backup.dump(database_url, tmp_path / "newer")
    set_version(store, HEAD)
    refused = cli("restore", str(tmp_path / "newer"), "--yes")
    assert refused.code == 1
    assert "newer dropscribe" in refused.err
    assert backup.known_jobs(store) == {known}


def set_version(store: Database, version: str) -> None:
    with store.begin() as connection:
        connection.execute(update(VERSION).values(version_num=version))
    store.close()


def test_a_backup_may_lie_where_nothing_can_be_written_and_is_restored_for_its_owner_alone(
    tmp_path: Path, sqlite_template: SQLiteTemplate, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, medium = tmp_path / "state" / "dropscribe.db", tmp_path / "medium"
    sqlite_template.copy_to(store)
    medium.mkdir()
    monkeypatch.setattr(Path, "hardlink_to", no_hard_links)
    backup.dump(f"sqlite:///{store}", medium / "file")
    assert {path.name for path in medium.iterdir()} == {"file"}
    with (medium / "file").open("rb") as file:
        assert file.read(20)[18:] == b"\x01\x01", "needs no log beside it"
    aside = backup.restore(f"sqlite:///{store}", medium / "file")
    assert aside
    assert aside.exists()
    assert stat.S_IMODE(store.stat().st_mode) == 0o600


def no_hard_links(_path: Path, _target: Path) -> None:
    raise PermissionError(errno.EPERM, "Operation not permitted")


def test_a_password_of_postgresql_is_seen_in_no_list_of_processes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "pg_dump"
    program.write_text(f'#!/bin/sh\necho "$@" "$PGPASSWORD" > {tmp_path}/told\necho broken >&2\nexit 1\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    url = "postgresql+psycopg://anna:se%2Fcret@db.example/scribe"
    with pytest.raises(backup.StoreError, match=r"pg_dump on .*broken") as raised:
        backup.dump(url, tmp_path / "file")
    assert "se" + "/cret" not in str(raised.value)
    *arguments, password = (tmp_path / "told").read_text().split()
    assert password == "se" + "/cret"
    assert not [word for word in arguments if "cret" in word]
    assert not (tmp_path / "file").exists()


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_twenty_recordings_restored_from_the_middle_are_all_done_and_none_is_transcribed_again(
    make_context: MakeContext, recording: Path, tmp_path: Path
) -> None:
    context = make_context()
    sound = recording.read_bytes()
    names = [recording.with_name(f"{number:02}.wav") for number in range(20)]
    file = tmp_path / "middle.backup"
    url = str(context.database.engine.url)
    for number, path in enumerate(names):
        path.write_bytes(sound + bytes(2 * number))
        assert carry_through(context, admit(context, path)).state.has_transcript
        if number == 9:
            backup.dump(url, file)
    before = {path.name: path.read_bytes() for path in recording.parent.iterdir()}
    context.database.close()
    backup.restore(url, file)

    for path in names[10:]:
        job_id = admit(context, path)
        cpu_tasks.prepare_job(context, job_id)
        assert not queued(context, job_id)
        cpu_tasks.finish_job(context, job_id)
    jobs = queries.list_jobs(context.database)
    assert {job.path for job in jobs} == {path.name for path in names}
    assert all(job.state in {JobState.DONE, JobState.SUSPECT} for job in jobs)
    with context.database.read() as connection:
        read = connection.execute(tables.chunks.select()).all()
    assert {row.job_id for row in read} == {job.id for job in jobs if not job.is_taken_over}
    assert {path.name for path in recording.parent.iterdir()} == before.keys()  # no 10.wav.json
