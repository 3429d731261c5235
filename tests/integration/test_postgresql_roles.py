"""Roles of PostgreSQL by deploy/postgresql-roles.sql: with them everybody does his work, and nothing else."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import make_url, text

from dropscribe.core.errors import StoreError
from dropscribe.core.types import JobState
from dropscribe.store import fleet, queries, recovery, switches
from dropscribe.store.session import Database, open_database
from tests import servers
from tests.integration.console import Cli, done
from tests.integration.one_worker import MakeContext, admit, carry_through

SCRIPT = Path(__file__).parents[2] / "deploy" / "postgresql-roles.sql"
WORKER, READER = "dropscribe_worker", "dropscribe_reader"
pytestmark = pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)


@pytest.fixture
def roles(database: Database) -> Iterator[dict[str, str]]:
    """The address of the store for each role. The script has been run twice, as after a new version."""
    with database.begin() as connection:
        for role in (WORKER, READER):
            connection.execute(text(f"CREATE ROLE {role} LOGIN"))
    programs, url = servers.find_postgresql(), make_url(database.engine.url).set(drivername="postgresql")
    assert programs
    for _ in range(2):
        command = [programs / "psql", "--single-transaction", "--set", "ON_ERROR_STOP=1", "--quiet"]
        address = url.render_as_string(hide_password=False)
        subprocess.run([*command, "--dbname", address, "--file", SCRIPT], check=True)
    whole = database.engine.url
    yield {role: whole.set(username=role).render_as_string(hide_password=False) for role in (WORKER, READER)}
    with database.begin() as connection:
        for role in (WORKER, READER):
            connection.execute(text(f"DROP OWNED BY {role}"))
            connection.execute(text(f"DROP ROLE {role}"))


@pytest.fixture
def working(roles: dict[str, str]) -> Iterator[Database]:
    """The store as workers open it."""
    opened = open_database(roles[WORKER], where="worker")
    yield opened
    opened.close()


def test_a_worker_carries_a_recording_through(
    database: Database, working: Database, make_context: MakeContext, recording: Path
) -> None:
    context = replace(make_context(), database=working)
    fleet.register(working, "worker", host="here", pid=1, role="cpu", state="ready")
    job_id = admit(replace(context, database=database), recording)
    assert carry_through(context, job_id).state is JobState.DONE
    fleet.heartbeat(working, "worker", audio=80.0, busy=8.0)
    switches.pause(working, switches.SPOOL_FULL)
    switches.resume(working, switches.SPOOL_FULL)
    assert recovery.release_all(working, "worker") == 0
    fleet.leave(working, "worker")


NOT_FOR_WORKERS = (
    "DELETE FROM jobs",
    "DELETE FROM events",
    "UPDATE events SET detail = ''",
    "TRUNCATE chunks",
    "DROP TABLE jobs",
    "ALTER TABLE jobs DISABLE TRIGGER ALL",
    "CREATE TABLE mine (id int)",
    "CREATE ROLE another",
    "INSERT INTO voices VALUES ('Ada', 'campplus', '[]', 1, 1)",
    "DELETE FROM forgotten",
    "UPDATE alembic_version SET version_num = '0001'",
    "UPDATE locks SET owner = 'me'",
    "SELECT pg_read_file('/etc/passwd')",
    "COPY jobs TO PROGRAM 'cat'",
)


def is_refused(database: Database, statement: str) -> bool:
    """Does the server say that the role has no right to it?"""
    refused = pytest.raises(StoreError, match=r"permission denied|must be owner|must be superuser")
    with refused, database.begin() as connection:
        connection.execute(text(statement))
    return True


def test_a_worker_that_is_taken_over_may_not_change_what_is_not_its_work(working: Database) -> None:
    assert all(is_refused(working, statement) for statement in NOT_FOR_WORKERS)


def test_who_only_reads_sees_all_but_voices_and_changes_nothing(
    database: Database, roles: dict[str, str], cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = done(database, "a.wav")
    monkeypatch.setenv("DROPSCRIBE_DATABASE_URL", roles[READER])
    for command in (("status",), ("jobs",), ("show", job_id), ("search", "hello"), ("transcript", job_id)):
        assert cli(*command).code == 0
    for command in (("voices", "list"), ("forget", job_id, "--yes"), ("pause",), ("retry", job_id)):
        refused = cli(*command)
        assert refused.code != 0
    assert "permission denied" in cli("forget", job_id, "--yes").err
    assert queries.job(database, job_id).state is JobState.DONE
