"""What the gate lets pass and what it holds back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dropscribe.core.types import FinishReason, RawTranscript, Segment, SegmentKind, Span
from dropscribe.worker.transcribing import quality_checks
from dropscribe.worker.transcribing.quality_checks import CheckLimits, Rule, words

GOOD = RawTranscript((Segment(0.2, 3.0, "ask not", 0), Segment(3.0, 9.8, "what your country", 0)))
SENTENCE = "he was not an ill disposed young man unless to be rather cold hearted"  # 14 words


def spoken(*times: tuple[float, float], text: str = "some words") -> RawTranscript:
    return RawTranscript(tuple(Segment(start, end, text) for start, end in times))


def failed(
    result: RawTranscript, duration: float, speech: Sequence[Span], limits: CheckLimits = quality_checks.DEFAULT
) -> set[Rule]:
    return {failure.rule for failure in quality_checks.check(result, duration, speech, limits).failures}


def test_a_complete_answer_inside_its_chunk_passes() -> None:
    verdict = quality_checks.check(GOOD, 10.0, [Span(0.0, 10.0)])
    assert verdict.passed
    assert (verdict.failures, verdict.missing) == ((), ())
    assert verdict.measures == {"coverage": 1.0, "words_per_second": pytest.approx(5 / 9.6)}


def test_an_answer_without_words_to_silence_passes() -> None:
    verdict = quality_checks.check(RawTranscript(()), 10.0, [])
    assert verdict.passed
    assert verdict.measures == {"coverage": 1.0, "words_per_second": 0.0}


def test_a_cancelled_answer_is_not_the_gates_business() -> None:
    assert quality_checks.check(replace(GOOD, ended=FinishReason.CANCELLED), 10.0, [Span(0.0, 10.0)]).passed


# How it ended


@pytest.mark.parametrize(
    ("ended", "rule", "detail"),
    [(FinishReason.TRUNCATED, Rule.TRUNCATED, "breaks off"), (FinishReason.LOOP, Rule.LOOP, "repeated itself")],
)
def test_an_answer_that_did_not_end_well_is_held_back(ended: FinishReason, rule: Rule, detail: str) -> None:
    (failure,) = quality_checks.check(replace(GOOD, ended=ended), 10.0, []).failures
    assert failure.rule is rule
    assert detail in str(failure)


@pytest.mark.parametrize(("tokens", "budget", "held"), [(99, 100, False), (100, 100, True), (100, 0, False)])
def test_an_answer_that_used_all_its_tokens_is_held_back(tokens: int, budget: int, held: bool) -> None:
    assert (failed(replace(GOOD, output_tokens=tokens, budget=budget), 10.0, []) == {Rule.MAX_NEW_TOKENS}) is held


# Times


def test_rounded_times_pass() -> None:
    assert quality_checks.check(spoken((-0.4, 10.4)), 10.0, []).passed


@pytest.mark.parametrize("times", [(-1.0, 2.0), (2.0, 12.0), (12.0, 13.0), (5.0, 4.0)])
def test_times_outside_the_chunk_or_backward_are_held_back(times: tuple[float, float]) -> None:
    assert failed(spoken(times), 10.0, []) == {Rule.TIMES}


def test_voices_that_interleave_pass_but_an_answer_that_goes_back_in_time_does_not() -> None:
    assert quality_checks.check(spoken((0, 4), (2.4, 3), (2, 6)), 10.0, []).passed
    assert failed(spoken((0, 4), (5, 6), (4, 7)), 10.0, []) == {Rule.TIMES}
    assert failed(spoken((0, 4), (5, 6), (4.6, 7), (4.3, 7)), 10.0, []) == {Rule.TIMES}, "little by little as well"


def test_the_slack_is_a_setting() -> None:
    assert quality_checks.check(spoken((0, 14), (12, 13), (10, 12)), 12.0, [], CheckLimits(slack=2.0)).passed


# Coverage


def test_speech_that_is_passed_over_is_held_back_and_named() -> None:
    verdict = quality_checks.check(spoken((0, 20)), 60.0, [Span(0.0, 30.0), Span(40.0, 50.0)])
    (failure,) = verdict.failures
    assert failure.rule is Rule.COVERAGE
    assert str(failure) == "only 51 % of the detected speech is covered"
    assert verdict.missing == (Span(20.5, 30.0), Span(40.0, 50.0))
    assert verdict.measures["coverage"] == pytest.approx(20.5 / 40)


def test_missing_speech_is_named_even_if_the_answer_passes() -> None:
    verdict = quality_checks.check(spoken((0, 50), (55, 100)), 100.0, [Span(0.0, 100.0)])
    assert verdict.passed
    assert verdict.missing == (Span(50.5, 54.5),)


def test_the_share_to_be_covered_is_a_setting() -> None:
    speech = [Span(0.0, 100.0)]
    assert failed(spoken((0, 90)), 100.0, speech, CheckLimits(coverage=0.95)) == {Rule.COVERAGE}
    assert quality_checks.check(spoken((0, 75)), 100.0, speech, CheckLimits(coverage=0.5)).passed


def test_a_low_share_of_hardly_any_speech_passes() -> None:
    speech = [Span(0.0, 1.5), Span(10.0, 12.8)]
    assert quality_checks.check(spoken((0, 1.5)), 15.0, speech).passed
    assert failed(spoken((0, 1.5)), 15.0, [*speech, Span(13.0, 14.0)]) == {Rule.COVERAGE}


def test_short_noises_taken_for_speech_need_no_words() -> None:
    noises = [Span(20.0 + 3 * number, 20.7 + 3 * number) for number in range(20)]
    assert quality_checks.check(spoken((0, 10)), 90.0, [Span(0.0, 10.0), *noises]).passed
    assert quality_checks.check(RawTranscript(()), 90.0, noises).passed


def test_words_with_short_pauses_are_no_noises() -> None:
    halting = [Span(20.0 + 1.2 * number, 20.7 + 1.2 * number) for number in range(20)]
    assert failed(spoken((0, 10)), 90.0, [Span(0.0, 10.0), *halting]) == {Rule.COVERAGE}


def test_small_gaps_between_segments_are_covered() -> None:
    assert quality_checks.check(spoken((0, 4), (5, 9), (10, 14)), 15.0, [Span(0.0, 14.5)]).measures["coverage"] == 1.0


def test_segments_at_the_same_time_cover_it_once() -> None:
    result = spoken((0, 19.5), (0, 19.5), (10, 19))
    assert quality_checks.check(result, 40.0, [Span(0.0, 40.0)]).measures["coverage"] == pytest.approx(0.5)


def test_a_sound_accounts_for_its_time() -> None:
    music = RawTranscript((Segment(0.0, 60.0, "[Music]", kind=SegmentKind.EVENT),))
    assert quality_checks.check(music, 60.0, [Span(0.0, 60.0)]).passed


def test_half_a_minute_left_out_is_held_back_however_long_the_chunk() -> None:
    speech = [Span(0.0, 610.0), Span(612.0, 1800.0)]
    assert quality_checks.check(spoken((0, 600), (625, 1800)), 1800.0, speech).passed
    (failure,) = quality_checks.check(spoken((0, 600), (640, 1800)), 1800.0, speech).failures
    assert str(failure) == "37 s of detected speech on end are not covered"


def test_silence_about_speech_is_held_back() -> None:
    (failure,) = quality_checks.check(RawTranscript(()), 10.0, [Span(0.0, 3.0), Span(5.0, 9.0)]).failures
    assert failure == quality_checks.Failure(Rule.SILENT, "no word was read in 7 s of detected speech")
    assert quality_checks.check(RawTranscript(()), 10.0, [Span(0.0, 2.0)]).passed, "a cough is no speech"


def test_speech_outside_the_chunk_does_not_count() -> None:
    verdict = quality_checks.check(spoken((0, 10)), 10.0, [Span(-20.0, -0.1), Span(0.0, 10.0), Span(10.0, 60.0)])
    assert verdict.measures["coverage"] == 1.0
    assert quality_checks.check(RawTranscript(()), 10.0, [Span(12.0, 30.0)]).passed


# Pace


def test_fast_speech_passes_and_more_than_anybody_could_say_does_not() -> None:
    assert quality_checks.check(spoken((0, 2.4), (2.4, 4.8), text=SENTENCE), 5.0, []).passed, "six words a second"
    (failure,) = quality_checks.check(spoken((0, 1.4), (1.4, 2.8), text=SENTENCE), 5.0, []).failures
    assert failure == quality_checks.Failure(Rule.SPEECH_RATE, "nobody says 10 words a second")


def test_the_pace_is_a_setting() -> None:
    assert failed(spoken((0, 4), text=SENTENCE), 5.0, [], CheckLimits(words_per_second=3.0)) == {Rule.SPEECH_RATE}


def test_text_crammed_into_one_segment_is_held_back() -> None:
    slow = Segment(0.0, 60.0, SENTENCE)
    assert quality_checks.check(RawTranscript((slow, Segment(60.0, 62.0, f"{SENTENCE} {SENTENCE}"))), 70.0, []).passed
    crammed = Segment(60.0, 62.5, " ".join([SENTENCE] * 3))
    (failure,) = quality_checks.check(RawTranscript((slow, crammed)), 70.0, []).failures
    assert str(failure) == "nobody says 17 words a second, as one segment has it"


def test_a_few_words_in_no_time_pass() -> None:
    assert quality_checks.check(spoken((3.0, 3.0), (5.0, 5.3)), 10.0, []).passed


def test_an_essay_in_no_time_is_held_back() -> None:
    slow = Segment(0.0, 60.0, SENTENCE)
    assert failed(RawTranscript((slow, Segment(60, 60, " ".join([SENTENCE] * 3)))), 70.0, []) == {Rule.SPEECH_RATE}


def test_sounds_have_no_pace() -> None:
    events = tuple(Segment(0.1 * n, 0.1 * n, "[Human Sounds]", kind=SegmentKind.EVENT) for n in range(60))
    assert quality_checks.check(RawTranscript(events), 10.0, []).measures["words_per_second"] == 0


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("", 0),
        ("ask not what your country can do", 7),
        ("don't - you're twenty-one...", 3),
        ("\u6211\u4eec\u4eca\u5929\u8bf4\u8bdd", 4),  # six Chinese characters
        ("\u3053\u3093\u306b\u3061\u306f\u3002", 5 / 1.5),  # five kana and a full stop
        ("\uc548\ub155\ud558\uc138\uc694 \uc5ec\ub7ec\ubd84", 2),  # Korean has spaces
        ("\u0e2a\u0e27\u0e31\u0e2a\u0e14\u0e35", 6 / 5),  # Thai
        ("\u0939\u093f\u0928\u094d\u0926\u0940 \u092d\u093e\u0937\u093e", 2),  # Hindi: its marks part no words
        ("hello \u4e16\u754c", 1 + 2 / 1.5),
    ],
)
def test_words_are_counted_by_the_measure_of_their_script(text: str, count: float) -> None:
    assert words(text) == pytest.approx(count)


# Confidence


def sure(*figures: float | None, seconds: float = 5.0) -> RawTranscript:
    """Segments of so many seconds one after the other, with these confidences."""
    times = ((at * seconds, (at + 1) * seconds) for at in range(len(figures)))
    said = (Segment(*time, "some words", confidence=figure) for time, figure in zip(times, figures, strict=True))
    return RawTranscript(tuple(said))


def test_words_of_which_the_model_is_not_sure_are_held_back() -> None:
    (failure,) = quality_checks.check(sure(0.35, 0.4), 10.0, []).failures
    assert failure.rule is Rule.CONFIDENCE
    assert str(failure) == "the model is not sure of its words: their confidence is 0.38"


def test_confidence_is_weighted_by_time() -> None:
    long, short = Segment(0, 18, "some words", confidence=0.8), Segment(18, 20, "more", confidence=0.1)
    verdict = quality_checks.check(RawTranscript((long, short)), 20.0, [])
    assert verdict.passed
    assert verdict.measures["confidence"] == pytest.approx(0.73)


def test_a_few_doubtful_words_in_a_silent_chunk_pass() -> None:
    assert quality_checks.check(sure(0.1, seconds=4.0), 300.0, []).passed
    assert failed(sure(0.1, seconds=6.0), 300.0, []) == {Rule.CONFIDENCE}


def test_an_engine_without_confidences_is_not_judged_by_them() -> None:
    verdict = quality_checks.check(sure(None, None), 10.0, [], CheckLimits(confidence=1.0))
    assert verdict.passed
    assert "confidence" not in verdict.measures


def test_segments_without_a_confidence_count_neither_way() -> None:
    assert failed(sure(0.2, 0.2, None, None), 20.0, []) == {Rule.CONFIDENCE}


def test_the_least_confidence_is_a_setting_and_zero_believes_any() -> None:
    assert failed(sure(0.6, 0.6), 10.0, [], CheckLimits(confidence=0.7)) == {Rule.CONFIDENCE}
    assert quality_checks.check(sure(0.0, 0.0), 10.0, [], CheckLimits(confidence=0.0)).passed


# Whatever comes

moments = st.floats(-50, 150)
segments = st.builds(Segment, moments, moments, st.text(max_size=30), st.none(), st.sampled_from(sorted(SegmentKind)))
stretches = st.tuples(moments, st.floats(0, 40)).map(lambda pair: Span(pair[0], pair[0] + pair[1]))


@given(st.lists(segments, max_size=12), st.lists(stretches, max_size=12), st.floats(0, 100))
def test_any_answer_gets_a_verdict_with_sound_measures(said, speech, duration) -> None:
    verdict = quality_checks.check(RawTranscript(tuple(said)), duration, speech)
    assert -1e-9 <= verdict.measures["coverage"] <= 1 + 1e-9
    assert verdict.measures["words_per_second"] >= 0
    for gap in verdict.missing:
        assert 0 <= gap.start < gap.end <= duration
        assert not any(s.start <= gap.start and gap.end <= s.end for s in said)
    assert verdict.passed == (not verdict.failures)


@given(st.lists(stretches, max_size=12))
def test_an_answer_that_covers_the_whole_chunk_misses_nothing(speech) -> None:
    verdict = quality_checks.check(spoken((0, 100)), 100.0, speech)
    assert verdict.passed
    assert not verdict.missing
