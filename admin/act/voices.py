"""`dropscribe voices list` and `forget`: which voices are known, and removing them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from dropscribe.admin.act.forget import scrub
from dropscribe.admin.context import Context
from dropscribe.admin.terminal import render
from dropscribe.core.clock import iso
from dropscribe.core.errors import UsageError
from dropscribe.store import voices
from dropscribe.store.voices import KnownVoice


def listing(context: Context, *, as_json: bool) -> None:
    """Print the known voices, without their embeddings."""
    known = voices.known(context.database)
    context.answer(
        lambda: {"recognized": context.settings.known_voices, "voices": [*map(document, known)]},
        lambda: _show(context, known),
        as_json=as_json,
    )


def _show(context: Context, known: Sequence[KnownVoice]) -> None:
    """The known voices as a table."""
    if not known:
        context.out.print("no voices yet; `dropscribe voices enroll` adds one")
        return
    columns = ("name", "speech", "enrolled", "encoder")
    context.out.print(render.table(*columns, rows=map(_row, known), whole=("speech", "enrolled"), right=("speech",)))
    remark_where_off(context)


def _row(voice: KnownVoice) -> list[str]:
    """The cells of a voice."""
    enrolled = render.moment(voice.enrolled_at)
    return [render.safe(voice.name), render.duration(voice.seconds), enrolled, render.safe(voice.encoder)]


def document(voice: KnownVoice) -> dict[str, Any]:
    """As docs/cli.md describes it."""
    return {
        "name": voice.name,
        "encoder": voice.encoder,
        "seconds": voice.seconds,
        "enrolled_at": iso(voice.enrolled_at),
    }


def forget(context: Context, names: Sequence[str]) -> None:
    """Remove voices from the store, and say so. Raises UsageError, and removes none, where one is not known."""
    for name in remove(context, names):
        context.say(f"the voice of {name} is forgotten")
    context.out.print("transcripts keep the name where it was recognized; `dropscribe forget JOB` removes them")


def remove(context: Context, names: Sequence[str]) -> list[str]:
    """Remove voices from the store; returns how they are written. Raises UsageError as `forget` does."""
    known = voices.known(context.database)
    meant = list(dict.fromkeys(_found(known, name).name for name in names))
    voices.forget(context.database, meant)
    scrub(context)
    return meant


def _found(known: Iterable[KnownVoice], name: str) -> KnownVoice:
    """The voice of that name. Raises UsageError."""
    if (voice := find_voice(known, name)) is None:
        raise UsageError(f"no voice is called {render.safe(name)}", remedy="`dropscribe voices list` shows them")
    return voice


def find_voice(known: Iterable[KnownVoice], name: str) -> KnownVoice | None:
    """The voice of this name, whatever its case; None where there is none."""
    return next((voice for voice in known if voice.name.casefold() == name.strip().casefold()), None)


def remark_where_off(context: Context) -> None:
    """Say that voices are not recognized, where nobody asked for that."""
    if not context.settings.known_voices:
        context.note("voices are not recognized: set DROPSCRIBE_KNOWN_VOICES=true for the CPU workers")
