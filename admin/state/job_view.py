"""How a job is described: as a JSON document, and as a row of a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from rich.console import RenderableType
from rich.table import Table

from dropscribe.admin.terminal import render
from dropscribe.core import old_names
from dropscribe.core.clock import with_moments
from dropscribe.core.mappings import said
from dropscribe.core.types import JobState
from dropscribe.store import unfinished
from dropscribe.store.queries import Job
from dropscribe.store.session import Database
from dropscribe.store.unfinished import Outlook

FIELDS = tuple(name for name in Job.__dataclass_fields__ if name != "origin")  # which is of use to workers alone
MOMENTS = ("created_at", "finished_at", "text_removed_at", "modified_at")
PLACE = ("place", "time left")  # columns of what waits or runs


def as_document(job: Job, outlook: Outlook | None = None) -> dict[str, Any]:
    """A job as docs/cli.md describes it, under old names too."""
    media = said(asdict(job.media)) if job.media else None
    # Field by field, as `asdict` copies each value in depth: of a page of jobs, that is a third of its whole cost.
    document = {name: getattr(job, name) for name in FIELDS} | {
        "source": job.source,
        "phase": job.phase,
        "place": outlook and outlook.place,
        "seconds_left": outlook and outlook.seconds_left,
        "progress": round(job.progress, 4),
        "transcribed_length": job.transcribed,
        "media": media,
        "missing": [*map(asdict, job.missing)],
        "speakers": {"names": job.speakers.names, "merged": job.speakers.merged},
        "overrides": job.overrides.given,
        "modified_at": job.mtime_ns / 1e9,
    }
    return old_names.with_new(with_moments(document, *MOMENTS), old_names.JOB)


def outlooks_of(database: Database, silence: float, jobs: Sequence[Job]) -> Mapping[str, Outlook]:
    """The place in the queue and the time left of those of the jobs that are unfinished, by their ids."""
    if all(job.state.is_final for job in jobs):
        return {}
    return {one.recording.id: one for one in unfinished.expected(database, silence)}


def jobs_table(jobs: Sequence[Job], expected: Mapping[str, Outlook] | None = None) -> Table:
    """One row a job; with the place in the queue and the time left, where that is `expected` of one."""
    forecast = PLACE if expected else ()
    columns = ("id", "state", "progress", *forecast, "length", "admitted", "recording", "reason")
    rows = (_row(job, expectation(expected.get(job.id)) if expected else ()) for job in jobs)
    return render.table(*columns, rows=rows, whole=("id", "state", "admitted"), right=("progress", *PLACE, "length"))


def _row(job: Job, expected: Sequence[str]) -> list[RenderableType]:
    """The cells of a job; `expected` are those on its place in the queue."""
    return [
        job.id,
        render.phase(job.phase),
        f"{job.progress:.0%}" if job.state == JobState.TRANSCRIBING else "",
        *expected,
        render.duration(job.duration),
        render.moment(job.created_at),
        render.safe(job.path),
        render.safe(job.reason),
    ]


def expectation(outlook: Outlook | None) -> tuple[str, str]:
    """The place in the queue and the time left, for people; empty where there is none."""
    if outlook is None:
        return "", ""
    left = outlook.seconds_left
    return str(outlook.place or ""), "" if left is None else render.duration(left)
