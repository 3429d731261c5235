"""`dropscribe jobs`: the jobs by state and folder, the newest first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from dropscribe.admin.context import Context
from dropscribe.admin.state.job_lookup import below
from dropscribe.admin.state.job_view import as_document, jobs_table, outlooks_of
from dropscribe.admin.terminal.page import Page, first
from dropscribe.core.types import JobPhase, JobState
from dropscribe.store import queries
from dropscribe.store.queries import Job
from dropscribe.store.unfinished import Outlook


def listing(context: Context, *, named: Sequence[str], folder: Path | None, limit: int, as_json: bool) -> None:
    """Print the newest `limit` jobs (0: all) that fit; `named` are the phases that are asked for, or `queued`."""
    phases = [JobPhase(name) for name in named if name != JobState.QUEUED]
    states = [JobState.QUEUED] if JobState.QUEUED in named else []
    asked = partial(queries.list_jobs, context.database, states=states, phases=phases, folder=below(folder))
    page = first(limit, asked)
    expected = outlooks_of(context.database, context.asking.silence_seconds, page.shown)
    nothing = "no such jobs" if named or folder else "no jobs yet"
    context.answer(
        lambda: {"jobs": [as_document(job, expected.get(job.id)) for job in page.shown], "more": page.is_cut},
        lambda: _show(context, page, expected, nothing),
        as_json=as_json,
    )


def _show(context: Context, page: Page[Job], expected: Mapping[str, Outlook], nothing: str) -> None:
    """The page of jobs as a table, and that there are more if it is cut."""
    context.out.print(jobs_table(page.shown, expected) if page.shown else nothing)
    if page.is_cut:
        context.err.print(f"the newest {page.limit}; --limit 0 lists all")
