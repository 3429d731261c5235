"""HTML: the transcript as a page that plays the recording beside it. One file, nothing fetched, no server."""

from __future__ import annotations

import base64
import hashlib
import math
import os
import re
from collections.abc import Iterator
from functools import cache
from html import escape
from importlib.resources import files
from itertools import count
from pathlib import Path, PurePosixPath
from string import Template
from urllib.parse import quote

from dropscribe.core.confidence import UNSURE, is_unsure
from dropscribe.core.spans import without
from dropscribe.core.types import Segment, SegmentKind, Span, Speaker, Transcript
from dropscribe.worker.outputs.text import clean, clock, facts, name, names, remarks, title
from dropscribe.worker.outputs.turns import Turn, turns

SILENCE = 10.0  # seconds without a word that a reader is told of
COLOURS = 8  # speakers' colours in page.css; later speakers share them, which is why names are always shown
MAX_TURN = 40  # rows; the browser lays out one turn at a time
VIDEO = frozenset(".3gp .asf .m4v .mkv .mov .mp4 .webm".split())

_NOT_FROM_BYTES = re.compile("[\ud800-\udc7f\udd00-\udfff]")  # surrogates that stand for no byte of a file name


def render(transcript: Transcript, folder: Path | None = None) -> str:
    """The page as it stands in `folder`, from where it looks for the recording; beside it unless told otherwise."""
    script, style = _asset("page.js"), _asset("page.css")
    return Template(_asset("page.html")).substitute(
        policy=_policy(script, style),
        script=script,
        style=style,
        title=escape(title(transcript)),
        job=escape(clean(transcript.job_id)),
        facts="".join(
            f"<div><dt>{escape(fact)}</dt><dd>{escape(value)}</dd></div>" for fact, value in facts(transcript)
        ),
        remarks=_remarks(transcript),
        people=_people(transcript),
        media=_media(transcript, folder),
        transcript="\n".join(_blocks(transcript)) or _nothing(transcript),
    )


def _nothing(transcript: Transcript) -> str:
    where = " in what is there" if transcript.reasons else ""
    return f'<p lang="en">Nobody speaks{where}.</p>'


@cache
def _asset(file: str) -> str:
    return (files("dropscribe.worker.outputs") / "page" / file).read_text(encoding="utf-8")


def _policy(script: str, style: str) -> str:
    """Content Security Policy: this script, this style, the recording, and nothing else."""
    return (
        f"default-src 'none'; script-src '{_source_hash(script)}'; style-src '{_source_hash(style)}'; "
        "media-src 'self' file: blob:; base-uri 'none'; form-action 'none'; require-trusted-types-for 'script'"
    )


def _source_hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _remarks(transcript: Transcript) -> str:
    items = "".join(f'<li dir="auto">{escape(remark)}</li>' for remark in remarks(transcript))
    kind = "remarks suspect" if transcript.reasons or transcript.uncovered_speech else "remarks"
    return f'<ul class="{kind}">{items}</ul>' if items else ""


def _media(transcript: Transcript, folder: Path | None) -> str:
    source = transcript.source
    tag = "video" if PurePosixPath(source.path).suffix.lower() in VIDEO else "audio"
    return f'<{tag} controls preload="metadata" src="{_link(source.path, folder)}" data-size="{source.size}"></{tag}>'


def _link(path: str, folder: Path | None) -> str:
    """The recording's address relative to the page: bytes that are not UTF-8 survive, and no scheme can be named."""
    relative = os.path.relpath(path, folder) if folder else PurePosixPath(path).name
    return quote(_NOT_FROM_BYTES.sub("\ufffd", relative).encode("utf-8", "surrogateescape"))


def _people(transcript: Transcript) -> str:
    """The list of speakers with their names to be changed; empty where nobody was told apart."""
    known = {speaker.number: speaker for speaker in transcript.speakers}
    numbers = sorted({s.speaker for s in transcript.segments if s.kind is SegmentKind.SPEECH and s.speaker is not None})
    called = names(transcript)
    items = "".join(_person(known.get(number, Speaker(number)), called) for number in numbers)
    return items and (
        f'<ul class="people" aria-label="Speakers">{items}</ul>\n'
        '<p id="rename" hidden>To have the names in all files: <code id="command"></code> '
        '<button type="button" id="copy">Copy the command</button> <output id="copied"></output></p>'
    )


