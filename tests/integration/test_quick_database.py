"""An SQLite store asked without SQLAlchemy, and when that is not done."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import text

from dropscribe.core.errors import SchemaError, UnstorableError
from dropscribe.store import fleet, queries, roots
from dropscribe.store.quick_database import QuickDatabase, open_to_ask
from dropscribe.store.session import Database
from tests.integration.console import done

pytestmark = pytest.mark.usefixtures("environment")


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    return sqlite_url


@pytest.fixture
def quick(store: Database) -> Iterator[QuickDatabase]:
    with closing(open_to_ask(str(store.engine.url))) as found:
        assert isinstance(found, QuickDatabase)
        yield found


def test_a_row_is_what_sqlalchemy_reads(store: Database, quick: QuickDatabase) -> None:
    job_id = done(store, "caf\udce9.wav")
    waits = roots.WaitingFolder("a", "because", 2)
    roots.report_roots(store, [roots.RootReport("/r\udce9", "h", "ext4", online=False, waiting=[waits])])
    fleet.register(store, "cpu-1", host="h", pid=1, role="cpu", state="ready")
    assert queries.job(quick, job_id) == queries.job(store, job_id)
    assert queries.find(quick, job_id[:5], "/nowhere") == job_id
    assert queries.windows_of(quick, job_id) == queries.windows_of(store, job_id)
    assert [(root.path, root.online, root.waiting) for root in roots.list_roots(quick)] == [
        ("/r\udce9", False, (waits,))
    ]
    assert [worker.id for worker in fleet.list_workers(quick)] == ["cpu-1"]
    assert "engine" not in vars(quick)


def test_what_has_no_text_is_asked_all_the_same(store: Database, quick: QuickDatabase) -> None:
    job_id = done(store, "a.wav")
    assert [job.id for job in queries.list_jobs(quick, ids=[job_id])] == [job_id]
    assert "engine" in vars(quick)


def test_what_sqlite_refuses_is_refused_as_ever(quick: QuickDatabase) -> None:
    with pytest.raises(UnstorableError, match="cannot hold it"):
        queries.job(quick, "\udce9")


def test_tables_of_another_version_are_refused_as_ever(store: Database) -> None:
    with store.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '0001'"))
    with pytest.raises(SchemaError, match="at version 0001"):
        open_to_ask(str(store.engine.url))


def test_no_store_is_made_by_asking(tmp_path: Path) -> None:
    with pytest.raises(SchemaError, match="is empty"):
        open_to_ask(f"sqlite:///{tmp_path}/none.db")
