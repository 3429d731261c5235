"""Pure: chunks into one recording: its timeline, its speakers, what is doubtful and what is missing."""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count, groupby, zip_longest
from operator import attrgetter, itemgetter

from dropscribe.core.audio import MIN_SPEECH
from dropscribe.core.clock import period
from dropscribe.core.spans import clip, common, total, without
from dropscribe.core.types import Segment, Span, Speaker
from dropscribe.worker.merging import speaker_linking as who
from dropscribe.worker.merging.overlaps import ChunkOutcome, Taken, in_order, select
from dropscribe.worker.merging.speaker_linking import Pair, Voices
from dropscribe.worker.merging.speaker_turns import tell_apart

__all__ = ["UNMATCHED", "ChunkOutcome", "MergedChunks", "merge", "merge_chunks", "named"]

MAX_REMARKS = 3  # pairs of speakers that are named one by one; the speakers themselves list them all

UNMATCHED = "not all speakers could be compared with each other: a voice may have several numbers"


@dataclass(frozen=True, slots=True)
class MergedChunks:
    """One recording's outcome: the fields of a transcript that come of its chunks."""

    segments: tuple[Segment, ...]
    speakers: tuple[Speaker, ...]
    reasons: tuple[str, ...]
    missing: tuple[Span, ...]
    notes: tuple[str, ...]


def merge_chunks(parts: Sequence[ChunkOutcome], speech: Sequence[Span], voices: Voices | None = None) -> MergedChunks:
    """Join the chunks of one recording, in any order.

    `speech` is where speech was detected, empty where that is not known; `voices` who is who in these parts, by
    default as far as the overlaps tell. Speakers are numbered by first appearance in the timeline.

    Example: both windows heard 45 to 75 s, and the second numbered the speakers again. Label 0 of the first is label 4
    of the second, who speaks last, so their time is counted together:

    >>> first = Segment(0, 40, "Good morning.", speaker=1), Segment(50, 55, "Is it you?", speaker=0)
    >>> second = Segment(50.1, 55.2, "Is it you?", speaker=4), Segment(90, 92, "Yes.", speaker=4)
    >>> parts = ChunkOutcome(Span(0, 75), Span(0, 60), first), ChunkOutcome(Span(45, 120), Span(60, 120), second)
    >>> merged = merge_chunks(parts, [])
    >>> [(segment.text, segment.speaker) for segment in merged.segments]
    [('Good morning.', 0), ('Is it you?', 1), ('Yes.', 1)]
    >>> [(speaker.number, speaker.seconds) for speaker in merged.speakers]
    [(0, 40.0), (1, 7.0)]
    """
    known = who.link(parts) if voices is None else voices
    said = _said(select(parts), known)
    numbers = _by_appearance(said)
    people = known.renumbered(numbers)
    segments = _renumbered(said, numbers)
    return MergedChunks(
        segments=segments,
        speakers=_speakers(segments, people),
        reasons=tuple(f"{period(parts[i].window)}: {reason}" for i in in_order(parts) for reason in parts[i].reasons),
        missing=tuple(_uncovered(parts, segments, speech)),
        notes=tuple(_notes(known, people.perhaps)),
    )


def _by_appearance(said: Iterable[Segment]) -> dict[int | None, int]:
    """The number of each voice, from 0, in the order in which they speak first.

    >>> _by_appearance([Segment(0, 1, "a", 3), Segment(1, 2, "b", 1)])
    {3: 0, 1: 1}
    """
    order = dict.fromkeys(map(attrgetter("speaker"), said))
    order.pop(None, None)
    return dict(zip(order, count(), strict=False))


def _renumbered(segments: Iterable[Segment], numbers: Mapping[int | None, int]) -> tuple[Segment, ...]:
    """The segments with other numbers for their speakers; who has none keeps theirs."""
    return tuple(replace(segment, speaker=numbers.get(segment.speaker, segment.speaker)) for segment in segments)


def _said(taken: Sequence[Taken], known: Voices) -> list[Segment]:
    """The timeline with the voices as speakers: those of the engine's labels, or those that speak at the time."""
    if known.turns:
        return tell_apart([*map(itemgetter(1), taken)], known.turns)
    return [
        replace(segment, speaker=None if segment.speaker is None else known.numbers.get((part, segment.speaker)))
        for part, segment in taken
    ]


