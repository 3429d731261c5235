"""Chunks cover all speech once, in order, and end at pauses."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.types import Chunk, Span
from worker.chunking import MARGIN, REACH, plan

CLOSE = 1e-6  # s; far below a sample


@st.composite
def speech_maps(draw: st.DrawFn) -> tuple[tuple[Span, ...], float]:
    """Alternating pauses and speech, and the duration of it all."""
    lengths = st.floats(0.01, 60)
    clock = draw(st.floats(0, 10))
    spans = []
    for spoken, pause in draw(st.lists(st.tuples(lengths, st.floats(0.001, 20)), max_size=30)):
        spans.append(Span(clock, clock + spoken))
        clock += spoken + pause
    return tuple(spans), clock


limits = st.floats(5, 200)
targets = st.none() | st.floats(2, 300)


def shared(span: Span, chunk: Chunk) -> float:
    return max(0.0, min(span.end, chunk.end) - max(span.start, chunk.start))


@given(speech_maps(), limits, targets)
def test_every_second_of_speech_lies_in_exactly_one_chunk(speech, longest, target):
    spans, duration = speech
    chunks = plan(spans, duration, longest, target=target)
    for span in spans:
        assert sum(shared(span, chunk) for chunk in chunks) == pytest.approx(span.duration, abs=CLOSE)


@given(speech_maps(), limits, targets)
def test_chunks_are_in_order_disjoint_within_the_recording_and_not_too_long(speech, longest, target):
    spans, duration = speech
    chunks = plan(spans, duration, longest, target=target)
    assert [chunk.index for chunk in chunks] == list(range(len(chunks)))
    for chunk in chunks:
        assert 0 <= chunk.start < chunk.end <= duration
        assert chunk.duration <= longest + CLOSE
    for left, right in pairwise(chunks):
        assert left.end <= right.start


@given(speech_maps(), limits, targets)
def test_every_chunk_holds_speech_and_at_most_a_margin_of_silence_around_it(speech, longest, target):
    spans, duration = speech
    for chunk in plan(spans, duration, longest, target=target):
        inside = [span for span in spans if shared(span, chunk) > 0]
        assert inside
        assert inside[0].start - chunk.start <= MARGIN + CLOSE
        assert chunk.end - inside[-1].end <= MARGIN + CLOSE


@given(speech_maps(), limits)
def test_speech_that_fits_is_one_chunk(speech, longest):
    spans, duration = speech
    if spans and spans[-1].end - spans[0].start <= longest:
        assert len(plan(spans, duration, longest)) == 1


def test_no_speech_needs_no_chunk():
    assert plan((), 3600, 1800) == ()


def test_a_short_recording_is_one_chunk_with_a_margin():
    assert plan([Span(3, 10), Span(40, 60)], 100, 1800) == (Chunk(0, 2.5, 60.5),)


def test_margins_end_where_the_recording_ends():
    assert plan([Span(0.1, 9.8)], 10, 1800) == (Chunk(0, 0, 10),)


def test_margins_shrink_so_that_a_chunk_does_not_grow_too_long():
    assert plan([Span(10, 39.5)], 100, 30) == (Chunk(0, 9.75, 39.75),)


def test_a_long_recording_is_cut_in_the_middle_of_the_widest_short_pause_in_reach():
    speech = [Span(0, 83), Span(83.4, 90), Span(90.8, 95), Span(95.2, 150)]
    first, second = plan(speech, 150, 100, target=100)
    assert first.end == pytest.approx(90.4)
    assert second.start == first.end


def test_a_pause_before_the_search_window_is_left_alone():
    first, _ = plan([Span(0, 70), Span(79, 90), Span(90.2, 150)], 150, 100, target=100)
    assert first.end == pytest.approx(90.1)


def test_the_silence_of_a_long_pause_is_in_no_chunk():
    assert plan([Span(0, 90), Span(120, 180)], 180, 100) == (Chunk(0, 0, 90.5), Chunk(1, 119.5, 180))


def test_speech_without_a_pause_is_cut_hard_and_loses_nothing():
    assert plan([Span(0, 250)], 250, 100, target=100) == (Chunk(0, 0, 100), Chunk(1, 100, 200), Chunk(2, 200, 250))


def test_without_a_target_the_chunks_are_of_like_length():
    chunks = plan([Span(start, start + 4.5) for start in range(0, 110, 5)], 110, 100)
    assert len(chunks) == 2
    assert min(chunk.duration for chunk in chunks) >= (1 - REACH) * 110 / 2 - MARGIN


def test_speech_beyond_the_end_of_the_recording_is_not_planned():
    assert plan([Span(5, 12)], 10, 100) == (Chunk(0, 4.5, 10),)


@pytest.mark.parametrize(("longest", "target"), [(0, None), (-1, None), (30, 0), (30, -5)])
def test_a_length_of_nothing_is_refused(longest, target):
    with pytest.raises(ValueError, match="longer than zero"):
        plan([Span(0, 1)], 1, longest, target=target)
