"""Pure: a line-up of voices, for those who are silent wherever windows overlap.

A few seconds of each voice are put one after the other and read by the model in one pass. Its labels say which clips
are one person. Where material permits, everybody is heard twice, in the same order, as a check: who gets two labels
proves nothing. Where one pass cannot hold all, several are made, and the same few people, whom a window told apart,
open each of them: by these their answers are joined. What is uncertain is said to be so, not guessed.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from dropscribe.core.spans import merged
from dropscribe.core.types import Segment, SegmentKind, Span
from dropscribe.worker.merging import speaker_linking as who
from dropscribe.worker.merging.overlaps import ChunkOutcome
from dropscribe.worker.merging.speaker_linking import Pair, Voices

CLIP = 4.0  # s: a sentence or two; models tell voices apart from about 3 s on
GAP = 0.7  # s of silence between clips: a change of turns, not a pause within one
SHORTEST = 1.0  # s: in less is hardly a word
HEARD = 0.5  # of a clip has to be in the answer: a clip may begin and end in silence
ALIKE = 0.8  # of what was heard in a clip has to have one label

MOST = 10  # line-ups of one recording: more passes cost more than they are likely to tell
NOBODY = -1  # a speaker without a label: never in a clip


@dataclass(frozen=True, slots=True)
class Clip:
    """What is heard of a voice: `source` in the recording, `at` in the line-up; equally long."""

    voice: int
    source: Span
    at: Span


@dataclass(frozen=True, slots=True)
class LineUp:
    """Clips in the order in which they are heard; silence between them."""

    clips: tuple[Clip, ...]

    @property
    def seconds(self) -> float:
        """Length of the recording that is made of it."""
        return self.clips[-1].at.end


@dataclass(frozen=True, slots=True)
class LineUpAnswer:
    """For each clip the label that the model gave to its speaker; None where it gave none, or several."""

    labels: tuple[int | None, ...]


def to_json(lineup: LineUp) -> dict[str, Any]:
    """As plain values, of which `from_json` makes the line-up again."""
    return {"clips": [[clip.voice, *_ends(clip.source), *_ends(clip.at)] for clip in lineup.clips]}


def _ends(span: Span) -> tuple[float, float]:
    return span.start, span.end


def from_json(stored: Mapping[str, Any]) -> LineUp:
    """The line-up that `to_json` made this of."""
    return LineUp(tuple(Clip(int(v), Span(a, b), Span(c, d)) for v, a, b, c, d in stored["clips"]))


def plan(
    voices: Voices, parts: Sequence[ChunkOutcome], *, longest: float, clip_seconds: float = CLIP, gap: float = GAP
) -> tuple[LineUp, ...]:
    """Line-ups of the voices that may be another's, each at most `longest` seconds; none where nothing can be learned.

    Those who speak most come first. Who does not fit into `MOST` line-ups stays in doubt: see `link`.
    """
    spoken = _spoken(voices, parts)
    seconds = {voice: sum(span.duration for span in merged(spans)) for voice, spans in spoken.items()}
    alone = _alone(spoken)
    takes = {voice: _takes(alone.get(voice, []), clip_seconds) for voice in who.undecided(voices)}
    order = sorted((v for v in takes if takes[v]), key=lambda voice: (-seconds.get(voice, 0.0), voice))
    known = who.apart(voices)
    together = _fitting(takes, order, longest + gap, gap)
    if len(together) == len(order):
        groups = [(set[int](), together)]
    else:
        groups = list(_batches(takes, order, _anchors(voices, order), longest + gap, gap))
    return tuple(
        LineUp(tuple(_laid_out(_rounds(takes, anchors, others), gap)))
        for anchors, others in groups
        if not all(pair in known for pair in combinations(sorted(anchors | others), 2))
    )


def _anchors(voices: Voices, order: Sequence[int]) -> list[int]:
    """The most people whom one window told apart, those first who speak most."""
    present: dict[int, set[int]] = defaultdict(set)
    for (part, _), number in voices.numbers.items():
        present[part].add(number)
    groups = [[voice for voice in order if voice in there] for there in present.values()]
    return max(groups, key=lambda group: (len(group), [-order.index(voice) for voice in group]), default=[])


def _batches(
    takes: Mapping[int, Sequence[Span]], order: Sequence[int], anchors: Sequence[int], room: float, gap: float
) -> Iterator[tuple[set[int], set[int]]]:
    """Voices for one line-up after the other: those that open each, heard once, and others, heard twice."""
    once = {voice: takes[voice][:1] for voice in anchors}
    opening = _fitting(once, anchors, room / 2, gap)
    left = room - sum(takes[voice][0].duration + gap for voice in opening)
    rest = [voice for voice in order if voice not in opening]
    for _ in range(MOST):
        others = _fitting(takes, rest, left, gap)
        if not others:
            return
        yield opening, others
        rest = [voice for voice in rest if voice not in others]


def _rounds(takes: Mapping[int, Sequence[Span]], anchors: set[int], others: set[int]) -> Iterator[tuple[int, Span]]:
    for voice in sorted(anchors | others):
        yield voice, takes[voice][0]
    for voice in sorted(others):
        yield from ((voice, take) for take in takes[voice][1:2])


def _spoken(voices: Voices, parts: Sequence[ChunkOutcome]) -> dict[int, list[Span]]:
    """When each voice speaks, and `NOBODY` those that nobody knows."""
    spoken: dict[int, list[Span]] = defaultdict(list)
    for index, part in enumerate(parts):
        for segment in part.segments:
            if segment.kind is SegmentKind.SPEECH and segment.end > segment.start:
                voice = NOBODY if segment.speaker is None else voices.numbers[index, segment.speaker]
                spoken[voice].append(Span(segment.start, segment.end))
    return spoken


def _alone(spoken: Mapping[int, Sequence[Span]]) -> dict[int, list[Span]]:
    """Stretches in which a voice speaks and no other, by going through all starts and ends in order of time."""
    events = [(span.start, 1, voice) for voice, spans in spoken.items() for span in spans]
    events += [(span.end, -1, voice) for voice, spans in spoken.items() for span in spans]
    alone: dict[int, list[Span]] = defaultdict(list)
    speaking: Counter[int] = Counter()
    since = 0.0  # this set of people speaks
    for moment, step, voice in sorted(events, key=lambda event: (event[0], -event[1])):
        before = set(speaking)
        speaking[voice] += step
        if not speaking[voice]:
            del speaking[voice]
        if before != speaking.keys():
            if len(before) == 1:
                alone[before.pop()].append(Span(since, moment))
            since = moment
    return alone


def _takes(stretches: Iterable[Span], longest: float) -> list[Span]:
    """One or two pieces to hear a voice by, the longest: beginnings if they can be had, else ends of long stretches."""
    pieces = [piece for stretch in stretches for piece in _pieces(stretch, longest)]
    usable = [(begins, piece) for begins, piece in pieces if piece.duration >= SHORTEST]
    usable.sort(key=lambda one: (-round(one[1].duration, 1), not one[0], one[1].start))
    return [piece for _, piece in usable[:2]]


def _pieces(stretch: Span, longest: float) -> Iterator[tuple[bool, Span]]:
    middle = min(stretch.end, stretch.start + longest)
    yield True, Span(stretch.start, middle)
    yield False, Span(max(middle, stretch.end - longest), stretch.end)


def _fitting(takes: Mapping[int, Sequence[Span]], order: Iterable[int], room: float, gap: float) -> set[int]:
    """The voices whose clips, a gap after each, take no more than `room` seconds."""
    chosen: set[int] = set()
    for voice in order:
        need = sum(take.duration + gap for take in takes[voice])
        if 0 < need <= room:
            chosen.add(voice)
            room -= need
    return chosen


def _laid_out(rounds: Iterable[tuple[int, Span]], gap: float) -> Iterator[Clip]:
    at = 0.0
    for voice, source in rounds:
        yield Clip(voice, source, Span(at, at + source.duration))
        at += source.duration + gap


def read(lineup: LineUp, segments: Iterable[Segment]) -> LineUpAnswer:
    """What the model's answer to the line-up says of each clip; times count from the line-up's start.

    The label that covers most of a clip, if half of the clip was heard and nearly all of that under this label.
    """
    ends = [clip.at.end for clip in lineup.clips]
    seconds: list[dict[int, float]] = [defaultdict(float) for _ in ends]
    for segment in segments:
        if segment.speaker is None or segment.kind is not SegmentKind.SPEECH:
            continue
        for place in range(bisect_right(ends, segment.start), len(ends)):
            at = lineup.clips[place].at
            if at.start >= segment.end:
                break
            seconds[place][segment.speaker] += min(segment.end, at.end) - max(segment.start, at.start)
    return LineUpAnswer(
        tuple(_label(heard, clip.at.duration) for heard, clip in zip(seconds, lineup.clips, strict=True))
    )


def _label(seconds: Mapping[int, float], duration: float) -> int | None:
    total = sum(seconds.values())
    best = max(seconds, key=lambda label: seconds[label], default=None)
    if best is None or total < HEARD * duration or seconds[best] < ALIKE * total:
        return None
    return best


def link(voices: Voices, heard: Sequence[tuple[LineUp, Iterable[Segment]]]) -> Voices:
    """The voices after line-ups: those that got one label are one, unless a window told two of them apart.

    In doubt (`perhaps`) stay the voices under a label that contradicts a window; a voice whose clips got several
    labels or none, with all that it may be; and who was in no line-up with another, with that one. What was in doubt
    before is settled where both were heard twice and got a label each. Nothing changes when nobody was recognized.
    """
    found = [_Found.of(lineup, read(lineup, segments)) for lineup, segments in heard]
    if not any(one.recognized for one in found):
        return voices
    known, undecided = who.apart(voices), who.undecided(voices)
    groups, contradicted = _groups(found, known)
    doubts = {pair for one in found for pair in one.doubts()}
    doubts |= _strangers(groups, found, undecided) | _unheard(found, undecided)
    settled = {pair for pair in voices.perhaps if any(one.tells_apart(pair) for one in found)}
    return who.united(voices, groups, contradicted | (doubts - known) | (voices.perhaps - settled))


@dataclass(frozen=True, slots=True)
class _Found:
    """What one line-up told: the labels of each voice's clips."""

    labels: Mapping[int, Sequence[int | None]]

    @classmethod
    def of(cls, lineup: LineUp, answer: LineUpAnswer) -> _Found:
        labels: dict[int, list[int | None]] = defaultdict(list)
        for clip, label in zip(lineup.clips, answer.labels, strict=True):
            labels[clip.voice].append(label)
        return cls(labels)

    @property
    def recognized(self) -> bool:
        """Did anybody get a label?"""
        return any(label is not None for got in self.labels.values() for label in got)

    def sure(self) -> dict[int, int]:
        """The label of each voice whose clips all got this one."""
        return {voice: got[0] for voice, got in self.labels.items() if got[0] is not None and len(set(got)) == 1}

    def tells_apart(self, pair: Pair) -> bool:
        """Were both heard twice, and got a label each?"""
        sure = self.sure()
        return all(voice in sure and len(self.labels[voice]) > 1 for voice in pair) and sure[pair[0]] != sure[pair[1]]

    def doubts(self) -> set[Pair]:
        """Pairs of a voice that was not recognized for sure, and one that it may be."""
        may_be = {voice: {label for label in got if label is not None} for voice, got in self.labels.items()}
        unsure = self.labels.keys() - self.sure().keys()
        return {
            (min(voice, other), max(voice, other))
            for voice in unsure
            for other, labels in may_be.items()
            if voice != other and not (may_be[voice] and labels and labels.isdisjoint(may_be[voice]))
        }


