"""Speech is found where it is, and nowhere else."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from dropscribe.admin.check import checks
from dropscribe.core.errors import ModelUnavailableError, SpoolError
from dropscribe.core.installing import how_to_install
from dropscribe.core.settings import Settings
from dropscribe.core.types import Span
from dropscribe.worker import service
from dropscribe.worker.preparing import decode, vad
from dropscribe.worker.preparing.vad import ENERGY, Detector, detect, hysteresis, load, smooth
from tests import sounds
from tests.conftest import SAMPLES
from tests.sounds import RATE

FRAME = 0.03

SILERO = load("silero")
both = pytest.mark.parametrize("detector", [SILERO, ENERGY], ids=lambda detector: detector.name)


def flags(pattern: str) -> np.ndarray:
    """`#` is speech; a tenth of a second each."""
    return np.array([mark == "#" for mark in pattern])


def write(path: Path, samples: np.ndarray) -> Path:
    """As the spool holds it: at -25 dBFS, whatever the samples' own level."""
    scaled = samples / max(float(np.sqrt(np.sum(samples**2) / max(samples.size, 1))), 1e-9) * 10 ** (-25 / 20)
    soundfile.write(path, scaled.clip(-1, 1), RATE, format="FLAC", subtype="PCM_16")
    return path


def spoken(name: str, folder: Path) -> np.ndarray:
    """One of the samples as it comes from the decoder."""
    decode.decode(SAMPLES / name, folder / "spoken.flac", decode.DecodeLimits(), label=name)
    return soundfile.read(folder / "spoken.flac")[0]


def total(spans: tuple[Span, ...]) -> float:
    return sum(span.duration for span in spans)


def noise(seconds: float) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(round(seconds * RATE))


def beeps(*spans: tuple[float, float], seconds: float) -> np.ndarray:
    """Tones 40 dB above faint noise."""
    clock = np.arange(round(seconds * RATE)) / RATE
    on = sum(((clock >= start) & (clock < end)).astype(float) for start, end in spans)
    return np.sin(2 * np.pi * 440 * clock) * on + 0.007 * noise(seconds)


def test_short_pauses_are_bridged_and_speech_is_padded():
    assert smooth(flags("..........#####..####.........."), 0.1) == (Span(pytest.approx(0.8), pytest.approx(2.3)),)


def test_a_pause_of_the_least_length_stays_unless_the_padding_fills_it():
    assert len(smooth(flags("#####...#####"), 0.1, pad=0)) == 2
    assert len(smooth(flags("#####...#####"), 0.1, pad=0.2)) == 1
    assert len(smooth(flags("#####.....#####"), 0.1, pad=0.2)) == 2


def test_a_click_is_dropped_and_a_syllable_kept():
    click = np.array([False] * 20 + [True] * 3 + [False] * 20)
    assert smooth(click, FRAME, burst=0.1) == ()
    assert len(smooth(click, FRAME, burst=0.09)) == 1


def test_spans_end_where_the_recording_ends():
    assert smooth(flags("#" * 10), 0.1, duration=0.95) == (Span(0.0, 0.95),)


def test_no_flags_are_no_speech():
    assert smooth(flags(""), 0.1) == ()
    assert smooth(flags("....."), 0.1) == ()


@given(arrays(np.bool_, st.integers(0, 300)), st.floats(0, 0.5), st.floats(0, 0.5), st.floats(0, 0.5))
def test_spans_are_in_order_apart_and_within_the_recording(given_flags, gap, burst, pad):
    duration = given_flags.size * FRAME
    spans = smooth(given_flags, FRAME, gap=gap, burst=burst, pad=pad)
    times = [time for span in spans for time in (span.start, span.end)]
    assert all(0 <= time <= duration for time in times)
    assert all(left < right for left, right in pairwise(times))


@given(arrays(np.bool_, st.integers(1, 300)))
def test_without_a_least_burst_no_flagged_frame_is_lost(given_flags):
    spans = smooth(given_flags, FRAME, burst=0)
    for middle in (np.flatnonzero(given_flags) + 0.5) * FRAME:
        assert any(span.start <= middle <= span.end for span in spans)


def test_hysteresis_holds_between_its_thresholds():
    values = np.array([0.4, 0.6, 0.4, 0.3, 0.4, 0.5, 0.35], np.float32)
    assert hysteresis(values, 0.5, 0.35).tolist() == [False, True, True, False, False, True, True]


def test_energy_finds_what_stands_out_of_the_noise(tmp_path):
    path = write(tmp_path / "a.flac", beeps((2, 4), (6, 9), seconds=12))
    found = detect(path, ENERGY)
    assert found.detector == "energy"
    expected = [(1.8, 4.2), (5.8, 9.2)]
    assert [(span.start, span.end) for span in found.spans] == [pytest.approx(e, abs=0.07) for e in expected]


