"""Writes `statements.json`: what SQLite is sent for each `statement`, for who asks without SQLAlchemy (`make docs`).

Of each: its text, what is bound to it each time alike, and how other values are written that are bound to it, and those
of columns read, where they are not taken as they are.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib import import_module
from typing import Any

from sqlalchemy import JSON, Boolean
from sqlalchemy.dialects.sqlite import dialect
from sqlalchemy.types import TypeDecorator, TypeEngine

from dropscribe.store import sql
from dropscribe.store.quick_database import TEXTS
from dropscribe.store.tables import Digest, FileName, ParsedJson, Prose

ASKED = (
    "broker_trouble ended events fleet notifications queries removals roots session speeds switches unfinished "
    "written_files"
)
# How values of each type are written and read: see `quick_database.READERS`. One that is not here is not asked for.
WAYS: dict[type[TypeEngine[Any]], str] = {FileName: "name", Digest: "digest", Prose: "", JSON: "json", Boolean: "flag"}
SQLITE = dialect(paramstyle="named")


def document() -> str:
    """The whole file."""
    for module in ASKED.split():
        import_module(f"dropscribe.store.{module}")
    found = {name: text_of(make()) for name, make in sorted(sql.STATEMENTS.items())}
    return json.dumps(found, indent=1, ensure_ascii=False) + "\n"


def text_of(statement: Any) -> dict[str, Any]:
    """One statement as SQLite takes it."""
    compiled = statement.compile(dialect=SQLITE)
    whole = compiled.construct_expanded_state(compiled.params)
    alike = {name: value for name, value in whole.parameters.items() if value is not None}
    others = {name: bound.type for name, bound in compiled.binds.items() if bound.required}
    columns = dict(enumerate(column.type for column in statement.selected_columns))
    return {
        "text": " ".join(whole.statement.split()),
        "bound": alike,
        "written": _ways(others),
        "read": _ways(columns),
    }


def _ways(types: Mapping[Any, TypeEngine[Any]]) -> dict[Any, str]:
    """How values are handed over that are not taken as they are. Raises KeyError for a type that is not known."""
    ways = {
        name: kind.name if isinstance(kind, ParsedJson) else WAYS[type(kind)]
        for name, kind in types.items()
        if type(kind) in WAYS or isinstance(kind, TypeDecorator)
    }
    return {name: way for name, way in ways.items() if way}


if __name__ == "__main__":
    TEXTS.write_text(document(), encoding="utf-8")
