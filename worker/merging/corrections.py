"""Pure: a transcript and what people corrected in it make a transcript; words that nobody changed keep their times."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from difflib import SequenceMatcher
from functools import singledispatch
from itertools import accumulate, chain, groupby, pairwise
from operator import attrgetter

from dropscribe.core.corrections import Edit, SpeakerEdit, SplitEdit, TextEdit
from dropscribe.core.errors import UsageError
from dropscribe.core.scripts import is_unspaced, letters
from dropscribe.core.types import Segment, Speaker, Transcript, Word
from dropscribe.worker.merging.alignment import divided

Segments = list[Segment]


def corrected(transcript: Transcript, edits: Iterable[Edit]) -> Transcript:
    """The transcript after these edits, one after the other. Raises UsageError for one that does not fit.

    >>> from dropscribe.core.types import EngineInfo, Source
    >>> said = Segment(0, 2, "Good mourning.", 0, words=(Word(0, 1, "Good"), Word(1, 2, "mourning.")))
    >>> source = Source("a.wav", 1, "", 2.0, "", "", 1, 16000)
    >>> before = Transcript("k3v9", source, EngineInfo("", "", ""), (said,), (Speaker(0, "Ada", 2.0),))
    >>> after = corrected(before, [TextEdit(0, "Good morning all."), SpeakerEdit(0, 0, 1)])
    >>> [(word.text, round(word.start, 2), word.corrected) for word in after.segments[0].words]
    [('Good', 0, False), ('morning', 1.0, True), ('all.', 1.64, True)]
    >>> [(speaker.called, speaker.seconds) for speaker in after.speakers]
    [('Speaker 2', 2.0)]
    """
    segments, changes = list(transcript.segments), tuple(edits)
    for edit in changes:
        apply(edit, segments)
    if all(isinstance(edit, TextEdit) for edit in changes):
        return replace(transcript, segments=tuple(segments))
    return replace(transcript, segments=tuple(segments), speakers=_people(segments, transcript.speakers))


def described(edits: Iterable[Edit], transcript: Transcript) -> tuple[Edit, ...]:
    """The edits, each with what it is about in this transcript. Raises UsageError for one that does not fit."""
    segments = list(transcript.segments)
    return tuple(_described(edit, segments) for edit in edits)


def _described(edit: Edit, segments: Segments) -> Edit:
    """One edit with what it is about, and the segments after it."""
    first = edit.first if isinstance(edit, SpeakerEdit) else edit.segment
    about = _at(segments, first)
    told = replace(edit, at=about.start)
    if isinstance(told, TextEdit):
        told = replace(told, before=about.text)
    apply(edit, segments)
    return told


@singledispatch
def apply(edit: Edit, segments: Segments) -> None:
    """Change the segments as one edit says. Raises UsageError where it does not fit."""
    raise TypeError(f"{edit} to {len(segments)} segments")


@apply.register
def _(edit: TextEdit, segments: Segments) -> None:
    segments[edit.segment] = _rewritten(_at(segments, edit.segment), " ".join(edit.text.split()))


@apply.register
def _(edit: SpeakerEdit, segments: Segments) -> None:
    _at(segments, edit.last)
    numbers = {segment.speaker for segment in segments if segment.speaker is not None}
    if edit.last < edit.first:
        raise UsageError("the passage ends before it begins", remedy="name its first segment first")
    if edit.speaker is not None and edit.speaker > max(numbers, default=-1) + 1:
        raise UsageError(f"there is no speaker {edit.speaker}", remedy="the first free number stands for somebody new")
    for index in range(edit.first, edit.last + 1):
        segments[index] = replace(segments[index], speaker=edit.speaker)


@apply.register
def _(edit: SplitEdit, segments: Segments) -> None:
    segments[edit.segment : edit.segment + 1] = _halves(_at(segments, edit.segment), edit.offset)


def _at(segments: Sequence[Segment], index: int) -> Segment:
    """The segment of that number. Raises UsageError where there is none."""
    if index >= len(segments):
        raise UsageError(f"there is no segment {index}", remedy=f"the last one is {len(segments) - 1}")
    return segments[index]


def _rewritten(segment: Segment, text: str) -> Segment:
    """The segment with a text that a person wrote: no recognizer's confidence is left in it."""
    words = tuple(_timed(segment, text)) if segment.words else ()
    return replace(segment, text=text, words=words, confidence=None, corrected=True)


