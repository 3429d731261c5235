"""Several channels become one without losing what any of them holds."""

import numpy as np
import pytest

from dropscribe.core.audio import SAMPLE_RATE
from dropscribe.worker.preparing.channels import HALF, OffsetFilter, downmix
from tests.sounds import hiss
from tests.tones import buzz


def voice(seconds: float, pitch: float = 110.0) -> np.ndarray:
    return buzz(pitch, round(seconds * SAMPLE_RATE), 0)


@pytest.mark.parametrize("sizes", [[1], [HALF], [2 * HALF + 1] * 3, [24_000, 7, 24_000], [5] * 400])
def test_an_offset_is_gone_however_the_stream_is_cut_and_no_sample_is_lost(sizes):
    offset = OffsetFilter()
    blocks = [offset.take(np.full((2, size), [[0.3], [-0.1]], np.float32)) for size in sizes] + [offset.flush()]
    whole = np.concatenate(blocks, axis=1)
    assert whole.shape == (2, sum(sizes))
    assert np.abs(whole).max() < 1e-6


def test_voices_stay_as_they_are_without_an_offset():
    offset, sound = OffsetFilter(), voice(2)[None]
    filtered = np.concatenate([offset.take(sound[:, :9000]), offset.take(sound[:, 9000:]), offset.flush()], axis=1)
    assert np.square(filtered - sound).mean() < 0.05 * np.square(sound).mean()


def test_unrelated_channels_are_mixed():
    block = np.stack([voice(1), 0.1 * hiss(1)]).astype(np.float32)
    mono, inverted = downmix(block)
    assert inverted == 0
    assert np.allclose(mono[0], block.mean(axis=0))


@pytest.mark.parametrize("silent", [1, 5])
def test_a_voice_in_one_of_several_channels_is_mixed_and_no_inversion(silent):
    block = np.concatenate((voice(1)[None], np.zeros((silent, SAMPLE_RATE), np.float32)))
    mono, inverted = downmix(block)
    assert inverted == 0
    assert np.allclose(mono[0], block.mean(axis=0))


def test_silence_is_no_inversion():
    assert downmix(np.zeros((2, 1000), np.float32))[1] == 0
    assert downmix(np.zeros((2, 0), np.float32))[0].shape == (1, 0)


def test_two_people_of_whom_one_is_inverted_are_both_heard():
    first, second = voice(1), voice(1, 190.0)
    block = np.stack([np.append(first, second), np.append(-first, second)])
    mono, inverted = downmix(block)
    assert inverted == pytest.approx(1, abs=0.5)
    assert np.square(mono - block[0]).mean() < 0.01 * np.square(block[0]).mean()
