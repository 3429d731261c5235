"""Sound stands where its timestamps say, as long as they can be true; else it follows on."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dropscribe.worker.preparing.timeline import MAX_EXCURSION, PERSISTENCE, TOLERANCE, Piece, Timeline

DAY = 86_400.0
RIGHT = 0.3  # s; as near as a time has to be
FRAME = 0.02
FRAMES = 1000  # 20 s


def timeline(times: Iterable[float | None], frame: float = FRAME, origin: float | None = None) -> Timeline:
    built = Timeline()
    built.restart(origin)
    for time in times:
        built.add(time, frame)
    return built


def moved(by: Callable[[int], float], frames: int = FRAMES, scale: float = 1.0) -> list[float]:
    """The right times of frames, each moved by so many seconds."""
    return [number * FRAME * scale + by(number) for number in range(frames)]


def holes(pieces: Iterable[Piece]) -> float:
    return sum(piece.silence for piece in pieces if piece.is_hole)


def places(pieces: Iterable[Piece], moments: Iterable[float]) -> list[float]:
    """When the sound that is decoded at those moments is heard."""
    heard, decoded, made = [], [], 0.0
    for piece in pieces:
        heard += [made + piece.silence, made + piece.silence + piece.length]
        decoded += [piece.start + 1e-9, piece.end]
        made = heard[-1]
    return [float(place) for place in np.interp(list(moments), decoded, heard)]


def length(pieces: Iterable[Piece]) -> float:
    return sum(piece.silence + piece.length for piece in pieces)


WRONG = {
    "one is 5 s too early": moved(lambda frame: -5 * (frame == 300)),
    "one is 5 s too late": moved(lambda frame: 5 * (frame == 300)),
    "the first is too early": moved(lambda frame: 5 * (frame > 0)),
    "the first is too late": moved(lambda frame: 5 * (frame == 0)),
    "the last is too late": moved(lambda frame: 5 * (frame == FRAMES - 1)),
    "a second of them is too early": moved(lambda frame: -5 * (300 <= frame < 350)),
    "eight seconds of them are too early and then right again": moved(lambda frame: -5 * (300 <= frame < 700)),
    "eight seconds of them are too late and then right again": moved(lambda frame: 5 * (300 <= frame < 700)),
    "they come back by two steps": moved(lambda frame: -5 * (300 <= frame < 700) + 2 * (500 <= frame < 700)),
    "a fifth jitters by 0.15 s": moved(lambda frame: 0.15 * (frame % 5 == 0) * (-1) ** frame),
    "a fifth is 0.15 s too late": moved(lambda frame: 0.15 * (frame % 5 == 0)),
    "all jitter within the tolerance": moved(lambda frame: TOLERANCE / 2 * (-1) ** frame),
    "the clock is set back for good": moved(lambda frame: -5 * (frame >= 600)),
    "the clock starts over again and again": moved(lambda frame: -4.0 * (frame // 200)),
    "the clock goes beyond all limits": moved(lambda frame: 90_000 * (frame >= 600)),
    "the clock starts at 25 h": moved(lambda _: 90_000),
    "there are none": [None] * FRAMES,
}


@pytest.mark.parametrize("times", WRONG.values(), ids=WRONG)
def test_wrong_timestamps_move_nothing_and_nothing_is_called_missing(times: list[float | None]) -> None:
    pieces = timeline(times).pieces(DAY)
    assert holes(pieces) == 0
    assert length(pieces) == pytest.approx(20)
    assert places(pieces, [2, 9, 15]) == pytest.approx([2, 9, 15], abs=0.01)


@pytest.mark.parametrize("frame", [0.02, 0.064, 0.5, 1.0])
@pytest.mark.parametrize("drift", [-0.08, -0.03, -0.001, 0.001, 0.03, 0.09])
def test_a_clock_that_runs_slow_or_fast_is_followed_without_a_hole(drift: float, frame: float) -> None:
    pieces = timeline((at * (1 + drift) for at in np.arange(0, 60, frame)), frame).pieces(DAY)
    assert holes(pieces) == 0
    expected = [moment * (1 + drift) for moment in (2, 9, 15, 55)]
    assert places(pieces, [2, 9, 15, 55]) == pytest.approx(expected, abs=TOLERANCE + frame * abs(drift) * 2)


@pytest.mark.parametrize("frame", [0.02, 0.5, 1.0])
def test_a_gap_is_filled_once_and_at_its_place(frame: float) -> None:
    before, after = timeline((at + 3 * (at >= 11) for at in np.arange(0, 20, frame)), frame).pieces(DAY)
    assert (before.end, before.length, before.silence) == pytest.approx((11, 11, 0))
    assert (after.end, after.length, after.silence) == pytest.approx((20, 9, 3))


@pytest.mark.parametrize("every", [2, 3, 10, 20])
def test_single_packets_that_are_lost_are_a_hole_and_no_drift(every: int) -> None:
    kept = [number * FRAME for number in range(3000) if number % every != 1]
    pieces = timeline(kept).pieces(DAY)
    assert holes(pieces) == pytest.approx((3000 - len(kept)) * FRAME, abs=RIGHT)
    assert length(pieces) == pytest.approx(60, abs=RIGHT)
    assert not any(piece.is_stretched for piece in pieces)


def test_gaps_that_follow_on_each_other_are_each_filled() -> None:
    pieces = timeline(moved(lambda frame: 2 * (frame >= 500) + 3 * (frame >= 520) + 4 * (frame >= 540))).pieces(DAY)
    assert [piece.silence for piece in pieces] == pytest.approx([0, 2, 3, 4])
    assert [piece.end for piece in pieces] == pytest.approx([10, 10.4, 10.8, 20])


def test_a_gap_beyond_the_limit_is_not_believed() -> None:
    times = moved(lambda frame: 100 * (frame >= 500))
    assert holes(timeline(times).pieces(121)) == pytest.approx(100)
    assert holes(timeline(times).pieces(119)) == 0


def test_a_clock_that_is_set_back_for_longer_than_an_excursion_does_not_cost_its_gap() -> None:
    frames = round((MAX_EXCURSION + 10) / FRAME)
    pieces = timeline(moved(lambda frame: -5 * (500 <= frame < 500 + frames), frames + 1500)).pieces(DAY)
    assert holes(pieces) == pytest.approx(5)


def test_sound_that_begins_after_the_picture_keeps_its_time_and_is_not_missing() -> None:
    pieces = timeline(moved(lambda _: 104), origin=100.0).pieces(DAY)
    assert (length(pieces), pieces[0].silence, holes(pieces)) == pytest.approx((24, 4, 0))


@pytest.mark.parametrize("origin", [103.95, 104.0, 110.0])
def test_sound_that_begins_with_the_picture_or_before_it_begins_at_0(origin: float) -> None:
    assert length(timeline(moved(lambda _: 104), origin=origin).pieces(DAY)) == pytest.approx(20)


def test_each_clock_is_judged_by_itself() -> None:
    joined = timeline(moved(lambda frame: 3 * (frame >= 500)))
    joined.restart()
    for time in moved(lambda frame: 7000 - 5 * (frame == 300)):
        joined.add(time, FRAME)
    pieces = joined.pieces(DAY)
    assert holes(pieces) == pytest.approx(3)
    assert length(pieces) == pytest.approx(43)


def test_where_the_samples_are_the_clock_timestamps_count_for_nothing_and_lost_packets_do() -> None:
    counted = Timeline()
    counted.restart(counts=True)
    for number in range(FRAMES):
        counted.add(number * FRAME * 2, FRAME)
        if number == 500:
            counted.lose(1.5)
    pieces = counted.pieces(DAY)
    assert holes(pieces) == pytest.approx(1.5)
    assert places(pieces, [2, 15]) == pytest.approx([2, 16.5])


def test_nothing_decoded_is_no_sound() -> None:
    assert length(Timeline().pieces(DAY)) == 0
    assert length(timeline([5.0]).pieces(DAY)) == pytest.approx(FRAME)


@dataclass(frozen=True)
class Story:
    """A recording of a minute: what its clock does, and what of it is lost."""

    frame: float
    start: float
    drift: float
    gaps: tuple[tuple[float, float], ...]  # when, how long
    set_back: tuple[float, float]  # when, by how much
    wrong: float  # share of the timestamps
    seed: int

    def told(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Where frames begin in the sound, where they belong, and what their timestamps say."""
        at = np.arange(0, 60, self.frame)
        belongs = at * (1 + self.drift) + sum(gap * (at >= when) for when, gap in self.gaps)
        random = np.random.default_rng(self.seed)
        noise = (random.random(at.size) < self.wrong) * random.uniform(-30, 30, at.size)
        when, by = self.set_back
        return at, belongs, belongs + self.start - by * (at >= when) + noise


