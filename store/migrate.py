"""Bringing tables of an earlier version to this one. Imported only for that, since Alembic is slow to import."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from alembic.script.revision import ResolutionError
from alembic.util import CommandError
from sqlalchemy import Connection

from dropscribe.core.error_translation import explained
from dropscribe.core.errors import SchemaError

FOLDER = Path(__file__).parent / "migrations"


def upgrade(connection: Connection) -> None:
    """Migrate within the caller's transaction, which holds the lock.

    Raises SchemaError for tables that a newer version of dropscribe made.
    """
    with explained(
        (CommandError, ResolutionError),
        SchemaError,
        "cannot migrate the tables",
        remedy="was a newer dropscribe used on this store?",
    ):
        command.upgrade(configuration(connection), "head")


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
