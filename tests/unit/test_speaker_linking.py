"""Speakers of windows that overlap are linked by when they speak, and only where that is clear."""

from __future__ import annotations

import json
import random
from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from dropscribe.core.types import Segment, SegmentKind, Span
from dropscribe.worker.merging.overlaps import ChunkOutcome
from dropscribe.worker.merging.speaker_embeddings import SpeakerEmbeddings, unit
from dropscribe.worker.merging.speaker_linking import (
    Voices,
    apart,
    from_json,
    link,
    link_by_embeddings,
    speaking_alone,
    to_json,
    undecided,
)
from dropscribe.worker.merging.speaker_turns import SpeakerTurn

Turn = tuple[float, float, int]  # start, end, label


def part(window: tuple[float, float], *turns: Turn, missing: tuple[Span, ...] = ()) -> ChunkOutcome:
    """A window that was read; which part of it is kept does not matter here, but for the order."""
    segments = tuple(Segment(start, end, "words", label) for start, end, label in turns)
    return ChunkOutcome(Span(*window), Span(window[0], window[1]), segments, missing=missing)


def test_labels_that_speak_at_the_same_time_are_one_voice() -> None:
    voices = link(
        [
            part((0, 75), (0, 10, 0), (46, 52, 0), (53, 60, 1)),
            part((45, 120), (46.3, 52.2, 1), (53.1, 59.8, 0), (80, 90, 2)),
        ]
    )
    assert voices.numbers == {(0, 0): 0, (0, 1): 1, (1, 1): 0, (1, 0): 1, (1, 2): 2}
    assert voices.perhaps == {}


def test_voices_are_numbered_by_first_appearance_in_time() -> None:
    voices = link([part((0, 60), (20, 25, 5), (3, 6, 9)), part((60, 120), (70, 80, 0))])
    assert voices.numbers == {(0, 9): 0, (0, 5): 1, (1, 0): 2}


def test_who_is_silent_in_the_overlap_is_not_linked_at_all() -> None:
    voices = link([part((0, 75), (0, 40, 0)), part((45, 120), (80, 90, 0))])
    assert voices.numbers == {(0, 0): 0, (1, 0): 1}
    assert voices.perhaps == {}
    assert undecided(voices) == {0, 1}


def test_a_short_word_in_common_is_a_doubt_and_no_link() -> None:
    voices = link([part((0, 75), (50, 50.8, 0)), part((45, 120), (50, 50.9, 0))])
    assert voices.numbers == {(0, 0): 0, (1, 0): 1}
    assert voices.perhaps == {(0, 1): None}


def test_a_border_between_two_turns_drawn_differently_is_no_doubt() -> None:
    voices = link([part((0, 75), (50, 60.4, 0)), part((45, 120), (60, 70, 0))])
    assert voices.perhaps == {}


def test_two_labels_that_share_as_much_with_a_third_are_a_doubt() -> None:
    voices = link([part((0, 75), (50, 60, 0)), part((45, 120), (50, 55, 0), (55, 60, 1))])
    assert len(set(voices.numbers.values())) == 3
    assert len(voices.perhaps) == 1


def test_who_speaks_mostly_when_the_other_is_silent_is_a_doubt() -> None:
    voices = link([part((0, 75), (46, 50, 0)), part((45, 120), (46, 74, 0))])
    assert voices.perhaps == {(0, 1): None}


def test_two_labels_of_one_window_are_never_one_voice_and_the_weaker_link_is_in_doubt() -> None:
    voices = link(
        [
            part((0, 75), (31, 36, 0), (70, 74, 1), missing=(Span(60, 69),)),
            part((30, 69), (31, 36, 0), (62, 68, 0)),
            part((61, 120), (62, 68, 0), (70, 74, 0)),
        ]
    )
    assert voices.numbers == {(0, 0): 0, (1, 0): 0, (2, 0): 0, (0, 1): 1}
    assert voices.perhaps == {(0, 1): None}


def test_what_one_window_missed_says_nothing_about_who_spoke_there() -> None:
    gap = Span(50, 75)
    voices = link([part((0, 75), (46, 50, 0), missing=(gap,)), part((45, 120), (46, 74, 0))])
    assert voices.numbers[0, 0] == voices.numbers[1, 0]


def test_windows_that_are_not_neighbours_are_linked_where_they_overlap() -> None:
    voices = link([part((0, 75), (60, 70, 0)), part((40, 58), (45, 46, 3)), part((52, 120), (60, 70, 4))])
    assert voices.numbers[0, 0] == voices.numbers[2, 4]


def test_sounds_and_unknown_speakers_are_nobody_s_voice() -> None:
    sound = Segment(1, 5, "[Music]", 3, SegmentKind.EVENT)
    assert link([ChunkOutcome(Span(0, 9), Span(0, 9), (sound, Segment(1, 2, "who")))]).numbers == {}


def test_voices_of_one_window_are_known_apart_and_those_of_no_common_window_undecided() -> None:
    voices = Voices({(0, 0): 0, (0, 1): 1, (1, 0): 0, (1, 1): 2})
    assert apart(voices) == {(0, 1), (0, 2)}
    assert undecided(voices) == {1, 2}
    assert undecided(Voices({(0, 0): 0, (0, 1): 1})) == frozenset()


