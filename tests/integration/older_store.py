"""Stores as earlier versions left them: the tables of then, with a row in each."""

from __future__ import annotations

import json
from pathlib import Path

from alembic import command
from sqlalchemy import Connection, MetaData, func, insert, select
from sqlalchemy.types import JSON, Boolean, Double, Integer, TypeEngine

from dropscribe.store import migrate
from dropscribe.store.session import Database
from dropscribe.store.tables import metadata

REVISIONS = sorted(path.name.split("_")[0] for path in Path(migrate.FOLDER, "versions").glob("0*.py"))


def older_store(url: str, revision: str, *, document: str = '{"segments": []}') -> Database:
    """A store at `revision`, with one row in each table; its transcript is `document`."""
    database = Database(url)
    with database.begin() as connection:
        command.upgrade(migrate.configuration(connection), revision)
    fill(database, document=document)
    return database


def fill(database: Database, *, document: str = '{"segments": []}') -> None:
    """Insert a row into each table, whatever its columns are; the transcript is `document`."""
    with database.begin() as connection:
        for table in _tables(connection).sorted_tables:
            needed = [column for column in table.columns if not column.nullable and not column.server_default]
            row = {column.name: _some(column.type) for column in needed if column.autoincrement is not True}
            if "document" in row:
                row["document"] = document
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


def _some(kind: TypeEngine[object]) -> object:
    """A value of a column's type: the same everywhere, so that references between tables hold."""
    if isinstance(kind, JSON):
        return json.loads("{}")
    if isinstance(kind, Boolean):
        return False
    return 1 if isinstance(kind, Integer | Double) else "x"
