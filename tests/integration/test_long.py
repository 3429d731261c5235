"""A long recording in many chunks: read as if it were one, whatever fails on the way."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dropscribe.core.errors import ModelUnavailableError
from dropscribe.core.routing import MODEL_QUEUE
from dropscribe.core.types import JobState, RawTranscript, SpeakerNames
from dropscribe.models.scripted.transcriber import Script
from dropscribe.store import commands, queries, speakers
from dropscribe.store.events import events_of
from dropscribe.worker import cpu_tasks, model_tasks
from dropscribe.worker.runtime.encoder_loader import EncoderLoader
from tests import tones
from tests.e2e.harness import wait_until
from tests.integration.one_worker import MakeContext, admit, carry_through, queued, queued_stretches
from tests.tones import ToneEncoder

HEARS = Script(hears=True)
MINUTE = {"chunk_seconds": 60.0}
SCENE = {"chunk_seconds": 75.0}
BY_VOICE: dict[str, Any] = {"speaker_encoder": "campplus"}  # the double for tones stands in for it
NAMELESS = Script(hears=True, speakers=0)
# What a worker makes of audio and embeddings is the same on each database; the steps of the store have tests of theirs.
ON_SQLITE = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


@pytest.fixture
def talk(tmp_path: Path) -> Path:
    """Five minutes of four voices in turns."""
    (tmp_path / "inbox").mkdir()
    return tones.write(tmp_path / "inbox" / "talk.wav", tones.turns(300))


def document(recording: Path) -> Any:
    return json.loads(recording.with_suffix(".json").read_text())


def lines(transcript: Any) -> list[tuple[Any, ...]]:
    return [(round(s["start"], 2), round(s["end"], 2), s["speaker"], s["text"]) for s in transcript["segments"]]


def words(transcript: Any) -> list[str]:
    return [segment["text"] for segment in transcript["segments"]]


@pytest.fixture(scope="module")
def in_one_go() -> dict[str, list[tuple[Any, ...]]]:
    """What was read of recordings by their names; no store makes a difference to it."""
    return {}


Read = Callable[[Path], list[tuple[Any, ...]]]


@pytest.fixture
def read_in_one_go(make_context: MakeContext, in_one_go: dict[str, list[tuple[Any, ...]]]) -> Read:
    """What the model reads of a recording when nothing is cut."""

    def read(recording: Path) -> list[tuple[Any, ...]]:
        copy = recording.with_name("whole.wav")
        copy.write_bytes(recording.read_bytes())
        context = make_context(HEARS)
        job_id = admit(context, copy)
        assert carry_through(context, job_id).state is JobState.DONE
        with context.database.begin() as connection:  # so that the next job is no duplicate of it
            connection.exec_driver_sql("UPDATE jobs SET content_key = NULL")
        return lines(document(copy))

    return lambda recording: in_one_go.get(recording.name) or in_one_go.setdefault(recording.name, read(recording))


def kinds(context: Any, job_id: str) -> list[str]:
    return [event.kind for event in events_of(context.database, job_id)]


def test_chunks_make_the_same_transcript_as_the_whole(
    make_context: MakeContext, talk: Path, read_in_one_go: Read
) -> None:
    whole = read_in_one_go(talk)
    assert len(whole) > 50
    context = make_context(HEARS, **MINUTE, **BY_VOICE)  # not every voice is heard in every overlap
    job_id = admit(context, talk)
    job = carry_through(context, job_id)
    assert (job.state, job.reason, job.notes) == (JobState.DONE, "", [])
    assert kinds(context, job_id).count("transcribed") >= 6
    assert lines(document(talk)) == whole


@ON_SQLITE
def test_only_a_few_chunks_wait_at_once(make_context: MakeContext, talk: Path) -> None:
    context = make_context(HEARS, **MINUTE)
    job_id = admit(context, talk)
    cpu_tasks.prepare_job(context, job_id)
    for _ in range(3):
        first, *others = queued(context, job_id)
        assert len(others) == 1, "two, where no worker is known"
        model_tasks.transcribe_chunk(context, first)


@ON_SQLITE
def test_a_worker_goes_on_with_the_windows_of_a_recording_without_a_message_for_each(
    make_context: MakeContext, talk: Path
) -> None:
    context = make_context(HEARS, **MINUTE)
    job_id = admit(context, talk)
    cpu_tasks.prepare_job(context, job_id)
    sent = context.doorbell.depth(MODEL_QUEUE)
    context.goes_on.set()
    model_tasks.transcribe_chunk(context, queued(context, job_id)[0])
    assert queries.job(context.database, job_id).state is JobState.FINISHING
    assert kinds(context, job_id).count("transcribed") >= 6
    assert context.doorbell.depth(MODEL_QUEUE) == sent


@ON_SQLITE
def test_a_worker_that_is_told_to_stop_claims_nothing_more(
    make_context: MakeContext, talk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = make_context(HEARS, **MINUTE)
    job_id = admit(context, talk)
    cpu_tasks.prepare_job(context, job_id)
    context.goes_on.set()
    assert context.model
    transcribe = context.model.transcribe

    def told_to_stop(*arguments: Any) -> RawTranscript:
        context.goes_on.clear()
        return transcribe(*arguments)

    monkeypatch.setattr(context.model, "transcribe", told_to_stop)
    model_tasks.transcribe_chunk(context, queued(context, job_id)[0])
    assert kinds(context, job_id).count("transcribing") == 1


def test_a_chunk_on_which_the_model_breaks_off_is_read_in_halves(
    make_context: MakeContext, talk: Path, read_in_one_go: Read
) -> None:
    whole = read_in_one_go(talk)
    context = make_context(Script(hears=True, behave="truncate", when_longer_than=35), **MINUTE)
    job_id = admit(context, talk)
    assert carry_through(context, job_id).state is JobState.DONE
    assert "split" in kinds(context, job_id)
    assert words(document(talk)) == [line[3] for line in whole]


@ON_SQLITE
def test_what_fails_down_to_the_smallest_length_is_kept_and_named(
    make_context: MakeContext, talk: Path, read_in_one_go: Read
) -> None:
    whole = read_in_one_go(talk)
    context = make_context(Script(hears=True, behave="truncate", when_longer_than=12), **MINUTE)
    job = carry_through(context, admit(context, talk))
    assert job.state is JobState.SUSPECT
    assert "breaks off" in job.reason
    assert job.missing
    got = document(talk)
    assert 0 < len(got["segments"]) < len(whole)
    known = [*got["segments"], *got["missing"]]
    for start, end, _, text in whole:
        told = sum(max(0.0, min(one["end"], end) - max(one["start"], start)) for one in known)
        assert told > 0.8 * (end - start), f"{text} at {start}-{end} is neither read nor named as missing"


@ON_SQLITE
def test_words_that_the_model_is_not_sure_of_are_kept_as_suspect_and_not_read_again(
    make_context: MakeContext, talk: Path
) -> None:
    context = make_context(Script(hears=True, confidence=0.3), **MINUTE)
    job_id = admit(context, talk)
    job = carry_through(context, job_id)
    assert job.state is JobState.SUSPECT
    assert "the model is not sure of its words: their confidence is 0.30" in job.reason
    assert "split" not in kinds(context, job_id)
    assert all(segment["unsure"] for segment in document(talk)["segments"])


@ON_SQLITE
def test_what_the_model_is_not_sure_of_is_noted_where_the_check_lets_it_pass(
    make_context: MakeContext, talk: Path
) -> None:
    context = make_context(Script(hears=True, confidence=0.3), **MINUTE, min_confidence=0)
    job = carry_through(context, admit(context, talk))
    assert job.state is JobState.DONE
    notes = [
        note for note in document(talk)["notes"] if note.endswith("the model is not sure of its words: confidence 0.30")
    ]
    assert notes[0].startswith("0:00:00-0:00:52: ")
    assert len(notes) > 3


@pytest.fixture
def scenes(tmp_path: Path) -> Path:
    """Voices that are silent around every cut: 0 and 1 speak in the first and the third scene only."""
    (tmp_path / "inbox").mkdir()
    said = []
    for scene, voices in enumerate([(0, 1), (2, 3), (0, 1)]):
        part = tones.turns(45, voices=voices, seed=scene)
        said += [tones.Said(one.voice, one.start + 75 * scene, one.end + 75 * scene) for one in part]
    return tones.write(tmp_path / "inbox" / "scenes.wav", said)


@ON_SQLITE
def test_without_embeddings_voices_that_are_not_linked_are_said_to_be_uncertain(
    make_context: MakeContext, scenes: Path
) -> None:
    context = make_context(HEARS, **SCENE)
    job = carry_through(context, admit(context, scenes))
    assert job.state is JobState.DONE
    assert len(document(scenes)["speakers"]) == 6
    assert job.notes


@ON_SQLITE
def test_a_voice_that_comes_back_gets_its_old_number(
    make_context: MakeContext, scenes: Path, read_in_one_go: Read
) -> None:
    whole = read_in_one_go(scenes)
    context = make_context(HEARS, **SCENE, **BY_VOICE)
    job_id = admit(context, scenes)
    job = carry_through(context, job_id)
    assert (job.state, job.notes) == (JobState.DONE, [])
    assert lines(document(scenes)) == whole
    assert [speaker["number"] for speaker in document(scenes)["speakers"]] == [0, 1, 2, 3]
    assert document(scenes)["timings"]["speaker_embedding"] > 0
    assert list(context.settings.spool_dir.iterdir()) == [], "embeddings go with the audio"


@ON_SQLITE
def test_speakers_of_an_engine_that_tells_nobody_apart_are_told_by_their_voices(
    make_context: MakeContext, scenes: Path, read_in_one_go: Read
) -> None:
    whole = read_in_one_go(scenes)
    context = make_context(NAMELESS, **SCENE, **BY_VOICE)
    job = carry_through(context, admit(context, scenes))
    assert (job.state, job.notes) == (JobState.DONE, [])
    assert [line[2:] for line in lines(document(scenes))] == [line[2:] for line in whole]


@ON_SQLITE
def test_a_transcript_that_is_written_again_has_the_same_speakers(make_context: MakeContext, scenes: Path) -> None:
    context = make_context(NAMELESS, **SCENE, **BY_VOICE)
    job_id = admit(context, scenes)
    carry_through(context, job_id)
    before = document(scenes)
    speakers.say(context.database, job_id, SpeakerNames({1: "Ada"}))
    cpu_tasks.finish_job(context, job_id)
    after = document(scenes)
    assert lines(after) == lines(before)
    assert [one["name"] for one in after["speakers"]] == ["", "Ada", "", ""]
    assert after["notes"] == before["notes"]


@ON_SQLITE
def test_embeddings_that_are_gone_are_told_of_and_keep_no_transcript(make_context: MakeContext, scenes: Path) -> None:
    context = make_context(NAMELESS, **SCENE, **BY_VOICE)
    job_id = admit(context, scenes)
    cpu_tasks.prepare_job(context, job_id)
    for stretch in queued_stretches(context, job_id):
        cpu_tasks.embed_stretch(context, stretch)
        context.embeddings(stretch).write_bytes(b"cut short")
    job = carry_through(context, job_id)
    assert job.state is JobState.DONE
    assert job.notes == ["speakers were not distinguished: their embeddings are gone from the spool"]
    assert {line[2] for line in lines(document(scenes))} == {None}


@ON_SQLITE
def test_without_an_encoder_recordings_are_read_and_the_reason_is_told(make_context: MakeContext, scenes: Path) -> None:
    def fail() -> ToneEncoder:
        raise ModelUnavailableError("no source gives CAM++")

    loader = EncoderLoader(fail, lambda: None, delays=())
    context = make_context(NAMELESS, encoder=loader, **SCENE, speaker_encoder="campplus")
    loader.start()
    wait_until("the failure", lambda: loader.failure)
    job = carry_through(context, admit(context, scenes))
    assert (job.state, job.notes) == (JobState.DONE, ["speakers were not distinguished: no source gives CAM++"])


@ON_SQLITE
def test_while_the_encoder_is_fetched_voices_wait_in_the_queue_and_are_sent_for_then(
    make_context: MakeContext, scenes: Path
) -> None:
    come, ready = threading.Event(), threading.Event()

    def fetch() -> ToneEncoder:
        come.wait()
        return ToneEncoder()

    loader = EncoderLoader(fetch, ready.set)
    context = make_context(NAMELESS, encoder=loader, **SCENE, speaker_encoder="campplus")
    job_id = admit(context, scenes)
    cpu_tasks.prepare_job(context, job_id)
    waiting = queued_stretches(context, job_id)
    cpu_tasks.embed_stretch(context, waiting[0])
    assert queued_stretches(context, job_id) == waiting
    come.set()
    assert ready.wait(60)
    cpu_tasks.embed_stretch(context, waiting[0])
    assert waiting[0] not in queued_stretches(context, job_id)


@ON_SQLITE
def test_speakers_that_are_not_wanted_are_not_told_even_by_the_engine(make_context: MakeContext, scenes: Path) -> None:
    context = make_context(HEARS, **SCENE, **BY_VOICE, speakers="off")
    job = carry_through(context, admit(context, scenes))
    assert (job.notes, document(scenes)["speakers"]) == ([], [])


@ON_SQLITE
def test_there_are_as_many_speakers_as_a_folder_says(make_context: MakeContext, scenes: Path) -> None:
    context = make_context(NAMELESS, **SCENE, **BY_VOICE)
    job_id = admit(context, scenes, speakers="2")
    carry_through(context, job_id)
    assert [one["number"] for one in document(scenes)["speakers"]] == [0, 1]


def test_names_and_merges_are_written_into_every_file(make_context: MakeContext, scenes: Path) -> None:
    context = make_context(HEARS, **SCENE)
    job_id = admit(context, scenes)
    carry_through(context, job_id)
    speakers.say(context.database, job_id, SpeakerNames({0: "Ada", 2: "Bob"}, {4: 0, 5: 1}))
    cpu_tasks.finish_job(context, job_id)
    job = queries.job(context.database, job_id)
    assert job.state is JobState.DONE
    assert "Ada: " in scenes.with_suffix(".txt").read_text()
    assert "<v Bob>" in scenes.with_suffix(".vtt").read_text()
    assert [(one["number"], one["name"]) for one in document(scenes)["speakers"]] == [
        (0, "Ada"),
        (1, ""),
        (2, "Bob"),
        (3, ""),
    ]
    assert {line[2] for line in lines(document(scenes))} == {0, 1, 2, 3}
    speakers.say(context.database, job_id, SpeakerNames())
    cpu_tasks.finish_job(context, job_id)
    assert len(document(scenes)["speakers"]) == 6, "nothing is lost by a merge"


def test_only_unfinished_chunks_are_read_again_after_a_crash(make_context: MakeContext, talk: Path) -> None:
    context = make_context(HEARS, **MINUTE)
    job_id = admit(context, talk)
    cpu_tasks.prepare_job(context, job_id)
    first, _ = queued(context, job_id)
    model_tasks.transcribe_chunk(context, first)
    context.spooled(job_id).unlink()  # the disk of the spool was lost
    model_tasks.transcribe_chunk(context, queued(context, job_id)[0])
    assert queries.job(context.database, job_id).state is JobState.QUEUED
    assert carry_through(context, job_id).state is JobState.DONE
    reading = [event.chunk for event in events_of(context.database, job_id) if event.kind == "transcribing"]
    assert reading.count("0") == 1


def test_a_suspect_recording_that_is_retried_is_read_where_it_was_doubtful(
    make_context: MakeContext, talk: Path, read_in_one_go: Read
) -> None:
    whole = read_in_one_go(talk)
    context = make_context(Script(hears=True, behave="truncate", first_n=1), **MINUTE, max_halvings=0)
    job_id = admit(context, talk)
    assert carry_through(context, job_id).state is JobState.SUSPECT
    commands.retry(context.database, job_id)
    carry_through(context, job_id)  # finds that its audio is gone
    assert carry_through(context, job_id).state is JobState.DONE
    assert words(document(talk)) == [line[3] for line in whole]
