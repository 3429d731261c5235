"""Whisper base on real audio: what it hears, what it does not, and how it stops."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import av
import jiwer
import numpy as np
import pytest

pytest.importorskip("faster_whisper")

from bench.wer import normalize
from dropscribe.core.audio import SAMPLE_RATE
from dropscribe.core.settings import Settings
from dropscribe.core.types import FinishReason, RawTranscript
from dropscribe.models import registry
from dropscribe.models.base import Audio, Transcriber, TranscribeRequest
from tests.conftest import SAMPLES


def load_audio(path: Path) -> Audio:
    """A recording as the spool holds it: 24 kHz mono at -25 dBFS."""
    resampler = av.AudioResampler("flt", "mono", SAMPLE_RATE)
    with av.open(str(path)) as container:
        frames = [*container.decode(audio=0), None]
        samples = np.concatenate([part.to_ndarray()[0] for f in frames for part in resampler.resample(f)])
    scaled = samples * 10 ** (-25 / 20) / np.sqrt(np.mean(np.square(samples)))
    return np.asarray(scaled, np.float32)


def text_of(transcript: RawTranscript) -> str:
    return " ".join(segment.text for segment in transcript.segments)


@pytest.fixture(scope="module")
def recognizer(whisper_base: Path) -> Iterator[Transcriber]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(whisper_base / "hub"))
        patch.setenv("HF_HOME", str(whisper_base))
        patch.setenv("CUDA_VISIBLE_DEVICES", "")
        engine = registry.create("whisper", Settings(model="base"))
        yield engine
        engine.close()


@pytest.fixture(scope="module")
def meeting() -> Audio:
    return load_audio(SAMPLES / "meeting.wav")


@pytest.fixture(scope="module")
def transcript(recognizer: Transcriber, meeting: Audio) -> RawTranscript:
    return recognizer.transcribe(meeting, TranscribeRequest())


@pytest.fixture(scope="module")
def two_windows(meeting: Audio) -> Audio:
    """More than the 30 s that the model hears at once, with words in each window."""
    return np.concatenate([meeting, np.zeros(30 * SAMPLE_RATE - len(meeting), np.float32), meeting])


def test_a_clear_recording_is_read_nearly_without_error(transcript: RawTranscript) -> None:
    reference = (SAMPLES / "references" / "meeting.txt").read_text(encoding="utf-8")
    assert jiwer.wer(normalize(reference), normalize(text_of(transcript))) <= 0.1
    assert (transcript.ended, transcript.language) == (FinishReason.COMPLETE, "en")


def test_segments_are_in_order_within_the_chunk_and_break_at_pauses(transcript: RawTranscript, meeting: Audio) -> None:
    segments = transcript.segments
    assert len(segments) >= 2
    assert all(segment.text.endswith(".") for segment in segments)  # three sentences with pauses between
    assert segments[0].start >= 0
    assert segments[-1].end <= len(meeting) / SAMPLE_RATE
    assert all(segment.start < segment.end for segment in segments)
    assert all(earlier.end < later.start for earlier, later in pairwise(segments))


def test_it_names_no_speaker_and_tells_how_sure_it_is(transcript: RawTranscript) -> None:
    assert {segment.speaker for segment in transcript.segments} == {None}
    assert all(0 < (segment.confidence or 0) <= 1 for segment in transcript.segments)


def test_marks_of_time_and_language_are_no_words(transcript: RawTranscript) -> None:
    assert not set("<>|[]") & set(text_of(transcript))


def test_cancelling_stops_it_within_a_window_and_the_next_chunk_is_read_as_if_nothing_had_been(
    recognizer: Transcriber, two_windows: Audio, meeting: Audio, transcript: RawTranscript
) -> None:
    seen: list[float] = []
    cancel = threading.Event()

    def cancel_at_three_seconds(read: float) -> None:
        seen.append(read)
        if read >= 3:
            cancel.set()

    request = TranscribeRequest(cancel=cancel, progress=cancel_at_three_seconds)
    answer = recognizer.transcribe(two_windows, request)
    assert answer.ended is FinishReason.CANCELLED
    assert seen == sorted(seen)
    assert sum(read >= 3 for read in seen) == 1
    assert "meeting will start" in text_of(answer), "what was read before stays"
    assert recognizer.transcribe(two_windows, request).segments == (), "it was cancelled before it began"
    assert recognizer.transcribe(meeting, TranscribeRequest()).segments == transcript.segments


@pytest.mark.parametrize("samples", [0, 1, 10 * SAMPLE_RATE])
def test_silence_gives_no_segments(recognizer: Transcriber, samples: int) -> None:
    answer = recognizer.transcribe(np.zeros(samples, np.float32), TranscribeRequest())
    assert (answer.segments, answer.ended) == ((), FinishReason.COMPLETE)


def test_it_says_what_it_is(recognizer: Transcriber) -> None:
    info = recognizer.info
    assert (info.engine, info.precision, info.slots) == ("whisper", "int8", 1)
    assert info.model == "Systran/faster-whisper-base@ebe41f70"
    assert info.notice == registry.choose(Settings(engine="whisper", model="base")).sentence
