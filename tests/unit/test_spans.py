"""Arithmetic of stretches of time, against the same arithmetic second by second."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from dropscribe.core.spans import clip, common, covered, merged, sweep, total, without
from dropscribe.core.types import Span

spans = st.lists(
    st.tuples(st.integers(0, 30), st.integers(0, 8)).map(lambda pair: Span(pair[0], pair[0] + pair[1])), max_size=8
)


def seconds(found: list[Span]) -> set[int]:
    return {second for span in found for second in range(int(span.start), int(span.end))}


@given(spans)
def test_merged_stretches_hold_the_same_time_in_order_and_do_not_touch(found: list[Span]) -> None:
    joined = merged(found)
    assert seconds(joined) == seconds(found)
    assert all(a.end < b.start for a, b in pairwise(joined))


@given(spans, spans)
def test_holes_leave_what_is_not_in_them(found: list[Span], holes: list[Span]) -> None:
    rest = without(found, holes)
    assert seconds(rest) == seconds(found) - seconds(holes)
    assert all(span.duration > 0 for span in rest)


@given(spans, spans)
def test_common_time_lies_within_both(found: list[Span], others: list[Span]) -> None:
    both = common(found, others)
    assert seconds(both) == seconds(found) & seconds(others)
    assert total(both) == len(seconds(both))


@given(spans, st.booleans())
def test_the_sweep_knows_at_every_moment_whose_spans_hold_it(found: list[Span], touching: bool) -> None:
    pieces = [piece for piece in sweep(enumerate(found), touching=touching) if piece[0].duration > 0]
    for piece, keys in pieces:
        for second in seconds([piece]):
            assert set(keys) == {key for key, span in enumerate(found) if second in seconds([span])}
    assert all(before.end == after.start for (before, _), (after, _) in pairwise(pieces))


def test_spans_that_touch_share_a_moment_only_where_the_sweep_is_told_so() -> None:
    found = [("a", Span(0, 1)), ("b", Span(1, 2))]
    assert ["a", "b"] not in [keys for _, keys in sweep(found)]
    assert (Span(1, 1), ["a", "b"]) in list(sweep(found, touching=True))


@given(spans, spans)
def test_covered_time_is_that_of_both(found: list[Span], cover: list[Span]) -> None:
    for span in found:
        assert covered(span, merged(cover)) == len(seconds([span]) & seconds(cover))


def test_what_lies_outside_is_clipped_to_the_nearer_edge() -> None:
    within = Span(10, 20)
    assert clip(Span(5, 12), within) == Span(10, 12)
    assert clip(Span(18, 30), within) == Span(18, 20)
    assert clip(Span(1, 2), within) == Span(10, 10)
    assert clip(Span(25, 30), within) == Span(20, 20)
