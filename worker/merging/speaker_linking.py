"""Pure: which speakers of different windows are the same person, told by who speaks when where windows overlap.

A model numbers the speakers of each window anew. A voice is a part's label. Where two windows overlap both hear the
same people, so labels that speak at the same time are one voice. Two labels of one window never are.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations, product

from dropscribe.core.spans import clip, without
from dropscribe.core.types import SegmentKind, Span
from dropscribe.worker.merging.overlaps import ChunkOutcome, in_order

MIN_SHARED = 1.0  # s of speech in common that prove a voice: more than times that are off by 0.4 s at both ends make up
MIN_HINT = 0.5  # s in common that are worth a remark: less is a border between two turns, drawn differently
SHARE = 0.6  # of what either label speaks in the overlap: turns of 2 s keep that much when both ends are off by 0.4 s
CLEAR = 2.0  # times as much in common as with any other label

Label = tuple[int, int]  # index of the part, the model's label in it
Pair = tuple[int, int]  # two voices, the smaller number first


@dataclass(frozen=True, slots=True)
class Voices:
    """Who is who: the voice of each label, numbered by first appearance in time.

    `perhaps` are pairs that may be the same person: something says so, but not clearly. `compared` says that voices
    from all windows were held against each other, so that any other pair is not.
    """

    numbers: Mapping[Label, int]
    perhaps: frozenset[Pair] = frozenset()
    compared: bool = False

    @property
    def count(self) -> int:
        """How many voices there are."""
        return len(set(self.numbers.values()))


@dataclass(frozen=True, slots=True)
class _Bond:
    """Two labels that spoke at the same time for `shared` seconds; `sure` when they are clearly one voice."""

    one: Label
    other: Label
    shared: float
    sure: bool


@dataclass
class _Unions:
    """Labels joined to voices; a voice has at most one label of each part."""

    above: dict[Label, Label]
    members: dict[Label, dict[int, Label]] = field(default_factory=dict)  # by part

    def root(self, label: Label) -> Label:
        while self.above[label] != label:
            self.above[label] = self.above[self.above[label]]
            label = self.above[label]
        return label

    def join(self, one: Label, other: Label) -> bool:
        """Make the two one voice; False, and nothing done, when they have labels in one part."""
        small, large = sorted((self.root(one), self.root(other)), key=lambda root: len(self.members[root]))
        if small == large:
            return True
        if not self.members[small].keys().isdisjoint(self.members[large]):
            return False
        self.above[small] = large
        self.members[large] |= self.members.pop(small)
        return True


def link(parts: Sequence[ChunkOutcome]) -> Voices:
    """The voices of a recording's parts, as far as the overlaps tell."""
    first = _first_heard(parts)
    unions = _Unions({label: label for label in first}, {label: {label[0]: label} for label in first})
    bonds = [bond for one, other in _meetings(parts) for bond in _bonds(parts, one, other)]
    doubtful = [
        bond
        for bond in sorted(bonds, key=lambda bond: (not bond.sure, -bond.shared))
        if not (bond.sure and unions.join(bond.one, bond.other))
    ]
    order: dict[Label, int] = {}
    for label in first:
        order.setdefault(unions.root(label), len(order))
    numbers = {label: order[unions.root(label)] for label in first}
    return Voices(numbers, _pairs((numbers[bond.one], numbers[bond.other]) for bond in doubtful))


def spoken(part: ChunkOutcome) -> Iterator[tuple[int, Span]]:
    """Who speaks when in a part: label and time, without those whose speaker is unknown."""
    for segment in part.segments:
        if segment.speaker is not None and segment.kind is SegmentKind.SPEECH:
            yield segment.speaker, Span(segment.start, max(segment.start, segment.end))


def apart(voices: Voices) -> frozenset[Pair]:
    """Pairs of voices that are two people, since one window has labels of both."""
    present: dict[int, set[int]] = defaultdict(set)
    for (part, _), number in voices.numbers.items():
        present[part].add(number)
    return _pairs(pair for numbers in present.values() for pair in combinations(numbers, 2))


