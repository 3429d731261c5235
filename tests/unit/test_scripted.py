"""The scripted transcriber does what its script says, no more and no less."""

from __future__ import annotations

import json
import multiprocessing
import signal
import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dropscribe.core.audio import SAMPLE_RATE
from dropscribe.core.errors import ModelError, ModelFatalError, SettingsError
from dropscribe.core.settings import Settings
from dropscribe.core.types import FinishReason, RawTranscript
from dropscribe.models.base import Audio, TranscribeRequest
from dropscribe.models.scripted.settings import ScriptedSettings
from dropscribe.models.scripted.transcriber import Script, Scripted, parse


def noise(seconds: float, seed: int = 0) -> Audio:
    generator = np.random.default_rng(seed)
    return generator.uniform(-0.1, 0.1, round(seconds * SAMPLE_RATE)).astype(np.float32)


def read(audio: Audio, context: str = "", **script: object) -> RawTranscript:
    return load(**script).transcribe(audio, TranscribeRequest(context=context))


def load(**script: object) -> Scripted:
    return Scripted.load(Settings().having(ScriptedSettings(script=json.dumps(script))))


def _transcribe_in_child(script: str) -> None:
    Scripted(parse(script)).transcribe(noise(1), TranscribeRequest())


def exit_code_of(script: dict[str, object]) -> int | None:
    child = multiprocessing.get_context("spawn").Process(target=_transcribe_in_child, args=(json.dumps(script),))
    child.start()
    child.join()
    return child.exitcode


def test_the_same_audio_gives_the_same_segments() -> None:
    assert read(noise(12)).segments == read(noise(12)).segments


def test_other_audio_gives_other_words() -> None:
    assert read(noise(5, seed=1)).segments[0].text != read(noise(5, seed=2)).segments[0].text


def test_segments_of_five_seconds_alternate_between_two_speakers() -> None:
    segments = read(noise(12)).segments
    assert [(s.start, s.end, s.speaker) for s in segments] == [(0, 5, 0), (5, 10, 1), (10, 12, 0)]


@given(length=st.integers(0, 500_000), seconds=st.floats(0.01, 30), speakers=st.integers(1, 4))
def test_segments_cover_the_chunk_without_gap_or_overlap(length: int, seconds: float, speakers: int) -> None:
    scripted = Scripted(Script(segment_seconds=seconds, speakers=speakers, text="word"))
    segments = scripted.transcribe(np.zeros(length, np.float32), TranscribeRequest()).segments
    edges = [0.0, *(s.end for s in segments)]
    assert [s.start for s in segments] == edges[:-1]
    assert edges[-1] == length / SAMPLE_RATE
    assert {s.speaker for s in segments} <= set(range(speakers))


def test_the_words_can_be_given() -> None:
    assert [s.text for s in read(noise(6), text="hello there").segments] == ["hello there"] * 2


def test_it_takes_the_time_it_is_told_and_reports_progress_that_rises() -> None:
    seen: list[float] = []
    scripted = load(seconds=0.1, realtime_factor=100)
    answer = scripted.transcribe(noise(10), TranscribeRequest(progress=seen.append))
    assert answer.timings["scripted"] >= 0.2
    assert len(seen) >= 3
    assert seen == sorted(seen)
    assert seen[-1] == 10


@pytest.mark.parametrize("script", [{"seconds": 3600}, {"behave": "hang"}])
def test_cancelling_ends_it(script: dict[str, object]) -> None:
    request = TranscribeRequest()
    threading.Timer(0.1, request.cancel.set).start()
    answer = load(**script).transcribe(noise(1), request)
    assert answer == RawTranscript((), FinishReason.CANCELLED)


def test_silent_hears_nothing() -> None:
    assert read(noise(6), behave="silent").segments == ()


def test_a_loop_says_its_last_words_over_and_over() -> None:
    good, looping = read(noise(6)), read(noise(6), behave="loop")
    assert looping.ended is FinishReason.LOOP
    assert looping.segments[0] == good.segments[0]
    assert looping.segments[1].text.count(good.segments[1].text) >= 12


