"""`dropscribe speakers`: who speaks in a recording; names for them, and which of them are one person."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from itertools import chain, repeat, zip_longest
from operator import attrgetter
from typing import Any

from dropscribe.admin.context import Context
from dropscribe.admin.state.accounts import own_account
from dropscribe.admin.state.job_lookup import find
from dropscribe.admin.state.transcript_documents import current
from dropscribe.admin.terminal import render
from dropscribe.core import old_names
from dropscribe.core.clock import clock
from dropscribe.core.errors import UsageError
from dropscribe.core.types import Segment, Speaker, SpeakerNames
from dropscribe.store import queries, speakers
from dropscribe.store.fleet import living_workers
from dropscribe.store.queries import Job
from dropscribe.store.session import Database

WIDTH = 60  # characters of what a speaker says first


def run(context: Context, name: str, *, names: Sequence[str], merges: Sequence[str], as_json: bool) -> None:
    """Print the job's speakers, or name and merge them and have its files written again."""
    job = queries.job(context.database, find(context.database, name))
    segments, people = people_of(context.database, job)
    if names or merges:
        say(context, job, map(_pair, names), map(_pair, merges))
        context.out.print(f"{job.id}: {when_written(context, job)}", soft_wrap=True)
        return
    context.answer(
        lambda: document(context, job),
        lambda: _show(context, segments, people),
        as_json=as_json,
    )


def document(context: Context, job: Job) -> dict[str, Any]:
    """Who speaks in the job's recording, as docs/cli.md describes it. Raises DropscribeError without a transcript."""
    segments, people = people_of(context.database, job)
    return {"job": job.id, "speakers": [*map(_document, repeat(segments), people, repeat(people))]}


def _document(segments: Sequence[Segment], speaker: Speaker, people: Sequence[Speaker]) -> dict[str, Any]:
    """A speaker as docs/cli.md describes it."""
    first = _first(segments, speaker)
    told = {
        "share": round(_share(speaker, people), 4),
        "first": {"start": first.start, "text": first.text} if first else None,
    }
    return old_names.with_old(asdict(speaker), old_names.SPEAKER) | told


def people_of(database: Database, job: Job) -> tuple[tuple[Segment, ...], tuple[Speaker, ...]]:
    """A job's segments and speakers as people said by now, which the transcript tells only when it is written again.

    Raises DropscribeError for a job without a transcript.
    """
    transcript = current(database, job)
    return transcript.segments, transcript.speakers


def _first(segments: Sequence[Segment], speaker: Speaker) -> Segment | None:
    """What the speaker says first; None where that is not known."""
    said = filter(attrgetter("is_speech"), segments)
    return next((one for one in said if one.speaker == speaker.number), None)


def _share(speaker: Speaker, people: Sequence[Speaker]) -> float:
    """Of the time in which anybody speaks."""
    return speaker.seconds / (sum(map(attrgetter("seconds"), people)) or 1.0)


def _show(context: Context, segments: Sequence[Segment], people: Sequence[Speaker]) -> None:
    """The speakers as a table, then what their voices say of them."""
    if not people:
        context.out.print("no speakers were distinguished")
        return
    columns = ("number", "called", "speaks", "share", "says first")
    rows = map(_row, repeat(segments), people, repeat(people))
    context.out.print(render.table(*columns, rows=rows, right=("number", "speaks", "share")))
    called = {speaker.number: speaker.called for speaker in people}
    for remark in chain.from_iterable(map(_remarks, people, repeat(called))):
        context.out.print(render.safe(remark))


def _row(segments: Sequence[Segment], speaker: Speaker, people: Sequence[Speaker]) -> list[str]:
    """The cells of a speaker: number, name, seconds, share, and what they say first."""
    first = _first(segments, speaker)
    said = f"{clock(first.start)} {textwrap.shorten(first.text, WIDTH, placeholder=' ...')}" if first else ""
    share = f"{_share(speaker, people):.0%}"
    speaks = render.duration(speaker.seconds)
    return [str(speaker.number), render.safe(speaker.called), speaks, share, render.safe(said)]


