"""Pure: the command that runs when a transcript is there, as the operator's tables for folders name it.

No file on a share can name one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import chain
from typing import Any

from dropscribe.core.errors import SettingsError
from dropscribe.core.safe_text import printable
from dropscribe.core.settings import OUTPUT_FORMATS
from dropscribe.core.settings_groups import tables_above
from dropscribe.core.types import TRANSCRIPT_STATES

KEY = "on_done"
STATES = TRANSCRIPT_STATES
OF_THE_JOB = ("source", "state", "reason", "job")
PLACEHOLDERS = (*OUTPUT_FORMATS, *OF_THE_JOB)

_BRACES = re.compile(r"\{(\w+)\}")

Command = tuple[str, ...]


def of_folder(path: str, table: Mapping[str, Any]) -> Command | None:
    """What the operator's table of the folder at `path` names; None where it names nothing.

    Raises SettingsError that names the table.
    """
    said = table.get(KEY)
    if said is None:
        return None
    where = f'{KEY} in [folders."{path}"]'
    if not isinstance(said, list) or not all(isinstance(word, str) and printable(word) == word for word in said):
        raise SettingsError(f'{where} must be a list: ["command", "{{json}}"]', remedy="fix dropscribe.toml")
    unknown = {*chain.from_iterable(map(_BRACES.findall, said))}.difference(PLACEHOLDERS)
    if unknown:
        problem = f"{where}: {{{min(unknown)}}} is not known; known are {', '.join(PLACEHOLDERS)}"
        raise SettingsError(problem, remedy="fix dropscribe.toml")
    return tuple(said)


def command(folders: Mapping[str, Mapping[str, Any]], source: str) -> Command:
    """The one for the recording at `source`, by the table nearest above it; empty: none."""
    found: Command = ()
    for path in tables_above(folders, source):
        own = of_folder(path, folders[path])
        found = found if own is None else own
    return found


def filled(words: Command, values: Mapping[str, str]) -> list[str]:
    """The command with values instead of the names in braces.

    >>> filled(("/bin/cp", "{srt}", "/srv/subtitles"), {"srt": "/rec/talk.srt"})
    ['/bin/cp', '/rec/talk.srt', '/srv/subtitles']

    Raises KeyError with the name of a value that is missing.
    """
    return [_BRACES.sub(lambda match: values[match[1]], word) for word in words]
