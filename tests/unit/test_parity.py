"""How alike two models' answers are, and when that is enough."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dropscribe.models import parity
from dropscribe.models.parity import LIMITS, ModelOutput, Parity, ParityLimits
from tests.documents import REPOSITORY

UNITS = np.eye(4, 8, dtype=np.float32)
ANSWER = ModelOutput(UNITS, UNITS, (1, 2), "One, two: three!")
PERFECT = Parity(1.0, 1.0, 1.0, 3, 0, same=True)


def test_an_answer_is_like_itself() -> None:
    assert parity.compare(ANSWER, ANSWER) == PERFECT


def test_each_part_is_compared_for_itself() -> None:
    other = UNITS.copy()
    other[0] = UNITS[1]
    copy = ModelOutput(UNITS * 3, other, (1, 3), "one four three four")
    assert parity.compare(ANSWER, copy) == Parity(1.0, 0.75, 0.75, 3, 2, same=False)


@pytest.mark.parametrize(
    "worse", [{"encoder": 0.9}, {"decoder": 0.9}, {"agreement": 0.8}, {"errors": 2}, {"encoder": float("nan")}]
)
@pytest.mark.parametrize("precision", LIMITS)
def test_one_thing_that_falls_short_is_enough(worse: dict[str, float], precision: str) -> None:
    assert all(score.passed for score in parity.judge([PERFECT, PERFECT], LIMITS[precision]))
    scores = parity.judge([PERFECT, replace(PERFECT, **worse)], LIMITS[precision])
    assert [score.passed for score in scores].count(False) == 1


def test_only_fp32_has_to_be_equal_token_for_token() -> None:
    other = replace(PERFECT, same=False)
    short = {precision for precision, limits in LIMITS.items() if not parity.judge([other], limits)[-1].passed}
    assert short == {"fp32"}


def test_words_are_counted_over_all_recordings() -> None:
    found = [replace(PERFECT, words=90), replace(PERFECT, words=10, errors=4)]
    [score] = [one for one in parity.judge(found, ParityLimits(0, 0, 0, 0.04)) if one.at_most]
    assert (score.value, score.passed) == (0.04, True)


def test_answers_of_different_length_are_not_alike() -> None:
    assert parity.cosine(UNITS, UNITS[:2]) == 0.0


@given(st.lists(st.sampled_from("abc")), st.lists(st.sampled_from("abc")))
def test_edits_are_a_distance(one: list[str], other: list[str]) -> None:
    distance = parity.edits(one, other)
    assert distance == parity.edits(other, one)
    assert abs(len(one) - len(other)) <= distance <= max(len(one), len(other))
    assert (distance == 0) == (one == other)


def test_edits_change_leave_out_and_add() -> None:
    assert parity.edits("a b c d".split(), "a x c d e".split()) == 2
    assert parity.edits("a b c".split(), "b c".split()) == 1


def test_the_documents_show_the_limits() -> None:
    document = (REPOSITORY / "docs" / "models.md").read_text()
    for precision, limits in LIMITS.items():
        values = f"{limits.encoder:g} | {limits.decoder:g} | {limits.agreement:g} | {limits.words:g}"
        assert f"| {precision} | {values} | {'yes ' if limits.same else ''}|\n" in document
