"""How the measurement of the check by confidence judges answers, and how sure its rates are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bench import confidence
from bench.confidence import CONDITIONS, Answer, Answers, bound, wrong_words
from dropscribe.core.audio import SAMPLE_RATE

TEXT = "and so my fellow americans ask not what your country can do for you".split()


@pytest.mark.parametrize(
    ("heard", "share"),
    [
        ("ask not what your country", 0.0),
        ("ask what your country", 1 / 5),
        ("ask not not what your country", 1 / 6),
        ("ask knot what your country", 1 / 5),
        ("merci beaucoup", 1.0),
    ],
)
def test_words_are_judged_by_the_part_of_the_text_that_is_nearest(heard: str, share: float) -> None:
    assert wrong_words(heard.split(), TEXT) == pytest.approx(share)


def test_every_word_is_wrong_where_nothing_was_said() -> None:
    assert wrong_words(["thank", "you"], []) == 1.0


@pytest.mark.parametrize(
    ("alarms", "count", "rate"), [(0, 300, 0.00994), (1, 100, 0.0466), (5, 10, 0.7776), (3, 3, 1.0)]
)
def test_the_bound_of_a_rate_is_that_of_clopper_and_pearson(alarms: int, count: int, rate: float) -> None:
    assert bound(alarms, count) == pytest.approx(rate, abs=0.0001)


@pytest.mark.parametrize("name", CONDITIONS)
def test_audio_is_degraded_the_same_way_each_time_and_stays_in_step(name: str) -> None:
    audio = np.sin(np.arange(SAMPLE_RATE) / 9).astype(np.float32) / 4
    one, other = (CONDITIONS[name](audio, np.random.default_rng(3)) for _ in range(2))
    assert one.shape == audio.shape
    assert one.dtype == np.float32
    assert np.array_equal(one, other)
    assert np.array_equal(one, audio) == (name == "clean")


def test_answers_are_kept_and_not_asked_for_again(tmp_path: Path) -> None:
    made = [Answer("clean", 15.0, 9.0, [(0.0, 9.0)], [(0.5, 8.5, "ask not", 0.75)], "en", "complete")]
    assert Answers(tmp_path / "answers").of("clean, 15 s", lambda: iter(made)) == made
    (read,) = Answers(tmp_path / "answers").of("clean, 15 s", lambda: iter(()))
    assert (read.words, read.confidence, read.duration) == (["ask", "not"], 0.75, 9.0)


def test_good_answers_have_their_words_right_and_pass_the_other_checks() -> None:
    said = [(0.5, 8.5, "ask not what your country", 0.2)]
    whole, half = (Answer("clean", 15.0, 20.0, [(0.0, end)], said, "en", "complete") for end in (9.0, 20.0))
    good, uncovered, wrong = (
        confidence._judge(answer, text) for answer, text in ((whole, TEXT), (half, TEXT), (whole, ["merci"]))
    )
    assert [confidence._is_good(one) for one in (good, uncovered, wrong)] == [True, False, False]
    assert [confidence._is_bad(one) for one in (good, uncovered, wrong)] == [False, False, True]
