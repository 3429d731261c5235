"""How the command line finds a job: by its id, the start of an id, or the path of a recording."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from dropscribe.admin.state import unadmitted
from dropscribe.core.errors import JobNotFoundError
from dropscribe.store import queries, recording_moves
from dropscribe.store.session import Database


def find(database: Database, text: str) -> str:
    """The id of the job with this id, the start of an id, or path.

    The store holds paths without symlinks, as the watching host sees them. An archived recording is also found by
    the path where it was dropped, as long as no other file lies there. Raises JobNotFoundError or AmbiguousJobError.
    """
    start = text if text.isascii() else ""  # of an id; no database takes a name's undecodable bytes as text
    for path in typed_paths(text):
        with suppress(JobNotFoundError):
            return queries.find(database, start, str(path))
    if reason := unadmitted.why(database, *typed_paths(text)):
        raise JobNotFoundError(reason)
    for path in typed_paths(text):
        if archived := recording_moves.put_away(database, str(path)):
            return archived
    raise JobNotFoundError(f"no job has the id or the path {text}", remedy="`dropscribe jobs` lists them")


def below(folder: Path | None) -> str | None:
    """A folder that somebody named, as the store knows it; None for every folder."""
    return str(folder.expanduser().resolve()) if folder else None


def typed_paths(text: str) -> tuple[Path, Path]:
    """The absolute path that somebody typed: without symlinks above the file, and with them."""
    plain = Path(os.path.normpath(Path(text).expanduser().absolute()))
    return plain.parent.resolve() / plain.name, plain
