"""Lanes are joined in step, and those that hold the same sound are noticed."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from dropscribe.core.audio import SAMPLE_RATE
from dropscribe.worker.preparing.lanes import Lane, copies, interleaved, mixed, separated, side_by_side
from tests.sounds import hiss
from tests.tones import buzz

A, B = buzz(110.0, 3 * SAMPLE_RATE, 0), buzz(190.0, 2 * SAMPLE_RATE, 0)
SILENCE = np.zeros(SAMPLE_RATE, np.float32)


@pytest.fixture
def lanes(tmp_path: Path) -> Iterator[list[Lane]]:
    """Four empty ones."""
    made = [Lane.new(tmp_path) for _ in range(4)]
    yield made
    for lane in made:
        lane.file.close()


def filled(lanes: list[Lane], *sounds: np.ndarray) -> list[Lane]:
    for lane, sound in zip(lanes, sounds, strict=False):
        lane.add(sound)
    return lanes[: len(sounds)]


def whole(lane: Lane) -> np.ndarray:
    return np.concatenate(list(lane.blocks()))


def test_a_shorter_lane_goes_on_with_silence(lanes):
    (block,) = side_by_side([lane.blocks() for lane in filled(lanes, A, B)])
    assert block.shape == (2, A.size)
    assert not block[1, B.size :].any()


def test_lanes_are_mixed_and_those_that_hold_nothing_do_not_count(lanes):
    both = whole(mixed(filled(lanes, A, B, SILENCE), lanes[3])[0])
    assert np.allclose(both[: B.size], (A[: B.size] + B) / 2)
    assert mixed([lanes[0], lanes[2]], lanes[3]) == (lanes[0], 0)


@pytest.mark.parametrize("copy", [A, -A, 0.3 * A, A + 0.001 * hiss(3)], ids=["same", "inverted", "faint", "noisy"])
def test_the_same_sound_in_two_channels_is_one_recording(lanes, copy):
    spooled = separated(filled(lanes, A, copy.astype(np.float32)))
    assert (spooled.lanes, spooled.channels) == ((lanes[0],), ())
    assert spooled.remarks == ("channel 2 holds the same sound as channel 1",)


def test_channels_keep_their_numbers_where_others_are_silent_or_the_same(lanes):
    filled(lanes, SILENCE, A, B, A)
    assert copies(lanes) == {3: 1}
    spooled = separated(lanes)
    assert spooled.channels == (2, 3)
    assert spooled.remarks == ("channel 1 is silent", "channel 4 holds the same sound as channel 2")


def test_each_channel_is_brought_to_the_level_of_speech(lanes):
    made = np.concatenate(list(interleaved(filled(lanes, A, 0.01 * A)))) / 32767
    assert made.shape == (A.size, 2)
    assert np.sqrt(np.square(made).mean(axis=0)) == pytest.approx([0.0562, 0.0562], rel=0.01)
