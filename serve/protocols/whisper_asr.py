"""The API of whisper-asr-webservice, as Bazarr and other programs ask it for subtitles.

They send sound without a header (`encode=false`: mono, 16 bits, 16 kHz) or any recording, as the file `audio_file`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from enum import StrEnum
from pathlib import PurePath
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, Query, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

from dropscribe.core import confidence
from dropscribe.core.types import SpeechTask, Transcript
from dropscribe.serve.asking import MAX_NAME, MAX_TEXT, NO_NUL, Editor, SomeText
from dropscribe.serve.protocols import openai_documents as documents
from dropscribe.serve.protocols import request_jobs, request_waiting
from dropscribe.serve.protocols.request_jobs import JOB_HEADER, RawSound, Wish
from dropscribe.serve.protocols.spoken_languages import code_of, name_of
from dropscribe.worker.outputs.text import clean

FILE = "audio_file"
DETECTED_SECONDS = 120.0  # of raw sound, from which its language is found out
ENGINE_HEADER = "Asr-Engine"

Encode = Annotated[bool, Query(description="false: the file is raw sound, mono, 16 bits, 16 kHz")]
VideoFile = Annotated[str, Query(max_length=MAX_TEXT, pattern=NO_NUL, description="the recording's name")]

router = APIRouter(tags=["protocols of others"])


class Output(StrEnum):
    """The formats of whisper-asr-webservice."""

    TXT = "txt"
    VTT = "vtt"
    SRT = "srt"
    TSV = "tsv"
    JSON = "json"


_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "properties": {FILE: {"type": "string", "format": "binary"}},
                    "required": [FILE],
                }
            }
        },
    }
}
_CONTENT = {"text/plain; charset=utf-8": {"schema": {"type": "string"}}}
_TEXT: dict[int | str, dict[str, Any]] = {200: {"description": "The transcript.", "content": _CONTENT}}
_LANGUAGE: dict[int | str, dict[str, Any]] = {
    200: {"description": "The language.", "content": {"application/json": {"schema": {"type": "object"}}}}
}


@router.post("/asr", responses=_TEXT, openapi_extra=_BODY)
async def asr(
    request: Request,
    store: Editor,
    encode: Encode = True,
    task: SpeechTask = SpeechTask.TRANSCRIBE,
    language: Annotated[str, Query(max_length=MAX_NAME, description="a code, such as de")] = "",
    initial_prompt: SomeText = "",
    output: Output = Output.TXT,
    video_file: VideoFile = "",
) -> Response:
    """Transcribe or translate a recording, and answer when that is done."""
    wish = Wish(task=task, language=code_of(language), context=initial_prompt)
    raw = None if encode else RawSound()
    job, _ = await request_jobs.take(request, store, FILE, lambda _sent: (wish, None), raw, called=video_file)
    found = await request_waiting.transcript_of(request, store, job)
    called = quote(f"{PurePath(video_file).name or FILE}.{output}")
    headers = {
        JOB_HEADER: job.id,
        ENGINE_HEADER: found.engine.engine,
        "Content-Disposition": f"attachment; filename*=UTF-8''{called}",
    }
    return PlainTextResponse(_WRITERS[output](found, task), headers=headers)


@router.post("/detect-language", responses=_LANGUAGE, openapi_extra=_BODY)
async def detect_language(
    request: Request, store: Editor, encode: Encode = True, video_file: VideoFile = ""
) -> Response:
    """Which language is spoken, by a transcript of all of the recording; of raw sound, of its first two minutes.

    An empty code: nobody speaks, or the model does not tell languages. `confidence` is that in the words.
    """
    raw = None if encode else RawSound(DETECTED_SECONDS)
    job, _ = await request_jobs.take(request, store, FILE, lambda _sent: (Wish(), None), raw, called=video_file)
    found = await request_waiting.transcript_of(request, store, job)
    sure = confidence.average(found.segments)
    told = {
        "detected_language": name_of(found.language),
        "language_code": found.language,
        "confidence": 0.0 if sure is None else sure,
    }
    return JSONResponse(told, headers={JOB_HEADER: job.id})


def _json(found: Transcript, task: SpeechTask) -> str:
    """Text, language and segments."""
    return json.dumps(documents.verbose(found, task, (documents.SEGMENT,)))


def _txt(found: Transcript, _task: SpeechTask) -> str:
    """A line for each segment."""
    return "".join(f"{clean(segment.text)}\n" for segment in found.segments if segment.is_speech)


def _tsv(found: Transcript, _task: SpeechTask) -> str:
    """A line for each segment with its times, in milliseconds."""
    rows = (
        f"{segment.start * 1000:.0f}\t{segment.end * 1000:.0f}\t{clean(segment.text)}" for segment in found.segments
    )
    return "\n".join(["start\tend\ttext", *rows, ""])


_WRITERS: Mapping[Output, Callable[[Transcript, SpeechTask], str]] = {
    Output.JSON: _json,
    Output.TXT: _txt,
    Output.TSV: _tsv,
    Output.SRT: lambda found, _task: documents.subtitles(found, "srt"),
    Output.VTT: lambda found, _task: documents.subtitles(found, "vtt"),
}
