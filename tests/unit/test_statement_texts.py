"""What SQLite is sent without SQLAlchemy is what SQLAlchemy would send."""

from __future__ import annotations

from dropscribe.store import statement_texts
from dropscribe.store.quick_database import TEXTS


def test_the_texts_of_statements_are_those_of_this_version() -> None:
    assert statement_texts.document() == TEXTS.read_text(encoding="utf-8"), "run `make docs`"
