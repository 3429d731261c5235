"""Jobs and revisions made again of their documents, for programs that ask a server."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from dropscribe.core.job_overrides import JobOverrides
from dropscribe.core.types import JobState, Media, SourcePart, Span, SpeakerNames, Track
from dropscribe.store.queries import Job
from dropscribe.store.revisions import Revision

MOMENTS = ("created_at", "finished_at", "text_removed_at")  # in a document as text


def from_document(document: Mapping[str, Any]) -> Job:
    """The job that `as_document` made this of, except where its recording was read; moments to the millisecond."""
    known = {name: document[name] for name in Job.__dataclass_fields__ if name in document}
    parsed = {
        "state": JobState(document["state"]),
        "overrides": JobOverrides.read(document["overrides"]),
        "missing": tuple(Span(**span) for span in document["missing"]),
        "speakers": _names(document["speakers"]),
        "media": _media(document["media"]),
        "origin": None,
    }
    moments = {name: document[name] and datetime.fromisoformat(document[name]).timestamp() for name in MOMENTS}
    return Job(**{**known, **parsed, **moments})


def _names(document: Mapping[str, Any]) -> SpeakerNames:
    """JSON has no numbers for keys."""
    names = {int(number): name for number, name in document["names"].items()}
    return SpeakerNames(names, {int(number): into for number, into in document["merged"].items()})


def _media(document: Mapping[str, Any] | None) -> Media | None:
    """What is known of a recording, from the server's document."""
    if document is None:
        return None
    parts = {
        "tracks": tuple(Track(**track) for track in document["tracks"]),
        "separate_channels": tuple(document["separate_channels"]),
        "damaged": tuple(Span(**span) for span in document["damaged"]),
        "parts": tuple(SourcePart(**part) for part in document.get("parts", ())),
    }
    return Media(**{**document, **parts})


def revision_of(document: Mapping[str, Any]) -> Revision:
    """A revision, from the server's document; its moment to the millisecond."""
    said = document["speakers"]
    return Revision(
        number=document["number"],
        at=datetime.fromisoformat(document["at"]).timestamp(),
        who=document["who"],
        edits=document["edits"],
        back_to=document["back_to"],
        speakers=_names(said) if said else SpeakerNames(),
        has_document=False,
    )
