"""From sub-windows of speech to the turns of a whole recording."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dropscribe.core.types import Span
from dropscribe.worker.diarizing.clustering import cluster
from dropscribe.worker.diarizing.diarize import diarize
from dropscribe.worker.diarizing.sub_windows import SECONDS, SHORTEST, sub_windows
from dropscribe.worker.merging.speaker_embeddings import Labels, SpeakerEmbeddings, unit

SPEECH = st.lists(st.tuples(st.floats(0.1, 3), st.floats(0.05, 40)), max_size=8)


@given(SPEECH)
def test_sub_windows_cover_all_speech_but_crumbs_and_nothing_else(gaps_and_lengths: list[tuple[float, float]]) -> None:
    speech, now = [], 0.0
    for gap, length in gaps_and_lengths:
        speech.append(Span(now + gap, now + gap + length))
        now += gap + length
    found = list(sub_windows(speech, Span(0.0, now)))
    assert all(one.duration <= SECONDS + 1e-6 for one in found)
    assert [one.start for one in found] == sorted(one.start for one in found)
    for span in speech:
        inside = [one for one in found if span.start - 1e-6 <= one.start and one.end <= span.end + 1e-6]
        if span.duration < SHORTEST - 1e-6:
            assert not inside
        if span.duration < SHORTEST + 1e-6:  # just as long: either will do
            continue
        assert inside[0].start == pytest.approx(span.start)
        assert inside[-1].end == pytest.approx(span.end)
        assert all(after.start <= before.end for before, after in pairwise(inside))
    assert not list(sub_windows(speech, Span(now + 1, now + 2)))


def test_the_example_of_sub_windows() -> None:
    found = [(one.start, one.end) for one in sub_windows([Span(0.0, 2.5)], Span(0.0, 10.0))]
    assert found == [(0.0, 1.25), (0.75, 2.0), (1.25, 2.5)]


def heard(
    who: Sequence[int], *, start: float = 0.0, seed: int = 0, noise: float = 0.04, clusters: Labels | None = None
) -> SpeakerEmbeddings:
    """A stretch in which these people speak for a second each; the same person sounds the same in each stretch."""
    centers = unit(np.random.default_rng(99).normal(size=(40, 192)))
    vectors = unit(centers[list(who)] + np.random.default_rng(seed).normal(scale=noise, size=(len(who), 192)))
    begins = start + np.arange(len(who), dtype=np.float64)
    local = cluster(vectors) if clusters is None else clusters
    return SpeakerEmbeddings(np.stack([begins, begins + 1.0], axis=1), vectors, local)


def told(stretches: Sequence[SpeakerEmbeddings], people: int | None = None) -> list[int]:
    """Who speaks in the middle of each second."""
    turns = diarize(stretches, people)[0].turns
    moments = [float(moment) for one in stretches for moment in one.times.mean(axis=1)]
    return [next(turn.speaker for turn in turns if turn.span.start <= at <= turn.span.end) for at in moments]


@pytest.mark.parametrize("people", [1, 2, 3, 5, 8])
def test_the_people_of_a_stretch_are_told_apart_however_many_they_are(people: int) -> None:
    who = [n % people for n in range(160) for _ in range(2)]
    assert cluster(heard(who).vectors).tolist() == who


def test_people_are_numbered_by_first_appearance() -> None:
    assert told([heard([7] * 10 + [3] * 10 + [7] * 5)]) == [0] * 10 + [1] * 10 + [0] * 5


def test_a_person_keeps_the_number_through_all_stretches() -> None:
    stretches = [
        heard([0] * 20 + [1] * 20, seed=1),
        heard([2] * 20 + [1] * 20, start=100, seed=2),
        heard([2] * 10 + [0] * 30, start=200, seed=3),
    ]
    assert told(stretches) == [0] * 20 + [1] * 20 + [2] * 20 + [1] * 20 + [2] * 10 + [0] * 30
    assert diarize(stretches)[0].perhaps == {}


def test_who_says_a_word_in_a_stretch_of_another_is_found_by_the_other_stretches() -> None:
    stretches = [heard([0] * 40 + [1], seed=1), heard([1] * 40, start=100, seed=2)]
    assert told(stretches) == [0] * 40 + [1] + [1] * 40


@pytest.mark.parametrize("people", [1, 2, 3])
def test_there_are_as_many_speakers_as_somebody_said(people: int) -> None:
    stretches = [heard([n % 3 for n in range(60)], seed=1), heard([n % 3 for n in range(60)], start=100, seed=2)]
    assert len(set(told(stretches, people))) == people


def test_ten_hours_of_forty_people_are_linked_in_little_work() -> None:
    draw = np.random.default_rng(5)
    stretches, truth = [], []
    for number in range(120):
        who = np.repeat(draw.choice(40, size=6, replace=False), 50).tolist()
        truth += who
        stretches.append(heard(who, start=300.0 * number, seed=number, clusters=np.repeat(np.arange(6), 50)))
    found = told_by_labels(stretches)
    pairs = {(a, b) for a, b in zip(truth, found, strict=True)}
    assert len(pairs) == 40, "each person has one number, and each number is one person's"


def told_by_labels(stretches: Sequence[SpeakerEmbeddings]) -> list[int]:
    turns, at, found = diarize(stretches)[0].turns, 0, []
    for one in stretches:
        for moment in one.times.mean(axis=1):
            while turns[at].span.end < moment:
                at += 1
            found.append(turns[at].speaker)
    return found


def test_nobody_speaks_where_nothing_was_heard() -> None:
    assert diarize([])[0].turns == ()
    assert diarize([SpeakerEmbeddings.joined(())])[0].turns == ()


def test_one_sub_window_is_one_turn() -> None:
    (turn,) = diarize([heard([4])])[0].turns
    assert (turn.span, turn.speaker) == (Span(0.0, 1.0), 0)


def test_two_who_never_meet_and_sound_somewhat_alike_may_be_the_same() -> None:
    first = heard([0] * 20)
    alike = unit(first.vectors[0] + 1.6 * heard([1]).vectors[0])  # a cosine of about 0.5 to the first
    vectors = unit(alike + np.random.default_rng(1).normal(scale=0.02, size=(20, 192)))
    second = SpeakerEmbeddings(first.times + 100, vectors, cluster(vectors))
    voices, _ = diarize([first, second])
    ((pair, figure),) = voices.perhaps.items()
    assert pair == (0, 1)
    assert 0.45 <= (figure or 0) < 0.6