def _person(speaker: Speaker, called: dict[int, str]) -> str:
    own = escape(called.get(speaker.number, ""))
    field = (
        f'<input data-speaker="{speaker.number}" data-name="{own}" value="{own}" placeholder="{name(speaker.number)}" '
        f'aria-label="Name of {name(speaker.number)}" autocomplete="off" maxlength="100" dir="auto">'
    )
    seconds = f" speaks {clock(speaker.seconds)}" if speaker.seconds else ""
    known = "" if speaker.recognized is None else f", recognized by the voice ({speaker.recognized:.2f})"
    alike = ", ".join(_who(number, called) for number in speaker.maybe_same)
    doubt = alike and f", maybe the same as {alike}"
    return f'<li class="{_colour(speaker.number)}">{field}{seconds}{known}{doubt}</li>'


def _who(number: int, called: dict[int, str]) -> str:
    return f'<span data-who="{number}" dir="auto">{escape(called.get(number, name(number)))}</span>'


def _colour(speaker: int) -> str:
    return f"c{speaker % COLOURS}"


def _blocks(transcript: Transcript) -> Iterator[str]:
    """Turns, long silences and uncovered speech, by time; rows are numbered from 0."""
    parts = sorted((part for turn in turns(transcript) for part in _parts(turn)), key=lambda part: part.start)
    told = [Span(segment.start, segment.end) for part in parts for segment in part.segments]
    silent = without([Span(0.0, transcript.source.duration)], [*told, *transcript.uncovered_speech])
    called, number = names(transcript), count()
    blocks = [(span.start, _silence(span)) for span in silent if span.duration >= SILENCE]
    blocks += [(span.start, _uncovered(span)) for span in transcript.uncovered_speech]
    blocks += [(part.start, _turn(part, called, number)) for part in parts]
    return (block for _, block in sorted(blocks, key=lambda block: block[0]))


def _parts(turn: Turn) -> Iterator[Turn]:
    for start in range(0, len(turn.segments), MAX_TURN):
        yield Turn(turn.label, turn.segments[start : start + MAX_TURN])


def _turn(turn: Turn, called: dict[int, str], number: Iterator[int]) -> str:
    speaker = turn.segments[0].speaker
    who, colour = escape(turn.label), ""
    if turn.label and speaker is not None:
        who, colour = _who(speaker, called), f" {_colour(speaker)}"
    heading = f"<h2>{who}</h2>\n" if who else ""
    rows = "\n".join(_row(segment, next(number)) for segment in turn.segments)
    return f'<section class="turn{colour}">\n{heading}{rows}\n</section>'


def _row(segment: Segment, number: int) -> str:
    unsure = is_unsure(segment)
    kind = ("" if segment.kind is SegmentKind.SPEECH else " sound") + (" unsure" if unsure else "")
    note = f'<small lang="en">unsure: confidence {_percent(segment.confidence or 0.0)}</small>' if unsure else ""
    return (
        f'<p class="row{kind}" id="s{number}" data-start="{segment.start:.3f}" data-end="{segment.end:.3f}">'
        f'<a href="#s{number}">{clock(segment.start)}</a> '
        f'<span class="said" dir="auto">{escape(segment.text)}</span>{note}</p>'
    )


def _percent(confidence: float) -> str:
    """Of what is below `UNSURE`, and not rounded up to it."""
    return f"{min(confidence, UNSURE - 0.01):.0%}"


def _uncovered(span: Span) -> str:
    text = f"{clock(span.start)} to {clock(math.ceil(span.end))}: speech that this transcript does not cover"
    return _gap("gap uncovered", span, text)


def _silence(span: Span) -> str:
    return _gap("gap", span, f"{clock(span.duration)} without words")


def _gap(kind: str, span: Span, text: str) -> str:
    anchor = f"t{span.start:.0f}"
    return f'<p class="{kind}" id="{anchor}" data-start="{span.start:.3f}" lang="en"><a href="#{anchor}">{text}</a></p>'
