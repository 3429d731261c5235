"""What a database is made of, so that two can be compared: tables, constraints, indexes, triggers, functions."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator

from sqlalchemy import text

from dropscribe.store.session import Database
from tests import servers

Definitions = dict[str, frozenset[str]]


def definitions(database: Database) -> Definitions:
    """The lines of each statement that makes a thing; the order of columns and of constraints does not matter."""
    return dict(_of_sqlite(database) if database.is_sqlite else _of_postgresql(database))


def _of_sqlite(database: Database) -> Iterator[tuple[str, frozenset[str]]]:
    query = "SELECT type, name, sql FROM sqlite_master WHERE sql IS NOT NULL"  # others are a part of their table
    with database.read() as connection:
        for kind, name, sql in connection.execute(text(query)):
            statement = re.sub(r"\s+", " ", sql).replace("( ", "(").replace(" )", ")")
            yield name, frozenset(_parts(statement) if kind == "table" else [statement])


def _parts(create_table: str) -> Iterator[str]:
    """Its definitions: what stands between its commas outside of parentheses."""
    head, _, body = create_table.partition("(")
    yield head.strip()
    yield from (part.strip() for part in re.split(r",(?![^(]*\))", body.removesuffix(")")))


def _of_postgresql(database: Database) -> Iterator[tuple[str, frozenset[str]]]:
    programs = servers.find_postgresql()
    assert programs
    url = database.engine.url.set(drivername="postgresql").render_as_string(hide_password=False)
    dump = subprocess.run(
        [programs / "pg_dump", "--schema-only", "-d", url], capture_output=True, text=True, check=True
    )
    statements = re.findall(r"^-- Name: (.+?); Type: (.+?);.*\n--\n\n((?:.+\n)+)", dump.stdout, re.MULTILINE)
    for name, kind, statement in statements:
        yield (
            f"{kind} {name}",
            frozenset(line.strip().removesuffix(",") for line in statement.split("\n")),
        )
