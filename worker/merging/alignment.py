"""Pure: utterances as one window read them, and which of two windows' utterances are the same speech.

The same speech comes with times that differ by some tenths of a second, split or joined elsewhere, now and then
with a word read differently. Words are what the two have in common; their times are the model's, or estimated from
the text where it tells none.
"""

from __future__ import annotations

import math
import re
from bisect import bisect_left, bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from operator import attrgetter, itemgetter

import numpy as np

from dropscribe.core.scripts import WORD_OR_SIGN
from dropscribe.core.spans import clip
from dropscribe.core.types import Segment, Span
from dropscribe.core.types import Word as TimedWord
from dropscribe.worker.merging.disjoint_sets import DisjointSets

JITTER = 2.0  # s: two readings of a moment differ by twice 0.4 s, seldom by twice 1 s
SAME_TIME = 1.0  # s: the same, where nothing but the time says that two readings are of the same words
ASTRAY = 3.0  # s: an estimated time is off by no more, unless there is a long pause in the utterance
ALIKE = 0.5  # of the words that either has in the time they share, in both: half survives a bad reading of one
NEAREST = 50  # utterances of the other window that one is compared with; in 30 s people take about 15 turns

_BLANK = re.compile(r"\s")


Label = tuple[int, int | None]  # index of the part, the model's label in it


@dataclass(frozen=True, slots=True)
class AlignedWord:
    """A word: `text` without case and punctuation, `offset` where a cut before it falls.

    `begins` is when it is said as far as is known, and `at` its middle.
    """

    text: str
    offset: int
    begins: float
    at: float


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """An utterance as part number `part` read it; `span` is its time within its window.

    `torn` says that it reaches the edge at which the other window's reading goes on.
    """

    part: int
    segment: Segment
    span: Span
    torn: bool
    words: tuple[AlignedWord, ...] = field(repr=False)
    vocabulary: frozenset[str] = field(repr=False)

    @property
    def label(self) -> Label:
        """Whose utterance it is, as far as the part can tell."""
        return self.part, self.segment.speaker

    @property
    def middle(self) -> float:
        """Halfway between start and end, in seconds."""
        return (self.span.start + self.span.end) / 2

    def before(self, word: int, at: float) -> Segment:
        """What was said before this word, which begins at `at`."""
        offset = self.words[word].offset
        words, _ = divided(self.segment, offset)
        end = words[-1].end if words else clip(Span(at, at), self.span).end
        return replace(self.segment, text=self.segment.text[:offset].rstrip(), end=end, words=words)

    def since(self, word: int, at: float) -> Segment:
        """This word, which begins at `at`, and what was said after it."""
        offset = self.words[word].offset
        _, words = divided(self.segment, offset)
        start = words[0].start if words else clip(Span(at, at), self.span).start
        return replace(self.segment, text=self.segment.text[offset:], start=start, words=words)


def reading(part: int, segment: Segment, span: Span, *, torn: bool) -> Hypothesis:
    """A segment with its words, whose times are the model's, or follow from their place in the text."""
    found = tuple(_words(segment, span))
    return Hypothesis(
        part=part,
        segment=segment,
        span=span,
        torn=torn,
        words=found,
        vocabulary=frozenset(map(attrgetter("text"), found)),
    )


def placed(segment: Segment) -> Iterator[tuple[int, TimedWord]]:
    """The model's words that stand in the text, and where each begins."""
    end = 0
    for word in segment.words:
        place = segment.text.find(word.text, end)
        if place >= 0:
            yield place, word
            end = place + len(word.text)


def divided(segment: Segment, offset: int) -> tuple[tuple[TimedWord, ...], tuple[TimedWord, ...]]:
    """The model's words before this place in the text, and those from it on."""
    found = [*placed(segment)]
    first = bisect_left(found, offset, key=itemgetter(0))
    words = tuple(word for _, word in found)
    return words[:first], words[first:]


def _clock(segment: Segment, span: Span) -> tuple[list[float], list[float]]:
    """Places in the text, in order, and when what stands there is said."""
    moments = [
        point for place, word in placed(segment) for point in ((place, word.start), (place + len(word.text), word.end))
    ]
    places, times = zip(*moments or [(0, span.start), (len(segment.text), span.end)], strict=True)
    return list(places), list(times)