def _timed(segment: Segment, text: str) -> Iterator[Word]:
    """The words of the new text: those that stood there with their times, others in the time of what they replace."""
    before = [*chain.from_iterable(map(_units, segment.words))]
    after = _split(text)
    matcher = SequenceMatcher(None, [*map(attrgetter("text"), before)], after, autojunk=False)
    for what, start, end, new_start, new_end in matcher.get_opcodes():
        if what == "equal":
            yield from before[start:end]
        else:
            yield from _shared(after[new_start:new_end], *_gap(segment, before, start, end))


def _units(word: Word) -> Iterator[Word]:
    """The word, or its letters where its script puts no spaces between words: these change one by one."""
    parts = _split(word.text)
    if len(parts) == 1:
        yield word
        return
    for part in _shared(parts, word.start, word.end):
        yield replace(part, corrected=word.corrected)


def _split(text: str) -> list[str]:
    """What stands between blanks, and single letters where a script puts no spaces between words.

    >>> _split("Good morning."), _split("日本 ok")
    (['Good', 'morning.'], ['日', '本', 'ok'])
    """
    return [
        unit
        for word in text.split()
        for solid, part in groupby(letters(word), lambda letter: is_unspaced(letter[0]))
        for unit in (part if solid else ["".join(part)])
    ]


def _shared(texts: Sequence[str], start: float, end: float) -> Iterator[Word]:
    """Words that share a time in proportion to their length, as a person's."""
    whole = sum(map(len, texts))
    marks = [start + (end - start) * done / whole for done in accumulate(map(len, texts), initial=0)] if whole else []
    for text, (begins, ends) in zip(texts, pairwise(marks), strict=True):
        yield Word(begins, ends, text, corrected=True)


def _gap(segment: Segment, before: Sequence[Word], start: int, end: int) -> tuple[float, float]:
    """The time of the words that are replaced; where none are, that between their neighbours."""
    if start < end:
        return before[start].start, max(before[start].start, before[end - 1].end)
    begins = before[start - 1].end if start else segment.start
    ends = before[start].start if start < len(before) else segment.end
    return begins, max(begins, ends)


def _halves(segment: Segment, offset: int) -> tuple[Segment, Segment]:
    """The segment before and from that place in its text. Raises UsageError where one would be empty."""
    text = segment.text
    place = offset if offset <= len(text) and is_unspaced(text[offset - 1]) else text.rfind(" ", 0, offset) + 1
    one, other = text[:place].rstrip(), text[place:].lstrip()
    if not (one and other):
        raise UsageError("a segment is split between two of its words", remedy="choose a word that is not its first")
    left, right = divided(segment, place)
    share = segment.start + (segment.end - segment.start) * len(one) / len(text)
    ends, begins = left[-1].end if left else share, right[0].start if right else share
    return (
        replace(segment, text=one, end=ends, words=left),
        replace(segment, text=other, start=begins, words=right),
    )


def _people(segments: Iterable[Segment], speakers: Sequence[Speaker]) -> tuple[Speaker, ...]:
    """Who speaks now, and for how long; nothing is said of people who are gone."""
    spoken: dict[int, list[float]] = defaultdict(list)
    for segment in segments:
        if segment.speaker is not None:
            spoken[segment.speaker].append(segment.span.duration if segment.is_speech else 0.0)
    known = {speaker.number: speaker for speaker in speakers}
    return tuple(
        _without(replace(known.get(number, Speaker(number)), seconds=round(math.fsum(seconds), 3)), spoken.keys())
        for number, seconds in sorted(spoken.items())
    )


def _without(speaker: Speaker, there: Iterable[int]) -> Speaker:
    """The speaker, who may be the same as those who are there alone."""
    pairs = [pair for pair in zip(speaker.maybe_same, speaker.similarity, strict=False) if pair[0] in there]
    return replace(speaker, maybe_same=tuple(one for one, _ in pairs), similarity=tuple(alike for _, alike in pairs))
