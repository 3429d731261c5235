"""Stores as earlier versions left them: the tables of then, with a row in each."""

from __future__ import annotations

import json
from pathlib import Path

from alembic import command
from sqlalchemy import Connection, MetaData, func, insert, select
from sqlalchemy.types import JSON, Boolean, Double, Integer, LargeBinary, TypeEngine

from dropscribe.store import migrate
from dropscribe.store.session import Database
from dropscribe.store.tables import metadata

APART = 1000  # numbers in columns of two rows; a migration that makes rows of others counts on between
REVISIONS = sorted(path.name.split("_")[0] for path in Path(migrate.FOLDER, "versions").glob("0*.py"))


def older_store(url: str, revision: str, *, document: str = '{"segments": []}') -> Database:
    """A store at `revision`, with one row in each table; its transcript is `document`."""
    database = Database(url)
    upgrade_to(database, revision)
    fill(database, document=document)
    return database


def upgrade_to(database: Database, revision: str) -> None:
    """Migrate no further than that."""
    with database.begin() as connection:
        command.upgrade(migrate.configuration(connection), revision)


def fill(database: Database, *, number: int = 0, document: str = '{"segments": []}') -> None:
    """Insert a row into each table, whatever its columns are; the transcript is `document`.

    Rows of another `number` have other values.
    """
    with database.begin() as connection:
        for table in _tables(connection).sorted_tables:
            needed = [column for column in table.columns if not column.nullable and not column.server_default]
            row = {column.name: _some(column.type, number) for column in needed if column.autoincrement is not True}
            if "document" in row:
                row["document"] = document.encode() if isinstance(row["document"], bytes) else document
            connection.execute(insert(table).values(row))


def counts(database: Database) -> dict[str, int]:
    """How many rows each table has."""
    with database.read() as connection:
        return {
            table.name: connection.execute(select(func.count()).select_from(table)).scalar_one()
            for table in _tables(connection).sorted_tables
        }


def _tables(connection: Connection) -> MetaData:
    """The tables as they are now. What the search index is made of is its own affair."""
    found = MetaData()
    found.reflect(connection, only=lambda name, _: name in metadata.tables)
    return found


def _some(kind: TypeEngine[object], number: int) -> object:
    """A value of a column's type: the same in all tables, so that references between them hold."""
    if isinstance(kind, JSON):
        return json.loads("{}")
    if isinstance(kind, Boolean):
        return False
    if isinstance(kind, Integer | Double):
        return 1 + APART * number
    text = f"x{number or ''}"
    return text.encode() if isinstance(kind, LargeBinary) else text
