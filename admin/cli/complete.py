"""What the shell offers where a job or a worker is to be named; nothing where the store is away, and never an error."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Iterator
from contextlib import closing, suppress
from operator import attrgetter
from pathlib import Path

from dropscribe.admin.context import Context
from dropscribe.core import engines
from dropscribe.core.errors import DropscribeError

MAX_JOBS = 50  # a longer list helps nobody

Offer = tuple[str, str]  # what may be typed, and what it is


def job(incomplete: str) -> list[Offer]:
    """Ids of jobs, the newest first; recordings where a path was begun."""
    return list(_paths(incomplete) if "/" in incomplete else _jobs(incomplete))


def engine(incomplete: str) -> list[str]:
    """Names of engines."""
    return [name for name in engines.choices() if name.startswith(incomplete)]


def worker(incomplete: str) -> list[Offer]:
    """Names of workers."""
    return list(_workers(incomplete))


def _jobs(start: str) -> Iterator[Offer]:
    """Jobs whose id begins so, with state and recording."""
    with closing(Context()) as context, suppress(DropscribeError):
        for job_id, state, path in _jobs_in_store(context, start):
            yield job_id, f"{state}, {path}"


def _jobs_in_store(context: Context, start: str) -> Iterable[tuple[str, str, str]]:
    """Id, state and path of the newest jobs whose id begins so."""
    if file := context.asking.sqlite_file:
        from dropscribe.store import names

        return names.jobs_starting_with(file, start, MAX_JOBS)
    from dropscribe.store import queries

    return queries.jobs_starting_with(context.database, start, MAX_JOBS)


def _workers(start: str) -> Iterator[Offer]:
    """Workers whose name begins so; no schedulers, which are not drained."""
    with closing(Context()) as context, suppress(DropscribeError):
        for name, role, state in _workers_in_store(context):
            if name.startswith(start) and role != "scheduler":
                yield name, f"{role}, {state}"


def _workers_in_store(context: Context) -> Iterable[tuple[str, str, str]]:
    """Name, role and state of the processes of the fleet."""
    if file := context.asking.sqlite_file:
        from dropscribe.store import names

        return names.listed_workers(file)
    from dropscribe.store.fleet import list_workers

    return map(attrgetter("id", "role", "state"), list_workers(context.database))


def _paths(start: str) -> Iterator[Offer]:
    """Files and folders whose path begins so."""
    for path in sorted(glob.glob(f"{glob.escape(os.path.expanduser(start))}*")):  # noqa: PTH111, PTH207 (no whole path)
        yield f"{path}/" if Path(path).is_dir() else path, ""
