"""Pure: who gets a final state by e-mail, in general and in single folders."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field

from dropscribe.core.errors import SettingsError
from dropscribe.core.safe_text import printable
from dropscribe.core.settings_errors import validated
from dropscribe.core.settings_groups import SettingsGroup, split_commas, tables_above
from dropscribe.core.types import JobState

PORTS = {"smtp": 587, "smtps": 465}  # RFC 6409; RFC 8314
OF_FOLDERS = frozenset({"to", "states"})  # what a folder may have for itself


def _address(value: str) -> str:
    """The value, if it is an address of mail. Raises ValueError."""
    name, _, host = value.rpartition("@")
    if not name or not host or printable(value) != value or set(value) & set(' ,;:<>()[]"\\'):
        raise ValueError("must be an address such as name@example.org")
    return value


def _server(value: str) -> str:
    """The value, if it is the URL of a server for mail. Raises ValueError."""
    try:
        parts = urlsplit(value)
        fits = parts.scheme in PORTS and parts.hostname and parts.username is None and parts.port != 0
    except ValueError:
        fits = False
    if value and not fits:
        raise ValueError("must be smtp://HOST:PORT or smtps://HOST:PORT, without a user")
    return value


Address = Annotated[str, AfterValidator(_address)]


class Mail(SettingsGroup):
    """E-mail about final states. The settings are those of the schedulers.

    A folder may have receivers and states of its own, in `[folders."/srv/recordings/hr".mail]`; there, an empty `to`
    tells nobody.
    """

    table: ClassVar[str] = "mail"

    server: Annotated[str, AfterValidator(_server)] = Field(
        "",
        description="mail server: smtp://HOST:587, which must offer STARTTLS unless it is this machine, or "
        "smtps://HOST:465; empty: no e-mail is sent",
    )
    user: str = Field("", description="user name for the mail server; empty: it needs none")
    password: str = Field("", description="password of that user", json_schema_extra={"secret": "whole"})
    sender: Annotated[str, AfterValidator(lambda value: value and _address(value))] = Field(
        "", description="address that e-mail comes from; empty: the first receiver"
    )
    to: Annotated[tuple[Address, ...], BeforeValidator(split_commas)] = Field(
        (), description="addresses that get the e-mails"
    )
    states: Annotated[tuple[JobState, ...], BeforeValidator(split_commas)] = Field(
        (JobState.DONE, JobState.SUSPECT, JobState.FAILED, JobState.PARKED), description="final states that are sent"
    )
    tries: int = Field(60, ge=1, description="attempts at an e-mail, with growing pauses; 60: for more than a day")


def of_folder(path: str, table: Mapping[str, Any]) -> Mapping[str, Any]:
    """What the operator's table of the folder at `path` says of e-mail, checked. Raises SettingsError that names it."""
    said = table.get(Mail.table, {})
    if not isinstance(said, dict) or not said.keys() <= OF_FOLDERS:
        problem = f'[folders."{path}".{Mail.table}]: a folder may set {" and ".join(sorted(OF_FOLDERS))}'
        raise SettingsError(problem, remedy="fix dropscribe.toml")
    found = validated(Mail, said, lambda name: f'{name} in [folders."{path}".{Mail.table}]')
    return {name: getattr(found, name) for name in said}


def of_recording(general: Mail, folders: Mapping[str, Mapping[str, Any]], source: str) -> Mail:
    """The group with what the tables of the folders above the recording at `source` say, the nearest first of all.

    Raises SettingsError that names a table which is wrong.
    """
    found: dict[str, Any] = {}
    for path in tables_above(folders, source):
        found |= of_folder(path, folders[path])
    return general.model_copy(update=found)
