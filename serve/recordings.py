"""Routes about recordings: list, upload, story, files, transcripts, media, and what can be done with one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import partial
from typing import Annotated

from fastapi import APIRouter, Body, Header, Path, Query, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from dropscribe.admin.cli.commands import Format, ShownState
from dropscribe.core.errors import UsageError
from dropscribe.core.types import JobPhase, JobState, Priority
from dropscribe.serve import actions, uploads
from dropscribe.serve.asking import (
    JOB_ID,
    MAX_NAME,
    MAX_TEXT,
    NO_NUL,
    Answer,
    Editor,
    OptionalText,
    Reader,
    bytes_told,
    told,
)
from dropscribe.serve.media import RecordingResponse
from dropscribe.serve.request_limits import AtOnce, RequestLimits
from dropscribe.serve.revision_tags import revision_of, tagged
from dropscribe.serve.share_threads import ShareThreads
from dropscribe.serve.visible import JobQuery
from dropscribe.worker.outputs import MEDIA_TYPES

GIGABYTE = 10**9
MAX_LISTED = 500
BLOCK = 1 << 20  # bytes that are written at once

JobId = Annotated[str, Path(pattern=JOB_ID, description="a job's whole id")]
Called = Annotated[str, Field(max_length=MAX_NAME, pattern=NO_NUL)]
Own = Annotated[str | None, Field(max_length=255, pattern=NO_NUL, description="the setting, for this recording alone")]
Replaces = Annotated[bool, Query(description="replace transcripts that people corrected, too")]
SeenOrNot = Annotated[
    str | None,
    Header(alias="If-Match", pattern=r'^"[0-9]{1,9}"$', description="the `ETag` of what was read; 412 if it changed"),
]

router = APIRouter(prefix="/recordings", tags=["recordings"])


class NewPriority(BaseModel):
    """How urgent a recording is from now on."""

    model_config = ConfigDict(extra="forbid")

    priority: Priority


class SaidOfSpeakers(BaseModel):
    """What is said of speakers, each meant by number or by what they are called now."""

    model_config = ConfigDict(extra="forbid")

    names: dict[Called, Called] = Field(default_factory=dict, description="the name; an empty text removes it")
    merges: dict[Called, Called] = Field(default_factory=dict, description="merges: the first speaker is the second")


class UploadQuery(BaseModel):
    """Where a recording is to go, and what holds for it alone, as `dropscribe submit` takes it."""

    model_config = ConfigDict(extra="forbid")

    folder: str = Field(max_length=MAX_TEXT, pattern=NO_NUL, description="a watched folder, or one below")
    name: str = Field(max_length=255, pattern=NO_NUL, description="the file's name, such as talk.wav")
    priority: Priority | None = None
    context: str | None = Field(None, max_length=MAX_TEXT, pattern=NO_NUL, description="names and topics")
    language: Own = None
    outputs: Own = None
    engine: Own = None
    precision: Own = None
    model: Own = None
    chunk_seconds: Own = None
    speakers: Own = None
    channels: Own = None
    tracks: Own = None
    task: Own = None

    @property
    def own(self) -> dict[str, str]:
        """The settings of this recording alone, as they were typed."""
        return self.model_dump(exclude={"folder", "name", "priority", "context"}, exclude_none=True)


@router.get("", responses=told("job-page", "Recordings, the newest first."))
def list_recordings(
    store: Reader,
    state: Annotated[list[ShownState], Query(default_factory=list, description="only in these states")],
    ids: Annotated[
        list[Annotated[str, Field(pattern=JOB_ID)]],
        Query(default_factory=list, alias="id", max_length=MAX_LISTED, description="only these jobs"),
    ],
    folder: OptionalText = None,
    path: OptionalText = None,
    name: Annotated[str | None, Query(max_length=MAX_TEXT, pattern=NO_NUL, description="a part of their names")] = None,
    before: Annotated[str | None, Query(max_length=64, pattern=NO_NUL, description="`next` of the page before")] = None,
    limit: Annotated[int, Query(ge=1, le=MAX_LISTED)] = 50,
) -> Response:
    """Recordings, the newest first: all, those below a folder, the jobs of one path, or some by their ids."""
    asked = JobQuery(
        states=[JobState.QUEUED] if ShownState.QUEUED in state else [],
        phases=[JobPhase(one) for one in state if one != ShownState.QUEUED],
        folder=folder,
        path=path,
        name=name,
        ids=ids or None,
        after=page_mark(before),
        limit=limit,
    )
    return Answer(store.listing(asked))


def page_mark(before: str | None) -> tuple[float, str] | None:
    """Where the page before ended. Raises UsageError."""
    if before is None:
        return None
    moment, _, job_id = before.partition(",")
    try:
        return float(moment), job_id
    except ValueError as error:
        raise UsageError(f"{before!r} is not a page", remedy="use `next` of the page before") from error


@router.post(
    "",
    status_code=201,
    responses=told("job", "The recording's job.", 201),
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
        }
    },
)
async def upload(request: Request, store: Editor, asked: Annotated[UploadQuery, Query()]) -> Response:
    """Put a recording into a watched folder: it appears there whole or not at all, and has a job at once."""
    settings = store.context.settings
    limit = int(settings.serve_upload_gb * GIGABYTE)
    given = actions.wishes(store, asked.own, asked.priority, asked.context)
    limits: RequestLimits = request.app.state.limits
    await run_in_threadpool(actions.require_room, store)
    place = await run_in_threadpool(store.upload_place, asked.folder, asked.name)
    on_share = partial(_shares(request).run, place.root)
    with limits.holding(AtOnce.UPLOAD, store.caller):
        begun = uploads.begun(settings.home / uploads.JOURNAL, place, limit)
        async with _shares(request).using(place.root, begun) as sent:
            ordered = await on_share(actions.orders, store, place, given)
            async for block in _blocks(request):
                await on_share(sent.write, block)
            job_id = await on_share(actions.admit, store, place, sent, ordered, asked.priority)
    job = await run_in_threadpool(store.job, job_id)
    return Answer(await run_in_threadpool(store.document, job), 201)


def _shares(request: Request) -> ShareThreads:
    """The threads for calls into watched folders."""
    found: ShareThreads = request.app.state.shares
    return found


async def _blocks(request: Request) -> AsyncIterator[bytes]:
    """The body as it comes, in blocks that are worth a thread's while."""
    block = bytearray()
    async for part in request.stream():
        block += part
        if len(block) >= BLOCK:
            yield bytes(block)
            block.clear()
    yield bytes(block)


