"""`dropscribe jobs`: the jobs by state and folder, the newest first."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from dropscribe.admin.context import Context
from dropscribe.admin.state.job_lookup import below
from dropscribe.admin.state.job_view import as_document, jobs_table
from dropscribe.admin.terminal.page import Page, first
from dropscribe.core.types import JobState
from dropscribe.store import queries
from dropscribe.store.queries import Job


def listing(context: Context, *, states: Sequence[JobState], folder: Path | None, limit: int, as_json: bool) -> None:
    """Print the newest `limit` jobs (0: all) that fit."""
    page = first(limit, partial(queries.list_jobs, context.database, states=states, folder=below(folder)))
    nothing = "no such jobs" if states or folder else "no jobs yet"
    context.answer(
        lambda: {"jobs": [*map(as_document, page.shown)], "more": page.is_cut},
        lambda: _show(context, page, nothing),
        as_json=as_json,
    )


def _show(context: Context, page: Page[Job], nothing: str) -> None:
    context.out.print(jobs_table(page.shown) if page.shown else nothing)
    if page.is_cut:
        context.err.print(f"the newest {page.limit}; --limit 0 lists all")
