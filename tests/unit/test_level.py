"""The level is that of the speech, whatever clicks there are."""

import numpy as np
import pytest

from dropscribe.core.audio import SAMPLE_RATE
from dropscribe.worker.preparing.level import Level
from tests import sounds
from tests.tones import PITCHES, buzz


def measured(samples: np.ndarray) -> Level:
    level = Level()
    for start in range(0, samples.size, SAMPLE_RATE):
        level.add(samples[start : start + SAMPLE_RATE].astype(np.float32))
    return level


@pytest.mark.parametrize("pitch", PITCHES)
def test_speech_holds_nothing_that_is_taken_for_a_click(pitch):
    speech = buzz(pitch, 5 * SAMPLE_RATE, 0)
    level = measured(speech)
    assert level.rms == pytest.approx(float(np.sqrt(np.mean(np.square(speech)))), rel=0.01)
    assert level.loudest == level.peak


def test_what_consists_of_clicks_is_raised_as_its_noise_and_its_clicks_do_not_clip():
    level = measured(sounds.clicks(5))
    assert level.rms == pytest.approx(sounds.FAINT, rel=0.2)
    assert level.ceiling < 1


def test_clicks_in_digital_silence_are_given_room():
    samples = np.zeros(SAMPLE_RATE)
    samples[9000] = 0.5
    level = measured(samples)
    assert (level.is_silent, level.ceiling) == (False, 1.0)
    assert level.gain <= 100


def test_digital_silence_is_left_alone():
    level = measured(np.zeros(100))
    assert (level.is_silent, level.gain) == (True, 1.0)
