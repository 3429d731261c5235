"""Overwriting what was removed, in SQLite's files: the search index, the file and its journal.

A switch says that something is still to be overwritten, so that the next one does it.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from itertools import chain, repeat
from typing import Any

from sqlalchemy import Connection, delete, select, text
from sqlalchemy.exc import SQLAlchemyError

from dropscribe.core.error_translation import explained
from dropscribe.core.errors import StoreError
from dropscribe.store.session import Database, insert_of_dialect
from dropscribe.store.tables import now, switches

PAGES_AT_ONCE = 250  # of the search index, 4 kB each, that are merged in one transaction
PATIENCE_MS = 200  # for those who read SQLite's store: while they are waited for, nobody can write
UNSCRUBBED = "unscrubbed"  # the switch that says: what was removed is still to be overwritten


@contextmanager
def half_the_time() -> Iterator[None]:
    """Pause as long as the work in it took, because SQLite has one writer at a time and no queue of writers."""
    began = time.monotonic()
    yield
    time.sleep(time.monotonic() - began)


def to_scrub(connection: Connection) -> None:
    """Have what this transaction removes overwritten in SQLite's files: see `scrub`."""
    if connection.dialect.name == "sqlite":
        said = insert_of_dialect(connection, switches).values(name=UNSCRUBBED, since=now())
        connection.execute(said.on_conflict_do_update(index_elements=["name"], set_={"since": now()}))


def is_scrubbed(database: Database) -> bool:
    """Is nothing of what was removed left in SQLite's files?"""
    with database.read() as connection:
        return connection.execute(select(switches.c.since).where(switches.c.name == UNSCRUBBED)).first() is None


def scrub(database: Database, stop: threading.Event | None = None) -> bool:
    """Leave nothing of removed rows in SQLite's files either; False while somebody reads an older state.

    The search index is merged a few pages at a time; False also when it was to `stop` meanwhile. PostgreSQL is left to
    its vacuum. Raises StoreError.
    """
    if not database.is_sqlite:
        return True
    with database.read() as connection:
        since = connection.execute(select(switches.c.since).where(switches.c.name == UNSCRUBBED)).scalar()
    if not (_merge_index(database, stop or threading.Event()) and _empty_log(database)):
        return False
    with database.begin() as connection:  # what was removed meanwhile is for the next call
        connection.execute(delete(switches).where(switches.c.name == UNSCRUBBED, switches.c.since == since))
    return True


def _merge_index(database: Database, stop: threading.Event) -> bool:
    """Merge the search index into one piece, in which nothing is left of what was removed: FTS5's `optimize`, in steps.

    A negative number begins that, positive ones go on; fewer than two changes say that there was nothing to do. False
    when it was stopped before.
    """
    merge = text("INSERT INTO lines_index(lines_index, rank) VALUES ('merge', :pages)")
    changes, steps = text("SELECT total_changes()"), chain([-PAGES_AT_ONCE], repeat(PAGES_AT_ONCE))
    while not stop.is_set():
        with half_the_time(), database.begin() as connection:
            before = connection.execute(changes).scalar_one()
            connection.execute(merge, {"pages": next(steps)})
            if connection.execute(changes).scalar_one() - before < 2:
                return True
    return False


def _empty_log(database: Database) -> bool:
    """Write SQLite's log into its file and empty it; False where somebody still reads from it. Raises StoreError."""
    kinds, problem = (sqlite3.Error, SQLAlchemyError), "the log of the store cannot be emptied"
    ours = explained(kinds, StoreError, problem, remedy="`dropscribe doctor` checks it")
    with ours, closing(database.engine.raw_connection()) as outside:  # of any transaction, which SQLAlchemy would begin
        return _emptied(outside.cursor())


def _emptied(cursor: Any) -> bool:
    """The same by a cursor, whose connection is as patient afterwards as before."""
    (before,) = cursor.execute("PRAGMA busy_timeout").fetchone()
    try:
        cursor.execute("PRAGMA wal_checkpoint(PASSIVE)")  # most of it, while others write
        cursor.execute(f"PRAGMA busy_timeout = {min(before, PATIENCE_MS)}")
        busy, *_ = cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    finally:
        cursor.execute(f"PRAGMA busy_timeout = {before}")
    return not busy
