"""Names of jobs and workers for a shell that completes them, read from an SQLite store without SQLAlchemy.

Its import takes longer than all else that a completion does, and somebody waits at the keyboard. Other stores are asked
by `dropscribe.store.queries` and `dropscribe.store.fleet`, and the same tests hold for both.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

from dropscribe.core import chunk_ids
from dropscribe.core.mounts import filesystem_of, is_network
from dropscribe.store.file_names import shown

FORGET_SECONDS = 7200.0  # a worker that is silent for longer is no longer listed
NEWEST = "SELECT id, state, path FROM jobs ORDER BY created_at DESC LIMIT :limit"
JOBS = """
SELECT id, state, path FROM jobs WHERE id BETWEEN :first AND :last AND substr(id, 1, length(:first)) = :first
ORDER BY created_at DESC LIMIT :limit
"""
WORKERS = """
SELECT id, role, state FROM workers
WHERE (julianday('now') - 2440587.5) * 86400.0 - heartbeat_at <= :forget ORDER BY role, id
"""


def jobs_starting_with(file: Path, prefix: str, limit: int) -> list[tuple[str, str, str]]:
    """Id, state and path of the newest jobs whose ids start with `prefix`; none where the store cannot be read."""
    first = prefix.lower()
    given = {"first": first, "last": first + chunk_ids.LETTERS[-1] * chunk_ids.LENGTH, "limit": limit}
    return [(job_id, state, shown(path)) for job_id, state, path in _rows(file, JOBS if prefix else NEWEST, given)]


def listed_workers(file: Path) -> list[tuple[str, str, str]]:
    """Name, role and state of the processes of the fleet; none where the store cannot be read."""
    return _rows(file, WORKERS, {"forget": FORGET_SECONDS})


def _rows(file: Path, query: str, given: Mapping[str, Any]) -> list[Any]:
    """What the query finds in the file, which is never made, nor opened over a network."""
    with suppress(sqlite3.Error):
        if not is_network(filesystem_of(file.absolute().parent)):
            with closing(sqlite3.connect(f"{file.absolute().as_uri()}?mode=rw", uri=True)) as connection:
                return connection.execute(query, given).fetchall()
    return []
