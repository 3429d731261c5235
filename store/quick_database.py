"""An SQLite store that is asked without SQLAlchemy, which takes as long to load as all else that such a command does.

It has the texts of all that are marked as a `statement`. Whatever else is asked, or is not as it should be, is left to
SQLAlchemy, which says what is wrong.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import cache, partial
from pathlib import Path
from typing import Any

from dropscribe.core.mounts import filesystem_of, is_network
from dropscribe.core.store_settings import sqlite_file
from dropscribe.store import sql
from dropscribe.store.file_names import shown, stored
from dropscribe.store.json_columns import PARSED
from dropscribe.store.session import HEAD, Ask, Database, open_database

TEXTS = Path(__file__).with_name("statements.json")  # which `store.statement_texts` writes
VERSION = "SELECT version_num FROM alembic_version"
REFUSED = (sqlite3.Error, UnicodeError, OverflowError)


def _parsed(read: Callable[[Any], Any], text: str) -> Any:
    """What JSON stands for; None stays None."""
    value = json.loads(text)
    return None if value is None else read(value)


READERS: Mapping[str, Callable[[Any], Any]] = {
    "name": shown,
    "digest": bytes.hex,
    "json": json.loads,
    "flag": bool,
    **{name: partial(_parsed, read) for name, (read, _) in PARSED.items()},
}


WRITERS: Mapping[str, Callable[[Any], Any]] = {"name": stored, "digest": bytes.fromhex}


def open_to_ask(url: str) -> Database:
    """The store as it is, for a command that asks. Raises as `open_database` does."""
    file = sqlite_file(url)
    with suppress(*REFUSED):
        if file and not is_network(filesystem_of(file.absolute().parent)):
            return QuickDatabase(url, file)
    return open_database(url, migrate=False)


class QuickDatabase(Database):
    """One whose tables are those of this version."""

    def __init__(self, url: str, file: Path) -> None:
        """Raises sqlite3.Error, also for tables of another version."""
        self._file = sqlite3.connect(f"{file.absolute().as_uri()}?mode=rw", uri=True, timeout=0, isolation_level=None)
        if self._file.execute(VERSION).fetchone() != (HEAD,):
            self._file.close()
            raise sqlite3.DatabaseError
        super().__init__(url, at_once=False)

    @contextmanager
    def asking(self) -> Iterator[Ask]:
        """One reading transaction in which each `statement` is asked. Raises like `begin`."""
        with ExitStack() as stack:
            slow = cache(partial(stack.enter_context, super().asking()))
            with suppress(*REFUSED):
                self._file.execute("BEGIN")
                stack.callback(self._file.rollback)
            yield partial(self._ask, slow)

    def _ask(self, slow: Callable[[], Ask], make: Callable[[], Any], **bound: Any) -> Sequence[Any]:
        """Ask SQLite, and where it refuses, SQLAlchemy."""
        try:
            return self._rows(_texts()[sql.name_of(make)], bound)
        except REFUSED:
            return slow()(make, **bound)

    def _rows(self, text: Mapping[str, Any], bound: Mapping[str, Any]) -> Sequence[Any]:
        """What a statement finds, as SQLAlchemy would hand it over."""
        written = {name: WRITERS[way](bound[name]) for name, way in text["written"].items()}
        rows = self._file.execute(text["text"], {**text["bound"], **bound, **written}).fetchall()
        readers = [(int(number), READERS[name]) for number, name in text["read"].items()]
        return [*map(partial(_read, readers), rows)] if readers else rows

    def close(self) -> None:
        """Close every connection at the end of the process."""
        self._file.close()
        if "engine" in vars(self):
            super().close()


@cache
def _texts() -> Mapping[str, Any]:
    known: Mapping[str, Any] = json.loads(TEXTS.read_text(encoding="utf-8"))
    return known


def _read(readers: Iterable[tuple[int, Callable[[Any], Any]]], row: Iterable[Any]) -> Sequence[Any]:
    """The values of a row, of which some are read."""
    values = [*row]
    for number, read in readers:
        if values[number] is not None:
            values[number] = read(values[number])
    return values
