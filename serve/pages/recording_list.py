"""The page of all recordings: what waits, runs and is done, what can be done about it, and a place to drop more."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from urllib.parse import urlencode

from fastapi import APIRouter
from starlette.responses import Response

from dropscribe.core.types import JobPhase, Priority, TokenRole
from dropscribe.serve import rendering
from dropscribe.serve.asking import Reader, SomeText
from dropscribe.serve.recordings import GIGABYTE, page_mark
from dropscribe.serve.visible import JobQuery

ADDRESS = "/recordings"
LISTED = 50
# What can be asked for, by its name in the address: in words, and the phases that are meant (none: all).
CHOICES: Mapping[str, tuple[str, tuple[JobPhase, ...]]] = MappingProxyType(
    {
        "": ("all", ()),
        "unfinished": (
            "waiting or worked on",
            (JobPhase.WAITING, JobPhase.PREPARING, JobPhase.TRANSCRIBING, JobPhase.FINISHING),
        ),
        "attention": ("to be looked at", (JobPhase.FAILED, JobPhase.PARKED, JobPhase.SUSPECT)),
        "transcribed": ("transcribed", (JobPhase.DONE, JobPhase.SUSPECT, JobPhase.DUPLICATE)),
    }
    | {str(phase): (str(phase), (phase,)) for phase in JobPhase}
)

router = APIRouter(include_in_schema=False)


@router.get(ADDRESS)
def recordings(
    store: Reader, state: SomeText = "", folder: SomeText = "", name: SomeText = "", before: SomeText = ""
) -> Response:
    """Recordings, the newest first."""
    _, phases = CHOICES.get(state, CHOICES[""])
    found = store.table(
        JobQuery(
            phases=phases,
            folder=folder or None,
            name=name or None,
            after=page_mark(before or None),
            limit=LISTED,
        )
    )
    wanted = {"state": state, "folder": folder, "name": name}
    may_change = store.caller.may(TokenRole.EDITOR)
    return rendering.page(
        store.caller,
        "recordings.html",
        place=ADDRESS,
        jobs=found["jobs"],
        older=found["next"] and f"{ADDRESS}?{urlencode(wanted | {'before': found['next']})}",
        wanted=wanted,
        is_first=not before,
        choices=CHOICES,
        folders=store.folders(),
        priorities=[*Priority],
        may_change=may_change,
        upload_folders=store.upload_folders() if may_change else (),
        upload_bytes=int(store.context.settings.serve_upload_gb * GIGABYTE),
    )
