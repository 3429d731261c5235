"""The page of the fleet: what waits, who works and how fast, the watched folders, and what went wrong; the settings."""

from __future__ import annotations

from itertools import groupby

from fastapi import APIRouter
from starlette.responses import Response

from dropscribe.core.settings_loading import Origin
from dropscribe.core.types import JobPhase, TokenRole
from dropscribe.serve import rendering
from dropscribe.serve.asking import Reader
from dropscribe.serve.visible import JobQuery

FLEET, SETTINGS = "/fleet", "/settings"
FAILED = (JobPhase.FAILED, JobPhase.PARKED)
MAX_FAILURES = 20
MAX_UNTOLD = 20

router = APIRouter(include_in_schema=False)


@router.get(FLEET)
def show_fleet(store: Reader) -> Response:
    """The state of the fleet; to a caller who is limited to folders, of these alone."""
    everywhere = store.caller.folders is None
    return rendering.page(
        store.caller,
        "fleet.html",
        place=FLEET,
        fleet=store.status(),
        everywhere=everywhere,
        may_pause=everywhere and store.caller.may(TokenRole.ADMIN),
        failures=store.listing(JobQuery(phases=FAILED, limit=MAX_FAILURES)),
        untold=store.untold(MAX_UNTOLD),
        max_untold=MAX_UNTOLD,
    )


@router.get(SETTINGS)
def show_settings(store: Reader) -> Response:
    """All settings, each with where it came from; those that somebody set come first."""
    found = sorted(store.settings(), key=_is_default)
    groups = {is_default: [*of_group] for is_default, of_group in groupby(found, _is_default)}
    file = store.context.settings.file
    return rendering.page(
        store.caller,
        "settings.html",
        place=SETTINGS,
        chosen=groups.get(False, ()),
        others=groups.get(True, ()),
        file=str(file) if file else "",
    )


def _is_default(origin: Origin) -> bool:
    """Has nobody set it?"""
    return origin.source == "default"
