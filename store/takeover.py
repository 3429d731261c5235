"""Another store's rows, taken over into an empty one on either kind of database: from one machine to a fleet.

Whatever describes processes stays behind. JSON columns are copied as they are written, so that nothing changes which
only a later version can read.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import JSON, Column, Connection, Text, bindparam, cast, insert, select
from sqlalchemy import Table as AnyTable

from dropscribe.core.errors import UsageError
from dropscribe.store import search_words
from dropscribe.store.session import Database
from dropscribe.store.tables import (
    ParsedJson,
    ended,
    jobs,
    lines,
    locks,
    metadata,
    roots,
    speeds,
    tokens,
    voices,
    workers,
)

BATCH = 500  # rows held in memory at once
AS_JSON = (JSON, ParsedJson)
# Of processes, what triggers count again, and who may ask the server of another machine.
LEFT_OUT = {workers.name, roots.name, locks.name, speeds.name, ended.name, tokens.name}


def take_over(source: Database, target: Database) -> dict[str, int]:
    """Copy everything from one migrated store into another, all or nothing; how many rows each table got.

    Raises UsageError when there are jobs or voices in the target.
    """
    copied: dict[str, int] = {}
    with source.read() as there, target.begin() as here:
        if any(here.execute(select(table).limit(1)).first() for table in (jobs, voices)):
            raise UsageError("the database has recordings already", remedy="take over into an empty one")
        for table in metadata.sorted_tables:
            if table.name not in LEFT_OUT:
                copied[table.name] = _copy(there, here, table)
    return copied


def _copy(there: Connection, here: Connection, table: AnyTable[Any]) -> int:
    """Copy one table, in the order of its keys; rows that databases number by themselves are numbered again."""
    columns = [column for column in table.columns if column.autoincrement is not True]
    read = select(*map(_as_written, columns)).order_by(*table.primary_key.columns)
    written = insert(table).values({column.name: _bound(column, here) for column in columns})
    answered = written.returning(*table.primary_key.columns)  # as `session.insert_all` does, and for its reason
    copied = 0
    for rows in there.execute(read.execution_options(yield_per=BATCH)).mappings().partitions():
        here.execute(answered, [_indexed(table, dict(row)) for row in rows]).all()
        copied += len(rows)
    return copied


def _as_written(column: Column[Any]) -> Any:
    return cast(column, Text).label(column.name) if isinstance(column.type, AS_JSON) else column


def _bound(column: Column[Any], here: Connection) -> Any:
    """What a value is bound as. SQLite holds JSON as text, and would make numbers of what is cast."""
    if not isinstance(column.type, AS_JSON):
        return bindparam(column.name)
    text = bindparam(column.name, type_=Text)
    return text if here.dialect.name == "sqlite" else cast(text, JSON)


def _indexed(table: AnyTable[Any], row: dict[str, Any]) -> dict[str, Any]:
    """A row; the words of a line are found again, as each database holds them in its own way."""
    return row | {"words": search_words.keys(row["text"])} if table.name == lines.name else row
