"""Stores for tests to begin with: the tables are made once, and each test gets them empty.

Making them takes 0.05 s and more where disks are slow, a copy of a SQLite file a twentieth of that.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, create_engine, text

from dropscribe.store.session import open_database

# Whatever a test may change but not by changing rows: what it adds, removes, renames or alters.
SHAPE = (
    "SELECT oid, relname, relkind, relowner FROM pg_class WHERE relnamespace = 'public'::regnamespace ORDER BY 1",
    """SELECT attrelid, attname, atttypid, atttypmod, attnotnull, attidentity, attisdropped FROM pg_attribute
       WHERE attrelid IN (SELECT oid FROM pg_class WHERE relnamespace = 'public'::regnamespace) ORDER BY 1, attnum""",
    """SELECT pg_attrdef.oid, adrelid FROM pg_attrdef JOIN pg_class ON pg_class.oid = adrelid
       WHERE relnamespace = 'public'::regnamespace ORDER BY 1""",
    "SELECT oid, conname, condeferrable FROM pg_constraint WHERE connamespace = 'public'::regnamespace ORDER BY 1",
    "SELECT oid, tgname, tgenabled FROM pg_trigger ORDER BY 1",
    "SELECT oid, proname, md5(prosrc) FROM pg_proc WHERE pronamespace = 'public'::regnamespace ORDER BY 1",
    "SELECT oid, typname FROM pg_type WHERE typnamespace = 'public'::regnamespace ORDER BY 1",
    "SELECT version_num FROM alembic_version",
)
# Tables take no room on the disk until a row is written.
USED = """
SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'
AND relname <> 'alembic_version' AND pg_relation_size(oid) > 0
"""
TABLES = """
SELECT string_agg(quote_ident(relname), ', ') FROM pg_class
WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' AND relname <> 'alembic_version'
"""
COUNTED = "SELECT quote_ident(sequencename) FROM pg_sequences WHERE schemaname = 'public' AND last_value IS NOT NULL"


class SQLiteTemplate:
    """A migrated store in a file, to be copied."""

    def __init__(self, folder: Path) -> None:
        """Migrates a store in the folder."""
        self._file = folder / "dropscribe.db"
        open_database(f"sqlite:///{self._file}").close()  # the last to close leaves everything in this one file

    def copy_to(self, path: Path) -> None:
        """Make a store there; its folder is made too."""
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        shutil.copyfile(self._file, path)


class PostgreSQLStore:
    """One database on a server that nobody else uses, made as good as new for each test."""

    def __init__(self, url: str) -> None:
        """Connects only when it is used."""
        self._url = url
        self._engine = create_engine(url)
        self._migrated: list[Any] = []

    def empty(self) -> None:
        """Drop everything, the tables too."""
        self._migrated = []
        with self._engine.begin() as connection:
            connection.execute(text("DROP SCHEMA public CASCADE"))
            connection.execute(text("CREATE SCHEMA public"))

    def renew(self) -> None:
        """Leave what the migrations make. They run again only where a test changed more than rows."""
        with self._engine.begin() as connection:
            if self._migrated and shape(connection) == self._migrated:
                remove_rows(connection)
                return
        self.empty()
        open_database(self._url).close()
        with self._engine.begin() as connection:
            self._migrated = shape(connection)

    def close(self) -> None:
        """Close every connection."""
        self._engine.dispose()


def shape(connection: Connection) -> list[Any]:
    """All of a PostgreSQL database but its rows; empty where it was not migrated."""
    if connection.execute(text("SELECT to_regclass('public.alembic_version')")).scalar() is None:
        return []
    return [connection.execute(text(query)).all() for query in SHAPE]


def remove_rows(connection: Connection) -> None:
    """Empty a migrated PostgreSQL database, whose migrations insert no rows, and let its sequences begin again."""
    if connection.execute(text(USED)).first():
        tables = connection.execute(text(TABLES)).scalar_one()
        connection.execute(text(f"TRUNCATE {tables}"))
    for sequence in connection.execute(text(COUNTED)).scalars().all():
        connection.execute(text(f"ALTER SEQUENCE {sequence} RESTART"))
