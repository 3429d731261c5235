"""Chunks hear all speech, keep each moment of it once, in order, and end at pauses."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dropscribe.core.types import Chunk, Span
from dropscribe.worker.chunking import MARGIN, MAX_SHARED, NEARBY, halve, plan, target_for

CLOSE = 1e-6  # s; far below a sample
PAUSES = {"none": (0.0, 0.0), "touching": (0.0, 0.01), "dense": (0.02, 0.6), "mixed": (0.001, 20), "sparse": (20, 600)}


@st.composite
def speech_maps(draw: st.DrawFn) -> tuple[tuple[Span, ...], float]:
    """Stretches of speech with pauses of one kind between them, up to some hours, and the duration of it all."""
    pauses = st.floats(*PAUSES[draw(st.sampled_from(sorted(PAUSES)))])
    lengths = st.floats(0.01, draw(st.sampled_from([2.0, 60.0, 1500.0])))
    clock = draw(st.sampled_from([0.0, 0.2, 700.0]))
    spans = []
    for spoken, pause in draw(st.lists(st.tuples(lengths, pauses), max_size=30)):
        spans.append(Span(clock, clock + spoken))
        clock += spoken + pause
    return tuple(spans), clock


limits = st.floats(5, 200) | st.sampled_from([300.0, 1800.0])
targets = st.none() | st.floats(2, 300) | st.floats(300, 2000)
overlaps = st.sampled_from([0.0, 1.0, 30.0]) | st.floats(0, 100)


def shared(span: Span, chunk: Chunk | Span) -> float:
    return max(0.0, min(span.end, chunk.end) - max(span.start, chunk.start))


def pauses_of(spans: Sequence[Span]) -> list[Span]:
    return [Span(left.end, right.start) for left, right in pairwise(spans)]


def assert_heard_where_kept(spans: Sequence[Span], chunks: Sequence[Chunk]) -> None:
    for chunk in chunks:
        for span in spans:
            assert shared(span, chunk.keep) <= shared(span, _common(chunk)) + CLOSE


def _common(chunk: Chunk) -> Span:
    start = max(chunk.start, chunk.keep.start)
    return Span(start, max(start, min(chunk.end, chunk.keep.end)))


def assert_partition(keeps: Sequence[Span], whole: Span) -> None:
    assert keeps[0].start == whole.start
    assert keeps[-1].end == whole.end
    for left, right in pairwise(keeps):
        assert left.end == right.start
    assert all(keep.start < keep.end for keep in keeps)


@given(speech_maps(), limits, targets, overlaps)
def test_kept_spans_follow_each_other_from_start_to_end_and_each_is_heard(speech, longest, target, overlap):
    spans, duration = speech
    chunks = plan(spans, duration, longest, target=target, overlap=overlap)
    assert bool(chunks) == bool(spans)
    if chunks:
        assert_partition([chunk.keep for chunk in chunks], Span(0, duration))
        assert_heard_where_kept(spans, chunks)


@given(speech_maps(), limits, targets, overlaps)
def test_windows_are_in_order_within_the_recording_and_not_too_long(speech, longest, target, overlap):
    spans, duration = speech
    chunks = plan(spans, duration, longest, target=target, overlap=overlap)
    assert [chunk.index for chunk in chunks] == list(range(len(chunks)))
    for chunk in chunks:
        assert 0 <= chunk.start < chunk.end <= duration
        assert chunk.duration <= longest + CLOSE
    for left, right in pairwise(chunks):
        assert left.start < right.start
        assert left.end < right.end + CLOSE


@given(speech_maps(), limits, targets, overlaps)
def test_every_chunk_keeps_speech_and_hears_at_most_a_margin_of_silence_around_it(speech, longest, target, overlap):
    spans, duration = speech
    for chunk in plan(spans, duration, longest, target=target, overlap=overlap):
        assert any(shared(span, chunk.keep) > 0 for span in spans)
        inside = [span for span in spans if shared(span, chunk) > 0]
        assert inside[0].start - chunk.start <= MARGIN + CLOSE
        assert chunk.end - inside[-1].end <= MARGIN + CLOSE


@given(speech_maps(), limits, targets, overlaps)
def test_neighbours_share_no_more_than_the_overlap_and_what_it_takes_to_reach_a_pause(speech, longest, target, overlap):
    spans, duration = speech
    chunks = plan(spans, duration, longest, target=target, overlap=overlap)
    allowed = min(overlap, MAX_SHARED * min(longest, target or longest))
    slack = min(NEARBY, allowed / 4)
    for left, right in pairwise(chunks):
        cut = left.keep.end
        assert left.end <= cut + allowed / 2 + slack + CLOSE
        assert right.start >= cut - allowed / 2 - slack - CLOSE


@given(speech_maps(), limits, overlaps)
def test_a_cut_lies_in_a_pause_or_there_was_none_in_reach(speech, longest, overlap):
    spans, duration = speech
    for chunk in plan(spans, duration, longest, overlap=overlap)[:-1]:
        cut = chunk.keep.end
        if not any(pause.start - CLOSE <= cut <= pause.end + CLOSE for pause in pauses_of(spans)):
            reach = Span(cut - 0.1 * chunk.duration + MARGIN, cut)
            assert not [pause for pause in pauses_of(spans) if reach.start < pause.end and pause.start < reach.end]


@given(speech_maps(), limits, overlaps)
def test_speech_that_fits_is_one_chunk(speech, longest, overlap):
    spans, duration = speech
    if spans and spans[-1].end - spans[0].start <= longest:
        assert len(plan(spans, duration, longest, overlap=overlap)) == 1


def test_no_speech_needs_no_chunk():
    assert plan((), 3600, 1800, overlap=30) == ()


def test_a_short_recording_is_one_chunk_with_a_margin_that_keeps_all():
    assert plan([Span(3, 10), Span(40, 60)], 100, 1800) == (Chunk(0, 2.5, 60.5, Span(0, 100)),)


def test_margins_end_where_the_recording_ends():
    assert plan([Span(0.1, 9.8)], 10, 1800) == (Chunk(0, 0, 10, Span(0, 10)),)


def test_margins_shrink_so_that_a_chunk_does_not_grow_too_long():
    assert plan([Span(10, 39.5)], 100, 30) == (Chunk(0, 9.75, 39.75, Span(0, 100)),)


def test_a_recording_is_cut_in_the_middle_of_the_widest_pause_in_reach():
    speech = [Span(0, 69), Span(69.4, 75), Span(75.8, 80), Span(80.2, 150)]
    first, second = plan(speech, 150, 100)
    assert first.keep.end == pytest.approx(75.4)
    assert first.end == second.start == first.keep.end


def test_a_wider_pause_out_of_reach_is_left_alone():
    first, _ = plan([Span(0, 50), Span(59, 75), Span(75.2, 150)], 150, 100)
    assert first.keep.end == pytest.approx(75.1)


def test_where_the_longest_chunk_is_needed_the_last_fifth_of_it_is_searched():
    first, *_ = plan([Span(0, 79), Span(81, 99.9), Span(100.1, 200)], 200, 100)
    assert first.keep.end == pytest.approx(80.0)


def test_the_silence_of_a_long_pause_is_heard_by_no_chunk():
    assert plan([Span(0, 80), Span(120, 180)], 180, 100, overlap=20) == (
        Chunk(0, 0, 80.5, Span(0, 100)),
        Chunk(1, 119.5, 180, Span(100, 180)),
    )


def test_neighbours_hear_half_the_overlap_beyond_a_short_pause():
    spans = [Span(0, 74.9), Span(75.1, 150)]
    assert plan(spans, 150, 100, overlap=20) == (
        Chunk(0, 0, pytest.approx(85), Span(0, pytest.approx(75))),
        Chunk(1, pytest.approx(65), 150, Span(pytest.approx(75), 150)),
    )


def test_the_edge_of_a_window_moves_to_a_pause_nearby():
    spans = [Span(0, 64), Span(64.4, 74.9), Span(75.1, 86.3), Span(86.5, 150)]
    left, right = plan(spans, 150, 100, overlap=20)
    assert right.start == pytest.approx(64.2)
    assert left.end == pytest.approx(86.4)


def test_the_edge_of_a_window_stays_where_the_next_pause_is_far():
    spans = [Span(0, 62), Span(62.4, 74.9), Span(75.1, 150)]
    _, right = plan(spans, 150, 100, overlap=20)
    assert right.start == pytest.approx(65)


def test_the_overlap_is_at_most_a_quarter_of_a_chunk():
    _, right = plan([Span(0, 74.9), Span(75.1, 150)], 150, 100, overlap=1000)
    assert right.start == pytest.approx(75 - 12.5)


def test_speech_without_a_pause_is_cut_hard_and_loses_nothing():
    assert plan([Span(0, 240)], 240, 100) == tuple(
        Chunk(index, start, start + 80, Span(start, start + 80)) for index, start in enumerate([0, 80, 160])
    )


def test_hard_cuts_overlap_as_well():
    first, second, third = plan([Span(0, 260)], 260, 100, overlap=20)
    assert (first.end, second.start, second.end, third.start) == pytest.approx((100, 80, 180, 160))
    assert (first.keep.end, second.keep.end) == pytest.approx((90, 170))


def test_a_target_decides_into_how_many_chunks_a_recording_is_cut():
    speech = [Span(start, start + 4.5) for start in range(0, 3600, 5)]
    chunks = plan(speech, 3600, 1800, target=930, overlap=30)
    assert len(chunks) == 4
    assert all(800 < chunk.duration < 1050 for chunk in chunks)
    assert len(plan(speech, 3600, 5000, target=930, overlap=30)) == 4, "even if all would fit into one"


def test_chunks_are_of_like_length_without_a_crumb_at_the_end():
    chunks = plan([Span(start, start + 4.5) for start in range(0, 110, 5)], 110, 100)
    assert len(chunks) == 2
    assert min(chunk.duration for chunk in chunks) >= 0.9 * 110 / 2 - MARGIN


def test_speech_beyond_the_end_of_the_recording_is_not_planned():
    assert plan([Span(5, 12)], 10, 100) == (Chunk(0, 4.5, 10, Span(0, 10)),)


def test_ten_hours_in_small_windows_are_planned_as_well():
    speech = [Span(start * 1.8, start * 1.8 + 1.5) for start in range(20_000)]
    chunks = plan(speech, 36_000, 60, overlap=5)
    assert 655 < len(chunks) < 730, "55 s of their own each, or a tenth less"
    assert_partition([chunk.keep for chunk in chunks], Span(0, 36_000))


@pytest.mark.parametrize(
    ("longest", "target", "overlap"), [(0, None, 0), (-1, None, 0), (30, 0, 0), (30, -5, 0), (30, None, -1)]
)
def test_a_length_of_nothing_is_refused(longest, target, overlap):
    with pytest.raises(ValueError, match="longer than zero"):
        plan([Span(0, 1)], 1, longest, target=target, overlap=overlap)


# Halves


def halved(chunk: Chunk, speech: Sequence[Span], overlap: float, smallest: float) -> Iterator[Chunk]:
    """What is left of a chunk that is halved as long as that is possible."""
    halves = halve(chunk, speech, overlap=overlap, smallest=smallest)
    if halves is None:
        yield chunk
        return
    for half in halves:
        assert half.duration < chunk.duration
        yield from halved(half, speech, overlap, smallest)


@given(speech_maps(), limits, overlaps, st.sampled_from([1 / 30, 1 / 8, 1 / 3]))
def test_halves_of_halves_keep_and_hear_what_the_chunk_did(speech, longest, overlap, share):
    spans, duration = speech
    for chunk in plan(spans, duration, longest, overlap=overlap)[:2]:
        smallest = share * chunk.duration
        pieces = list(halved(chunk, spans, overlap, smallest))
        assert_partition([piece.keep for piece in pieces], chunk.keep)
        assert_heard_where_kept(spans, pieces)
        for piece in pieces:
            assert piece.index == chunk.index
            assert chunk.start <= piece.start < piece.end <= chunk.end
            assert piece.duration >= smallest
            assert any(shared(span, piece.keep) > 0 for span in spans)


@given(speech_maps(), limits, overlaps)
def test_two_halves_hear_all_the_speech_of_their_chunk(speech, longest, overlap):
    spans, duration = speech
    for chunk in plan(spans, duration, longest, overlap=overlap)[:5]:
        if halves := halve(chunk, spans, overlap=overlap, smallest=1.0):
            left, right = halves
            for span in spans:
                both = max(0.0, min(left.end, span.end) - max(right.start, span.start))
                assert shared(span, left) + shared(span, right) - both >= shared(span, chunk) - CLOSE


def test_a_chunk_is_halved_at_the_widest_pause_in_its_middle_third():
    speech = [Span(10, 30), Span(35, 48), Span(48.8, 60), Span(60.2, 100)]
    left, right = halve(Chunk(3, 9.5, 100.5, Span(0, 120)), speech, overlap=8, smallest=15)
    assert left == Chunk(3, 9.5, pytest.approx(52.4), Span(0, pytest.approx(48.4)))
    assert right == Chunk(3, pytest.approx(44.4), 100.5, Span(pytest.approx(48.4), 120))


def test_a_chunk_without_a_pause_is_halved_in_the_middle_of_what_it_keeps():
    left, right = halve(Chunk(0, 80, 200, Span(100, 200)), [Span(0, 500)], overlap=0, smallest=15)
    assert (left.end, right.start, left.keep.end) == (150, 150, 150)
    assert (left.start, left.keep.start) == (80, 100)


def test_halves_share_at_most_a_quarter_of_the_shorter_one():
    left, right = halve(Chunk(0, 0, 80, Span(0, 80)), [Span(0, 80)], overlap=30, smallest=15)
    assert (left.end, right.start) == (45, 35)


def test_a_long_silence_in_the_middle_is_heard_by_neither_half():
    left, right = halve(Chunk(0, 0, 100, Span(0, 100)), [Span(0, 20), Span(70, 100)], overlap=30, smallest=15)
    assert (left.end, right.start) == (20.5, 69.5)
    assert left.keep.end == right.keep.start


def test_both_halves_keep_speech_wherever_it_lies():
    left, right = halve(Chunk(0, 0, 100, Span(0, 300)), [Span(0, 20), Span(21, 40)], overlap=0, smallest=10)
    assert left.keep.end == right.keep.start == pytest.approx(20.5)


def test_what_would_be_too_short_is_not_halved():
    chunk = Chunk(0, 0, 40, Span(0, 40))
    assert halve(chunk, [Span(0, 40)], overlap=0, smallest=20)
    assert halve(chunk, [Span(0, 40)], overlap=0, smallest=20.1) is None


def test_what_keeps_no_speech_is_not_halved():
    assert halve(Chunk(0, 0, 40, Span(20, 40)), [Span(0, 19)], overlap=0, smallest=1) is None


# Targets


def test_all_slots_get_an_equal_part():
    assert target_for(3600, 3600, 4, overlap=0) == 900
    assert target_for(3600, 3600, 4, overlap=40) == pytest.approx(930), "what they share is read twice"


def test_no_part_is_shorter_than_the_floor():
    assert target_for(3600, 3600, 40, overlap=0) == 600
    assert target_for(1100, 3600, 40, overlap=0) is None
    assert target_for(1100, 3600, 40, overlap=0, floor=300) == pytest.approx(1100 / 3)


def test_one_slot_needs_no_more_than_one_chunk_if_it_fits():
    assert target_for(1700, 1800, 1, overlap=30) is None
    assert target_for(3600, 1800, 1, overlap=0) == 1200, "cuts need room to move to a pause"


def test_a_long_recording_fills_its_last_round():
    """Five parts would do for two and a half hours, but on four slots they took as long as eight longer ones."""
    assert target_for(9000, 2000, 4, overlap=0) == 9000 / 8


def test_short_windows_outrank_the_floor():
    assert target_for(3600, 100, 2, overlap=0) == pytest.approx(3600 / 40)


@given(st.floats(1, 40_000), st.floats(10, 4000), st.integers(1, 64), st.floats(0, 100), st.sampled_from([60.0, 600.0]))
def test_targets_are_within_their_bounds(duration, longest, slots, overlap, floor):
    target = target_for(duration, longest, slots, overlap=overlap, floor=floor)
    if target is None:
        assert duration <= longest
    else:
        assert min(floor, MAX_SHARED * longest) - CLOSE <= target <= longest
    if target is not None and target < floor:
        assert duration > longest


@given(st.integers(2, 40), st.floats(0, 60))
def test_a_plan_has_as_many_chunks_as_its_target_means(slots, overlap):
    duration = slots * 900.0
    speech = [Span(start, start + 14.5) for start in range(0, round(duration), 15)]
    target = target_for(duration, 1800, slots, overlap=overlap)
    chunks = plan(speech, duration, 1800, target=target, overlap=overlap)
    assert len(chunks) == slots
    assert max(chunk.duration for chunk in chunks) < 1.25 * target