def _words(segment: Segment, span: Span) -> Iterator[AlignedWord]:
    """The words of a segment, each with its moment, estimated by its place in the text where no times are known."""
    text, clock = segment.text, _clock(segment, span)
    end = 0  # of the word before
    for match in WORD_OR_SIGN.finditer(text):
        *before, opening = _BLANK.split(text[end : match.start()])
        # A bracket or quotation mark after a blank goes with the word that it opens.
        offset = match.start() - (len(opening) if before else 0)
        begins, at = np.interp([offset, (match.start() + match.end()) / 2], *clock)
        yield AlignedWord(match[0].casefold().replace("\u2019", "'"), offset if end else 0, float(begins), float(at))
        end = match.end()


Group = tuple[list[Hypothesis], list[Hypothesis]]


def groups(left: Sequence[Hypothesis], right: Sequence[Hypothesis]) -> list[Group]:
    """What is the same speech, in the smallest groups that leave nothing in two of them; in order of time within.

    First those that share words, the most first; each word counts once, so that an answer that repeats the
    question's last word is not taken for it. Then those that have as many words left over at the same time, by the
    same speaker as far as is known: the same speech, read differently. What remains is alone in its group.

    Example: the right window has in one utterance what are two on the left. Both end with "Good", but 3 s apart:

    >>> def heard(*said):
    ...     return [reading(0, Segment(*one), Span(one[0], one[1]), torn=False) for one in said]
    >>> left = heard((50, 52, "How are you?"), (52.5, 53, "Fine."), (54, 55, "Good."))
    >>> right = heard((50.3, 53.1, "How are you? Fine."), (57, 58, "Good."))
    >>> [[[one.segment.text for one in side] for side in group] for group in groups(left, right)]
    [[['How are you?', 'Fine.'], ['How are you? Fine.']], [['Good.'], []], [[], ['Good.']]]
    """
    match = _Match(left, right)
    near = sorted(_near(left, right), key=lambda pair: match.rank(*pair))
    for join in (match.by_words, match.by_place, match.by_time):
        for i, j in near:
            join(i, j)
    return match.groups()


def _near(left: Sequence[Hypothesis], right: Sequence[Hypothesis]) -> Iterator[tuple[int, int]]:
    """Pairs of one kind that meet in time, give or take `JITTER`."""

    def start(i: int) -> float:
        """When a hypothesis of the left side starts."""
        return left[i].span.start

    order = sorted(range(len(left)), key=start)
    for j, other in enumerate(right):
        last = bisect_right(order, other.span.end + JITTER, key=start)
        for i in order[max(0, last - NEAREST) : last]:
            if left[i].span.end >= other.span.start - JITTER and left[i].segment.kind is other.segment.kind:
                yield i, j