def _speakers(segments: Iterable[Segment], people: Voices) -> tuple[Speaker, ...]:
    """Everybody with their seconds of speech, name, and who may be the same person."""
    seconds: dict[int | None, float] = defaultdict(float)
    for segment in segments:
        seconds[segment.speaker] += segment.end - segment.start if segment.is_speech else 0.0
    seconds.pop(None, None)
    doubts: dict[int, dict[int, float | None]] = defaultdict(dict)
    for (one, other), alike in people.perhaps.items():
        doubts[one][other] = doubts[other][one] = alike
    return tuple(
        _speaker(number, round(seconds[number], 3), doubts[number], *people.recognized.get(number, ("", None)))
        for number in range(len(seconds))
    )


def _speaker(
    number: int, seconds: float, doubts: Mapping[int, float | None], name: str, recognized: float | None
) -> Speaker:
    """One speaker, with everybody who may be the same person and how alike they are."""
    others = sorted(doubts)
    return Speaker(
        number=number,
        name=name,
        seconds=seconds,
        maybe_same=tuple(others),
        similarity=tuple(doubts[other] for other in others),
        recognized=recognized,
    )


def _notes(voices: Voices, perhaps: Mapping[Pair, float | None]) -> Iterator[str]:
    """Remarks on speakers; people count them from 1."""
    yield from voices.notes
    if not voices.compared and who.undecided(voices):
        yield UNMATCHED
    if len(perhaps) > MAX_REMARKS:
        yield f"{len(perhaps)} pairs of speakers may be the same voice"
        return
    for (one, other), alike in sorted(perhaps.items()):
        figure = "" if alike is None else f" (similarity {alike:.2f})"
        yield f"speakers {one + 1} and {other + 1} may be the same voice{figure}"


def _uncovered(parts: Sequence[ChunkOutcome], segments: Sequence[Segment], speech: Sequence[Span]) -> Iterator[Span]:
    """What a part missed of its own time and no other part made good, from the first to the last speech in it.

    Where it is not known what is speech, all of it is.
    """
    told = map(attrgetter("span"), filter(attrgetter("is_speech"), segments))
    gaps = without((clip(gap, part.keep) for part in parts for gap in part.missing), told)
    pieces = common(gaps, speech) if speech else gaps
    for _, group in groupby(pieces, key=lambda piece: bisect_right(gaps, piece.start, key=attrgetter("start"))):
        of_gap = list(group)
        if total(of_gap) >= MIN_SPEECH:
            yield Span(of_gap[0].start, of_gap[-1].end)


def merge(
    segments: Sequence[Segment], speakers: Sequence[Speaker], merged: Mapping[int, int]
) -> tuple[tuple[Segment, ...], tuple[Speaker, ...]]:
    """Segments and speakers after a person said who is who: `merged` says of a speaker's number whose it is in truth.

    Those who were merged are gone, their time is the other's; nobody else's number changes. Numbers that there are
    not are passed over. Raises ValueError when somebody is merged into themselves by way of others.
    """
    numbers = set(map(attrgetter("number"), speakers))
    truth: dict[int | None, int] = {number: _end(number, merged, numbers) for number in sorted(numbers)}
    people: dict[int, Speaker] = {}
    for speaker in sorted(speakers, key=lambda speaker: truth[speaker.number] != speaker.number):  # themselves first
        number = truth[speaker.number]
        people[number] = _united(people.get(number, Speaker(number)), speaker, truth)
    return _renumbered(segments, truth), tuple(sorted(people.values(), key=attrgetter("number")))


def _united(one: Speaker, other: Speaker, truth: Mapping[int | None, int]) -> Speaker:
    """The first, who is the second too, under the first name that there is."""
    doubts = _doubts(one) | {truth.get(number, number): alike for number, alike in _doubts(other).items()}
    doubts.pop(one.number, None)
    named = one if one.name else other
    return _speaker(one.number, round(one.seconds + other.seconds, 3), doubts, named.name, named.recognized)


def _doubts(speaker: Speaker) -> dict[int, float | None]:
    """Who may be the same person as the speaker, and how alike their voices are."""
    return dict(zip_longest(speaker.maybe_same, speaker.similarity))


def _end(number: int, merged: Mapping[int, int], numbers: Container[int]) -> int:
    """Where following the merges ends."""
    seen = [number]
    while (after := merged.get(seen[-1], seen[-1])) != seen[-1] and after in numbers:
        if after in seen:
            raise ValueError(f"speaker {number} is merged into themselves: {merged}")
        seen.append(after)
    return seen[-1]


def named(speakers: Sequence[Speaker], names: Mapping[int, str]) -> tuple[Speaker, ...]:
    """The speakers with the names that people gave them by number."""
    return tuple(
        replace(speaker, name=names[speaker.number], recognized=None) if speaker.number in names else speaker
        for speaker in speakers
    )
