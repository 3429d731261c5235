"""Bringing the tables to this version. Imported only when they are not, since Alembic is slow to import."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from alembic.script.revision import ResolutionError
from alembic.util import CommandError
from sqlalchemy import Connection, text

from dropscribe.core.errors import SchemaError

FOLDER = Path(__file__).parent / "migrations"
LOCK_ID = 0x64726F70  # "drop": the advisory lock under which PostgreSQL's tables are migrated


def upgrade(connection: Connection) -> None:
    """Migrate within the caller's transaction, one process at a time.

    SQLite's writing transaction is the lock; PostgreSQL takes an advisory one. Raises SchemaError for tables that a
    newer version of dropscribe made.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(text("SET LOCAL lock_timeout = 0"))  # however long another one migrates
        connection.execute(text("SELECT pg_advisory_xact_lock(:id)"), {"id": LOCK_ID})
    try:
        command.upgrade(configuration(connection), "head")
    except (CommandError, ResolutionError) as error:
        raise SchemaError(f"cannot migrate the tables: {error}; was a newer dropscribe used on this store?") from error


def newest() -> str | None:
    """The identifier of the newest migration in this program."""
    return ScriptDirectory.from_config(configuration()).get_current_head()


def configuration(connection: Connection | None = None) -> Config:
    """Alembic's configuration, without a file."""
    config = Config()
    config.set_main_option("script_location", str(FOLDER).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    return config
