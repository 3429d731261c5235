"""`dropscribe voices list` and `forget`: which voices are known, and removing them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from dropscribe.admin.context import Context
from dropscribe.admin.terminal import render
from dropscribe.admin.terminal.progress import busy
from dropscribe.core.errors import UsageError
from dropscribe.store import forget as store_forget
from dropscribe.store import voices
from dropscribe.store.voices import KnownVoice


def listing(context: Context, *, as_json: bool) -> None:
    """Print the known voices, without their embeddings."""
    known = voices.known(context.database)
    if as_json:
        listed = [document(voice) for voice in known]
        render.write_json({"recognized": context.settings.known_voices, "voices": listed})
        return
    if not known:
        context.out.print("no voices yet; `dropscribe voices enroll` adds one")
        return
    table = render.table("name", "speech", "enrolled", "encoder", whole=("speech", "enrolled"), right=("speech",))
    for voice in known:
        enrolled = render.moment(voice.enrolled_at)
        table.add_row(render.safe(voice.name), render.duration(voice.seconds), enrolled, render.safe(voice.encoder))
    context.out.print(table)
    remark_where_off(context)


def document(voice: KnownVoice) -> dict[str, Any]:
    """As docs/cli.md describes it."""
    return {
        "name": voice.name,
        "encoder": voice.encoder,
        "seconds": voice.seconds,
        "enrolled_at": voice.enrolled_at,
    }


def forget(context: Context, names: Sequence[str]) -> None:
    """Remove voices from the store. Raises UsageError, and removes none, where one is not known."""
    known = voices.known(context.database)
    found = [_found(known, name) for name in names]
    voices.forget(context.database, [voice.name for voice in found])
    with busy(context.err, "overwriting what was removed"):
        gone = store_forget.scrub(context.database)
    if not gone:
        context.remark("note", "somebody reads the store; its file is overwritten when they are done", "yellow")
    for name in dict.fromkeys(voice.name for voice in found):
        context.out.print(f"the voice of {render.safe(name)} is forgotten", soft_wrap=True)
    context.out.print("transcripts keep the name where it was recognized; `dropscribe forget JOB` removes them")


def _found(known: Iterable[KnownVoice], name: str) -> KnownVoice:
    if (voice := find_voice(known, name)) is None:
        raise UsageError(f"no voice is called {render.safe(name)}", remedy="`dropscribe voices list` shows them")
    return voice


def find_voice(known: Iterable[KnownVoice], name: str) -> KnownVoice | None:
    """The voice of this name, whatever its case; None where there is none."""
    return next((voice for voice in known if voice.name.casefold() == name.strip().casefold()), None)


def remark_where_off(context: Context) -> None:
    """Say that voices are not recognized, where nobody asked for that."""
    if not context.settings.known_voices:
        remark = "voices are not recognized: set DROPSCRIBE_KNOWN_VOICES=true for the CPU workers"
        context.remark("note", remark, "yellow")
