"""What statements are made of: SQLAlchemy's words and the tables, loaded when the first is made.

To load them takes longer than all else that `dropscribe status` does. So whatever commands ask takes its words from
here, and makes no statement as it is imported. One that is always the same, apart from what is bound to it, is marked
as a `statement`: it is made once, and `dropscribe.store.quick_database` has its text.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sqlalchemy import (
        URL,
        ColumnElement,
        Connection,
        Engine,
        Table,
        and_,
        bindparam,
        case,
        create_engine,
        delete,
        event,
        exc,
        exists,
        false,
        func,
        insert,
        inspect,
        make_url,
        or_,
        select,
        text,
        update,
    )

    from dropscribe.store.tables import (
        VERSION,
        FileName,
        among,
        chunks,
        create,
        ended,
        events,
        jobs,
        locks,
        notifications,
        now,
        outputs,
        owned,
        parts,
        removals,
        roots,
        speeds,
        switches,
        workers,
    )

__all__ = [
    "STATEMENTS",
    "URL",
    "VERSION",
    "ColumnElement",
    "Connection",
    "Engine",
    "FileName",
    "Table",
    "among",
    "and_",
    "bindparam",
    "case",
    "chunks",
    "create",
    "create_engine",
    "delete",
    "ended",
    "event",
    "events",
    "exc",
    "exists",
    "false",
    "func",
    "insert",
    "inspect",
    "jobs",
    "locks",
    "make_url",
    "name_of",
    "notifications",
    "now",
    "or_",
    "outputs",
    "owned",
    "parts",
    "removals",
    "roots",
    "select",
    "speeds",
    "statement",
    "switches",
    "text",
    "update",
    "workers",
]

HOMES = ("dropscribe.store.tables", "sqlalchemy")
STATEMENTS: dict[str, Callable[[], Any]] = {}  # what makes each, by its name


def name_of(make: Callable[..., Any]) -> str:
    """The name of the statement that a function makes: its module and its own."""
    return f"{make.__module__.rpartition('.')[2]}.{make.__name__.lstrip('_')}"


def statement(make: Callable[[], Any]) -> Callable[[], Any]:
    """Mark a function that makes a statement: the same each time, except for what is bound to it."""
    made = STATEMENTS[name_of(make)] = cache(make)
    return made


def __getattr__(name: str) -> Any:
    """Load what a name stands for when it is first asked for."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = next(home for home in map(import_module, HOMES) if hasattr(home, name))
    found = globals()[name] = getattr(home, name)
    return found
