"""The diarization error rate against cases that were worked out by hand, and against trying every pairing."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.diarization_error import MAX_PAIRED, DiarizationError, diarization_error, most_in_common
from dropscribe.core.types import Span
from dropscribe.worker.merging.speaker_turns import SpeakerTurn

Spoken = list[tuple[float, float, int]]


def turns(spoken: Spoken) -> list[SpeakerTurn]:
    return [SpeakerTurn(Span(start, end), speaker) for start, end, speaker in spoken]


def parts(found: DiarizationError) -> tuple[float, ...]:
    return tuple(round(part, 6) for part in (found.spoken, found.missed, found.false_alarm, found.confused))


CASES: dict[str, tuple[Spoken, Spoken, tuple[float, ...]]] = {
    "the example": ([(0, 10, 0), (8, 14, 1)], [(0, 9, 5), (9, 16, 7)], (16, 2, 2, 0)),
    "other numbers are no error": ([(0, 5, 0), (5, 9, 1)], [(0, 5, 1), (5, 9, 0)], (9, 0, 0, 0)),
    "one speaker for two: the shorter is confused": ([(0, 5, 0), (5, 9, 1)], [(0, 9, 0)], (9, 0, 0, 4)),
    "two speakers for one: the shorter is confused": ([(0, 9, 0)], [(0, 5, 0), (5, 9, 1)], (9, 0, 0, 4)),
    "nothing told is missed": ([(0, 5, 0), (3, 9, 1)], [], (11, 11, 0, 0)),
    "speech where nobody speaks": ([(2, 4, 0)], [(0, 6, 0), (5, 6, 1)], (2, 0, 5, 0)),
    "two at once, both told, one of them wrong": (
        [(0, 4, 0), (0, 4, 1), (4, 20, 2)],
        [(0, 4, 0), (0, 20, 2)],  # 2 is the third, who does not speak before 4
        (24, 0, 0, 4),
    ),
    "the pairing is that of the whole, not the greediest": (
        [(0, 11, 0), (11, 16, 1)],
        [(0, 6, 8), (6, 11, 9), (11, 16, 8)],  # 8 shares 6 s with the first; 9 and the first, 8 and the second 5 s each
        (16, 0, 0, 6),
    ),
    "a turn told twice counts once": ([(0, 5, 0)], [(0, 4, 3), (2, 5, 3)], (5, 0, 0, 0)),
}


@pytest.mark.parametrize("name", CASES)
def test_what_was_worked_out_by_hand(name: str) -> None:
    reference, hypothesis, expected = CASES[name]
    assert parts(diarization_error(turns(reference), turns(hypothesis))) == expected


def test_the_rate_of_the_example_is_a_quarter() -> None:
    reference, hypothesis, _ = CASES["the example"]
    assert diarization_error(turns(reference), turns(hypothesis)).rate == pytest.approx(0.25)


def test_around_the_borders_of_the_reference_nothing_counts_with_a_collar() -> None:
    # Counted are 0.25-4.75 and 5.25-8.75; of the change at 5.5 instead of 5 a quarter of a second is left.
    found = diarization_error(turns([(0, 5, 0), (5, 9, 1)]), turns([(0, 5.5, 0), (5.5, 9.2, 1)]), collar=0.25)
    assert parts(found) == (8, 0, 0, 0.25)


def test_more_false_alarms_than_speech_are_more_than_everything() -> None:
    assert diarization_error(turns([(0, 1, 0)]), turns([(0, 3, 0)])).rate == pytest.approx(2.0)


TABLE = st.integers(1, 4).flatmap(
    lambda width: st.lists(st.lists(st.integers(0, 9), min_size=width, max_size=width), min_size=1, max_size=4)
)


@given(TABLE)
def test_the_best_pairing_is_the_best_of_all(rows: list[list[int]]) -> None:
    table = np.array(rows, np.float64)
    wide = table if table.shape[0] <= table.shape[1] else table.T
    chosen = permutations(range(wide.shape[1]), wide.shape[0])
    assert most_in_common(table) == max(sum(wide[row, at] for row, at in enumerate(one)) for one in chosen)


def test_more_speakers_than_can_be_paired_are_refused() -> None:
    with pytest.raises(ValueError, match="17 speakers"):
        most_in_common(np.zeros((MAX_PAIRED + 1, MAX_PAIRED + 1)))
