"""What the gate lets pass and what it holds back."""

from __future__ import annotations

import pytest

from core.types import Ended, RawTranscript, Segment, Span
from worker import gate

GOOD = RawTranscript((Segment(0.2, 3.0, "ask not", 0), Segment(3.0, 9.8, "what your country", 0)))


def test_a_complete_answer_inside_its_chunk_passes() -> None:
    assert gate.check(GOOD, 10.0, [Span(0.0, 10.0)]) == ()


def test_rounded_times_pass() -> None:
    assert gate.check(RawTranscript((Segment(0.0, 10.4, "a"),)), 10.0, []) == ()


@pytest.mark.parametrize(("ended", "reason"), [(Ended.TRUNCATED, "breaks off"), (Ended.LOOP, "repeated itself")])
def test_an_answer_that_did_not_end_well_is_held_back(ended: Ended, reason: str) -> None:
    (found,) = gate.check(RawTranscript(GOOD.segments, ended), 10.0, [])
    assert reason in found


@pytest.mark.parametrize("segment", [Segment(-1.0, 2.0, "a"), Segment(2.0, 12.0, "a"), Segment(5.0, 4.0, "a")])
def test_times_outside_the_chunk_are_held_back(segment: Segment) -> None:
    assert gate.check(RawTranscript((segment,)), 10.0, []) == ("the answer has times outside its chunk",)


def test_silence_about_speech_is_held_back() -> None:
    assert gate.check(RawTranscript(()), 10.0, [Span(0.0, 3.0), Span(5.0, 9.0)]) == (
        "no word was read in 7 s of detected speech",
    )
    assert gate.check(RawTranscript(()), 10.0, [Span(0.0, 2.0)]) == (), "a cough is no speech"
