"""The page of one recording: its sound, its transcript to read and to correct, and what happened to it."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Any

from fastapi import APIRouter
from starlette.responses import Response

from dropscribe.admin.cli.commands import Format
from dropscribe.core.types import TokenRole
from dropscribe.serve import rendering
from dropscribe.serve.asking import Reader
from dropscribe.serve.pages.recording_list import ADDRESS
from dropscribe.serve.recordings import JobId

PICTURES = frozenset(".3gp .asf .m4v .mkv .mov .mp4 .webm".split())  # endings of what may hold pictures

router = APIRouter(include_in_schema=False)


@router.get(f"{ADDRESS}/{{job}}")
def recording(store: Reader, job: JobId) -> Response:
    """One recording; its script asks for the transcript, piece by piece."""
    found = store.job(job)
    story: dict[str, Any] = store.story(found)
    has_text = found.state.has_transcript or bool(found.revision)
    return rendering.page(
        store.caller,
        "recording.html",
        place=ADDRESS,
        job=story,
        name=PurePosixPath(found.path).name,
        media="video" if PurePosixPath(found.path).suffix.lower() in PICTURES else "audio",
        has_text=has_text and found.text_removed_at is None,
        may_change=store.caller.may(TokenRole.EDITOR),
        may_enroll=store.caller.may(TokenRole.ADMIN) and store.caller.folders is None,
        formats=[*Format],
        parts=story["parts"],
    )
