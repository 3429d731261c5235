"""How the command line finds a job: by its id, the start of an id, or the path of a recording."""

from __future__ import annotations

import os
from contextlib import suppress
from operator import attrgetter
from pathlib import Path

from dropscribe.core.bucket_names import as_stored, is_in_bucket
from dropscribe.core.clock import iso
from dropscribe.core.errors import AmbiguousJobError, JobNotFoundError
from dropscribe.store import queries
from dropscribe.store.roots import WatchedRoot, list_roots
from dropscribe.store.session import Database

PLACES = ("/", "~", "./", "../")  # begin what is a path and no name


def find(database: Database, text: str) -> str:
    """The id of the job with this id, the start of an id, path, path below a watched folder, or name.

    The store holds paths without symlinks, as the watching host sees them. An archived recording is also found by
    the path where it was dropped, as long as no other file lies there. Raises JobNotFoundError or AmbiguousJobError.
    """
    if not text:
        raise JobNotFoundError("the name of the job is empty", remedy="`dropscribe jobs` lists the jobs")
    if is_in_bucket(text):
        return _object(database, text)
    start = text if text.isascii() else ""  # of an id; no database takes a name's undecodable bytes as text
    for path in typed_paths(text):
        with suppress(JobNotFoundError):
            return queries.find(database, start, str(path))
    # Imported here, as they bring along the scan and whatever happens to jobs, and most recordings have a job.
    from dropscribe.admin.state import unadmitted
    from dropscribe.store import recording_moves

    _refuse_forgotten(database, text)
    if reason := unadmitted.why(database, *typed_paths(text)):
        raise JobNotFoundError(reason)
    for path in typed_paths(text):
        if archived := recording_moves.put_away(database, str(path)):
            return archived
    return _called(database, text)


def _object(database: Database, name: str) -> str:
    """The job of an object, by its whole name. Raises JobNotFoundError with what is known of it."""
    name = f"s3://{name.removeprefix('s3:/').removeprefix('/')}"  # as a path of Python, it has one slash
    with suppress(JobNotFoundError):
        return queries.find(database, "", name)
    for root in list_roots(database):
        if name.startswith(f"{root.path}/"):
            raise JobNotFoundError(f"{name} has no job: {_unadmitted(root, name)}")
    raise JobNotFoundError(f"no watched folder has {name}", remedy="`dropscribe status` lists the folders")


def _unadmitted(root: WatchedRoot, name: str) -> str:
    """Why an object of a watched folder has no job, as far as its scheduler has reported."""
    if not root.online:
        return root.reason
    unseen = next((one for one in root.unreadable if f"{root.path}/{one.place}" == name), None)
    waits = "it is admitted once two listings agree on it, if it exists and has the name of a recording"
    return f"{unseen.reason}; {unseen.remedy}" if unseen else waits


def _called(database: Database, name: str) -> str:
    """The job of the recording that the name means, as `up` and `status` print it."""
    is_place = not name or name.startswith(PLACES)
    found = [] if is_place else queries.jobs_called(database, name, [*map(attrgetter("path"), list_roots(database))])
    if not found:
        raise JobNotFoundError(f"no job has the id, the path or the name {name}", remedy="`dropscribe jobs` lists them")
    if len(found) == 1:
        return found[0].id
    first = "; ".join(f"{job.source} ({job.id})" for job in found[: queries.NAMED_CANDIDATES])
    others = "; or others" if len(found) > queries.NAMED_CANDIDATES else ""
    raise AmbiguousJobError(f"{name} could be {first}{others}", remedy="name its path or its id")


def _refuse_forgotten(database: Database, name: str) -> None:
    """Raise JobNotFoundError for a recording that was forgotten, with when."""
    from dropscribe.store import forget  # as above

    for path in typed_paths(name):
        if moment := forget.forgotten_at(database, str(path), _seen(path)):
            raise JobNotFoundError(
                f"the data of {path} was removed {iso(moment)}",
                remedy="`dropscribe submit` has it transcribed again",
            )


def _seen(path: Path) -> tuple[int, int] | None:
    """Size and time of the file; None where there is none to be seen."""
    with suppress(OSError, ValueError):
        found = path.lstat()
        return found.st_size, found.st_mtime_ns
    return None


def below(folder: Path | None) -> str | None:
    """A folder that somebody named, as the store knows it; None for every folder. Raises UsageError."""
    if folder is None:
        return None
    return as_stored(folder if is_in_bucket(folder) else folder.expanduser().resolve())


def typed_paths(text: str) -> tuple[Path, Path]:
    """The absolute path that somebody typed: without symlinks above the file, and with them."""
    plain = Path(os.path.normpath(Path(text).expanduser().absolute()))
    return plain.parent.resolve() / plain.name, plain