def undecided(voices: Voices) -> frozenset[int]:
    """Voices that may be the same person as another: no window has both."""
    known = Counter(number for pair in apart(voices) for number in pair)
    everybody = set(voices.numbers.values())
    return frozenset(number for number in everybody if known[number] < len(everybody) - 1)


def united(voices: Voices, groups: Iterable[Iterable[int]], perhaps: Iterable[Pair]) -> Voices:
    """After a comparison of all: the voices of each group are one, `perhaps` are the pairs in doubt."""
    into = {number: number for number in voices.numbers.values()}
    for group in groups:
        members = sorted(group)
        into |= dict.fromkeys(members, members[0])
    place = {number: at for at, number in enumerate(sorted(set(into.values())))}
    numbers = {label: place[into[number]] for label, number in voices.numbers.items()}
    return Voices(numbers, _pairs((place[into[a]], place[into[b]]) for a, b in perhaps), compared=True)


def _pairs(found: Iterable[tuple[int, int]]) -> frozenset[Pair]:
    return frozenset((min(a, b), max(a, b)) for a, b in found if a != b)


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
        yield from ((other, index) for other in near)
        near.append(index)


def _bonds(parts: Sequence[ChunkOutcome], one: int, other: int) -> Iterator[_Bond]:
    """Which labels of two overlapping parts belong together: each with one of the other's, those first that share most.

    A sure pair shares twice as much as either does with anybody else, so the assignment that shares the most time in
    all (Kuhn's) has every sure pair too: no optimizer is needed to find them.
    """
    a, b = parts[one], parts[other]
    overlap = Span(max(a.window.start, b.window.start), min(a.window.end, b.window.end))
    heard = without([overlap], [*a.missing, *b.missing])  # by both
    seconds = _Seconds.of(_clipped(a, heard), _clipped(b, heard))
    if not seconds.shared:
        return
    ours, theirs = set[int](), set[int]()
    for (x, y), shared in sorted(seconds.shared.items(), key=lambda item: -item[1]):
        if shared >= MIN_HINT and x not in ours and y not in theirs:
            ours.add(x)
            theirs.add(y)
            yield _Bond((one, x), (other, y), shared, seconds.tell(x, y))


def _clipped(part: ChunkOutcome, within: Sequence[Span]) -> list[tuple[int, Span]]:
    pieces = ((label, clip(span, stretch)) for label, span in spoken(part) for stretch in within)
    return [(label, piece) for label, piece in pieces if piece.duration > 0]


@dataclass(frozen=True, slots=True)
class _Seconds:
    """How long each label of two parts speaks in their overlap, and each two of them at the same time."""

    ours: dict[int, float]
    theirs: dict[int, float]
    shared: dict[Pair, float]

    @classmethod
    def of(cls, ours: Iterable[tuple[int, Span]], theirs: Iterable[tuple[int, Span]]) -> _Seconds:
        """By going through all starts and ends in order of time."""
        both = [(0, *one) for one in ours] + [(1, *one) for one in theirs]
        events = [(span.start, 1, side, label) for side, label, span in both]
        events += [(span.end, -1, side, label) for side, label, span in both]
        spoke: tuple[dict[int, float], dict[int, float]] = (defaultdict(float), defaultdict(float))
        shared: dict[Pair, float] = defaultdict(float)
        speaking: tuple[Counter[int], Counter[int]] = (Counter(), Counter())
        before = 0.0
        for moment, step, changed, who in sorted(events):
            for side in (0, 1):
                for label in +speaking[side]:
                    spoke[side][label] += moment - before
            for pair in product(+speaking[0], +speaking[1]):
                shared[pair] += moment - before
            speaking[changed][who] += step
            before = moment
        return cls(spoke[0], spoke[1], shared)

    def tell(self, x: int, y: int) -> bool:
        """True when these two are clearly one voice."""
        seconds = self.shared[x, y]
        rivals = [time for (a, b), time in self.shared.items() if (a == x) != (b == y)]
        enough = max(MIN_SHARED, SHARE * max(self.ours[x], self.theirs[y]), CLEAR * max(rivals, default=0.0))
        return seconds >= enough