class _Match:
    """Words not yet found in the other reading, and the groups so far."""

    def __init__(self, left: Sequence[Hypothesis], right: Sequence[Hypothesis]) -> None:
        self._sides = (left, right)
        self._free = tuple([list(reading.words) for reading in side] for side in (left, right))
        self._labels: Counter[tuple[Label, Label]] = Counter()  # words in common
        self._sets = DisjointSets((side, i) for side in (0, 1) for i in range(len(self._sides[side])))

    def rank(self, i: int, j: int) -> tuple[int, float]:
        """The more words in common the earlier, then the nearer in time."""
        a, b = self._sides[0][i], self._sides[1][j]
        return -len(a.vocabulary & b.vocabulary), abs(a.middle - b.middle)

    def by_words(self, i: int, j: int) -> None:
        """Join the two if they share half of the words that one of them has in the time of both."""
        a, b = self._sides[0][i], self._sides[1][j]
        if not a.vocabulary.isdisjoint(b.vocabulary):
            ours, theirs = _within(self._free[0][i], b.span, JITTER), _within(self._free[1][j], a.span, JITTER)
            self._join_alike(i, j, list(_common(ours, theirs, ASTRAY)), min(len(ours), len(theirs)))

    def by_place(self, i: int, j: int) -> None:
        """Join the two if one is without a partner, lies within the other, and half of its words are there.

        A pause within the longer one puts its words' estimated times seconds off.
        """
        a, b = self._sides[0][i], self._sides[1][j]
        for inner, outer, side, at in ((a, b, 0, i), (b, a, 1, j)):
            unmet = len(self._free[side][at]) == len(inner.words)
            if unmet and _inside(inner.span, outer.span) and not a.vocabulary.isdisjoint(b.vocabulary):
                ours, theirs = self._free[0][i], self._free[1][j]
                self._join_alike(i, j, list(_common(ours, theirs, math.inf)), min(len(ours), len(theirs)))

    def by_time(self, i: int, j: int) -> None:
        """Join the two if about as many words of either have found no equal and are said at the same time."""
        a, b = self._sides[0][i], self._sides[1][j]
        if self._sets.together((0, i), (1, j)) or not self._one_voice(a.label, b.label):
            return
        ours, theirs = _within(self._free[0][i], b.span, SAME_TIME), _within(self._free[1][j], a.span, SAME_TIME)
        fewer, more = sorted((len(ours), len(theirs)))
        if fewer >= max(1, ALIKE * more):
            self._join(i, j, list(zip(ours, theirs, strict=False)))

    def _one_voice(self, ours: Label, theirs: Label) -> bool:
        """True unless the words in common give one of the two labels a better partner."""
        words = self._labels[ours, theirs]
        return all(count <= words for (a, b), count in self._labels.items() if (a == ours) != (b == theirs))

    def _join_alike(self, i: int, j: int, same: Sequence[tuple[AlignedWord, AlignedWord]], of: int) -> None:
        """Join two hypotheses that have enough words in common."""
        if len(same) >= max(1, ALIKE * of):
            self._labels[self._sides[0][i].label, self._sides[1][j].label] += len(same)
            self._join(i, j, same)

    def _join(self, i: int, j: int, same: Sequence[tuple[AlignedWord, AlignedWord]]) -> None:
        """Make one group of the two, which have these words in common: at least one."""
        for side, at, words in zip((0, 1), (i, j), zip(*same, strict=True), strict=True):
            taken = set(map(id, words))
            self._free[side][at] = [word for word in self._free[side][at] if id(word) not in taken]
        self._sets.join((0, i), (1, j))

    def groups(self) -> list[Group]:
        """The groups, each side in order of time."""
        return [(self._in_order(0, members), self._in_order(1, members)) for members in self._sets.all()]

    def _in_order(self, side: int, members: Iterable[tuple[int, int]]) -> list[Hypothesis]:
        """The members of a side, by start."""
        mine = (self._sides[side][i] for of, i in members if of == side)
        return sorted(mine, key=lambda one: one.span.start)


def _within(words: Iterable[AlignedWord], span: Span, margin: float) -> list[AlignedWord]:
    """The words whose moment is in the span, give or take the margin."""
    return [word for word in words if span.start - margin <= word.at <= span.end + margin]


def _inside(inner: Span, outer: Span) -> bool:
    """Does one span lie within the other, give or take `JITTER`?

    >>> _inside(Span(1, 2), Span(0, 3)), _inside(Span(1, 9), Span(0, 3))
    (True, False)
    """
    return outer.start - JITTER <= inner.start and inner.end <= outer.end + JITTER


def _common(
    ours: Iterable[AlignedWord], theirs: Iterable[AlignedWord], astray: float
) -> Iterator[tuple[AlignedWord, AlignedWord]]:
    """Pairs of equal words, nearest in time and at most `astray` seconds apart, each used once."""
    waiting: dict[str, list[AlignedWord]] = defaultdict(list)
    for word in theirs:
        waiting[word.text].append(word)
    for word in ours:
        if there := waiting.get(word.text):
            after = bisect_right(there, word.at, key=lambda other: other.at)
            near = range(max(0, after - 1), min(len(there), after + 1))
            nearest = min(near, key=lambda k: abs(there[k].at - word.at))
            if abs(there[nearest].at - word.at) <= astray:
                yield word, there.pop(nearest)
