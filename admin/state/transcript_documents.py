"""The transcript of a job: as it is stored, as people made it by now, or in another format."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from dropscribe.core.clock import iso
from dropscribe.core.errors import DropscribeError
from dropscribe.core.types import JobState, Transcript
from dropscribe.store import revisions, transcripts
from dropscribe.store.queries import Job
from dropscribe.store.session import Database


def document_of(database: Database, job: Job) -> str:
    """A job's transcript as it is stored; a job that waits for the transcript of equal content has that job's.

    While one that was corrected is written again, it is given as it will be. Raises DropscribeError when there is none.
    """
    if job.revision and not job.state.is_final:
        return as_json(current(database, job))
    own = transcripts.document(database, job.id)
    document = own or (job.state == JobState.DUPLICATE and transcripts.document(database, job.duplicate_of or ""))
    if not document:
        raise without_transcript(job)
    return document


def current(database: Database, job: Job) -> Transcript:
    """A job's transcript as people made it by now, which the stored one tells only when it is written again.

    Raises DropscribeError for a job without a transcript of its own.
    """
    from dropscribe.worker.finishing import finish

    return finish.named(kept(database, job) or _as_stored(database, job), job)


def kept(database: Database, job: Job) -> Transcript | None:
    """The transcript whose text people corrected, without what they said of speakers; None where they did not."""
    from dropscribe.core import corrections as edits
    from dropscribe.worker.merging import corrections
    from dropscribe.worker.outputs import json_

    found = revisions.corrections(database, job.id, job.revision) if job.revision else None
    if found is None or found.document is None:
        return None
    return corrections.corrected(json_.from_json(found.document), edits.read(found.edits))


def recognized(database: Database, job: Job) -> Transcript:
    """The transcript without what people said of it; the stored one where the store tells no other.

    Raises DropscribeError where there is none.
    """
    from dropscribe.worker.finishing import finish

    stored = _as_stored(database, job)
    found = finish.recognized(database, job)
    return replace(found, task=stored.task) if found else stored


def _as_stored(database: Database, job: Job) -> Transcript:
    """The stored transcript, without names that may be forgotten by now. Raises DropscribeError where there is none."""
    from dropscribe.worker.outputs import json_

    document = transcripts.document(database, job.id)
    if document is None:
        raise without_transcript(job)
    transcript = json_.from_json(document)
    if job.state.is_final or job.duplicate_of:  # those of equal content stay
        return transcript
    people = (replace(one, name="") if one.recognized is None else one for one in transcript.speakers)
    return replace(transcript, speakers=tuple(people))


def as_json(transcript: Transcript) -> str:
    """The document that the store keeps of a transcript."""
    from dropscribe.worker import outputs

    return outputs.render(transcript, "json").decode()


def without_transcript(job: Job) -> DropscribeError:
    """That the store has no transcript of the job, or none any more."""
    if job.text_removed_at is None:
        return DropscribeError(
            f"{job.id} is {job.state} and has no transcript", remedy=f"see `dropscribe show {job.id}`"
        )
    return DropscribeError(
        f"what was said in {job.id} was removed from the store {iso(job.text_removed_at)}",
        remedy=f"`dropscribe rerun {job.id}` has its recording transcribed again; files beside it stay as they are",
    )


def in_format(job: Job, document: str, fmt: str, folder: Path | None) -> bytes:
    """The stored document as it is if the format is JSON, else in that format, as a file in `folder`."""
    from dropscribe.worker import outputs

    if fmt == "json":
        return document.encode()
    stored = outputs.json_.from_json(document)
    source = replace(stored.source, path=job.source)  # a document holds no bytes that are not UTF-8
    return outputs.render(replace(stored, source=source), fmt, folder)
