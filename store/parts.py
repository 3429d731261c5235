"""The further files of recordings that their recorders wrote in parts; the first is the file of the job itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, select, union_all, update

from dropscribe.core.recording_parts import RecordingPart
from dropscribe.store.file_names import path_key, source_of
from dropscribe.store.session import Database
from dropscribe.store.tables import forgotten, jobs, parts

AT_ONCE = 500  # rows asked for in one statement


class Standing(StrEnum):
    """What is known of a file of this path, size and time."""

    NEW = "new"
    OWN = "own"  # it has a job of its own
    PART = "part"  # it is a part of a recording
    FORGOTTEN = "forgotten"


def rows_of(job_id: str, root: str, further: Sequence[RecordingPart]) -> list[dict[str, Any]]:
    """The rows of a job's further files."""
    return [
        {
            "job_id": job_id,
            "position": position,
            "path": part.path,
            "path_key": path_key(source_of(root, part.path)),
            "size": part.size,
            "mtime_ns": part.mtime_ns,
            "fingerprint": part.fingerprint,
        }
        for position, part in enumerate(further, 1)
    ]


def of_job(database: Database, job_id: str) -> tuple[RecordingPart, ...]:
    """The further files of a job's recording, in their order."""
    with database.read() as connection:
        return further_files(connection, job_id)


def of_file(database: Database, root: str, path: str, seen: tuple[int, int]) -> tuple[RecordingPart, ...]:
    """The further files of the recording whose first file this is, by its newest job; `seen` are size and time."""
    key, (size, mtime_ns) = path_key(source_of(root, path)), seen
    query = select(jobs.c.id).where(jobs.c.path_key == key, jobs.c.size == size, jobs.c.mtime_ns == mtime_ns)
    with database.read() as connection:
        newest = connection.execute(query.order_by(jobs.c.created_at.desc()).limit(1)).scalar()
        return further_files(connection, newest) if newest else ()


def in_newer_jobs(connection: Connection, job_id: str) -> set[str]:
    """Those of a job's files that are in jobs made later too, alone or as parts, by the digests of their paths."""
    made = select(jobs.c.created_at).where(jobs.c.id == job_id).scalar_subquery()
    first, further = (select(table.c.path_key) for table in (jobs, parts))
    mine = union_all(first.where(jobs.c.id == job_id), further.where(parts.c.job_id == job_id))
    newer = (jobs.c.id != job_id, jobs.c.created_at >= made)
    alone = first.where(jobs.c.path_key.in_(mine), *newer)
    joined = further.join(jobs, jobs.c.id == parts.c.job_id).where(parts.c.path_key.in_(mine), *newer)
    return {*connection.execute(union_all(alone, joined)).scalars()}


def further_files(connection: Connection, job_id: str) -> tuple[RecordingPart, ...]:
    """As `of_job`, within a transaction."""
    query = select(parts.c.path, parts.c.size, parts.c.mtime_ns, parts.c.fingerprint).where(parts.c.job_id == job_id)
    return tuple(RecordingPart(*row) for row in connection.execute(query.order_by(parts.c.position)))


def standings(database: Database, root: str, seen: Mapping[str, tuple[int, int]]) -> dict[str, Standing]:
    """What is known of files below a root, by path; `seen` are size and time of each. New ones are left out."""
    keys = {path_key(source_of(root, path)): path for path in seen}
    found: dict[str, Standing] = {}
    with database.read() as connection:
        for start in range(0, len(keys), AT_ONCE):
            some = [*keys][start : start + AT_ONCE]
            for table, standing in _TABLES.items():
                columns = select(table.c.path_key, table.c.size, table.c.mtime_ns)
                for key, *state in connection.execute(columns.where(table.c.path_key.in_(some))):
                    if tuple(state) == tuple(seen[keys[key]]):
                        found[keys[key]] = standing
    return found


# A later one wins: what was a recording by itself first may have been joined since.
_TABLES = {forgotten: Standing.FORGOTTEN, jobs: Standing.OWN, parts: Standing.PART}


def mark(database: Database, job_id: str, fingerprints: Mapping[str, str]) -> None:
    """Keep what was read of a job's further files, by their paths."""
    with database.begin() as connection:
        for path, fingerprint in fingerprints.items():
            row = update(parts).where(parts.c.job_id == job_id, parts.c.path == path)
            connection.execute(row.values(fingerprint=fingerprint))
