"""Routes about corrections: a transcript in pieces, what people corrected in it, and taking that back."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Body, Header, Query
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from dropscribe.core.corrections import MAX_EDITS, MAX_SEGMENT, Edit
from dropscribe.serve import actions
from dropscribe.serve.asking import Answer, Editor, Reader, told
from dropscribe.serve.recordings import JobId
from dropscribe.serve.revision_tags import revision_of, tagged

MAX_SEGMENTS = 500  # at once

Seen = Annotated[
    str,
    Header(
        alias="If-Match",
        pattern=r'^"[0-9]{1,9}"$',
        description="the `ETag` of the transcript that is corrected; 412 where somebody else has corrected it since",
    ),
]

router = APIRouter(prefix="/recordings/{job}", tags=["corrections"])


class NewCorrections(BaseModel):
    """What is corrected, one after the other: each edit is about what the one before it left."""

    model_config = ConfigDict(extra="forbid")

    edits: list[Annotated[Edit, Field(discriminator="kind")]] = Field(min_length=1, max_length=MAX_EDITS)


class EarlierRevision(BaseModel):
    """Which revision is gone back to."""

    model_config = ConfigDict(extra="forbid")

    back_to: int = Field(ge=0, le=MAX_SEGMENT, description="its number; 0: as it was recognized")


@router.get("/segments", responses=told("segments", "Segments of the transcript, in order."))
def list_segments(
    store: Reader,
    job: JobId,
    first: Annotated[int, Query(ge=0, le=MAX_SEGMENT, description="the first one's number")] = 0,
    limit: Annotated[int, Query(ge=1, le=MAX_SEGMENTS)] = 200,
) -> Response:
    """Its transcript in pieces, as people made it by now; the `ETag` is its revision."""
    found = store.segments(store.job(job), first, limit)
    return tagged(Answer(found), found["revision"])


@router.get("/revisions", responses=told("revisions", "Who corrected what."))
def list_revisions(store: Reader, job: JobId) -> Response:
    """Who corrected what in its transcript, and when; the `ETag` is the number of the last revision."""
    found = store.revisions(store.job(job))
    return tagged(Answer(found), found["revision"])


@router.post("/revisions", status_code=201, responses=told("revision", "The revision that was made.", 201))
def correct(store: Editor, job: JobId, wanted: Annotated[NewCorrections, Body()], seen: Seen) -> Response:
    """Correct its transcript, and have its files written again."""
    return _made(job, actions.correct(store, store.job(job), wanted.edits, revision_of(seen)))


@router.post("/revisions/undo", status_code=201, responses=told("revision", "The revision that was made.", 201))
def undo(store: Editor, job: JobId, seen: Seen) -> Response:
    """Take the last correction back that is not taken back yet, and have its files written again."""
    return _made(job, actions.undo(store, store.job(job), revision_of(seen)))


@router.post("/revisions/restore", status_code=201, responses=told("revision", "The revision that was made.", 201))
def restore(store: Editor, job: JobId, wanted: Annotated[EarlierRevision, Body()], seen: Seen) -> Response:
    """Have the transcript that an earlier revision made, and its files written again."""
    return _made(job, actions.go_back(store, store.job(job), wanted.back_to, revision_of(seen)))


def _made(job: str, revision: int) -> Response:
    """The answer with the number of a new revision."""
    return tagged(Answer({"job": job, "revision": revision}, 201), revision)
