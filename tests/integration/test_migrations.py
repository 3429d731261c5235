"""The migrations and the tables say the same."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, text
from sqlalchemy.engine import default

from dropscribe.core.errors import SchemaError, StoreError
from dropscribe.core.routing import ResidentModel
from dropscribe.core.types import EngineInfo
from dropscribe.store import jobs, migrate, queries, transcripts, written_files
from dropscribe.store.events import events_of
from dropscribe.store.file_names import path_key
from dropscribe.store.session import HEAD, Database, open_database
from dropscribe.store.tables import FileName, metadata
from tests.integration.definitions import definitions
from tests.integration.older_store import REVISIONS, counts, fill, older_store, upgrade_to


@pytest.fixture
def migrated(database_url: str) -> Iterator[Database]:
    """A store that went through all migrations."""
    database = Database(database_url)
    with database.begin() as connection:
        migrate.upgrade(connection)
    yield database
    database.close()


@pytest.fixture
def make_fresh(request: pytest.FixtureRequest, database_url: str, tmp_path: Path) -> Callable[[], Database]:
    """Opens an empty database of the same kind; PostgreSQL's is emptied for it."""

    def make() -> Database:
        if database_url.startswith("sqlite"):
            return open_database(f"sqlite:///{tmp_path}/fresh.db")
        request.getfixturevalue("postgresql_store").empty()
        return open_database(database_url)

    return make


def test_the_migrations_lead_to_exactly_the_declared_tables(migrated: Database) -> None:
    def is_compared(_: object, name: str | None, *__: object) -> bool:
        """The search index is written in SQL; the next test compares it."""
        return not str(name).startswith(("lines_index", "ix_lines_words"))

    with migrated.begin() as connection:
        context = MigrationContext.configure(connection, opts={"include_object": is_compared})
        assert compare_metadata(context, metadata) == []


def test_a_fresh_store_is_what_all_migrations_make(migrated: Database, make_fresh: Callable[[], Database]) -> None:
    by_migrations = definitions(migrated)
    fresh = make_fresh()
    assert definitions(fresh) == by_migrations
    assert fresh.version() == HEAD
    assert {"jobs", "ix_jobs_state", "alembic_version"} <= {name.split()[-1] for name in by_migrations}
    fresh.close()


