"""What was removed of recordings, and why."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import starmap
from typing import Any

from dropscribe.store import sql
from dropscribe.store.session import Database

TEXT, JOB = "text", "job"  # what was removed: what was said, or all that is known


@dataclass(frozen=True, slots=True)
class Removal:
    """That so many recordings lost `what` (`text`, or `job`: all of it) on one day, the last `at`, and why."""

    what: str
    why: str
    jobs: int
    at: float


def removed(database: Database, limit: int) -> list[Removal]:
    """What was removed, and why: the last `limit` days and reasons, the latest first."""
    with database.asking() as ask:
        return [*starmap(Removal, ask(_latest, limit=limit))]


@sql.statement
def _latest() -> Any:
    """The last `limit` removals."""
    columns = (sql.removals.c[name] for name in Removal.__dataclass_fields__)
    return sql.select(*columns).order_by(sql.removals.c.at.desc()).limit(sql.bindparam("limit"))
