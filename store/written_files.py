"""The files that dropscribe wrote beside recordings, or is about to: what tells its own from those of others."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import starmap
from typing import Any

from dropscribe.store import sql
from dropscribe.store.file_names import path_key
from dropscribe.store.session import Database

EMPTY = hashlib.sha256(b"").hexdigest()  # of a name that was claimed where there are no hard links


@dataclass(frozen=True, slots=True)
class WrittenFile:
    """A file on disk that dropscribe wrote, or is about to: `sha256` of its content, in hex.

    `replaced` is that of the file which was to give way, where a crash came in between.
    """

    path: str
    job_id: str
    format: str
    sha256: str
    written: bool
    replaced: str | None = None

    @property
    def contents(self) -> frozenset[str | None]:
        """Digests of what may be there unless somebody else put it there; None stands for nothing.

        After a crash that is what was to be written, what was to give way, or an empty file.
        """
        before = () if self.written else (self.replaced, EMPTY)
        return frozenset({None, self.sha256, *before})


def file_at(database: Database, path: str) -> WrittenFile | None:
    """What dropscribe knows of the file at this absolute path; None when it did not write it."""
    return files_at(database, [path]).get(path)


def files_at(database: Database, paths: Sequence[str]) -> dict[str, WrittenFile]:
    """What dropscribe knows of the files at these absolute paths, by path; those that it did not write are left out."""
    called = {path_key(path): path for path in paths}
    with database.read() as connection:
        rows = connection.execute(_files().where(sql.outputs.c.path_key.in_(called))).all()
    found = starmap(_file, rows)
    return {file.path: file for file in found}


def files_of(database: Database, job_id: str) -> list[WrittenFile]:
    """The transcript files of a job."""
    with database.asking() as ask:
        return [*starmap(_file, ask(_of_job, job=job_id))]


@sql.statement
def _of_job() -> Any:
    """Those of a `job`, by path."""
    return _files().where(sql.outputs.c.job_id == sql.bindparam("job")).order_by(sql.outputs.c.path)


def written_of(database: Database, job_ids: Collection[str]) -> dict[str, list[WrittenFile]]:
    """The transcript files of each of these jobs that are in place."""
    query = _files().where(sql.outputs.c.job_id.in_(job_ids), sql.outputs.c.written_at.is_not(None))
    found: dict[str, list[WrittenFile]] = {}
    with database.read() as connection:
        for file in starmap(_file, connection.execute(query.order_by(sql.outputs.c.path))):
            found.setdefault(file.job_id, []).append(file)
    return found


def _files() -> Any:
    """What a `WrittenFile` is made of."""
    columns = ("path", "job_id", "format", "sha256", "written_at", "replaced")
    return sql.select(*(sql.outputs.c[name] for name in columns))


def _file(path: str, job: str, kind: str, sha256: str, written_at: float | None, replaced: str | None) -> WrittenFile:
    """A file by its row."""
    return WrittenFile(path, job, kind, sha256, written_at is not None, replaced)
