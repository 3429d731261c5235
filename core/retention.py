"""Pure: how long what is known of recordings is kept once their jobs ended, in general and in single folders."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from itertools import chain
from pathlib import PurePath
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, Field

from dropscribe.core.clock import HOW_LONG, seconds_of
from dropscribe.core.errors import SettingsError
from dropscribe.core.settings_errors import validated
from dropscribe.core.settings_groups import SettingsGroup

MIN_SECONDS = 60.0  # for which at least who waits for a transcript finds it


def _stretch(value: str) -> str:
    """A length of time as it is written, if it is a minute at least. Raises ValueError."""
    seconds = seconds_of(value) if value else MIN_SECONDS
    if seconds is None:
        raise ValueError(HOW_LONG)
    if seconds < MIN_SECONDS:
        raise ValueError("must be a minute at least")
    return value.strip()


Stretch = Annotated[str, AfterValidator(_stretch)]


class Retention(SettingsGroup):
    """How long what is known of recordings is kept once their jobs ended. What is not set is kept for ever.

    Transcript files beside the recordings are never removed by it. A folder may have times of its own, in
    `[folders."/srv/recordings/hr".retention]`; there, an empty one keeps what would else be removed.
    """

    table: ClassVar[str] = "retention"

    text: Stretch = Field("", description="how long the database keeps texts, with the search index: 30d")
    history: Stretch = Field("", description="how long it keeps jobs, with their events and their text: 52w")
    requests: Stretch = Field(
        "", description="how long it keeps jobs of recordings that somebody submitted, with their text: 1h"
    )


class Kept(StrEnum):
    """What is kept for a time, called as its setting."""

    TEXT = "text"
    HISTORY = "history"
    REQUESTS = "requests"


@dataclass(frozen=True, slots=True)
class RetentionRule:
    """What of which recordings is kept for how long: those below `folder`, or all, but none below `but`.

    Folders are absolute paths; `age` is as the operator wrote it.
    """

    kept: Kept
    age: str
    folder: str = ""
    but: tuple[str, ...] = ()

    @property
    def seconds(self) -> float:
        """How long it is kept after the end of its job."""
        return seconds_of(self.age) or MIN_SECONDS

    @property
    def why(self) -> str:
        """What removed it, for people and in the audit trail."""
        where = f" of {self.folder}" if self.folder else ""
        return f"retention.{self.kept} = {self.age}{where}"


def rules(general: Retention, folders: Mapping[str, Mapping[str, Any]]) -> list[RetentionRule]:
    """What is to be removed when, by the group and by the tables of `folders`, of which the nearest above counts.

    Raises SettingsError that names the table.
    """
    own = {str(PurePath(path)): of_folder(path, table) for path, table in folders.items()}
    return [*chain.from_iterable(_rules(kept, general, own) for kept in Kept)]


def _rules(kept: Kept, general: Retention, own: Mapping[str, Retention]) -> list[RetentionRule]:
    """The rules on one kind of content: the general one, and those of folders, each without the folders below it."""
    ages = {"": str(getattr(general, kept))}
    ages |= {folder: str(getattr(one, kept)) for folder, one in own.items() if kept in one.model_fields_set}
    return [
        RetentionRule(kept, age, folder, tuple(other for other in ages if other != folder and _is_below(other, folder)))
        for folder, age in ages.items()
        if age
    ]


def _is_below(folder: str, above: str) -> bool:
    """Does the folder lie in the other one? Everything lies in "".

    >>> _is_below("/srv/talks/2026", "/srv/talks"), _is_below("/srv/talks", "")
    (True, True)
    """
    return not above or PurePath(folder).is_relative_to(above)


def of_folder(path: str, table: Mapping[str, Any]) -> Retention:
    """What the operator's table of the folder at `path` says of it. Raises SettingsError that names the table."""
    said = table.get(Retention.table, {})
    if not isinstance(said, dict):
        raise SettingsError(f'[folders."{path}"]: {Retention.table} is a table: [folders."{path}".retention]')
    return validated(Retention, said, lambda name: f'{name} in [folders."{path}".{Retention.table}]')