@router.get("/{job}", responses=told("show", "Everything about one recording."))
def show_recording(store: Reader, job: JobId) -> Response:
    """Everything about one recording: its job, files, every attempt at it, and what happened."""
    return Answer(store.story(store.job(job)))


@router.get("/{job}/files", responses=told("job-files", "Its transcript files."))
def list_files(store: Reader, job: JobId) -> Response:
    """The transcript files that were written for it."""
    return Answer({"files": store.files(store.job(job))})


@router.get("/{job}/transcript", responses=bytes_told("The transcript.", *dict.fromkeys(MEDIA_TYPES.values())))
def transcript(store: Reader, job: JobId, fmt: Annotated[Format, Query(alias="format")] = Format.JSON) -> Response:
    """Its transcript, in any format."""
    content = store.transcript(store.job(job), fmt)
    headers = {"Content-Disposition": f'attachment; filename="{job}.{fmt}"'}
    return Response(content, headers=headers, media_type=MEDIA_TYPES[fmt])


@router.get("/{job}/media", responses=bytes_told("The recording, whole or a range.", "application/octet-stream"))
async def recording(request: Request, store: Reader, job: JobId) -> Response:
    """The recording itself; `Range` asks for a part of it."""
    found = await run_in_threadpool(store.job, job)
    on_share = partial(_shares(request).run, found.root)
    return RecordingResponse(await on_share(store.open_recording, found), found.path, on_share)


@router.get("/{job}/speakers", responses=told("speakers", "Its speakers."))
def show_speakers(store: Reader, job: JobId) -> Response:
    """Who speaks in it; the `ETag` is the revision of its transcript."""
    revision = store.newest_revision(store.job(job))  # before what it is the tag of is read
    return tagged(Answer(store.speakers(store.job(job))), revision)


@router.put("/{job}/speakers", responses=told("speakers", "Its speakers, with the changes."))
def name_speakers(
    store: Editor, job: JobId, said: Annotated[SaidOfSpeakers, Body()], seen: SeenOrNot = None
) -> Response:
    """Name and merge speakers, and have its files written again."""
    found = store.job(job)
    now, revision = actions.name_speakers(store, found, said.names, said.merges, revision_of(seen))
    return tagged(Answer(now), revision)


@router.post("/{job}/retry", responses=told("job", "The job after that."))
def retry(store: Editor, job: JobId, replace_corrections: Replaces = False) -> Response:
    """Give a failed, parked, cancelled or suspect job another chance."""
    return Answer(store.document(actions.retry(store, store.job(job), replaces=replace_corrections)))


@router.post("/{job}/cancel", responses=told("job", "The job after that."))
def cancel(store: Editor, job: JobId) -> Response:
    """Cancel it: at once where it waits, within seconds where a worker is at it."""
    return Answer(store.document(actions.cancel(store, store.job(job))))


@router.post("/{job}/rerun", responses=told("job-rerun", "The result."))
def rerun(store: Editor, job: JobId, replace_corrections: Replaces = False) -> Response:
    """Re-apply the current settings to it."""
    return Answer({"id": job, "fate": actions.rerun_job(store, store.job(job), replaces=replace_corrections)})


@router.put("/{job}/priority", responses=told("job", "The job after that."))
def prioritize(store: Editor, job: JobId, wanted: Annotated[NewPriority, Body()]) -> Response:
    """Let it go before or after others, while it is not over."""
    return Answer(store.document(actions.prioritize(store, store.job(job), wanted.priority)))
