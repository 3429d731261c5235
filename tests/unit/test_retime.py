"""Sound is put at its times: untouched where it only moves, resampled where a clock drifts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from dropscribe.core.audio import SAMPLE_RATE
from dropscribe.worker.preparing.retime import retimed
from dropscribe.worker.preparing.timeline import Piece


def tone(seconds: float, pitch: float) -> NDArray[np.float32]:
    return np.sin(2 * np.pi * pitch * np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE).astype(np.float32)


def heard(sound: NDArray[np.float32], pieces: Sequence[Piece]) -> NDArray[np.float32]:
    def read(start: int, end: int) -> NDArray[np.float32]:
        around = np.pad(sound, SAMPLE_RATE)
        return around[start + SAMPLE_RATE : end + SAMPLE_RATE]

    return np.concatenate([*retimed(read, sound.size, pieces), np.zeros(0, np.float32)])


def test_silence_stands_before_its_piece_and_the_sound_is_untouched() -> None:
    sound = tone(25, 440)
    out = heard(sound, [Piece(0, 12, 12), Piece(12, 25, 13, 14)])
    assert np.array_equal(
        out, np.concatenate([sound[: 12 * SAMPLE_RATE], np.zeros(14 * SAMPLE_RATE), sound[12 * SAMPLE_RATE :]])
    )


def test_samples_beyond_the_last_piece_are_heard_too() -> None:
    sound = tone(1, 440)
    assert np.array_equal(heard(sound, [Piece(0, 0.99, 0.99)]), sound)


@pytest.mark.parametrize("stretch", [0.91, 0.97, 1.0001, 1.03, 1.09])
@pytest.mark.parametrize("pitch", [200, 3000, 8000])
def test_stretched_sound_is_as_long_as_asked_and_as_clear_as_before(stretch: float, pitch: float) -> None:
    out = heard(tone(3, pitch), [Piece(0, 3, 3 * stretch)])
    assert out.size == round(3 * stretch * SAMPLE_RATE)
    moments = (np.arange(out.size) + 0.5) * (3 * SAMPLE_RATE / out.size) - 0.5
    off = (out - np.sin(2 * np.pi * pitch * moments / SAMPLE_RATE))[100:-100]
    assert np.sqrt(np.mean(off**2)) < 0.01


def test_stretched_pieces_follow_each_other_without_a_break() -> None:
    pieces = [Piece(start, start + 1, 1.03) for start in range(3)]
    parts, whole = heard(tone(3, 440), pieces), heard(tone(3, 440), [Piece(0, 3, 3.09)])
    assert np.abs(parts - whole).max() < 0.005


def test_rounding_of_many_pieces_does_not_add_up() -> None:
    pieces = [Piece(at / 7, (at + 1) / 7, 1 / 7 * 1.00011) for at in range(210)]
    assert heard(tone(30, 50), pieces).size == pytest.approx(30.0033 * SAMPLE_RATE, abs=1)


def test_no_sound_is_no_sound() -> None:
    assert heard(tone(0, 1), [Piece(0, 0, 0)]).size == 0
    assert heard(tone(0, 1), []).size == 0