def heard(*said: tuple[float, float, int], noise: float = 0.03) -> SpeakerEmbeddings:
    """An embedding for each second in which a person speaks: start, end, who."""
    centers = unit(np.random.default_rng(7).normal(size=(9, 64)))
    moments = [(second, who) for start, end, who in said for second in range(int(start), int(end))]
    times = np.array([(second, second + 1.0) for second, _ in moments])
    draw = np.random.default_rng(8)
    vectors = unit(np.array([centers[who] + draw.normal(scale=noise, size=64) for _, who in moments]))
    return SpeakerEmbeddings(times, vectors, np.zeros(len(moments), np.int64))


def test_who_is_silent_in_the_overlaps_is_linked_by_the_voice() -> None:
    parts = [part((0, 60), (0, 20, 0), (20, 40, 1)), part((60, 120), (60, 80, 0), (80, 100, 1))]
    before = link(parts)
    assert before.count == 4
    voices, means = link_by_embeddings(before, parts, heard((0, 20, 5), (20, 40, 6), (60, 80, 6), (80, 100, 5)))
    assert voices.numbers == {(0, 0): 0, (0, 1): 1, (1, 0): 1, (1, 1): 0}
    assert (voices.compared, voices.perhaps, means.shape) == (True, {}, (2, 64))


def test_a_word_that_two_windows_heard_is_each_one_s_alone_and_links_its_voice() -> None:
    # The second window's label says nothing but this word, which is too short to link it by the overlap.
    parts = [part((0, 60), (0, 20, 0), (20, 40, 1), (50.1, 50.9, 1)), part((45, 105), (50.2, 50.9, 0), (60, 80, 1))]
    before = link(parts)
    assert before.count == 4
    voices, _ = link_by_embeddings(before, parts, heard((0, 20, 5), (20, 40, 6), (50, 51, 6), (60, 80, 5)))
    assert voices.numbers == {(0, 0): 0, (0, 1): 1, (1, 0): 1, (1, 1): 0}
    assert (voices.compared, voices.perhaps) == (True, {})


def test_two_of_one_window_stay_two_however_alike_they_sound() -> None:
    parts = [part((0, 60), (0, 20, 0), (20, 40, 1)), part((60, 120), (60, 80, 0))]
    voices, _ = link_by_embeddings(link(parts), parts, heard((0, 20, 5), (20, 40, 5), (60, 80, 5)))
    assert voices.numbers[0, 0] != voices.numbers[0, 1]
    assert voices.count == 2
    assert voices.perhaps == {}, "the third is one of them, and those are known apart"


def test_of_two_who_begin_at_the_same_moment_nobody_speaks_alone() -> None:
    alone = speaking_alone({0: [Span(5, 8)], 1: [Span(5, 7)]})
    assert alone == {0: [Span(7, 8)]}


def test_who_never_speaks_alone_stays_in_doubt() -> None:
    parts = [part((0, 60), (0, 20, 0), (0, 20, 1)), part((60, 120), (60, 80, 0))]
    voices, _ = link_by_embeddings(link(parts), parts, heard((0, 20, 5), (60, 80, 5)))
    assert voices.count == 3
    assert not voices.compared


def test_as_many_voices_remain_as_somebody_said_there_are_people() -> None:
    parts = [part((n, n + 10.0), (n, n + 9.0, 0)) for n in (0.0, 10.0, 20.0, 30.0)]
    sounds = heard((0, 9, 1), (10, 19, 2), (20, 29, 3), (30, 39, 4))
    assert link_by_embeddings(link(parts), parts, sounds)[0].count == 4
    assert link_by_embeddings(link(parts), parts, sounds, people=2)[0].count == 2


def test_voices_survive_being_stored() -> None:
    voices = Voices(
        numbers={(0, 0): 0, (1, 3): 1},
        perhaps={(0, 1): 0.5},
        compared=True,
        turns=(SpeakerTurn(Span(0.5, 2.25), 1),),
        recognized={1: ("Bert", 0.81)},
        notes=("speakers were not distinguished: no network",),
    )
    assert from_json(json.loads(json.dumps(to_json(voices)))) == voices


@given(st.integers(0, 2**32 - 1))
def test_a_link_is_never_wrong_whatever_the_labels_and_however_loose_the_times(seed: int) -> None:
    """Turns of 1 to 8 s; each window numbers its speakers at will and times them 0.4 s off."""
    rng = random.Random(seed)
    turns, now = [], 0.0
    while now < 300:
        length = rng.uniform(1, 8)
        turns.append((now, now + length, rng.randrange(4)))
        now += length + rng.choice([0.0, 0.5, 2.0])
    parts, truth = [], {}
    for index, start in enumerate(range(0, 280, 40)):
        labels = rng.sample(range(9), 4)
        heard = [(max(a, start), min(b, start + 70), who) for a, b, who in turns if a < start + 69 and b > start + 1]
        read = [(a + rng.uniform(-0.4, 0.4), b + rng.uniform(-0.4, 0.4), labels[who]) for a, b, who in heard]
        parts.append(part((start, start + 70), *((a, max(a, b), label) for a, b, label in read)))
        truth |= {(index, labels[who]): who for _, _, who in heard}
    voices = link(parts)
    assert voices.numbers.keys() == truth.keys()
    for one, other in pairwise(sorted(truth, key=lambda label: voices.numbers[label])):
        assert truth[one] == truth[other] or voices.numbers[one] != voices.numbers[other]