def _remarks(speaker: Speaker, called: Mapping[int, str]) -> Iterator[str]:
    """What the voices say of a speaker, and of others who come later."""
    if speaker.recognized is not None:
        yield f"{speaker.called} was recognized by the voice ({speaker.recognized:.2f})"
    for other, alike in zip_longest(speaker.maybe_same, speaker.similarity):
        if other > speaker.number:
            yield _doubt(speaker.called, called.get(other, str(other)), alike)


def _doubt(one: str, other: str, alike: float | None) -> str:
    """That two speakers may be one person, and how alike their voices are.

    >>> _doubt("Alice", "Speaker 2", 0.61)
    'Alice and Speaker 2 may be the same (similarity 0.61)'
    """
    figure = "" if alike is None else f" (similarity {alike:.2f})"
    return f"{one} and {other} may be the same{figure}"


def say(
    context: Context,
    job: Job,
    names: Iterable[tuple[str, str]],
    merges: Iterable[tuple[str, str]],
    *,
    who: str = "",
    expected: int | None = None,
) -> int:
    """Name and merge speakers, who are meant by number or by name; then the job's files are to be written again.

    `who` says so, by default this account. Returns the number of the revision; the caller sends for a worker
    (`when_written`). Raises UsageError for a speaker that there is not, EditConflictError where the last revision is
    not the `expected` one, DropscribeError.
    """
    _, people = people_of(context.database, job)
    known = {*map(attrgetter("number"), people), *job.speakers.merged}
    number = partial(number_of, people=people, known=known)
    named = {number(who): what for who, what in names}
    merged = {number(who): number(into) for who, into in merges}
    said = SpeakerNames(_names(job.speakers, named, people), _merges(job.speakers, merged))
    return speakers.say(context.database, job.id, said, who or own_account(), expected=expected)


def _names(before: SpeakerNames, named: Mapping[int, str], people: Sequence[Speaker]) -> dict[int, str]:
    """The names from now on. An empty one hides that of a voice, which would come back; else it takes a name away."""
    recognized = {speaker.number for speaker in people if speaker.recognized is not None}
    given = {**before.names, **named}
    taken_away = {number for number, what in named.items() if not what and before.names.get(number) != ""}
    for number in taken_away - recognized:
        del given[number]
    return given


def _merges(before: SpeakerNames, merged: Mapping[int, int]) -> dict[int, int]:
    """The merges from now on; one with oneself undoes that of before. Raises UsageError for a circle."""
    kept = {number: into for number, into in {**before.merged, **merged}.items() if number != into}
    for number in kept:
        _check_end(number, kept)
    return kept


def _pair(text: str) -> tuple[str, str]:
    """Both sides of `WHO=WHAT`. Raises UsageError if it is not such a pair.

    >>> _pair("Speaker 1=Alice")
    ('Speaker 1', 'Alice')
    """
    who, equals, what = text.partition("=")
    if not equals or not who.strip():
        raise UsageError(f"{text!r} does not say who is meant", remedy='write it like "Speaker 1=Alice", or 0=Alice')
    return who.strip(), what.strip()


def number_of(who: str, people: Sequence[Speaker], known: set[int]) -> int:
    """The speaker that is meant by a number, or by what they are called now. Raises UsageError for none of `known`."""
    called = {speaker.called.casefold(): speaker.number for speaker in people}
    number = int(who) if who.isascii() and who.isdigit() else called.get(who.casefold(), -1)
    if number not in known:
        listed = ", ".join(f"{speaker.number} ({speaker.called})" for speaker in people) or "none"
        raise UsageError(f"there is no speaker {who}", remedy=f"the speakers are {listed}")
    return number


def _check_end(number: int, merged: dict[int, int]) -> None:
    """Raise UsageError where following the merges comes back to the same speaker."""
    seen = {number}
    while (number := merged.get(number, -1)) not in {-1, *seen}:
        seen.add(number)
    if number != -1:
        raise UsageError(
            f"speaker {number} would be merged with itself", remedy=f"undo one merge with {number}={number}"
        )


def when_written(context: Context, job: Job) -> str:
    """Sends for a worker, and says when the job's files tell what was said."""
    from dropscribe.core.routing import FINISH

    there = living_workers(context.database, context.settings.silence_seconds)
    if context.ring(FINISH, job.id, job.priority) and "cpu" in map(attrgetter("role"), there):
        return "noted; its files are written again now"
    return "noted; its files are written again by the next `dropscribe up` or worker"
