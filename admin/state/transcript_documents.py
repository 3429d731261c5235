"""The stored transcript of a job: as it is, or in another format."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from dropscribe.core.errors import DropscribeError
from dropscribe.core.types import JobState
from dropscribe.store import transcripts
from dropscribe.store.queries import Job
from dropscribe.store.session import Database


def document_of(database: Database, job: Job) -> str:
    """A job's transcript as it is stored; a job that waits for the transcript of equal content has that job's.

    Raises DropscribeError when there is none.
    """
    own = transcripts.document(database, job.id)
    document = own or (job.state == JobState.DUPLICATE and transcripts.document(database, job.duplicate_of or ""))
    if not document:
        raise DropscribeError(
            f"{job.id} is {job.state} and has no transcript", remedy=f"see `dropscribe show {job.id}`"
        )
    return document


def in_format(job: Job, document: str, fmt: str, folder: Path | None) -> bytes:
    """The stored document as it is if the format is JSON, else in that format, as a file in `folder`."""
    from dropscribe.worker import outputs

    if fmt == "json":
        return document.encode()
    stored = outputs.json_.from_json(document)
    source = replace(stored.source, path=job.source)  # a document holds no bytes that are not UTF-8
    return outputs.render(replace(stored, source=source), fmt, folder)
