"""How a job is described: as a JSON document, and as a row of a table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from rich.console import RenderableType
from rich.table import Table

from dropscribe.admin.terminal import render
from dropscribe.core import old_names
from dropscribe.core.mappings import said
from dropscribe.core.types import JobState
from dropscribe.store.queries import Job


def as_document(job: Job) -> dict[str, Any]:
    """A job as docs/cli.md describes it, under old names too."""
    media = said(asdict(job.media)) if job.media else None
    document = asdict(job) | {
        "source": job.source,
        "progress": round(job.progress, 4),
        "media": media,
        "overrides": job.overrides.given,
    }
    return old_names.with_new(document, old_names.JOB)


def jobs_table(jobs: Sequence[Job]) -> Table:
    """One row a job."""
    columns = ("id", "state", "read", "length", "admitted", "recording", "reason")
    return render.table(*columns, rows=map(_row, jobs), whole=("id", "state", "admitted"), right=("read", "length"))


def _row(job: Job) -> list[RenderableType]:
    return [
        job.id,
        render.state(job.state),
        _share(job) if job.state == JobState.TRANSCRIBING else "",
        render.duration(job.duration),
        render.moment(job.created_at),
        render.safe(job.path),
        render.safe(job.reason),
    ]


def _share(job: Job) -> str:
    """How much is read; a job whose pieces only wait for a model worker says so."""
    return f"{job.progress:.0%}" if job.reading else f"{job.progress:.0%}, waits"