def test_truncate_stops_half_way() -> None:
    whole, half = read(noise(20)), read(noise(20), behave="truncate")
    assert half.ended is FinishReason.TRUNCATED
    assert half.segments == whole.segments[:2]


def test_errors_are_raised_as_told() -> None:
    with pytest.raises(ModelFatalError):
        read(noise(1), behave="fatal")
    with pytest.raises(ModelError) as caught:
        read(noise(1), behave="error")
    assert not isinstance(caught.value, ModelFatalError)


def test_exit_and_segfault_end_the_process() -> None:
    assert exit_code_of({"behave": "exit"}) == 1
    assert exit_code_of({"behave": "segfault"}) == -signal.SIGSEGV
    assert exit_code_of({"behave": "speak"}) == 0


def test_only_a_poisoned_context_misbehaves() -> None:
    assert read(noise(1), context="good", behave="silent", when_context="poison").segments
    assert not read(noise(1), context="a poisoned one", behave="silent", when_context="poison").segments


def test_only_longer_chunks_misbehave() -> None:
    assert read(noise(2), behave="silent", when_longer_than=2).segments
    assert not read(noise(2.1), behave="silent", when_longer_than=2).segments


def test_only_the_first_chunks_that_qualify_misbehave() -> None:
    scripted = load(behave="silent", when_longer_than=2, first_n=2)
    heard = [bool(scripted.transcribe(noise(s), TranscribeRequest()).segments) for s in (1, 3, 1, 3, 3)]
    assert heard == [True, False, True, False, True]


def test_one_misbehaviour_among_all_processes_is_marked_by_a_file(tmp_path: Path) -> None:
    script = {"behave": "exit", "once": str(tmp_path / "done")}
    assert [exit_code_of(script), exit_code_of(script)] == [1, 0]


def test_slots_come_from_the_settings() -> None:
    assert Scripted.load(Settings(model_slots=3)).info.slots == 3


def test_an_empty_script_is_the_default() -> None:
    assert parse("") == parse("{}") == Script()


def test_a_script_can_lie_in_a_file(tmp_path: Path) -> None:
    path = tmp_path / "script.json"
    path.write_text('{"text": "hi", "first_n": 2}', encoding="utf-8")
    assert parse(f"@{path}") == Script(text="hi", first_n=2)


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ('{"behav": "loop"}', "unknown key behav .* did you mean behave"),
        ('{"xyz": 1}', "unknown key xyz .* the keys are text, "),
        ('{"behave": "dance"}', "behave in the script: input should be 'speak'"),
        ('{"seconds": -1}', "seconds in the script: .*greater than or equal to 0"),
        ('{"seconds": "soon"}', "seconds in the script: .*number"),
        ("[1, 2]", "not a JSON object"),
        ("{", "cannot read the script"),
        ("@/nonexistent/script.json", "No such file"),
    ],
)
def test_a_wrong_script_is_refused_with_its_cause(script: str, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        parse(script)


def tones(*pitches: float, seconds: float = 2.0, pause: float = 1.0) -> Audio:
    """A tone for each pitch in Hz, a pause after each."""
    time_line = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    silence = np.zeros(round(pause * SAMPLE_RATE))
    return np.concatenate(
        [part for hertz in pitches for part in (0.1 * np.sin(2 * np.pi * hertz * time_line), silence)]
    ).astype(np.float32)


def test_a_script_that_hears_reads_the_same_sounds_alike_in_any_window() -> None:
    audio = tones(200, 320, 200, 450)
    model = Scripted(Script(hears=True))
    whole = model.transcribe(audio, TranscribeRequest()).segments
    assert [segment.speaker for segment in whole] == [0, 1, 0, 2]
    assert [round(segment.start) for segment in whole] == [0, 3, 6, 9]
    late = model.transcribe(audio[round(2.7 * SAMPLE_RATE) :], TranscribeRequest()).segments
    assert [segment.text for segment in late] == [segment.text for segment in whole[1:]]
    assert [segment.speaker for segment in late] == [0, 1, 2], "numbered by first appearance in the window"
    assert model.transcribe(np.zeros(1000, dtype=np.float32), TranscribeRequest()).segments == ()
