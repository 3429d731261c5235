"""Pure: what columns hold as JSON, parsed where a row leaves the store, written where it goes in.

Rows may be of another version: what is not known is left out, and what is missing has its default.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Mapping
from dataclasses import fields
from itertools import starmap
from typing import Any

from dropscribe.core.job_overrides import JobOverrides
from dropscribe.core.origin import RecordingOrigin
from dropscribe.core.types import EngineInfo, Media, SourcePart, Span, SpeakerNames, Track


def _known(names: Container[str], stored: Mapping[str, Any]) -> dict[str, Any]:
    """Those of the stored values that this version knows."""
    return {name: value for name, value in stored.items() if name in names}


def _facts(value: Any) -> dict[str, Any]:
    """A dataclass as JSON, without what has its default: the same in thousands of rows, and made of nothing again."""
    return {one.name: told for one in fields(value) if (told := getattr(value, one.name)) != one.default}


def _timings(seconds: Mapping[str, float]) -> dict[str, float]:
    """To a tenth of a millisecond."""
    return {phase: round(spent, 4) for phase, spent in seconds.items()}


def _engine(stored: Mapping[str, Any]) -> EngineInfo:
    """An engine from JSON, which may lack what an earlier version did not know."""
    return EngineInfo(**{"engine": "", "model": "", "precision": ""} | _known(EngineInfo.__dataclass_fields__, stored))


def _spans(stored: Iterable[tuple[float, float]]) -> tuple[Span, ...]:
    """Spans from JSON."""
    return tuple(starmap(Span, stored))


def _pairs(spans: Iterable[Span]) -> list[list[float]]:
    """Spans as JSON."""
    return [[span.start, span.end] for span in spans]


def _names(stored: Mapping[str, Any]) -> SpeakerNames:
    """JSON has no numbers for keys."""
    names = {int(number): str(name) for number, name in stored.get("names", {}).items()}
    return SpeakerNames(names, {int(number): int(into) for number, into in stored.get("merged", {}).items()})


def _said(names: SpeakerNames) -> dict[str, Any]:
    """What people say of speakers, as JSON, whose keys are text."""
    return {
        "names": {str(number): name for number, name in names.names.items()},
        "merged": {str(number): into for number, into in names.merged.items()},
    }


# What becomes of JSON on its way from the database and to it, by what a column holds. None stays None.
PARSED: dict[str, tuple[Callable[[Any], Any], Callable[[Any], Any]]] = {
    "overrides": (JobOverrides.read, JobOverrides.stored),
    "engine": (_engine, _facts),
    "timings": (dict, _timings),
    "spans": (_spans, _pairs),
    "origin": (RecordingOrigin.read, RecordingOrigin.stored),
    "speakers": (_names, _said),
}


# The column `media` holds the speech too, which few readers need and which is long.
def stored_media(media: Media, speech: Iterable[Span], of_channels: Iterable[Iterable[Span]] = ()) -> dict[str, Any]:
    """What the column holds of a recording: its speech, and that of each channel where they are transcribed apart."""
    lists = {
        "tracks": [*map(_facts, media.tracks)],
        "damaged": _pairs(media.damaged),
        "parts": [*map(_facts, media.parts)],
        "speech": _pairs(speech),
        "speech_of_channels": [*map(_pairs, of_channels)],
    }
    return _facts(media) | {name: found for name, found in lists.items() if found}


def media_of(stored: Mapping[str, Any] | None) -> Media | None:
    """What it says of the recording; None before it was prepared."""
    if stored is None:
        return None
    facts = _known(Media.__dataclass_fields__, stored)
    tracks = tuple(Track(**_known(Track.__dataclass_fields__, track)) for track in facts.pop("tracks", ()))
    damaged = _spans(facts.pop("damaged", ()))
    channels = tuple(facts.pop("separate_channels", ()))
    parts = tuple(SourcePart(**_known(SourcePart.__dataclass_fields__, part)) for part in facts.pop("parts", ()))
    return Media(**facts, tracks=tracks, separate_channels=channels, damaged=damaged, parts=parts)


def speech_of(stored: Mapping[str, Any] | None, channel: int | None = None) -> tuple[Span, ...]:
    """Where it says that somebody speaks; in one channel, where these are transcribed apart."""
    known = stored or {}
    of_channels = known.get("speech_of_channels", ())
    return _spans(known.get("speech", ()) if channel is None or not of_channels else of_channels[channel])
