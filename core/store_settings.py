"""The few settings by which the store is found and asked.

If only the state directory is set, they are read without pydantic and the declaration of all settings. Loading those
takes a command that only reads as long as everything else.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dropscribe.core.engines import AUTO

PREFIX = "DROPSCRIBE_"  # of every environment variable
HOME_VARIABLE = "DROPSCRIBE_HOME"
CONFIG_NAME = "dropscribe.toml"
RENEW_SECONDS = 20.0  # between two heartbeats, where nobody set it
MISSED_BEATS = 3  # after so many a process is presumed dead


def default_home() -> Path:
    """The default place of the state, by the XDG base directory specification."""
    state = os.environ.get("XDG_STATE_HOME") or "~/.local/state"
    return Path(state).expanduser() / "dropscribe"


def config_places(home: Path) -> tuple[Path, Path]:
    """Where a settings file is looked for that nobody named; the first one counts."""
    return Path(CONFIG_NAME), home / CONFIG_NAME


def sqlite_file(url: str) -> Path | None:
    """The file of the SQLite database at a SQLAlchemy URL; None for any other database."""
    scheme, _, rest = url.partition(":///")
    path = rest.partition("?")[0]
    return Path(path) if scheme.split("+")[0] == "sqlite" and path else None


class StoreSettings:
    """What follows from those settings."""

    if TYPE_CHECKING:  # pydantic would take them for fields of a model that has them all
        home: Path
        database_url: str
        engine: str
        renew_seconds: float

    @property
    def database(self) -> str:
        """The SQLAlchemy URL in force."""
        return self.database_url or f"sqlite:///{self.home / 'dropscribe.db'}"

    @property
    def sqlite_file(self) -> Path | None:
        """The file of an SQLite database; None for any other database."""
        return sqlite_file(self.database)

    @property
    def silence_seconds(self) -> float:
        """How long a process may go without a heartbeat before it is presumed dead, wherever that is asked."""
        return MISSED_BEATS * self.renew_seconds


@dataclass(frozen=True)
class UnsetSettings(StoreSettings):
    """Those of somebody who set nothing but the state directory."""

    home: Path
    database_url: str = ""
    engine: str = AUTO
    renew_seconds: float = RENEW_SECONDS


def unset(environ: Mapping[str, str] = os.environ) -> UnsetSettings | None:
    """The settings of somebody who set nothing else; None where there is something to be read, and to be checked."""
    home = Path(environ.get(HOME_VARIABLE) or default_home()).expanduser()
    variables = {name for name in environ if name.startswith(PREFIX)} - {HOME_VARIABLE}
    is_set = variables or any(map(Path.is_file, config_places(home)))
    return None if is_set else UnsetSettings(home.absolute())
