"""Voices that no overlap could link are lined up, and linked only where the answer leaves no doubt."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dropscribe.core.types import Segment, SegmentKind, Span
from dropscribe.worker.merging.lineup import GAP, MOST, SHORTEST, Clip, LineUp, from_json, link, plan, read, to_json
from dropscribe.worker.merging.overlaps import ChunkOutcome
from dropscribe.worker.merging.speaker_linking import Voices
from dropscribe.worker.merging.speaker_linking import link as link_overlaps

Turn = tuple[float, float, int | None]  # start, end, label


def part(start: float, end: float, *turns: Turn) -> ChunkOutcome:
    segments = tuple(Segment(a, b, "words", label) for a, b, label in turns)
    return ChunkOutcome(Span(start, end), Span(start, end), segments)


def planned(*parts: ChunkOutcome, longest: float = 600.0) -> LineUp | None:
    """The only line-up, or None."""
    (lineup,) = plan(link_overlaps(parts), parts, longest=longest) or (None,)
    return lineup


def sources(lineup: LineUp | None) -> list[tuple[int, float, float]]:
    assert lineup is not None
    return [(clip.voice, clip.source.start, clip.source.end) for clip in lineup.clips]


def test_each_voice_is_heard_twice_the_second_time_in_the_same_order() -> None:
    lineup = planned(part(0, 60, (2, 10, 0), (20, 23, 0)), part(60, 120, (70, 78, 0), (90, 96, 0)))
    assert sources(lineup) == [(0, 2, 6), (1, 70, 74), (0, 6, 10), (1, 90, 94)]


def test_clips_follow_each_other_with_silence_between() -> None:
    lineup = planned(part(0, 60, (2, 10, 0)), part(60, 120, (70, 73, 0)))
    assert lineup is not None
    assert [clip.at for clip in lineup.clips] == [Span(0, 4), Span(4.7, 7.7), Span(8.4, 12.4)]
    assert lineup.seconds == 12.4
    assert all(clip.at.duration == pytest.approx(clip.source.duration) for clip in lineup.clips)


def test_nothing_is_heard_in_which_others_speak_too_or_somebody_unknown() -> None:
    lineup = planned(
        part(0, 60, (2, 10, 0), (4, 5, 1), (8.5, 9.5, None)), part(60, 120, (70, 73, 0), (80, 80.9, 0), (82, 83, 0))
    )
    assert sources(lineup) == [(0, 5, 8.5), (2, 70, 73), (0, 2, 4), (2, 82, 83)]


def test_who_never_speaks_alone_for_a_second_is_not_heard() -> None:
    assert planned(part(0, 60, (2, 10, 0)), part(60, 120, (70, 70.9, 0))) is None


@pytest.mark.parametrize(
    "parts",
    [
        [],
        [part(0, 60, (2, 10, 0), (20, 30, 1))],
        [part(0, 75, (2, 10, 0), (50, 60, 0)), part(45, 120, (50, 60, 3), (70, 90, 2))],
        [part(0, 60, (2, 10, 0)), part(60, 120)],
        [part(0, 60, (2, 10, None)), part(60, 120, (70, 80, None))],
    ],
)
def test_there_is_no_line_up_where_nothing_can_be_learned(parts: list[ChunkOutcome]) -> None:
    assert planned(*parts) is None


def speak(lineups: Sequence[LineUp]) -> list[list[int]]:
    return [[clip.voice for clip in lineup.clips] for lineup in lineups]


def test_where_not_all_fit_the_same_people_open_several_line_ups() -> None:
    trio = part(0, 99, (10, 20, 0), (30, 41, 1), (50, 62, 2))
    others = [part(100 * i, 100 * i + 99, (100 * i + 10, 100 * i + 20 + i, 0)) for i in range(1, 6)]
    parts = [trio, *others]
    lineups = plan(link_overlaps(parts), parts, longest=7 * (4 + GAP))
    assert speak(lineups) == [[0, 1, 2, 6, 7, 6, 7], [0, 1, 2, 4, 5, 4, 5], [0, 1, 2, 3, 3]]
    assert all(lineup.seconds <= 7 * (4 + GAP) for lineup in lineups)


def test_there_are_only_so_many_line_ups_and_those_come_first_who_speak_most() -> None:
    parts = [part(100 * i, 100 * i + 99, (100 * i + 10, 100 * i + 20 + i, 0)) for i in range(2 * MOST)]
    lineups = plan(link_overlaps(parts), parts, longest=3 * (4 + GAP))
    assert len(lineups) == MOST
    assert {voice for voices in speak(lineups) for voice in voices} == set(range(MOST - 1, 2 * MOST))


def test_a_voice_that_every_window_has_told_apart_from_all_others_is_not_heard() -> None:
    host = [part(0, 75, (50, 60, 0), (5, 15, 1)), part(45, 120, (50, 60, 0), (80, 90, 1))]
    lineup = planned(*host)
    assert lineup is not None
    assert {clip.voice for clip in lineup.clips} == {0, 2}  # the two guests; numbers by first appearance


any_parts = st.integers(0, 2**32 - 1).map(lambda seed: _talk(random.Random(seed)))


def _talk(rng: random.Random) -> list[ChunkOutcome]:
    parts = []
    for index in range(rng.randrange(1, 6)):
        start = index * 100.0
        turns = [(start + rng.uniform(0, 95), rng.uniform(0, 15), rng.choice([0, 1, 2, None])) for _ in range(12)]
        parts.append(part(start, start + 100, *((a, min(a + length, start + 100), who) for a, length, who in turns)))
    return parts


@given(any_parts, st.floats(5, 60))
def test_a_line_up_fits_and_its_clips_are_one_voice_s_alone(parts: list[ChunkOutcome], longest: float) -> None:
    voices = link_overlaps(parts)
    for lineup in plan(voices, parts, longest=longest):
        _check(lineup, parts, voices, longest)


def _check(lineup: LineUp, parts: Sequence[ChunkOutcome], voices: Voices, longest: float) -> None:
    assert lineup.seconds <= longest + 1e-6
    assert from_json(json.loads(json.dumps(to_json(lineup)))) == lineup
    for clip in lineup.clips:
        assert SHORTEST <= clip.source.duration <= 4.0 + 1e-6
        for index, one in enumerate(parts):
            for said in one.segments:
                if said.start < clip.source.end - 1e-6 and said.end > clip.source.start + 1e-6:
                    assert said.speaker is not None
                    assert voices.numbers[index, said.speaker] == clip.voice
    for one in lineup.clips:
        assert not [
            o for o in lineup.clips if o != one and o.source.start < one.source.end and one.source.start < o.source.end
        ]


def rows(*clips: int, length: float = 3.0) -> LineUp:
    """A line-up of these voices, one clip after the other."""
    step = length + GAP
    return LineUp(
        tuple(
            Clip(voice, Span(100 * i, 100 * i + length), Span(step * i, step * i + length))
            for i, voice in enumerate(clips)
        )
    )


def answer(lineup: LineUp, labels: Sequence[int | None]) -> list[Segment]:
    """What a model says that gives these labels to the clips, and nothing where there is none."""
    return [
        Segment(clip.at.start + 0.2, clip.at.end - 0.1, "words", label)
        for clip, label in zip(lineup.clips, labels, strict=True)
        if label is not None
    ]


def alone(count: int) -> Voices:
    """So many voices, each of a window of its own."""
    return Voices({(index, 0): index for index in range(count)})


def test_a_clip_gets_the_label_that_covers_it() -> None:
    lineup = rows(0, 1)
    assert read(lineup, answer(lineup, [5, 2])).labels == (5, 2)
    across = Segment(0.5, 6.5, "both in one", 1)
    assert read(lineup, [across]).labels == (1, 1)


def test_a_clip_that_was_hardly_heard_or_in_which_several_were_gets_none() -> None:
    lineup = rows(0, 1)
    assert read(lineup, [Segment(0, 1.4, "too little", 1)]).labels == (None, None)
    assert read(lineup, [Segment(0, 2, "one", 1), Segment(2, 3, "and another", 0)]).labels == (None, None)
    assert read(lineup, [Segment(0, 2.6, "one", 1), Segment(2.6, 3, "and hardly another", 0)]).labels == (1, None)
    assert read(lineup, [Segment(0, 3, "[Music]", 1, SegmentKind.EVENT), Segment(0, 3, "who")]).labels == (None, None)


def linked(voices: Voices, lineup: LineUp, labels: Sequence[int | None]) -> Voices:
    return link(voices, [(lineup, answer(lineup, labels))])


def test_voices_with_one_label_are_one_and_the_others_are_not() -> None:
    voices = linked(alone(3), rows(0, 1, 2, 0, 1, 2), [0, 1, 0, 0, 1, 0])
    assert voices == Voices({(0, 0): 0, (1, 0): 1, (2, 0): 0}, frozenset(), compared=True)


def test_a_voice_whose_clips_got_two_labels_is_in_doubt_with_those_it_may_be() -> None:
    voices = linked(alone(4), rows(0, 1, 2, 3, 0, 1, 2, 3), [0, 1, 2, 0, 0, 1, 2, 1])
    assert voices.numbers == {(0, 0): 0, (1, 0): 1, (2, 0): 2, (3, 0): 3}
    assert voices.perhaps == {(0, 3), (1, 3)}


def test_a_voice_that_was_not_recognized_is_in_doubt_with_all() -> None:
    voices = linked(alone(3), rows(0, 1, 2, 0, 1, 2), [0, 1, None, 0, 1, None])
    assert voices.perhaps == {(0, 2), (1, 2)}


def test_who_was_not_in_the_line_up_is_in_doubt_with_all_who_were() -> None:
    voices = linked(alone(3), rows(0, 1, 0, 1), [0, 0, 0, 0])
    assert voices.numbers == {(0, 0): 0, (1, 0): 0, (2, 0): 1}
    assert voices.perhaps == {(0, 1)}


def test_a_label_for_two_whom_a_window_told_apart_proves_nothing() -> None:
    apart = Voices({(0, 0): 0, (0, 1): 1, (1, 0): 2})
    voices = linked(apart, rows(0, 1, 2, 0, 1, 2), [0, 0, 0, 0, 0, 0])
    assert voices.numbers == apart.numbers
    assert voices.perhaps == {(0, 2), (1, 2)}


def test_an_old_doubt_is_settled_by_two_clips_of_each_and_not_by_one() -> None:
    doubtful = Voices({(0, 0): 0, (1, 0): 1}, frozenset({(0, 1)}))
    assert linked(doubtful, rows(0, 1, 0, 1), [0, 1, 0, 1]).perhaps == frozenset()
    assert linked(doubtful, rows(0, 1), [0, 1]).perhaps == {(0, 1)}
    assert linked(doubtful, rows(0, 1, 0, 1), [0, 0, 0, 0]) == Voices({(0, 0): 0, (1, 0): 0}, compared=True)


def test_an_answer_in_which_nobody_is_recognized_changes_nothing() -> None:
    voices = alone(3)
    assert linked(voices, rows(0, 1, 2), [None, None, None]) == voices


@given(st.integers(0, 2**32 - 1), st.sampled_from([20, 30, 1000]))
def test_a_model_that_tells_voices_apart_links_all_that_were_heard_or_says_that_they_may_be_one(
    seed: int, longest: float
) -> None:
    rng = random.Random(seed)
    people: dict[tuple[int, int], int] = {}  # who a label is in truth
    parts = []
    for index in range(rng.randrange(2, 7)):
        present = rng.sample(range(6), rng.randrange(1, 4))
        turns = [(100.0 * index + 9 * place, 100.0 * index + 9 * place + 8, place) for place in range(len(present))]
        parts.append(part(100.0 * index, 100.0 * index + 99, *turns))
        people |= {(index, place): who for place, who in enumerate(present)}
    voices = link_overlaps(parts)
    lineups = plan(voices, parts, longest=longest)
    if not lineups:
        return
    truth = _truth(voices, people)
    joined = link(
        voices, [(lineup, answer(lineup, [truth[clip.voice] for clip in lineup.clips])) for lineup in lineups]
    )
    heard = {clip.voice for lineup in lineups for clip in lineup.clips}
    if longest == 1000:
        assert len(lineups) == 1
        assert joined.perhaps == frozenset()
    for one, a in voices.numbers.items():
        for other, b in voices.numbers.items():
            same = joined.numbers[one] == joined.numbers[other]
            truly = a in heard and b in heard and truth[a] == truth[b]
            doubted = (min(joined.numbers[one], joined.numbers[other]), max(joined.numbers[one], joined.numbers[other]))
            assert same == (one == other or truly) or (truly and doubted in joined.perhaps)


def _truth(voices: Voices, people: Mapping[tuple[int, int], int]) -> dict[int, int]:
    return {voices.numbers[label]: who for label, who in people.items()}
