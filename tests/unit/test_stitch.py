"""Chunks become one timeline."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from core.types import Segment, Span
from worker.stitch import UNMATCHED, Part, stitch


def test_chunks_are_joined_in_order_whatever_the_order_they_come_in() -> None:
    late = Part(Span(10.0, 20.0), (Segment(12.0, 13.0, "second"),))
    early = Part(Span(0.0, 10.0), (Segment(1.0, 2.0, "first"),))
    joined = stitch([late, early], [])
    assert [segment.text for segment in joined.segments] == ["first", "second"]
    assert (joined.reasons, joined.missing, joined.notes) == ((), (), ())


def test_each_chunk_s_speakers_get_numbers_of_their_own_and_it_says_so() -> None:
    parts = [
        Part(Span(0.0, 10.0), (Segment(0.0, 1.0, "a", 0), Segment(1.0, 2.0, "b", 1))),
        Part(Span(10.0, 20.0), (Segment(10.0, 11.0, "c", 0), Segment(11.0, 12.0, "d"))),
    ]
    joined = stitch(parts, [])
    assert [segment.speaker for segment in joined.segments] == [0, 1, 2, None]
    assert joined.notes == (UNMATCHED,)


def test_one_chunk_keeps_its_speakers_without_a_remark() -> None:
    joined = stitch([Part(Span(0.0, 10.0), (Segment(0.0, 1.0, "a", 3),))], [])
    assert joined.segments[0].speaker == 3
    assert joined.notes == ()


def test_a_failed_chunk_names_its_time_its_reason_and_what_is_missing() -> None:
    good = Part(Span(0.0, 60.0), (Segment(0.0, 59.0, "a"),))
    bad = Part(Span(60.0, 120.0), (Segment(60.0, 70.0, "b"),), ("it loops",))
    joined = stitch([good, bad], [Span(0.0, 68.0), Span(69.0, 80.0), Span(100.0, 130.0)])
    assert joined.reasons == ("0:01:00-0:02:00: it loops",)
    assert joined.missing == (Span(70.0, 80.0), Span(100.0, 120.0))


segments = st.builds(
    lambda start, length, speaker: Segment(start, start + length, "w", speaker),
    st.floats(-1, 100),
    st.floats(-1, 10),
    st.none() | st.integers(0, 4),
)
parts = st.lists(
    st.builds(lambda start, found: Part(Span(start, start + 30), tuple(found)), st.floats(0, 90), st.lists(segments)),
    max_size=5,
)


@given(parts)
def test_times_are_in_order_and_nothing_is_dropped(found: list[Part]) -> None:
    joined = stitch(found, [])
    assert len(joined.segments) == sum(len(part.segments) for part in found)
    starts = [segment.start for segment in joined.segments]
    assert starts == sorted(starts)
    assert all(0 <= segment.start <= segment.end for segment in joined.segments)
