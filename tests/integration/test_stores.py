"""The stores that tests begin with are those that the migrations make."""

from __future__ import annotations

import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import create_engine, make_url, text

from dropscribe.store.session import Database, open_database
from tests import servers
from tests.integration.older_store import counts, fill
from tests.stores import PostgreSQLStore, SQLiteTemplate

PRAGMAS = ("journal_mode", "page_size", "encoding", "user_version", "application_id", "auto_vacuum", "integrity_check")


def told_of_sqlite(path: Path) -> list[object]:
    """Everything in a SQLite file: what is set, the tables with their indexes and triggers, the rows."""
    with closing(sqlite3.connect(path)) as connection:
        pragmas = [connection.execute(f"PRAGMA {name}").fetchall() for name in PRAGMAS]
        schema = connection.execute("SELECT type, name, tbl_name, sql FROM sqlite_master").fetchall()
        return [pragmas, schema, list(connection.iterdump())]


def told_of_postgresql(url: str) -> list[str]:
    """Everything in a PostgreSQL database: tables, indexes, triggers, functions, sequences with their state, rows."""
    programs = servers.find_postgresql()
    assert programs
    name = make_url(url).set(drivername="postgresql").render_as_string()
    dump = subprocess.run([programs / "pg_dump", "-d", name], capture_output=True, text=True, check=True).stdout
    return [line for line in dump.splitlines() if not line.startswith(("\\restrict", "\\unrestrict"))]  # random words


def test_a_copy_of_the_sqlite_store_is_a_migrated_store(sqlite_template: SQLiteTemplate, tmp_path: Path) -> None:
    open_database(f"sqlite:///{tmp_path / 'migrated' / 'x.db'}").close()
    sqlite_template.copy_to(tmp_path / "copied" / "x.db")
    assert told_of_sqlite(tmp_path / "copied" / "x.db") == told_of_sqlite(tmp_path / "migrated" / "x.db")
    assert (tmp_path / "copied").stat().st_mode == (tmp_path / "migrated").stat().st_mode
    copied, migrated = (tmp_path / name / "x.db" for name in ("copied", "migrated"))
    assert copied.stat().st_mode == migrated.stat().st_mode


@pytest.fixture(scope="module")
def migrated(postgresql: str) -> list[str]:
    """What a database holds that was migrated and that no test has seen."""
    server = create_engine(postgresql, isolation_level="AUTOCOMMIT")
    url = make_url(postgresql).set(database="untouched")
    with server.connect() as connection:
        connection.execute(text("CREATE DATABASE untouched"))
        store = PostgreSQLStore(url.render_as_string())
        store.renew()
        store.close()
        told = told_of_postgresql(url.render_as_string())
        connection.execute(text("DROP DATABASE untouched"))
    server.dispose()
    return told


def test_rows_are_gone_from_the_renewed_postgresql_store_and_numbers_begin_anew(
    postgresql: str, postgresql_store: PostgreSQLStore, migrated: list[str]
) -> None:
    postgresql_store.renew()
    database = Database(postgresql)
    fill(database)
    assert set(counts(database).values()) == {1}
    postgresql_store.renew()
    assert told_of_postgresql(postgresql) == migrated
    assert set(counts(database).values()) == {0}
    fill(database)
    with database.read() as connection:
        assert connection.execute(text("SELECT id FROM events")).scalar_one() == 1
    database.close()


@pytest.mark.parametrize(
    "change",
    [
        "ALTER TABLE jobs RENAME TO away",
        "ALTER TABLE jobs ADD COLUMN further integer",
        "ALTER TABLE jobs DROP COLUMN reason",
        "ALTER TABLE jobs ALTER COLUMN owner SET NOT NULL",
        "ALTER TABLE workers ALTER COLUMN memory SET DEFAULT 1",
        "ALTER TABLE workers ALTER COLUMN memory TYPE integer",
        "ALTER TABLE lines DROP CONSTRAINT fk_lines_job_id",
        "DROP INDEX ix_lines_words",
        "DROP TABLE lines",
        "DROP SCHEMA public CASCADE; CREATE SCHEMA public",
        "CREATE VIEW further AS SELECT 1",
        "CREATE TYPE further AS ENUM ('a')",
        "CREATE FUNCTION further() RETURNS integer LANGUAGE sql AS 'SELECT 1'",
        "UPDATE alembic_version SET version_num = '9999'",
        "DELETE FROM alembic_version",
    ],
)
def test_what_a_test_did_to_the_tables_is_gone_from_the_renewed_postgresql_store(
    postgresql: str, postgresql_store: PostgreSQLStore, migrated: list[str], change: str
) -> None:
    postgresql_store.renew()
    engine = create_engine(postgresql)
    with engine.begin() as connection:
        for statement in change.split("; "):
            connection.execute(text(statement))
    assert told_of_postgresql(postgresql) != migrated
    postgresql_store.renew()
    assert told_of_postgresql(postgresql) == migrated
    engine.dispose()


def test_a_store_that_is_asked_for_by_its_url_alone_is_empty(database_url: str) -> None:
    database = Database(database_url)
    assert database.version() is None
    database.close()
