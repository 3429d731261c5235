"""`dropscribe jobs`: the jobs by state and folder, the newest first."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from dropscribe.admin.context import Context
from dropscribe.admin.state.job_view import as_document, jobs_table
from dropscribe.admin.terminal import render
from dropscribe.core.types import JobState
from dropscribe.store import queries


def listing(context: Context, *, states: Sequence[JobState], folder: Path | None, limit: int, as_json: bool) -> None:
    """Print the newest `limit` jobs (0: all) that fit."""
    under = str(folder.expanduser().resolve()) if folder else None
    one_more = limit + 1 if limit else None
    found = queries.list_jobs(context.database, states=states, folder=under, limit=one_more)
    shown = found[:limit] if limit else found
    more = len(found) > len(shown)
    if as_json:
        render.write_json({"jobs": [as_document(job) for job in shown], "more": more})
        return
    if not shown:
        context.out.print("no such jobs" if states or folder else "no jobs yet")
        return
    context.out.print(jobs_table(shown))
    if more:
        context.err.print(f"the newest {limit}; --limit 0 lists all")
