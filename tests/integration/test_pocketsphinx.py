"""The real recognizer on real audio: what it hears, what it does not, and how it stops."""

from __future__ import annotations

import threading
from itertools import pairwise
from pathlib import Path

import av
import jiwer
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.wer import normalize
from dropscribe.core.errors import ModelUnavailableError
from dropscribe.core.settings import Settings
from dropscribe.core.types import FinishReason, RawTranscript
from dropscribe.models import registry
from dropscribe.models.base import SAMPLE_RATE, Audio, Transcriber, TranscribeRequest
from dropscribe.models.pocketsphinx import transcriber as engine
from tests.conftest import SAMPLES

FRAMES = st.lists(st.tuples(st.booleans(), st.integers(1, 1500)), max_size=8).map(
    lambda runs: [flag for flag, count in runs for _ in range(count)]
)


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
def recognizer() -> Transcriber:
    return registry.create("pocketsphinx", Settings())


@pytest.fixture(scope="module")
def meeting() -> Audio:
    return load_audio(SAMPLES / "meeting.wav")


@pytest.fixture(scope="module")
def transcript(recognizer: Transcriber, meeting: Audio) -> RawTranscript:
    return recognizer.transcribe(meeting, TranscribeRequest())


def test_a_clear_recording_is_read_nearly_without_error(transcript: RawTranscript) -> None:
    reference = (SAMPLES / "references" / "meeting.txt").read_text(encoding="utf-8")
    assert jiwer.wer(normalize(reference), normalize(text_of(transcript))) <= 0.1
    assert transcript.ended is FinishReason.COMPLETE


def test_segments_are_in_order_within_the_chunk_and_break_at_pauses(transcript: RawTranscript, meeting: Audio) -> None:
    segments = transcript.segments
    assert len(segments) == 3  # sentences
    assert segments[0].start >= 0
    assert segments[-1].end <= len(meeting) / SAMPLE_RATE
    assert all(segment.start < segment.end for segment in segments)
    assert all(earlier.end < later.start for earlier, later in pairwise(segments))


def test_it_names_no_speaker_and_tells_how_sure_it_is(transcript: RawTranscript) -> None:
    assert {segment.speaker for segment in transcript.segments} == {None}
    assert all(0 < (segment.confidence or 0) <= 1 for segment in transcript.segments)


def test_silences_noises_and_marks_of_pronunciation_are_no_words(transcript: RawTranscript) -> None:
    assert not set("<>[]()+") & set(text_of(transcript))


def test_the_same_chunk_reads_the_same_again(
    recognizer: Transcriber, meeting: Audio, transcript: RawTranscript
) -> None:
    hiss = np.random.default_rng(0).normal(0, 0.05, 2 * SAMPLE_RATE).astype(np.float32)
    recognizer.transcribe(hiss, TranscribeRequest())  # of which nothing may be remembered
    assert recognizer.transcribe(meeting, TranscribeRequest()).segments == transcript.segments


def test_progress_rises_to_the_chunks_length(recognizer: Transcriber, meeting: Audio) -> None:
    seen: list[float] = []
    recognizer.transcribe(meeting, TranscribeRequest(progress=seen.append))
    assert len(seen) > 10
    assert seen == sorted(seen)
    assert seen[-1] == len(meeting) / SAMPLE_RATE


def test_cancelling_stops_it_within_a_block(recognizer: Transcriber, meeting: Audio) -> None:
    seen: list[float] = []
    cancel = threading.Event()

    def cancel_at_three_seconds(read: float) -> None:
        seen.append(read)
        if read >= 3:
            cancel.set()

    request = TranscribeRequest(cancel=cancel, progress=cancel_at_three_seconds)
    answer = recognizer.transcribe(meeting, request)
    assert answer.ended is FinishReason.CANCELLED
    assert sum(read >= 3 for read in seen) == 1
    assert text_of(answer).startswith("the meeting will start")


def test_it_works_on_after_a_cancelled_chunk(
    recognizer: Transcriber, meeting: Audio, transcript: RawTranscript
) -> None:
    request = TranscribeRequest()
    request.cancel.set()
    assert recognizer.transcribe(meeting, request).segments == ()
    assert recognizer.transcribe(meeting, TranscribeRequest()).segments == transcript.segments


@pytest.mark.parametrize("samples", [0, 1, 500, 10 * SAMPLE_RATE])
def test_silence_gives_no_segments(recognizer: Transcriber, samples: int) -> None:
    answer = recognizer.transcribe(np.zeros(samples, np.float32), TranscribeRequest())
    assert (answer.segments, answer.ended) == ((), FinishReason.COMPLETE)


def test_the_famous_sentence_is_heard(recognizer: Transcriber, audio: Path) -> None:
    heard = recognizer.transcribe(load_audio(audio / "jfk.flac"), TranscribeRequest())
    assert "country can do for you" in text_of(heard)


def test_it_says_what_it_is(recognizer: Transcriber) -> None:
    info = recognizer.info
    assert (info.engine, info.model, info.precision, info.slots) == ("pocketsphinx", "en-us", "fp32", 1)
    assert info.notice == registry.SPECS["pocketsphinx"].notice


def test_a_precision_that_it_does_not_have_is_refused() -> None:
    with pytest.raises(ModelUnavailableError, match="set precision to auto or fp32"):
        registry.create("pocketsphinx", Settings(precision="int8"))


@given(speech=FRAMES)
def test_utterances_hold_all_speech_and_are_short_and_apart(speech: list[bool]) -> None:
    spans = engine.utterances(speech, [float(index % 7) for index in range(len(speech))])
    covered = np.zeros(len(speech) * engine.FRAME, bool)
    for span in spans:
        assert not covered[span].any()
        covered[span] = True
        assert 0 < span.stop - span.start <= engine.MAX_UTTERANCE * engine.MODEL_RATE
    assert all(covered[index * engine.FRAME] for index, flag in enumerate(speech) if flag)
    assert [s.start for s in spans] == sorted(s.start for s in spans)


@given(lengths=st.lists(st.integers(1, 240_000), max_size=20))
def test_groups_keep_every_utterance_in_order(lengths: list[int]) -> None:
    spans = [slice(index * 1_000_000, index * 1_000_000 + length) for index, length in enumerate(lengths)]
    groups = list(engine.groups(spans))
    assert [span for group in groups for span in group] == spans
    enough = engine.GROUP_SECONDS * engine.MODEL_RATE
    assert all(sum(s.stop - s.start for s in group) >= enough for group in groups[:-1])


@given(steps=st.lists(st.tuples(st.floats(0, 2), st.floats(0.05, 1)), max_size=80), cut=st.floats(0, 1))
def test_segments_keep_every_word_and_stay_within_limits(steps: list[tuple[float, float]], cut: float) -> None:
    words, now = [], 0.0
    for index, (gap, length) in enumerate(steps):
        words.append(engine.PocketsphinxWord(f"w{index}", now + gap, now + gap + length, 0.5))
        now += gap + length
    duration = now * cut  # the last frame of a decoder may lie beyond the chunk's end
    segments = engine.segments(words, duration)
    assert " ".join(s.text for s in segments).split() == [word.text for word in words]
    assert all(0 <= s.start <= s.end <= duration for s in segments)
    assert all(s.end - s.start <= engine.MAX_SEGMENT + 0.01 for s in segments)  # times are rounded
