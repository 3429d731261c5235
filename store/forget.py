"""Forgetting recordings: nothing of what was said stays, only that such a file is not to be transcribed again."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import delete, func, select, text

from dropscribe.core.types import FINAL_STATES
from dropscribe.store.session import Database, insert_ignoring
from dropscribe.store.tables import chunks, events, forgotten, jobs, lines, now, segments


def rows_of(database: Database, job_id: str) -> int:
    """How many rows hold something of what was said in a recording or happened to it."""
    of_job = (
        select(func.count()).where(lines.c.job_id == job_id),
        select(func.count()).where(events.c.job_id == job_id),
        select(func.count()).where(chunks.c.job_id == job_id),
        select(func.count())
        .select_from(segments)
        .join(chunks, chunks.c.id == segments.c.chunk_id)
        .where(chunks.c.job_id == job_id),
    )
    with database.read() as connection:
        return sum(int(connection.execute(query).scalar_one()) for query in of_job)


def forget(database: Database, ids: Sequence[str]) -> list[str]:
    """Remove jobs that are over with everything of theirs; returns those that were removed.

    What stays is a digest of each recording's path with its size and time, by which the watcher leaves it alone.
    """
    with database.begin() as connection:
        over = (jobs.c.id.in_(ids), jobs.c.state.in_(FINAL_STATES))
        files = select(jobs.c.path_key, jobs.c.size, jobs.c.mtime_ns, now()).where(*over)
        columns = ["path_key", "size", "mtime_ns", "at"]
        connection.execute(insert_ignoring(connection, forgotten).from_select(columns, files))
        return list(connection.execute(delete(jobs).where(*over).returning(jobs.c.id)).scalars())


def scrub(database: Database) -> bool:
    """Leave nothing of removed rows in SQLite's files either; False while somebody reads an older state.

    PostgreSQL is left to its vacuum.
    """
    if not database.is_sqlite:
        return True
    with database.begin() as connection:
        connection.execute(text("INSERT INTO lines_index(lines_index) VALUES ('optimize')"))
    outside = database.engine.raw_connection()  # of any transaction, which SQLAlchemy would begin
    try:
        busy, *_ = outside.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    finally:
        outside.close()
    return not busy
