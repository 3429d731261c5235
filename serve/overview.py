"""Routes about everything: status, folders, workers, voices, search, metrics, pause and resume."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query, Request
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from dropscribe.serve import actions
from dropscribe.serve.asking import (
    JOB_ID,
    MAX_NAME,
    MAX_TEXT,
    NO_NUL,
    Admin,
    Answer,
    Moment,
    OptionalText,
    Reader,
    SomeText,
    bytes_told,
    told,
)
from dropscribe.serve.share_threads import ShareThreads

MAX_AROUND = 20
MAX_HITS = 500

router = APIRouter(tags=["overview"])


@router.get("/search", responses=told("search", "Where it was said."))
def search(
    store: Reader,
    q: Annotated[
        str, Query(max_length=MAX_TEXT, pattern=NO_NUL, description="words, as `dropscribe search` takes them")
    ],
    speaker: SomeText = "",
    since: Moment = None,
    until: Moment = None,
    folder: OptionalText = None,
    around: Annotated[int, Query(ge=0, le=MAX_AROUND)] = 0,
    limit: Annotated[int, Query(ge=1, le=MAX_HITS)] = 50,
) -> Response:
    """Where something was said, in all transcripts."""
    return Answer(store.search(q, speaker, since, until, folder, around, limit))


@router.get("/status", responses=told("server-status", "Waiting work, workers, and problems."))
def status(store: Reader) -> Response:
    """The state of the fleet; with a token that is limited to folders, of these alone."""
    return Answer(store.status())


@router.get("/folders", responses=told("server-folders", "The watched folders."))
def folders(store: Reader) -> Response:
    """The watched folders; with a token that is limited to folders, which of these are watched."""
    return Answer({"folders": store.folders()})


@router.get("/workers", responses=told("workers", "The processes of the fleet."))
def workers(store: Reader) -> Response:
    """The processes of the fleet; not with a token that is limited to folders."""
    return Answer({"workers": store.workers()})


@router.get("/metrics", responses=bytes_told("Metrics for Prometheus.", CONTENT_TYPE_LATEST))
def metrics(request: Request, store: Reader) -> Response:
    """What a scheduler tells Prometheus; not with a token that is limited to folders."""
    store.caller.require_everywhere()
    registry: CollectorRegistry = request.app.state.metrics
    return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)


@router.get("/voices", responses=told("server-voices", "The known voices."))
def voices(store: Reader) -> Response:
    """The known voices, without their embeddings; not with a token that is limited to folders."""
    return Answer({"voices": store.voices()})


class NewVoice(BaseModel):
    """Whose voice is kept: a speaker of a recording, by number or by what they are called."""

    model_config = ConfigDict(extra="forbid")

    job: str = Field(pattern=JOB_ID, description="a job's whole id")
    speaker: str = Field(max_length=MAX_NAME, pattern=NO_NUL)


@router.put("/voices/{name}", responses=told("voices-enroll", "The voice as it is kept."))
async def enroll_voice(
    request: Request, store: Admin, name: Annotated[str, Path(max_length=MAX_NAME, pattern=NO_NUL)], said: NewVoice
) -> Response:
    """Keep the voice of a speaker under a name, so that later recordings name them; takes seconds."""
    store.caller.require_everywhere()
    shares: ShareThreads = request.app.state.shares
    job = await run_in_threadpool(store.job, said.job)
    return Answer(await shares.run(job.root, actions.enroll_voice, store, job, said.speaker, name))


@router.delete("/voices/{name}", status_code=204)
def forget_voice(store: Admin, name: Annotated[str, Path(max_length=MAX_NAME)]) -> None:
    """Remove a known voice."""
    actions.forget_voice(store, name)


@router.post("/pause", responses=told("paused", "Nothing new starts."))
def pause(store: Admin) -> Response:
    """Let the fleet start nothing new; what runs goes on."""
    actions.pause(store, paused=True)
    return Answer({"paused": True})


@router.post("/resume", responses=told("paused", "Work goes on."))
def resume(store: Admin) -> Response:
    """Let the fleet go on."""
    actions.pause(store, paused=False)
    return Answer({"paused": False})
