"""Names and topics that help a model to spell: a file of terms, and the one line of context that a job keeps.

The line is made when a recording is admitted, so that what a transcript was read with stands in its row, and an
edited file counts for later recordings.
"""

from __future__ import annotations

import re
import stat
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path

from dropscribe.core.error_translation import explained
from dropscribe.core.errors import SettingsError
from dropscribe.core.settings import MAX_CONTEXT, Settings

REMEDY = "fix it, or name another one (DROPSCRIBE_HOTWORDS, --hotwords)"
MAX_BYTES = 1_000_000  # of a file; terms and comments that somebody wrote are far fewer

_SEPARATOR = r",;\uff0c\u3001\uff1b"  # the comma and the semicolon, and the Chinese and Japanese ones
_COMMENT = re.compile(rf"(?:^|[\s{_SEPARATOR}])#.*")


def context_of(settings: Settings, topic: str | None = None, file: Path | None = None) -> str:
    """The context of a recording that is admitted now: the topic, then the terms of the file, read again.

    Where they are not given, the settings `context` and `hotwords` hold. Raises SettingsError when the file cannot
    be read, or both together are too long.
    """
    named = file or settings.hotwords
    text = context_text(settings.context if topic is None else topic, read_file(named) if named else ())
    return bounded(text, f" with the hotwords of {named}" if named else "")


def bounded(text: str, hotwords: str = "") -> str:
    """A context as it is. Raises SettingsError where it is too long; `hotwords` says where part of it is from."""
    if len(text) > MAX_CONTEXT:
        raise SettingsError(
            f"the context{hotwords} has {len(text):,} characters and {MAX_CONTEXT:,} are allowed", remedy="shorten it"
        )
    return text


def read_file(path: Path) -> tuple[str, ...]:
    """The terms of a hotwords file in UTF-8. Raises SettingsError when it cannot be read."""
    path = path.expanduser()
    problem = f"cannot read the hotwords file {path}"
    with explained(OSError, SettingsError, problem, remedy=REMEDY):
        if not stat.S_ISREG(path.stat().st_mode):  # a pipe would keep its reader waiting
            raise SettingsError(f"{problem}: it is not a regular file", remedy=REMEDY)
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise SettingsError(f"{problem}: it has more than {MAX_BYTES:,} bytes", remedy=REMEDY)
    with explained(UnicodeDecodeError, SettingsError, problem, remedy=REMEDY):
        text = data.decode("utf-8-sig")
    if "\0" in text:  # UTF-16, or no text at all; no database would take it
        raise SettingsError(f"{problem}: it is not in UTF-8", remedy=REMEDY)
    return read_hotwords(text)


def read_hotwords(text: str) -> tuple[str, ...]:
    """The terms of a hotwords file, in order: one a line, or separated by commas or semicolons.

    A `#` that begins a word begins a comment; within a word it is kept (`C#`). Of terms that differ in nothing but
    case the first is kept.

    >>> read_hotwords("Ada Lovelace, ENIAC; Zuse")
    ('Ada Lovelace', 'ENIAC', 'Zuse')
    """
    lines = map(partial(_COMMENT.sub, ""), text.removeprefix("\ufeff").splitlines())
    return _distinct(term for line in lines for term in re.split(f"[{_SEPARATOR}]", line))


def context_text(context: str, hotwords: Sequence[str] = ()) -> str:
    """The extra information as one line: the context, then the terms that it does not name yet.

    >>> context_text("About ENIAC", ["Ada Lovelace", "ENIAC"])
    'About ENIAC; Ada Lovelace'
    """
    topic = " ".join(context.split())
    terms = ", ".join(term for term in _distinct(hotwords) if not _names(topic, term))
    return "; ".join(filter(None, (topic, terms)))


def _names(text: str, term: str) -> bool:
    """Does the text hold the term as a word of its own?

    >>> _names("About ENIAC", "eniac"), _names("About ENIACs", "eniac")
    (True, False)
    """
    return re.search(rf"(?<!\w){re.escape(term)}(?!\w)", text, re.IGNORECASE) is not None


def _distinct(terms: Iterable[str]) -> tuple[str, ...]:
    """The terms without double ones, whatever their case; each as it was written first.

    >>> _distinct(["Ada  Lovelace", "ada lovelace", "", "ENIAC"])
    ('Ada Lovelace', 'ENIAC')
    """
    tidy = (" ".join(term.split()) for term in terms)
    first: dict[str, str] = {}
    for term in filter(None, tidy):
        first.setdefault(term.casefold(), term)
    return tuple(first.values())
