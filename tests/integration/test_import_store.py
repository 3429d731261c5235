"""`dropscribe import-store`: a fleet's database knows what the laptop's knew, to the row."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from dropscribe.core.types import JobState
from dropscribe.store import fleet, takeover, transcripts, voices
from dropscribe.store.session import Database, open_database
from dropscribe.store.tables import metadata
from dropscribe.store.voices import KnownVoice
from tests.integration.console import Cli, admit, done, fail, prepare
from tests.stores import SQLiteTemplate

NUMBERED = {"id"}  # of tables whose rows the database numbers


@pytest.fixture
def laptop(tmp_path: Path, sqlite_template: SQLiteTemplate) -> Iterator[Database]:
    """The store of a laptop that has worked: transcripts, a failure, a recording under way, a voice."""
    sqlite_template.copy_to(tmp_path / "laptop" / "dropscribe.db")
    store = open_database(f"sqlite:///{tmp_path / 'laptop' / 'dropscribe.db'}", where="laptop")
    done(store, "a.wav", text="the budget of next year")
    done(store, "caf\u00e9 \udcff.wav", JobState.SUSPECT, text="nothing of it")
    fail(store, "b.txt")
    prepare(store, admit(store, "c.wav"), (0.0, 60.0), (50.0, 100.0))
    voices.enroll(store, KnownVoice("Bert", "campplus", (0.25, 0.5), 31.5, 0.0))
    yield store
    store.close()


def rows(store: Database) -> dict[str, list[dict[str, Any]]]:
    """Everything that is taken over, but for what a database makes up itself."""
    found = {}
    with store.read() as connection:
        for table in metadata.sorted_tables:
            if table.name not in takeover.LEFT_OUT:
                wanted = [c for c in table.columns if c.autoincrement is not True and c.name != "words"]
                ordered = select(*wanted).order_by(*table.primary_key.columns)
                found[table.name] = [dict(row) for row in connection.execute(ordered).mappings()]
    return found


def test_every_row_arrives_on_either_kind_of_database(
    laptop: Database, store: Database, cli: Cli, tmp_path: Path
) -> None:
    taken = cli("import-store", str(tmp_path / "laptop" / "dropscribe.db"))
    assert taken.code == 0, taken.err
    assert "4 recordings and 2 transcripts" in taken.out
    expected = rows(laptop)
    assert {"jobs", "chunks", "segments", "transcripts", "lines", "events", "outputs", "voices"} <= {
        name for name, found in expected.items() if found
    }
    assert rows(store) == expected


def test_what_was_said_is_found_there(laptop: Database, store: Database, cli: Cli, tmp_path: Path) -> None:
    cli("import-store", str(tmp_path / "laptop" / "dropscribe.db"))
    (hit,) = cli("search", "next", "year", "--json").json["hits"]
    assert hit["source"] == "/rec/a.wav"


def test_the_database_goes_on_numbering(laptop: Database, store: Database, cli: Cli, tmp_path: Path) -> None:
    cli("import-store", str(tmp_path / "laptop" / "dropscribe.db"))
    job = done(store, "later.wav", text="and then")
    assert transcripts.document(store, job)
    assert len(cli("search", "then", "--json").json["hits"]) == 1


def test_a_database_that_is_in_use_is_left_alone(laptop: Database, store: Database, cli: Cli, tmp_path: Path) -> None:
    admit(store, "own.wav")
    before = rows(store)
    refused = cli("import-store", str(tmp_path / "laptop" / "dropscribe.db"))
    assert refused.code == 2
    assert "recordings already" in refused.err
    assert rows(store) == before


def test_a_store_that_is_worked_on_or_is_not_there_is_named(laptop: Database, cli: Cli, tmp_path: Path) -> None:
    fleet.register(laptop, "cpu-1", host="laptop", pid=1, role="cpu", state="ready")
    at_work = cli("import-store", str(tmp_path / "laptop" / "dropscribe.db"))
    assert (at_work.code, at_work.out) == (2, "")
    assert "stop `dropscribe up`" in at_work.err
    assert cli("import-store", str(tmp_path / "nothing.db")).code == 2
