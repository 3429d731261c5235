"""Pure: whose words are whose, where the engine does not say: segments are cut at the changes of speaker.

Turns come from voices and are right within half a second; words have times of their own. A word goes to the
one who speaks in its middle. A change of speaker within a sentence is moved to the nearest place where one is likelier:
where a sentence ends, or where nobody says anything.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, chain, count, groupby, pairwise
from operator import itemgetter

from dropscribe.core.types import Segment, Span, Word
from dropscribe.worker.merging.alignment import placed

REACH = 0.75  # s that a change of speaker is moved at most: half a sub-window (docs/measurements.md)
SENTENCE_END = 0.5  # a change where a sentence ends is worth as much as in a pause of so many seconds
CLAUSE_END = 0.15  # likewise after a comma
SENTENCE_MARKS = ".?!\u2026\u3002\uff1f\uff01"  # also those of East Asian scripts
CLAUSE_MARKS = ",;:\uff0c\u3001\uff1b\uff1a"
WORTH = dict.fromkeys(CLAUSE_MARKS, CLAUSE_END) | dict.fromkeys(SENTENCE_MARKS, SENTENCE_END)
QUOTES = "\"'\u00bb\u201d\u2019)]"  # stand after the mark


@dataclass(frozen=True, slots=True)
class SpeakerTurn:
    """`speaker` speaks in this span; numbered from 0."""

    span: Span
    speaker: int


@dataclass(frozen=True, slots=True)
class _Spoken:
    """A word, or a whole segment that has no times of words: when, of which segment, and its ending."""

    span: Span
    segment: int
    text: str


def tell_apart(segments: Sequence[Segment], turns: Sequence[SpeakerTurn]) -> list[Segment]:
    """The segments, in order of time, with their speakers; one in which the speaker changes is cut at its words.

    `turns` are in order of time. Sounds that are not speech have no speaker; nor has anybody where there are no turns.

    Example: by the voices the speaker changes at 1.0 s, in the middle of a word. The change moves to the pause:

    >>> words = Word(0, 0.4, "Are"), Word(0.4, 0.9, "you"), Word(0.9, 1.3, "well?"), Word(1.6, 2.0, "Yes.")
    >>> said = Segment(0, 2.0, "Are you well? Yes.", words=words)
    >>> pieces = tell_apart([said], [SpeakerTurn(Span(0, 1.0), 0), SpeakerTurn(Span(1.0, 3.0), 1)])
    >>> [(piece.speaker, piece.start, piece.end, piece.text) for piece in pieces]
    [(0, 0, 1.3, 'Are you well?'), (1, 1.6, 2.0, 'Yes.')]
    """
    if not turns:
        return list(segments)
    spoken = [*chain.from_iterable(map(_spoken, count(), segments))]
    speakers = _snapped(spoken, [_speaker(turns, one.span) for one in spoken])
    of_segment = defaultdict[int, list[int]](list)
    for one, speaker in zip(spoken, speakers, strict=True):
        of_segment[one.segment].append(speaker)
    return [piece for index, segment in enumerate(segments) for piece in _cut(segment, of_segment[index])]


def _spoken(number: int, segment: Segment) -> Iterator[_Spoken]:
    """What is said in the segment: its words, or all of it where they have no times; nothing of a sound."""
    said = segment.words or (Word(segment.start, segment.end, segment.text),)
    for word in said if segment.is_speech else ():
        yield _Spoken(Span(word.start, word.end), number, word.text)


def _speaker(turns: Sequence[SpeakerTurn], span: Span) -> int:
    """Who speaks most in this span; where nobody does, the one who speaks next to it."""
    first = max(0, bisect_right(turns, span.start, key=lambda turn: turn.span.start) - 1)
    near = turns[first : bisect_right(turns, span.end, key=lambda turn: turn.span.start) + 1]

    def shared(turn: SpeakerTurn) -> float:  # below 0: how far away it is
        """Seconds that a turn and the span have in common."""
        return min(turn.span.end, span.end) - max(turn.span.start, span.start)

    return max(near or turns[-1:], key=shared).speaker


def _snapped(spoken: Sequence[_Spoken], speakers: Sequence[int]) -> list[int]:
    """Each change of speaker at the likeliest place within reach, in order, none past the next one."""
    runs = [(speaker, len(list(group))) for speaker, group in groupby(speakers)]
    ends = [*accumulate(map(itemgetter(1), runs))]
    found: list[int] = []
    for (speaker, _), (change, latest) in zip(runs, pairwise(ends), strict=False):
        earliest, moment = len(found) + 1, spoken[change].span.start
        places = [at for at in range(earliest, latest) if at == change or abs(spoken[at].span.start - moment) <= REACH]
        best = max(places, key=lambda at: (_worth(spoken[at - 1], spoken[at]), -abs(at - change)))
        found += [speaker] * (best - len(found))
    return found + [*speakers[-1:]] * (len(spoken) - len(found))


def _worth(before: _Spoken, after: _Spoken) -> float:
    """How likely the speaker changes between two words, in seconds of pause that are worth as much."""
    ending = before.text.rstrip(QUOTES)[-1:]
    return max(0.0, after.span.start - before.span.end) + WORTH.get(ending, 0.0)


def _cut(segment: Segment, speakers: Sequence[int]) -> Iterator[Segment]:
    """The pieces of a segment, one for each run of words of one speaker."""
    if len(set(speakers)) < 2:
        yield replace(segment, speaker=next(iter(speakers), None))
        return
    places = [*map(itemgetter(0), placed(segment))]
    if len(places) != len(speakers):  # the text has not all its words: it cannot be cut by them
        yield replace(segment, speaker=max(set(speakers), key=speakers.count))
        return
    edges = [0, *places[1:], len(segment.text)]  # in the text, between the words
    at = 0
    for speaker, group in groupby(speakers):
        end = at + len(list(group))
        words = segment.words[at:end]
        text = segment.text[edges[at] : edges[end]].strip()
        yield replace(segment, start=words[0].start, end=words[-1].end, text=text, speaker=speaker, words=words)
        at = end
