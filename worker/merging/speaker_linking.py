"""Pure: which speakers of different windows are the same person, where the engine tells the speakers of a window apart.

A model numbers the speakers of each window again. A voice is a part's label. Where two windows overlap both hear the
same people, so labels that speak at the same time are one voice (`link`). Voices that are silent there are linked by
their embeddings (`link_by_embeddings`). Two labels of one window never are one voice.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, combinations, groupby, product, repeat
from operator import attrgetter, itemgetter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dropscribe.core.spans import clip, sweep, without
from dropscribe.core.types import Span
from dropscribe.worker.merging.disjoint_sets import DisjointSets
from dropscribe.worker.merging.overlaps import ChunkOutcome, in_order
from dropscribe.worker.merging.speaker_embeddings import (
    SAME,
    Flags,
    Labels,
    SpeakerEmbeddings,
    Vectors,
    agglomerate,
    doubts,
    unit,
)
from dropscribe.worker.merging.speaker_turns import SpeakerTurn

MIN_SHARED = 1.0  # s of speech in common that prove a voice: more than times that are off by 0.4 s at both ends make up
MIN_HINT = 0.5  # s in common that are worth a remark: less is a border between two turns, drawn differently
SHARE = 0.6  # of what either label speaks in the overlap: turns of 2 s keep that much when both ends are off by 0.4 s
CLEAR = 2.0  # times as much in common as with any other label
EDGE = 0.3  # s that a sub-window may reach beyond what one voice says alone: a fifth of it
NOBODY = -1  # a speaker without a label

Label = tuple[int, int]  # index of the part, the model's label in it
Pair = tuple[int, int]  # two voices, the smaller number first


@dataclass(frozen=True, slots=True)
class Voices:
    """Who is who: the voice of each label, numbered by first appearance in time.

    `perhaps` are pairs that may be the same person, something says so, but not clearly; and how alike they sound, None
    where they were not heard. `compared` says that voices from all windows were held against each other, so that any
    other pair is not. Where the engine tells nobody apart there are no labels, but `turns` of the voices. `recognized`
    are the names of known voices and how alike they sound. `notes` say what is not known.
    """

    numbers: Mapping[Label, int] = field(default_factory=dict)
    perhaps: Mapping[Pair, float | None] = field(default_factory=dict)
    compared: bool = False
    turns: tuple[SpeakerTurn, ...] = ()
    recognized: Mapping[int, tuple[str, float]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def count(self) -> int:
        """How many voices there are."""
        return len(set(self.numbers.values()))

    def renumbered(self, numbers: Mapping[int | None, int]) -> Voices:
        """What is known of those voices that have a number, under that number; without labels and turns."""
        known = numbers.keys()
        return Voices(
            perhaps={_pair(numbers[a], numbers[b]): alike for (a, b), alike in self.perhaps.items() if {a, b} <= known},
            recognized={numbers[voice]: found for voice, found in self.recognized.items() if voice in numbers},
        )


@dataclass(frozen=True, slots=True)
class _Bond:
    """Two labels that spoke at the same time for `shared` seconds; `sure` when they are clearly one voice."""

    one: Label
    other: Label
    shared: float
    sure: bool


def to_json(voices: Voices) -> dict[str, Any]:
    """As plain values, of which `from_json` makes the voices again."""
    found = {
        "labels": [[part, label, number] for (part, label), number in voices.numbers.items()],
        "maybe_same": [[one, other, alike] for (one, other), alike in voices.perhaps.items()],
        "compared": voices.compared,
        "turns": [[turn.span.start, turn.span.end, turn.speaker] for turn in voices.turns],
        "recognized": [[number, name, alike] for number, (name, alike) in voices.recognized.items()],
        "notes": list(voices.notes),
    }
    return {name: value for name, value in found.items() if value}


def from_json(stored: Mapping[str, Any]) -> Voices:
    """The voices that `to_json` made this of."""
    return Voices(
        numbers={(part, label): number for part, label, number in stored.get("labels", ())},
        perhaps={(one, other): alike for one, other, alike in stored.get("maybe_same", ())},
        compared=stored.get("compared", False),
        turns=tuple(SpeakerTurn(Span(start, end), speaker) for start, end, speaker in stored.get("turns", ())),
        recognized={number: (name, alike) for number, name, alike in stored.get("recognized", ())},
        notes=tuple(stored.get("notes", ())),
    )


def link(parts: Sequence[ChunkOutcome]) -> Voices:
    """The voices of a recording's parts, as far as the overlaps tell.

    Example: both windows heard 45 to 75 s. There label 0 of the first and label 1 of the second speak at the same time
    for 5.7 s, so they are one voice; so are labels 1 and 0. Who speaks at 80 s alone gets a number of their own:

    >>> def heard(window, *turns):
    ...     segments = tuple(Segment(start, end, "words", label) for start, end, label in turns)
    ...     return ChunkOutcome(window, window, segments)
    >>> first = heard(Span(0, 75), (46, 52, 0), (53, 60, 1))
    >>> second = heard(Span(45, 120), (46.3, 52.2, 1), (53.1, 59.8, 0), (80, 90, 2))
    >>> link([first, second]).numbers
    {(0, 0): 0, (1, 1): 0, (0, 1): 1, (1, 0): 1, (1, 2): 2}
    """
    voices = DisjointSets(_first_heard(parts))
    found = chain.from_iterable(_bonds(parts, *pair) for pair in _meetings(parts))
    bonds = sorted(found, key=lambda bond: (not bond.sure, -bond.shared))
    for bond in filter(attrgetter("sure"), bonds):
        if _present(voices.of(bond.one)).isdisjoint(_present(voices.of(bond.other))):
            voices.join(bond.one, bond.other)
    numbers = voices.numbers()
    return Voices(numbers, dict.fromkeys(_pairs((numbers[bond.one], numbers[bond.other]) for bond in bonds)))


def _present(labels: Iterable[Label]) -> set[int]:
    """The parts that have these labels: a voice has at most one label in each."""
    return set(map(itemgetter(0), labels))


def spoken(part: ChunkOutcome) -> Iterator[tuple[int, Span]]:
    """Who speaks when in a part: label and time, without those whose speaker is unknown."""
    for segment in filter(attrgetter("is_speech"), part.segments):
        if segment.speaker is not None:
            yield segment.speaker, segment.span


def apart(voices: Voices) -> frozenset[Pair]:
    """Pairs of voices that are two people, since one window has labels of both."""
    present: dict[int, set[int]] = defaultdict(set)
    for (part, _), number in voices.numbers.items():
        present[part].add(number)
    return _pairs(chain.from_iterable(combinations(numbers, 2) for numbers in present.values()))


def undecided(voices: Voices) -> frozenset[int]:
    """Voices that may be the same person as another: no window has both."""
    known = Counter(chain.from_iterable(apart(voices)))
    everybody = set(voices.numbers.values())
    return frozenset(number for number in everybody if known[number] < len(everybody) - 1)


def link_by_embeddings(
    voices: Voices, parts: Sequence[ChunkOutcome], heard: SpeakerEmbeddings, people: int | None = None
) -> tuple[Voices, Vectors]:
    """The voices after those that sound alike were joined, and the mean embedding of each, zeros where there is none.

    `people` is how many there are, where somebody said so. The means are float32 of shape (voices, dimensions).

    A voice is known by the embeddings of what it says alone. A voice that says nothing alone stays as it is, and so do
    the doubts about it.

    Of three voices in two dimensions, the last two become one, whose mean is weighted by seconds, unit(1, 29.9):

        voice   s alone   mean of its embeddings   another person than
        0       40        (1.0, 0.0)               1, which spoke in a window with it
        1       20        (0.0, 1.0)               0
        2       10        (0.1, 0.99)              nobody: it was heard in another window. Cosine to 0: 0.1, to 1: 0.99
    """
    sounds = _sounds(voices, parts, heard)
    weights = np.array([*map(len, sounds)], np.float64)
    silent = weights == 0
    centers = np.zeros((len(sounds), heard.vectors.shape[1]), np.float32)
    for voice, vectors in enumerate(sounds):
        centers[voice] = unit(vectors.sum(axis=0))
    free = _known_apart(voices) | silent[:, None] | silent
    same, least = (SAME, 1) if people is None else (-1.0, people)
    group = agglomerate(centers, weights, free, same=same, people=least)
    people_heard = _means(centers, weights, group)
    alike = doubts(people_heard, _of_groups(free, group))
    return _united(voices, group, alike, compared=not silent.any()), people_heard


def _known_apart(voices: Voices) -> Flags:
    """Which two voices are two people: shape (n, n), symmetric."""
    known = np.zeros((voices.count, voices.count), np.bool_)
    for one, other in apart(voices):
        known[one, other] = known[other, one] = True
    return known


def _sounds(voices: Voices, parts: Sequence[ChunkOutcome], heard: SpeakerEmbeddings) -> list[Vectors]:
    """The embeddings of what each voice says alone, by its number.

    Alone in its own part: where parts overlap, another voice that speaks at the same time may be the same person.
    """
    picked: dict[int, set[int]] = defaultdict(set)
    for index, part in enumerate(parts):
        for voice, stretches in speaking_alone(_speech(voices, index, part)).items():
            picked[voice].update(*(_within(heard, stretch) for stretch in stretches))
    return [heard.vectors[sorted(picked[voice])] for voice in range(voices.count)]


def _within(heard: SpeakerEmbeddings, stretch: Span) -> NDArray[np.int64]:
    """Which embeddings were made of this stretch, except for its edges."""
    first = np.searchsorted(heard.times[:, 0], stretch.start - EDGE)
    near = np.arange(first, np.searchsorted(heard.times[:, 0], stretch.end))
    inside: NDArray[np.int64] = near[heard.times[near, 1] <= stretch.end + EDGE]
    return inside


def _means(centers: Vectors, weights: NDArray[np.float64], group: Labels) -> Vectors:
    """The mean direction of each group, weighted by seconds; shape (groups, dimensions)."""
    sums = np.zeros((int(group.max(initial=-1)) + 1, centers.shape[1]))
    np.add.at(sums, group, centers * weights[:, None])
    return unit(sums)


def _of_groups(apart: Flags, group: Labels) -> Flags:
    """Which groups are known apart: those of two voices that are."""
    members = (group == np.arange(int(group.max(initial=-1)) + 1)[:, None]).astype(int)
    known: Flags = (members @ apart @ members.T) > 0
    return known


def _united(voices: Voices, group: Labels, alike: Mapping[Pair, float], *, compared: bool) -> Voices:
    """The voices of each group are one. Of the doubts there were, those stay that nothing has settled."""
    numbers = {label: int(group[number]) for label, number in voices.numbers.items()}
    before: dict[Pair, float | None] = {}
    if not compared:
        before = dict.fromkeys(_pairs((int(group[one]), int(group[other])) for one, other in voices.perhaps))
    return Voices(numbers, {**before, **alike}, compared)


def _speech(voices: Voices, index: int, part: ChunkOutcome) -> dict[int, list[Span]]:
    """When each voice speaks in a part, and `NOBODY` those that nobody knows."""
    found: dict[int, list[Span]] = defaultdict(list)
    for segment in filter(attrgetter("is_speech"), part.segments):
        if segment.span.duration > 0:
            voice = NOBODY if segment.speaker is None else voices.numbers[index, segment.speaker]
            found[voice].append(segment.span)
    return found


def speaking_alone(spoken: Mapping[int, Sequence[Span]]) -> dict[int, list[Span]]:
    """Stretches in which a voice speaks and no other."""
    alone: dict[int, list[Span]] = defaultdict(list)
    everything = ((voice, span) for voice, spans in spoken.items() for span in spans)
    for speaking, group in groupby(sweep(everything, touching=True), key=itemgetter(1)):
        pieces = [*map(itemgetter(0), group)]
        stretch = Span(pieces[0].start, pieces[-1].end)
        if len(speaking) == 1 and stretch.duration > 0:  # of two who begin at once nobody speaks alone
            alone[speaking[0]].append(stretch)
    return alone


def _pair(one: int, other: int) -> Pair:
    """Both numbers, the smaller first.

    >>> _pair(3, 1)
    (1, 3)
    """
    return min(one, other), max(one, other)


def _pairs(found: Iterable[tuple[int, int]]) -> frozenset[Pair]:
    """Pairs of different numbers, each in order and once.

    >>> sorted(_pairs([(3, 1), (1, 3), (2, 2)]))
    [(1, 3)]
    """
    return frozenset(_pair(a, b) for a, b in found if a != b)


def _first_heard(parts: Sequence[ChunkOutcome]) -> dict[Label, float]:
    """When each label speaks first, in order of time."""
    first: dict[Label, float] = {}
    for index in in_order(parts):
        for label, span in spoken(parts[index]):
            first[index, label] = min(span.start, first.get((index, label), span.start))
    return dict(sorted(first.items(), key=lambda item: item[1]))


def _meetings(parts: Sequence[ChunkOutcome]) -> Iterator[Pair]:
    """Pairs of parts whose windows overlap: neighbours, and others where windows are short."""
    near: list[int] = []
    for index in sorted(range(len(parts)), key=lambda i: parts[i].window.start):
        near = [other for other in near if parts[other].window.end > parts[index].window.start]
        yield from zip(near, repeat(index), strict=False)
        near.append(index)


def _bonds(parts: Sequence[ChunkOutcome], one: int, other: int) -> Iterator[_Bond]:
    """Which labels of two overlapping parts belong together: each with one of the other's, those first that share most.

    A sure pair shares twice as much time as either shares with any other. So the assignment with the most shared time
    (Kuhn's) has every sure pair too, and no optimizer is needed to find them.
    """
    a, b = parts[one], parts[other]
    overlap = Span(max(a.window.start, b.window.start), min(a.window.end, b.window.end))
    heard = without([overlap], [*a.missing, *b.missing])  # by both
    seconds = _Seconds.of(_clipped(a, heard), _clipped(b, heard))
    ours, theirs = set[int](), set[int]()
    for (x, y), shared in sorted(seconds.shared.items(), key=lambda item: -item[1]):
        if shared >= MIN_HINT and x not in ours and y not in theirs:
            ours.add(x)
            theirs.add(y)
            yield _Bond((one, x), (other, y), shared, seconds.tell(x, y))


def _clipped(part: ChunkOutcome, within: Sequence[Span]) -> list[tuple[int, Span]]:
    """What is said within these stretches, each piece with its label."""
    pieces = ((label, clip(span, stretch)) for label, span in spoken(part) for stretch in within)
    return [(label, piece) for label, piece in pieces if piece.duration > 0]


@dataclass(frozen=True, slots=True)
class _Seconds:
    """How long each label of two parts speaks in their overlap, and each two of them at the same time."""

    ours: Mapping[int, float]
    theirs: Mapping[int, float]
    shared: Mapping[Pair, float]

    @classmethod
    def of(cls, ours: Iterable[tuple[int, Span]], theirs: Iterable[tuple[int, Span]]) -> _Seconds:
        """What of two parts speaks when, within their overlap."""
        both = [((side, label), span) for side, heard in enumerate((ours, theirs)) for label, span in heard]
        spoke: tuple[dict[int, float], dict[int, float]] = (defaultdict(float), defaultdict(float))
        shared: dict[Pair, float] = defaultdict(float)
        for piece, speaking in sweep(sorted(both, key=itemgetter(0))):
            for side, label in speaking:
                spoke[side][label] += piece.duration
            for (left, x), (right, y) in product(speaking, repeat=2):
                if left < right:
                    shared[x, y] += piece.duration
        return cls(*spoke, shared)

    def tell(self, x: int, y: int) -> bool:
        """True when these two are clearly one voice."""
        rivals = [time for (a, b), time in self.shared.items() if (a == x) != (b == y)]
        enough = max(MIN_SHARED, SHARE * max(self.ours[x], self.theirs[y]), CLEAR * max(rivals, default=0.0))
        return self.shared[x, y] >= enough