def test_a_fresh_store_is_made_without_alembic(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/x.db"
    code = (
        f"from dropscribe.store.session import open_database; open_database({url!r})\nimport sys; print(*sys.modules)"
    )
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "dropscribe.store.tables" in loaded
    assert not {"alembic", "sqlalchemy.dialects.postgresql"} & set(loaded)


def test_the_newest_migration_is_the_one_the_program_names() -> None:
    assert migrate.newest() == HEAD


def test_each_migration_keeps_every_row_of_every_version_before_it(database_url: str) -> None:
    database = Database(database_url)
    kept: dict[str, int] = {}
    for number, revision in enumerate(REVISIONS):
        upgrade_to(database, revision)
        after = counts(database)
        assert {name: after[name] for name in kept} == kept, revision
        fill(database, number=number)
        kept = counts(database)
        assert all(kept[name] == after[name] + 1 for name in kept), revision
    assert database.is_current()
    database.close()


@pytest.mark.parametrize("revision", REVISIONS[::6])
def test_many_migrations_at_once_keep_every_row(database_url: str, revision: str) -> None:
    older = older_store(database_url, revision)
    before = counts(older)
    older.close()
    upgraded = open_database(database_url)
    after = counts(upgraded)
    assert upgraded.is_current()
    assert {name: after[name] for name in before} == before
    assert set(before.values()) == {1}
    upgraded.close()


def test_what_events_said_in_words_becomes_facts_and_a_recording_called_like_a_chunk_stays_words(
    database_url: str,
) -> None:
    older = older_store(database_url, "0010")
    said = [
        ("reading", "chunk 0"),
        ("transcribing", "chunk 4.1"),
        ("retry", "chunk 12: out of memory"),
        ("retry", "chunk 1.wav: the decoder was killed"),
        ("split", "chunk 3 is read again in two halves: it looped"),
        ("lost", "attempt 2 of model-1 at k3v9.0.1 was lost"),
        ("lost", "attempt 1 of cpu-1 at k3v9 was lost"),
        ("failed_checks", "pace, loop"),
        ("released", ""),
    ]
    with older.begin() as connection:
        ((job_id,),) = connection.execute(text("SELECT id FROM jobs")).all()
        for kind, detail in said:
            insert = "INSERT INTO events (job_id, at, kind, \"where\", detail) VALUES (:job, 1, :kind, 'w', :detail)"
            connection.execute(text(insert), {"job": job_id, "kind": kind, "detail": detail})
    older.close()
    upgraded = open_database(database_url)
    facts = [(one.chunk, one.attempt, one.rules, one.detail) for one in events_of(upgraded, job_id)[-len(said) :]]
    upgraded.close()
    assert facts == [
        ("0", None, (), ""),
        ("4.1", None, (), ""),
        ("12", None, (), "out of memory"),
        ("", None, (), "chunk 1.wav: the decoder was killed"),
        ("3", None, (), "read again in two halves: it looped"),
        ("0.1", 2, (), "attempt 2 of model-1 was lost"),
        ("", 1, (), "attempt 1 of cpu-1 was lost"),
        ("", None, ("speech_rate", "loop"), ""),
        ("", None, (), ""),
    ]


def test_a_job_that_was_begun_before_is_bound_to_the_model_that_transcribed_the_most_of_it(database_url: str) -> None:
    base = EngineInfo("whisper", "Systran/faster-whisper-base@ebe41f7", "int8")
    long = EngineInfo("vibevoice", "somebody/VibeVoice-ASR-HF-quantized-by-somebody-else", "compressed-tensors")
    nothing = EngineInfo("", "", "")
    begun = {"mixed": [base, long, base], "long": [long], "unknown": [nothing], "fresh": []}
    older = older_store(database_url, "0014")
    with older.begin() as connection:
        for job_id, engines in begun.items():
            _copy(connection, "jobs", id=job_id, identity=job_id, model_queue="model", wanted_queue="model")
            for number, engine in enumerate(engines):
                facts = {"kind": "window", "state": "done", "engine": json.dumps(asdict(engine))}
                _copy(connection, "chunks", id=f"{job_id}.{number}", job_id=job_id, **facts)
            _copy(connection, "chunks", id=f"{job_id}.9", job_id=job_id, kind="window", state="queued", engine=None)
    older.close()
    upgraded = open_database(database_url)
    with upgraded.read() as connection:
        queues = dict(connection.execute(text("SELECT id, model_queue FROM jobs")).all())
    upgraded.close()
    assert {job_id: queues[job_id] for job_id in begun} == {
        "mixed": ResidentModel.of(base).own_queue, "long": ResidentModel.of(long).own_queue, "unknown": "model",
        "fresh": "model",
    }  # fmt: skip


def test_contents_that_were_known_before_are_compared_within_their_root(database_url: str) -> None:
    older = older_store(database_url, "0019")
    root = "/caf\udce9"
    with older.begin() as connection:
        written = "UPDATE jobs SET root = :root, content_key = 'sum:digest'"
        connection.execute(text(written), {"root": FileName().process_bind_param(root, default.DefaultDialect())})
    older.close()
    upgraded = open_database(database_url)
    with upgraded.read() as connection:
        assert connection.execute(text("SELECT content_key FROM jobs")).scalars().all() == [
            bytes.fromhex(jobs.content_key("sum", "digest", root))
        ]
    upgraded.close()


def test_digests_and_documents_of_before_are_what_they_were(database_url: str) -> None:
    path, sha256, document = "/root/a.txt", "ab" * 32, '{"segments": []}'
    older = older_store(database_url, "0029", document=document)
    with older.begin() as connection:
        connection.execute(text("UPDATE jobs SET path_key = :key"), {"key": path_key("/x/x")})
        _copy(connection, "outputs", path_key=path_key(path), path=path, sha256=sha256)
    older.close()
    upgraded = open_database(database_url)
    found = written_files.file_at(upgraded, path)
    assert (found and found.sha256, transcripts.document(upgraded, "x")) == (sha256, document)
    assert queries.find(upgraded, "?", "/x/x") == "x"
    upgraded.close()


def _copy(connection: Connection, table: str, **values: object) -> None:
    """Insert a row like the one that is there, but for these values."""
    row = connection.execute(text(f"SELECT * FROM {table} LIMIT 1")).mappings().one()
    kept = {name: value for name, value in row.items() if name != "content_key"} | values
    stored = {name: json.dumps(value) if isinstance(value, dict | list) else value for name, value in kept.items()}
    marks = ", ".join(f":{name}" for name in stored)
    columns = ", ".join(f'"{name}"' for name in stored)
    connection.execute(text(f"INSERT INTO {table} ({columns}) VALUES ({marks})"), stored)


def test_several_processes_may_start_on_an_empty_store_at_once(database_url: str) -> None:
    errors: list[Exception] = []

    def start() -> None:
        try:
            open_database(database_url).close()
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=start) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []


def test_a_store_of_a_newer_version_is_refused_by_name(database: Database, database_url: str) -> None:
    with database.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(SchemaError, match="9999"):
        open_database(database_url, migrate=False)
    with pytest.raises(SchemaError, match="newer dropscribe"):
        open_database(database_url)


def test_what_is_no_database_is_refused_with_the_next_step() -> None:
    with pytest.raises(StoreError, match="example: postgresql"):
        open_database("nonsense")
    with pytest.raises(StoreError, match="use sqlite or postgresql"):
        open_database("mysql://x/y")


def test_sqlite_on_a_network_filesystem_is_refused_with_the_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dropscribe.store.session.filesystem_of", lambda _: "nfs4")
    with pytest.raises(StoreError, match=r"network filesystem \(nfs4\).*DROPSCRIBE_DATABASE_URL"):
        open_database(f"sqlite:///{tmp_path}/x.db")


def test_what_waits_gets_its_turn_when_folders_begin_to_take_turns(database_url: str) -> None:
    older = older_store(database_url, "0015")
    copied = "root, identity, size, mtime_ns, settings_digest, context, reason, notes, missing, cancel_requested"
    counted = "attempt, lost, failures, not_before, speech_detector, timings"
    with older.begin() as connection:
        for number, path in enumerate(("a/1.wav", "a/2.wav", "a/3.wav", "b/1.wav")):
            own = f"'id{number}', '{path}', '{number}', 'normal', 'queued', {number}.0, 'x{number}'"
            connection.execute(
                text(
                    f"INSERT INTO jobs (id, path, path_key, priority, state, created_at, {copied}, {counted}) "
                    f"SELECT {own.rpartition(',')[0]}, {copied.replace('identity', own.rpartition(', ')[2])}, {counted}"
                    " FROM jobs WHERE id = 'x'"
                )
            )
    older.close()
    upgraded = open_database(database_url)
    order: list[str] = []
    while first := jobs.first_to_prepare(upgraded, 1):
        assert jobs.claim_prepare(upgraded, *first, "cpu", 60)
        order += first
    upgraded.close()
    assert set(order[:2]) == {"id0", "id3"}
    assert order[2:] == ["id1", "id2"]
