"""`dropscribe jobs` and `transcript`, and how the command line finds and describes a job."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from rich.table import Table

from dropscribe.admin.ask import unadmitted
from dropscribe.admin.context import Context
from dropscribe.admin.terminal import render
from dropscribe.core.errors import DropscribeError, JobNotFoundError, UsageError
from dropscribe.core.types import JobState
from dropscribe.store import queries, recording_moves, transcripts
from dropscribe.store.queries import Job
from dropscribe.store.session import Database


def find(database: Database, text: str) -> str:
    """The id of the job that is meant by an id, the start of one, or a path.

    The store holds paths without symlinks, as the watching host sees them. A recording that is put away is found by
    the path that it was dropped at too, as long as no other lies there. Raises JobNotFoundError or AmbiguousJobError.
    """
    start = text if text.isascii() else ""  # of an id; no database takes a name's undecodable bytes as text
    for path in places(text):
        with suppress(JobNotFoundError):
            return queries.find(database, start, str(path))
    if reason := unadmitted.why(database, *places(text)):
        raise JobNotFoundError(reason)
    for path in places(text):
        if put_away := recording_moves.put_away(database, str(path)):
            return put_away
    raise JobNotFoundError(f"no job has the id or the path {text}; `dropscribe jobs` lists them")


def places(text: str) -> tuple[Path, Path]:
    """Where a path that somebody typed leads: without symlinks, and with them."""
    plain = Path(os.path.normpath(Path(text).expanduser().absolute()))
    return plain.parent.resolve() / plain.name, plain


def as_document(job: Job) -> dict[str, Any]:
    """A job as docs/cli.md describes it; where speech was found is left out for its length."""
    media = {key: value for key, value in (job.media or {}).items() if key != "speech"}
    return asdict(job) | {
        "source": job.source,
        "progress": round(job.progress, 4),
        "media": media or None,
        "missing": [{"start": start, "end": end} for start, end in job.missing],
    }


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


def jobs_table(jobs: Sequence[Job]) -> Table:
    """One row a job."""
    table = render.table(
        "id", "state", "read", "length", "admitted", "recording", "reason",
        whole=("id", "state", "admitted"), right=("read", "length"),
    )  # fmt: skip
    for job in jobs:
        table.add_row(
            job.id,
            render.state(job.state),
            _share(job) if job.state == JobState.TRANSCRIBING else "",
            render.duration(job.duration),
            render.moment(job.created_at),
            render.safe(job.path),
            render.safe(job.reason),
        )
    return table


def _share(job: Job) -> str:
    """How much is read; a job whose pieces only wait for a model worker says so."""
    return f"{job.progress:.0%}" if job.reading else f"{job.progress:.0%}, waits"


def transcript(context: Context, name: str, fmt: str, output: Path | None = None) -> None:
    """Print a job's transcript or write it to `output`; the JSON document as it is stored, other formats made from it.

    Raises DropscribeError when there is none, or when a format that is no text would reach a terminal.
    """
    from dropscribe.worker import outputs
    from dropscribe.worker.finishing import placement

    if fmt in outputs.BINARY and not output and sys.stdout.isatty():
        raise UsageError(f"{fmt} is not for a terminal; write it to a file with --output")
    job = queries.job(context.database, find(context.database, name))
    document = document_of(context.database, job)
    if job.state == JobState.SUSPECT:
        context.remark("suspect", job.reason, "yellow")
    target = output.expanduser().absolute() if output else None
    content = document.encode() if fmt == "json" else rendered(job, document, fmt, target.parent if target else None)
    if target:
        if placement.digest(target) is not None:
            raise DropscribeError(f"{target} exists already; remove it, or choose another name")
        placement.write(target, content, job.id, replaces=False)
        return
    sys.stdout.flush()
    sys.stdout.buffer.write(content)
    sys.stdout.buffer.flush()


def document_of(database: Database, job: Job) -> str:
    """A job's transcript as it is stored; a job that waits for the transcript of equal content has that job's.

    Raises DropscribeError when there is none.
    """
    document = transcripts.document(database, job.id)
    if document is None and job.state == JobState.DUPLICATE and job.duplicate_of:
        document = transcripts.document(database, job.duplicate_of)
    if document is None:
        raise DropscribeError(f"{job.id} is {job.state} and has no transcript; see `dropscribe show {job.id}`")
    return document


def rendered(job: Job, document: str, fmt: str, folder: Path | None) -> bytes:
    """The stored document in another format, as a file in `folder`."""
    from dropscribe.worker import outputs

    stored = outputs.json_.from_json(document)
    source = replace(stored.source, path=job.source)  # a document holds no bytes that are not UTF-8
    return outputs.render(replace(stored, source=source), fmt, folder)
