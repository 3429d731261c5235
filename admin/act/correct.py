"""What people correct in a transcript: its text, and who speaks in a passage; who did what, and taking it back."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from pydantic import ValidationError

from dropscribe.admin.act.speakers import when_written
from dropscribe.admin.context import Context
from dropscribe.admin.state.transcript_documents import as_json, kept, recognized
from dropscribe.core import corrections
from dropscribe.core.clock import with_moments
from dropscribe.core.corrections import Edit
from dropscribe.core.errors import UsageError
from dropscribe.store import queries, revisions
from dropscribe.store.queries import Job
from dropscribe.store.revisions import NewRevision, Revision
from dropscribe.store.session import Database


def correct(context: Context, job: Job, edits: Sequence[Edit], who: str, *, expected: int | None = None) -> int:
    """Correct the job's transcript, and have its files written again. Returns the number of the revision.

    Raises EditConflictError where its last revision is not the `expected` one, UsageError for edits that do not fit,
    DropscribeError where there is no transcript.
    """
    from dropscribe.worker.merging.corrections import described

    if not edits:
        raise UsageError("nothing is corrected", remedy="name at least one edit")
    newest = revisions.require_newest(context.database, job.id, expected)
    job = queries.job(context.database, job.id)  # as it is since that revision, or a later one, which is refused
    corrected, base = kept(context.database, job), None
    if corrected is None:
        corrected = recognized(context.database, job)
        base = as_json(corrected)
    try:
        told = described(corrections.read(corrections.stored(edits)), corrected)
    except ValidationError as error:
        raise UsageError(f"an edit cannot be kept: {error.errors()[0]['msg']}", remedy="see docs/api.md") from error
    wanted = NewRevision(who, corrections.stored(told), summary=corrections.summary(told))
    number = revisions.add(context.database, job.id, wanted, expected=newest, base=base)
    when_written(context, job)
    return number


def undo(context: Context, job: Job, who: str, *, expected: int | None = None) -> int:
    """Take the last correction back, and have the files written again. Returns the number of the revision.

    Raises EditConflictError as `correct` does, UsageError where nothing is left to take back, DropscribeError.
    """
    number = revisions.undo(context.database, job.id, who, expected=expected)
    when_written(context, job)
    return number


def go_back(context: Context, job: Job, back_to: int, who: str, *, expected: int | None = None) -> int:
    """Have the transcript that an earlier revision made, 0 for none, and its files written. Returns the new number.

    Raises EditConflictError as `correct` does, UsageError for a revision that there is not, DropscribeError.
    """
    wanted = NewRevision(who, back_to=back_to, summary=f"back to {back_to}")
    number = revisions.add(context.database, job.id, wanted, expected=expected)
    when_written(context, job)
    return number


def document(database: Database, job: Job) -> dict[str, Any]:
    """Who corrected what, and when, as docs/api.md describes it."""
    done = revisions.listing(database, job.id)
    return {
        "job": job.id,
        "revision": done[-1].number if done else 0,
        "is_replaced": bool(done) and done[-1].back_to == revisions.ANEW,
        "revisions": [*_documents(done)],
    }


def _documents(done: Sequence[Revision]) -> Iterator[dict[str, Any]]:
    """Each revision; of speakers what was said of them where that changed."""
    said: dict[str, Any] | None = None
    for one in done:
        now = {"names": dict(one.speakers.names), "merged": dict(one.speakers.merged)}
        yield with_moments(
            {
                "number": one.number,
                "at": one.at,
                "who": one.who,
                "edits": [*one.edits],
                "back_to": one.back_to,
                "speakers": now if now != said and not one.edits and one.back_to is None else None,
            },
            "at",
        )
        said = now