stories = st.builds(
    Story,
    frame=st.sampled_from([0.02, 0.0232, 0.064]),
    start=st.sampled_from([0.0, -0.02, 4.0, 90_000.0]),
    drift=st.sampled_from([0.0, 0.0, -0.03, 0.03, 0.0002]),
    gaps=st.sampled_from(
        [(), ((20.0, 0.5),), ((20.0, 3.0),), ((20.0, 3.0), (21.0, 7.0)), ((10.0, 0.2), (50.0, 900.0))]
    ),
    set_back=st.sampled_from([(0.0, 0.0), (30.0, 17.0), (40.0, 5000.0)]),
    wrong=st.sampled_from([0.0, 0.01, 0.1]),
    seed=st.integers(0, 1000),
)


@settings(max_examples=60, deadline=None)
@given(stories)
def test_whatever_the_clock_does_each_frame_stands_where_it_belongs(story: Story) -> None:
    at, belongs, times = story.told()
    pieces = timeline(times, story.frame).pieces(DAY)
    gaps = sum(gap for _, gap in story.gaps)
    # A leap is known as exactly as the clock stands still around it.
    allowed = RIGHT + abs(story.drift) * 2 * PERSISTENCE * (story.wrong > 0)
    assert holes(pieces) == pytest.approx(gaps, abs=allowed + len(story.gaps) * TOLERANCE)
    off = np.abs(np.array(places(pieces, at)) - belongs)
    near_a_gap = np.any([np.abs(at - when) < 0.3 for when, _ in story.gaps], axis=0) if story.gaps else False
    assert off[~np.broadcast_to(near_a_gap, off.shape)].max() < allowed
