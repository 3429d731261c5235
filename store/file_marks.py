"""What the files of recordings were when they were read, by which one that was replaced is noticed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from sqlalchemy import select, update

from dropscribe.core.file_marks import FileMark
from dropscribe.core.types import JobState
from dropscribe.store.file_names import path_key, source_of
from dropscribe.store.session import Database
from dropscribe.store.tables import jobs

AT_ONCE = 500  # rows asked for in one statement


class ReadFile(NamedTuple):
    """The newest job of a file: what it was admitted with, and the mark of what was read (empty: not yet)."""

    job_id: str
    size: int
    mtime_ns: int
    mark: FileMark
    is_to_come: bool  # its file was not read yet, and will be


def read(database: Database, root: str, paths: Iterable[str]) -> dict[str, ReadFile]:
    """The newest job of each of the files below `root` that has one, under whichever root it was admitted."""
    query = select(
        jobs.c.id, jobs.c.path_key, jobs.c.size, jobs.c.mtime_ns, jobs.c.stamp, jobs.c.fingerprint, jobs.c.state
    ).order_by(jobs.c.created_at)
    paths_of = {path_key(source_of(root, path)): path for path in paths}
    keys = [*paths_of]
    found: dict[str, ReadFile] = {}
    for start in range(0, len(keys), AT_ONCE):
        with database.read() as connection:
            for row in connection.execute(query.where(jobs.c.path_key.in_(keys[start : start + AT_ONCE]))):
                found[paths_of[row.path_key]] = _read(row)
    return found


def _read(row: Any) -> ReadFile:
    """What a job says of its file."""
    is_to_come = row.state in {JobState.QUEUED, JobState.PREPARING}
    return ReadFile(
        job_id=row.id,
        size=row.size,
        mtime_ns=row.mtime_ns,
        mark=FileMark(row.stamp or 0, row.fingerprint),
        is_to_come=is_to_come,
    )


def restamp(database: Database, stamps: Mapping[str, int]) -> None:
    """Remember new stamps, by jobs' ids, of files whose content is the same."""
    rows = list(stamps.items())
    for start in range(0, len(rows), AT_ONCE):
        with database.begin() as connection:
            for job_id, stamp in rows[start : start + AT_ONCE]:
                connection.execute(update(jobs).where(jobs.c.id == job_id).values(stamp=stamp))
