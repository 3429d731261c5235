"""HTML: the transcript as a page that plays the recording beside it. One file, nothing fetched, no server.

What stands in the page is gathered here; `page/page.html` is the template that shows it.
"""

from __future__ import annotations

import base64
import hashlib
import math
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache, partial
from itertools import chain, count
from operator import attrgetter
from pathlib import Path, PurePosixPath
from urllib.parse import quote

from dropscribe.core import pages
from dropscribe.core.confidence import UNSURE, is_unsure
from dropscribe.core.spans import lasting, without
from dropscribe.core.types import Segment, SegmentKind, Span, Speaker, Transcript
from dropscribe.worker.outputs.text import clean, clock, facts, name, names, remarks, title, told_apart
from dropscribe.worker.outputs.turns import Turn, turns

SILENCE = 10.0  # seconds without a word that are shown to a reader
COLOURS = 8  # speakers' colours in page.css; later speakers share them, which is why names are always shown
MAX_TURN = 40  # rows; the browser lays out one turn at a time
VIDEO = frozenset(".3gp .asf .m4v .mkv .mov .mp4 .webm".split())

_PACKAGE = "dropscribe.worker.outputs"
_NOT_FROM_BYTES = re.compile("[\ud800-\udc7f\udd00-\udfff]")  # surrogates that stand for no byte of a file name


@dataclass(frozen=True, slots=True)
class _Row:
    """A segment in the page: its number from 0, its further classes, and its confidence where that is low."""

    number: int
    segment: Segment
    kind: str
    confidence: str


@dataclass(frozen=True, slots=True)
class _Block:
    """Rows of one turn, where `text` names who speaks and `speaker` is their number; or a gap that `text` is about."""

    start: float
    text: str
    kind: str = ""
    speaker: int | None = None
    rows: tuple[_Row, ...] = ()


def render(transcript: Transcript, folder: Path | None = None) -> str:
    """The page as it stands in `folder`, from where it looks for the recording; beside it by default."""
    script, style = _asset("page.js"), _asset("page.css")
    named = names(transcript)
    source = transcript.source
    return pages.template(_PACKAGE, "page/page.html").render(
        policy=_policy(script, style),
        script=script,
        style=style,
        title=title(transcript),
        job=clean(transcript.job_id),
        facts=facts(transcript),
        remarks=remarks(transcript),
        is_suspect=bool(transcript.reasons),
        is_doubtful=bool(transcript.reasons or transcript.uncovered_speech),
        people=_people(transcript),
        media="video" if PurePosixPath(source.path).suffix.lower() in VIDEO else "audio",
        link=_link(source.path, folder),
        size=source.size,
        blocks=_blocks(transcript),
        names=named,
        called=lambda number: named.get(number, name(number)),
        name=name,
        clock=clock,
        colours=COLOURS,
    )


@cache
def _asset(file: str) -> str:
    """The text of a file that the page is made of."""
    return pages.text_of(_PACKAGE, f"page/{file}")


def _policy(script: str, style: str) -> str:
    """Content Security Policy: this script, this style, the recording, and nothing else."""
    return (
        f"default-src 'none'; script-src '{_source_hash(script)}'; style-src '{_source_hash(style)}'; "
        "media-src 'self' file: blob:; base-uri 'none'; form-action 'none'; require-trusted-types-for 'script'"
    )


def _source_hash(text: str) -> str:
    """The hash by which a page's policy allows a script or a style."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _link(path: str, folder: Path | None) -> str:
    """The recording's address relative to the page: bytes that are not UTF-8 survive, and no scheme can be named."""
    relative = os.path.relpath(path, folder) if folder else PurePosixPath(path).name
    return quote(_NOT_FROM_BYTES.sub("\ufffd", relative).encode("utf-8", "surrogateescape"))


def _people(transcript: Transcript) -> list[Speaker]:
    """Who speaks; nobody where they were not distinguished."""
    known = {speaker.number: speaker for speaker in transcript.speakers}
    return [known.get(number, Speaker(number)) for number in told_apart(transcript)]


def _blocks(transcript: Transcript) -> list[_Block]:
    """Turns, long silences and uncovered speech, by time; rows are numbered from 0."""
    parts = sorted(chain.from_iterable(map(_parts, turns(transcript))), key=attrgetter("start"))
    silences = map(_silence, _silent(transcript, parts))
    uncovered = map(_uncovered, transcript.uncovered_speech)
    return sorted([*silences, *uncovered, *map(partial(_turn, count()), parts)], key=attrgetter("start"))


def _silent(transcript: Transcript, parts: Iterable[Turn]) -> Iterator[Span]:
    """Where for long nobody says anything, and nothing is known to be missing."""
    told = (Span(segment.start, segment.end) for part in parts for segment in part.segments)
    silent = without([Span(0.0, transcript.source.duration)], [*told, *transcript.uncovered_speech])
    return iter(lasting(silent, SILENCE))


def _parts(turn: Turn) -> Iterator[Turn]:
    """A long turn in parts, so that a page of many hours stays quick."""
    for start in range(0, len(turn.segments), MAX_TURN):
        yield Turn(turn.label, turn.segments[start : start + MAX_TURN])


def _turn(number: Iterator[int], turn: Turn) -> _Block:
    """What one speaker says on end, its rows numbered on."""
    rows = tuple(_row(segment, next(number)) for segment in turn.segments)
    return _Block(turn.start, turn.label, speaker=turn.segments[0].speaker if turn.label else None, rows=rows)


def _row(segment: Segment, number: int) -> _Row:
    """One segment with its marks: a sound, or unsure words with their confidence."""
    unsure = is_unsure(segment)
    kind = ("" if segment.kind is SegmentKind.SPEECH else " sound") + (" unsure" if unsure else "")
    return _Row(number, segment, kind, _percent(segment.confidence or 0.0) if unsure else "")


def _percent(confidence: float) -> str:
    """Of what is below `UNSURE`, and not rounded up to it.

    >>> _percent(0.42)
    '42%'
    """
    return f"{min(confidence, UNSURE - 0.01):.0%}"


def _uncovered(span: Span) -> _Block:
    """That the transcript leaves some speech out."""
    text = f"{clock(span.start)} to {clock(math.ceil(span.end))}: speech that this transcript does not cover"
    return _Block(span.start, text, " uncovered")


def _silence(span: Span) -> _Block:
    """That nobody speaks for a while."""
    return _Block(span.start, f"{clock(span.duration)} without words")
