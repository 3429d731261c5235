"""Timestamps are believed where they can be true, and otherwise counted on from."""

import pytest

from dropscribe.worker.preparing.downmix import TOLERANCE, Timeline


def test_frames_that_follow_on_leave_no_gap():
    timeline = Timeline(origin=5, end=100)
    for index in range(50):
        jitter = TOLERANCE / 2 * (-1) ** index
        assert timeline.gap(5 + index * 0.02 + jitter) == 0
        timeline.advance(0.02)
    assert timeline.elapsed == pytest.approx(1)


def test_a_jump_forward_is_a_gap_once():
    timeline = Timeline(origin=0, end=100)
    timeline.advance(10)
    assert timeline.gap(13) == 3
    timeline.advance(1)
    assert timeline.gap(14) == 0
    assert (timeline.elapsed, timeline.inserted) == (14, 3)


def test_small_losses_add_up_to_a_gap():
    timeline = Timeline(origin=0, end=100)
    gaps = [timeline.gap(index * 0.06) or timeline.advance(0.02) or 0 for index in range(100)]
    assert sum(gaps) == pytest.approx(timeline.inserted)
    assert timeline.elapsed == pytest.approx(99 * 0.06, abs=TOLERANCE)


def test_a_clock_that_starts_over_is_followed_from_there():
    timeline = Timeline(origin=0, end=100)
    timeline.advance(20)
    assert timeline.gap(0) == 0
    timeline.advance(1)
    assert timeline.gap(3) == pytest.approx(2)


def test_a_time_beyond_the_end_is_not_believed():
    timeline = Timeline(origin=0, end=100)
    timeline.advance(10)
    assert timeline.gap(5000) == 0
    timeline.advance(1)
    assert timeline.gap(5001) == 0


def test_a_frame_without_a_time_follows_on():
    assert Timeline(origin=0, end=100).gap(None) == 0
