"""OpenAI's API for audio: transcriptions, translations and models, for programs that are made for it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Request
from pydantic import BaseModel, Field
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse

from dropscribe.core.errors import ModelNotFoundError
from dropscribe.core.settings import Settings
from dropscribe.core.settings_errors import validated
from dropscribe.core.types import SpeechTask, Transcript
from dropscribe.serve.asking import MAX_NAME, MAX_TEXT, Editor, Reader
from dropscribe.serve.protocols import openai_documents as documents
from dropscribe.serve.protocols import request_jobs, request_waiting
from dropscribe.serve.protocols.forms import SentForm
from dropscribe.serve.protocols.openai_documents import AnswerFormat
from dropscribe.serve.protocols.request_jobs import JOB_HEADER, Wish
from dropscribe.serve.protocols.spoken_languages import code_of
from dropscribe.serve.visible import VisibleStore

FILE = "file"
# What programs ask for that know OpenAI's models alone: here, the model of the settings.
DEFAULT_MODELS = (
    "whisper-1",
    "gpt-transcribe",
    "gpt-4o-transcribe",
    "gpt-4o-mini-transcribe",
    "gpt-4o-transcribe-diarize",
)
MAX_PROMPT = 600  # characters that count: what a Whisper can take, as OpenAI's takes the end of a prompt
EVENT_STREAM = "text/event-stream"
TEXT = "text/plain; charset=utf-8"

router = APIRouter(prefix="/v1", tags=["protocols of others"])


class SpeechForm(BaseModel):
    """What a request says besides its recording; what OpenAI's API knows and this one does not is passed over."""

    model: str = Field("whisper-1", max_length=MAX_NAME)
    language: str = Field("", max_length=MAX_NAME, description="a code, such as de")
    prompt: str = Field("", max_length=MAX_TEXT, description="names and topics; the last 600 characters count")
    response_format: Literal["json", "text", "srt", "vtt", "verbose_json", "diarized_json"] = "json"
    temperature: float = Field(0, ge=0, le=1, description="ignored: it is a setting of the workers")
    timestamp_granularities: list[Literal["word", "segment"]] = ["segment"]
    stream: bool = False
    known_speaker_references: list[str] = Field([], max_length=0, description="ignored: enroll voices instead")

    @property
    def wants(self) -> AnswerFormat:
        """The form of the answer."""
        return AnswerFormat(self.response_format)


_LISTS = ("timestamp_granularities", "known_speaker_references")


def _asked(settings: Settings, task: SpeechTask, sent: SentForm) -> tuple[Wish, SpeechForm]:
    """What is wanted of the recording, and all that the form says. Raises SettingsError, ModelNotFoundError."""
    known = {name: values for name, values in sent.fields.items() if name in SpeechForm.model_fields}
    given = {name: values if name in _LISTS else values[-1] for name, values in known.items()}
    form: SpeechForm = validated(SpeechForm, given)
    wish = Wish(
        task=task,
        language=code_of(form.language),
        context=form.prompt[-MAX_PROMPT:].strip(),
        model=_checkpoint(settings, form.model),
        speakers=form.wants is AnswerFormat.DIARIZED,
    )
    return wish, form


def _checkpoint(settings: Settings, named: str) -> str:
    """The checkpoint that is meant; empty for that of the settings. Raises ModelNotFoundError."""
    if named in DEFAULT_MODELS:
        return ""
    if named not in settings.folder_models:
        raise ModelNotFoundError(f"there is no model {named}", remedy="see GET /v1/models")
    return named


def _described(what: str, *texts: str) -> dict[int | str, dict[str, Any]]:
    """A route's answer in JSON, or as one of these kinds of text."""
    kinds = {"application/json": "object"} | dict.fromkeys(texts, "string")
    content = {kind: {"schema": {"type": schema}} for kind, schema in kinds.items()}
    return {200: {"description": what, "content": content}}


_FILE = {"type": "string", "format": "binary", "description": "the recording, in any format"}
_FORM_SCHEMA = SpeechForm.model_json_schema()
_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": _FORM_SCHEMA | {"properties": {FILE: _FILE, **_FORM_SCHEMA["properties"]}, "required": [FILE]}
            }
        },
    }
}


@router.post("/audio/transcriptions", responses=_described("What was said.", TEXT, EVENT_STREAM), openapi_extra=_BODY)
async def transcribe(request: Request, store: Editor) -> Response:
    """Transcribe a recording, and answer when that is done; with `stream`, while it is done."""
    return await _heard(request, store, SpeechTask.TRANSCRIBE)


@router.post(
    "/audio/translations", responses=_described("What was said, in English.", TEXT, EVENT_STREAM), openapi_extra=_BODY
)
async def translate(request: Request, store: Editor) -> Response:
    """The same in English, whatever is spoken, by a Whisper that can translate."""
    return await _heard(request, store, SpeechTask.TRANSLATE)


async def _heard(request: Request, store: VisibleStore, task: SpeechTask) -> Response:
    """The answer to a request with a recording."""
    job, form = await request_jobs.take(request, store, FILE, partial(_asked, store.context.settings, task))
    headers = {JOB_HEADER: job.id}
    if form.stream:
        with_speakers = form.wants is AnswerFormat.DIARIZED
        told = request_waiting.events(request, store, job, with_speakers=with_speakers)
        return StreamingResponse(told, headers=headers, media_type=EVENT_STREAM)
    found = await request_waiting.transcript_of(request, store, job)
    return _answer(found, form, task, headers)


def _answer(found: Transcript, form: SpeechForm, task: SpeechTask, headers: Mapping[str, str]) -> Response:
    """The transcript in the form that was asked for."""
    if write := documents.TEXTS.get(form.wants):
        return PlainTextResponse(write(found), headers=headers)
    match form.wants:
        case AnswerFormat.VERBOSE:
            document = documents.verbose(found, task, form.timestamp_granularities)
        case AnswerFormat.DIARIZED:
            document = documents.diarized(found)
        case _:
            document = documents.brief(found)
    return JSONResponse(document, headers=headers)


def _model(name: str) -> dict[str, Any]:
    """A model as OpenAI's API describes it."""
    return {"id": name, "object": "model", "created": 0, "owned_by": "dropscribe"}


@router.get("/models", responses=_described("The models."))
def models(store: Reader) -> Response:
    """The models that a request may name: OpenAI's, which mean that of the settings, and those of `folder_models`."""
    names = [*DEFAULT_MODELS, *store.context.settings.folder_models]
    return JSONResponse({"object": "list", "data": [*map(_model, names)]})


@router.get("/models/{model:path}", responses=_described("The model."))
def model(store: Reader, model: Annotated[str, Path(max_length=MAX_NAME)]) -> Response:
    """One of them."""
    _checkpoint(store.context.settings, model)
    return JSONResponse(_model(model))