def _groups(found: Sequence[_Found], known: AbstractSet[Pair]) -> tuple[list[list[int]], set[Pair]]:
    """The voices that share a label, in one line-up or through others; and the pairs in doubt where that leads to two
    people who are known apart."""
    group_of: dict[int, set[int]] = {}
    for one in found:
        under: dict[int, set[int]] = defaultdict(set)
        for voice, label in one.sure().items():
            under[label] |= group_of.get(voice, {voice})
        for together in under.values():
            whole = set[int]().union(*(group_of.get(voice, {voice}) for voice in together))
            group_of |= dict.fromkeys(whole, whole)
    groups: list[list[int]] = []
    doubts: set[Pair] = set()
    for group in {id(group): sorted(group) for group in group_of.values()}.values():
        pairs = set(combinations(group, 2))
        if pairs & known:
            doubts |= pairs - known
        else:
            groups.append(group)
    return groups, doubts


def _strangers(groups: Sequence[Sequence[int]], found: Sequence[_Found], undecided: AbstractSet[int]) -> set[Pair]:
    """A pair for each two groups that no line-up held against each other."""
    sure = [one.sure().keys() for one in found]
    met = [{at for at, there in enumerate(sure) if not there.isdisjoint(group)} for group in groups]
    return {
        (min(one[0], other[0]), max(one[0], other[0]))
        for (one, a), (other, b) in combinations(zip(groups, met, strict=True), 2)
        if a.isdisjoint(b) and one[0] in undecided and other[0] in undecided
    }


def _unheard(found: Sequence[_Found], undecided: AbstractSet[int]) -> set[Pair]:
    """Who was in no line-up, with all who were."""
    heard = set[int]().union(*(one.labels.keys() for one in found))
    return {(min(voice, other), max(voice, other)) for voice in undecided - heard for other in heard}