def test_energy_follows_a_noise_floor_that_changes(tmp_path):
    samples = beeps((2, 4), (130, 135), seconds=150)
    samples[70 * RATE :] += 0.05 * noise(80)  # 17 dB more noise in the second half
    spans = detect(write(tmp_path / "a.flac", samples), ENERGY).spans
    assert any(span.start < 2.1 and span.end > 3.9 for span in spans)
    assert any(span.start < 130.1 and 134.9 < span.end < 136 for span in spans)
    assert not any(span.start < 120 and span.end > 100 for span in spans)


@both
def test_silence_is_no_speech(detector: Detector, tmp_path):
    assert detect(write(tmp_path / "a.flac", np.zeros(5 * RATE)), detector).spans == ()


@both
def test_steady_noise_is_no_speech(detector: Detector, tmp_path):
    assert detect(write(tmp_path / "a.flac", noise(20)), detector).spans == ()


@both
@pytest.mark.parametrize("samples", [1, 100, RATE // 2])
def test_a_recording_of_next_to_nothing_has_no_speech(detector: Detector, samples, tmp_path):
    assert detect(write(tmp_path / "a.flac", np.zeros(samples)), detector).spans == ()


@both
def test_ten_read_sentences_are_found_between_their_pauses(detector: Detector, audio):
    found = detect(audio / "harvard-8khz.wav", detector)
    assert 10 <= len(found.spans) <= 12
    assert 26 < sum(span.duration for span in found.spans) < 31
    assert found.spans[0].start == pytest.approx(1.05, abs=0.3)
    assert found.spans[-1].end == pytest.approx(35.05, abs=0.3)


@both
def test_continuous_speech_is_hardly_ever_missed(detector: Detector, audio):
    spans = detect(audio / "austen-0870.wav", detector).spans
    assert sum(span.duration for span in spans) > 0.9 * soundfile.info(audio / "austen-0870.wav").duration


@pytest.mark.parametrize("kind", sounds.KINDS)
def test_what_is_no_speech_is_not_taken_for_it(kind, tmp_path):
    assert detect(write(tmp_path / "a.flac", sounds.KINDS[kind](45)), SILERO).spans == ()


@pytest.mark.parametrize("nuisance", sounds.NUISANCES)
@pytest.mark.parametrize("name", ["meeting.wav", "hotel.m4a", "news.mp3", "weather.flac"])
def test_speech_is_found_behind_a_hum_or_an_offset_as_loud_as_itself(name, nuisance, tmp_path):
    clean = spoken(name, tmp_path)
    added = sounds.NUISANCES[nuisance](clean.size) * np.sqrt(np.mean(clean**2))
    wanted = total(detect(write(tmp_path / "a.flac", clean), SILERO).spans)
    found = total(detect(write(tmp_path / "b.flac", clean + added), SILERO).spans)
    assert wanted > 0.8 * clean.size / RATE
    assert found == pytest.approx(wanted, rel=0.05)


def test_real_speech_is_found_behind_a_hum_as_loud_as_itself(audio, tmp_path):
    wanted = total(detect(audio / "harvard-8khz.wav", SILERO).spans)
    clean, rate = soundfile.read(audio / "harvard-8khz.wav")
    hum = np.sin(2 * np.pi * 50 * np.arange(clean.size) / rate) * np.sqrt(2 * np.mean(clean**2))
    soundfile.write(tmp_path / "a.wav", clean + hum, rate)
    assert total(detect(tmp_path / "a.wav", SILERO).spans) == pytest.approx(wanted, rel=0.05)


def test_blocks_do_not_show_in_what_is_found(tmp_path, monkeypatch):
    path = write(tmp_path / "a.flac", np.tile(spoken("meeting.wav", tmp_path), 3))
    whole = detect(path, SILERO).spans
    monkeypatch.setattr(vad, "READ_SECONDS", 1)
    assert [(span.start, span.end) for span in detect(path, SILERO).spans] == [
        (pytest.approx(span.start, abs=0.04), pytest.approx(span.end, abs=0.04)) for span in whole
    ]


def test_digital_silence_after_sound_is_heard_in_numbers_that_are_quickly_computed(tmp_path):
    path = write(tmp_path / "a.flac", np.concatenate([noise(1), np.zeros(2 * RATE)]))
    with soundfile.SoundFile(path) as sound:
        heard = np.concatenate([*vad._filtered(sound, lambda: None, 0)])
    assert not ((heard != 0) & (np.abs(heard) < np.finfo(np.float32).tiny)).any()


def test_a_detector_is_loaded_once():
    assert load("silero") is load("silero")


def test_a_cpu_worker_without_the_weights_does_not_start_and_names_what_to_install(monkeypatch):
    monkeypatch.setattr(vad, "SILERO_WEIGHTS", "of_another_version.onnx")
    load.cache_clear()
    with pytest.raises(ModelUnavailableError, match=r"of_another_version\.onnx.*pip install -c .*\[cpu\]"):
        service.run(Settings(), "cpu")
    assert how_to_install("cpu") in checks.speech_detector(Settings()).remedy


@pytest.mark.parametrize("content", [None, b"no sound at all"])
def test_an_unreadable_file_names_itself(content, tmp_path):
    path = tmp_path / "broken.flac"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SpoolError, match=r"broken\.flac"):
        detect(path, ENERGY)
