"""Pure: chunks into one recording: its timeline, its speakers, what is doubtful and what is missing."""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby, zip_longest

from dropscribe.core.spans import clip, without
from dropscribe.core.types import Segment, SegmentKind, Span, Speaker
from dropscribe.worker.merging import speaker_linking as who
from dropscribe.worker.merging.overlaps import ChunkOutcome, Taken, in_order, select
from dropscribe.worker.merging.speaker_linking import Pair, Voices
from dropscribe.worker.merging.speaker_turns import tell_apart

__all__ = ["UNMATCHED", "ChunkOutcome", "MergedChunks", "clock", "merge", "merge_chunks", "named"]

MIN_MISSING = 0.5  # s of speech; in less is hardly a word
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
    """
    known = who.link(parts) if voices is None else voices
    said = _said(select(parts), known)
    voice_of = dict.fromkeys(segment.speaker for segment in said if segment.speaker is not None)
    numbers = {voice: at for at, voice in enumerate(voice_of)}
    segments = tuple(s if s.speaker is None else replace(s, speaker=numbers[s.speaker]) for s in said)
    perhaps = {(numbers[a], numbers[b]): alike for (a, b), alike in known.perhaps.items() if {a, b} <= numbers.keys()}
    recognized = {numbers[voice]: found for voice, found in known.recognized.items() if voice in numbers}
    return MergedChunks(
        segments,
        _speakers(segments, perhaps, recognized),
        tuple(f"{clock(parts[i].window)}: {reason}" for i in in_order(parts) for reason in parts[i].reasons),
        tuple(_missing(parts, segments, speech)),
        tuple(_notes(known, perhaps)),
    )


def _said(taken: Sequence[Taken], known: Voices) -> list[Segment]:
    """The timeline with the voices as speakers: those of the engine's labels, or those that speak at the time."""
    if known.turns:
        return tell_apart([segment for _, segment in taken], known.turns)
    return [
        replace(segment, speaker=None if segment.speaker is None else known.numbers.get((part, segment.speaker)))
        for part, segment in taken
    ]


def _speakers(
    segments: Iterable[Segment], perhaps: Mapping[Pair, float | None], recognized: Mapping[int, tuple[str, float]]
) -> tuple[Speaker, ...]:
    seconds: dict[int, float] = {}
    for segment in segments:
        if segment.speaker is not None:
            spoken = segment.end - segment.start if segment.kind is SegmentKind.SPEECH else 0.0
            seconds[segment.speaker] = seconds.get(segment.speaker, 0.0) + spoken
    doubts: dict[int, dict[int, float | None]] = defaultdict(dict)
    for (one, other), alike in perhaps.items():
        doubts[one][other] = doubts[other][one] = alike
    return tuple(
        _speaker(number, round(seconds[number], 3), doubts[number], *recognized.get(number, ("", None)))
        for number in sorted(seconds)
    )


def _speaker(
    number: int, seconds: float, doubts: Mapping[int, float | None], name: str, recognized: float | None
) -> Speaker:
    others = sorted(doubts)
    return Speaker(number, name, seconds, tuple(others), tuple(doubts[other] for other in others), recognized)


def _notes(voices: Voices, perhaps: Mapping[Pair, float | None]) -> Iterator[str]:
    """Remarks on speakers; people count them from 1."""
    yield from voices.notes
    if not voices.compared and who.undecided(voices):
        yield UNMATCHED
    if len(perhaps) > MAX_REMARKS:
        yield f"{len(perhaps)} pairs of speakers may be the same voice"
    else:
        for (one, other), alike in sorted((tuple(sorted(pair)), alike) for pair, alike in perhaps.items()):
            figure = "" if alike is None else f" (similarity {alike:.2f})"
            yield f"speakers {one + 1} and {other + 1} may be the same voice{figure}"


def _missing(parts: Sequence[ChunkOutcome], segments: Sequence[Segment], speech: Sequence[Span]) -> Iterator[Span]:
    """What a part missed of its own time and no other part made good, from the first to the last speech in it."""
    told = [Span(s.start, s.end) for s in segments if s.kind is SegmentKind.SPEECH]
    gaps = without((clip(gap, part.keep) for part in parts for gap in part.missing), told)
    if not gaps or not speech:
        yield from (gap for gap in gaps if gap.duration >= MIN_MISSING)
        return
    starts = [gap.start for gap in gaps]
    silence = without([Span(gaps[0].start, gaps[-1].end)], speech)
    for _, group in groupby(without(gaps, silence), key=lambda piece: bisect_right(starts, piece.start)):
        pieces = list(group)
        if sum(piece.duration for piece in pieces) >= MIN_MISSING:
            yield Span(pieces[0].start, pieces[-1].end)


def merge(
    segments: Sequence[Segment], speakers: Sequence[Speaker], merged: Mapping[int, int]
) -> tuple[tuple[Segment, ...], tuple[Speaker, ...]]:
    """Segments and speakers after a person said who is who: `merged` says of a speaker's number whose it is in truth.

    Those who were merged are gone, their time is the other's; nobody else's number changes. Numbers that there are
    not are passed over. Raises ValueError when somebody is merged into themselves by way of others.
    """
    numbers = {speaker.number for speaker in speakers}
    truth = {number: _end(number, merged, numbers) for number in sorted(numbers)}
    people: dict[int, Speaker] = {}
    for speaker in sorted(speakers, key=lambda speaker: truth[speaker.number] != speaker.number):  # themselves first
        number = truth[speaker.number]
        before = people.get(number, Speaker(number))
        doubts = _doubts(before) | {truth.get(other, other): alike for other, alike in _doubts(speaker).items()}
        doubts.pop(number, None)
        people[number] = _speaker(
            number,
            round(before.seconds + speaker.seconds, 3),
            doubts,
            before.name or speaker.name,
            before.recognized if before.name else speaker.recognized,
        )
    renumbered = (s if s.speaker is None else replace(s, speaker=truth.get(s.speaker, s.speaker)) for s in segments)
    return tuple(renumbered), tuple(people[number] for number in sorted(people))


def _doubts(speaker: Speaker) -> dict[int, float | None]:
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


def clock(span: Span) -> str:
    """From when to when, as `0:00:00-0:00:30`."""
    return f"{_time(span.start)}-{_time(span.end)}"


def _time(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}"
