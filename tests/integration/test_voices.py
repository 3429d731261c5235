"""Known voices: enrolled from a recording, recognized in later ones, and forgotten without a trace."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from sqlalchemy import select

from dropscribe.core.types import RawTranscript, Segment, TokenRole
from dropscribe.models.scripted.transcriber import Script
from dropscribe.models.speakers import encoder as speaker_encoding
from dropscribe.models.speakers.encoder import SpeakerEncoder
from dropscribe.store import chunks, voices
from dropscribe.store.session import Database
from dropscribe.store.tables import metadata
from dropscribe.store.voices import KnownVoice
from dropscribe.worker import cpu_tasks
from dropscribe.worker.runtime.context import WorkerContext
from dropscribe.worker.runtime.encoder_loader import EncoderLoader
from tests import tones
from tests.e2e.harness import wait_until
from tests.integration.console import ENGINE, Cli, done
from tests.integration.one_worker import MakeContext, admit, carry_through, queued, queued_stretches
from tests.integration.serving import asking, gate
from tests.schemas import conforms
from tests.tones import ToneEncoder

NAMELESS = Script(hears=True, speakers=0)
# How a voice is compared is the same on each database; what is stored of it is tested on both.
ON_SQLITE = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
NAME = "Bert Xylander"  # what nothing else is called


@pytest.fixture(autouse=True)
def tone_encoder(monkeypatch: pytest.MonkeyPatch) -> None:
    """The command line gets the encoder that the worker of these tests has."""
    monkeypatch.setattr(speaker_encoding, "load", lambda _tell: ToneEncoder())


@pytest.fixture
def worker(make_context: MakeContext, tmp_path: Path) -> Callable[..., WorkerContext]:
    """A worker that tells speakers by their voices, with the home of the command line."""
    (tmp_path / "inbox").mkdir()

    def make(**changes: Any) -> WorkerContext:
        changes = {"known_voices": True, "speaker_encoder": "campplus", "outputs": ("json", "txt", "html"), **changes}
        return make_context(NAMELESS, home=tmp_path / "home", spool=None, **changes)

    return make


def transcribe(context: WorkerContext, name: str, people: tuple[int, ...], seed: int) -> tuple[str, Path]:
    """A job for half a minute of these voices, carried through."""
    recording = context.settings.home.parent / "inbox" / name
    tones.write(recording, tones.turns(30, voices=people, seed=seed))
    job_id = admit(context, recording)
    carry_through(context, job_id)
    return job_id, recording


def told(recording: Path) -> list[tuple[str, float | None]]:
    """What the JSON beside the recording calls its speakers, and by what similarity."""
    speakers = json.loads(recording.with_suffix(".json").read_text())["speakers"]
    return [(one["name"], one["recognized"]) for one in speakers]


def names(recording: Path) -> list[str]:
    return [name for name, _ in told(recording)]


@ON_SQLITE
def test_a_voice_is_enrolled_over_http_by_who_may_change_the_fleet(
    database: Database, worker: Callable[..., WorkerContext]
) -> None:
    context = worker()
    job, _ = transcribe(context, "first.wav", (0, 1), seed=1)
    place, said = f"/api/v1/voices/{NAME}", {"job": job, "speaker": "0"}
    with gate(database, context.settings) as made:
        for role, *folders in ((TokenRole.EDITOR,), (TokenRole.ADMIN, str(context.settings.home.parent))):
            with asking(made, database, role, *folders) as client:
                assert client.put(place, json=said).status_code == 403
        with asking(made, database, TokenRole.ADMIN) as client:
            assert client.put(place, json=said | {"job": "zzzzzzzz"}).status_code == 404
            assert client.put(place, json=said | {"speaker": "9"}).status_code == 422
            assert not voices.known(database)
            answered = client.put(place, json=said)
            assert answered.status_code == 200, answered.text
            conforms(answered.json(), "voices-enroll")
    assert [voice.name for voice in voices.known(database)] == [NAME]


def test_a_voice_that_was_enrolled_is_named_in_a_later_recording(
    store: Database, cli: Cli, worker: Callable[..., WorkerContext]
) -> None:
    context = worker()
    first, recording = transcribe(context, "first.wav", (0, 1), seed=1)
    assert names(recording) == ["", ""]
    enrolled = cli("voices", "enroll", first, "Speaker 1", "--as", NAME)
    assert (enrolled.code, f"{NAME} is enrolled with" in enrolled.out) == (0, True)
    assert "DROPSCRIBE_KNOWN_VOICES=true" in enrolled.err, "this command line was not told of it"
    later, recording = transcribe(context, "later.wav", (0, 2), seed=2)
    (figure,) = [alike for name, alike in told(recording) if name == NAME]
    assert figure is not None
    assert figure >= 0.7
    assert sorted(names(recording)) == ["", NAME]
    assert f"{NAME}: " in recording.with_suffix(".txt").read_text()
    assert f"recognized by the voice ({figure:.2f})" in recording.with_suffix(".html").read_text()
    assert f"{NAME} was recognized by the voice ({figure:.2f})" in cli("speakers", later).out

    cli("voices", "forget", NAME)
    assert sorted(names(recording)) == ["", NAME], "what was recognized stays"
    cli("speakers", later, "--name", f"{NAME}=Karl")
    cpu_tasks.finish_job(context, later)
    assert [one for one in told(recording) if one[0]] == [("Karl", None)]
    cli("speakers", later, "--name", "Karl=")
    cpu_tasks.finish_job(context, later)
    assert [one for one in told(recording) if one[0]] == [(NAME, figure)], "a name is taken back"
    cli("speakers", later, "--name", f"{NAME}=")
    assert [one["name"] for one in cli("speakers", later, "--json").json["speakers"]] == ["", ""]
    cli("speakers", later, "--name", "0=Eve")
    cpu_tasks.finish_job(context, later)
    assert names(recording) == ["Eve", ""]


@ON_SQLITE
def test_nobody_is_recognized_unless_that_is_switched_on(
    store: Database, cli: Cli, worker: Callable[..., WorkerContext]
) -> None:
    context = worker(known_voices=False)
    first, _ = transcribe(context, "first.wav", (0, 1), seed=1)
    assert cli("voices", "enroll", first, "0", "--as", NAME).code == 0
    _, recording = transcribe(context, "later.wav", (0, 1), seed=2)
    assert told(recording) == [("", None), ("", None)]


@ON_SQLITE
def test_a_voice_of_another_encoder_is_not_compared(
    store: Database, cli: Cli, worker: Callable[..., WorkerContext]
) -> None:
    context = worker()
    first, _ = transcribe(context, "first.wav", (0, 1), seed=1)
    cli("voices", "enroll", first, "0", "--as", NAME)
    (voice,) = voices.known(store)
    voices.enroll(store, KnownVoice(NAME, "another", voice.embedding, 20.0))
    _, recording = transcribe(context, "later.wav", (0, 1), seed=2)
    assert names(recording) == ["", ""]


def everything(store: Database, folder: Path) -> bytes:
    """The rows of every table, and every file below the folder."""
    with store.read() as connection:
        rows = [connection.execute(select(table)).all() for table in metadata.sorted_tables]
    files = [path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()]
    return repr(rows).encode() + b"\n".join(files)


def test_of_a_voice_and_a_job_that_were_forgotten_nothing_is_left(
    store: Database, cli: Cli, worker: Callable[..., WorkerContext], tmp_path: Path
) -> None:
    context = worker()
    first, _ = transcribe(context, "first.wav", (0, 1), seed=1)
    cli("voices", "enroll", first, "0", "--as", NAME)
    later, _ = transcribe(context, "later.wav", (0, 1), seed=2)
    (voice,) = voices.known(store)
    embedding = np.array(voice.embedding, np.float32)
    number = max(voice.embedding, key=lambda one: len(repr(one)))
    traces = [NAME.encode(), repr(number).encode(), embedding.tobytes()[:16], embedding.astype("f2").tobytes()[:16]]
    held = everything(store, tmp_path)
    assert [trace in held for trace in traces[:2]] == [True, True]
    assert cli("voices", "forget", NAME.lower()).code == 0
    assert cli("voices", "list", "--json").json["voices"] == []
    assert repr(number).encode() not in everything(store, tmp_path)
    assert cli("forget", first, later, "--outputs", "--yes").code == 0
    left = everything(store, tmp_path)
    assert [trace in left for trace in traces] == [False] * len(traces)
    assert list(context.settings.spool_dir.iterdir()) == []


def test_enrolling_again_joins_what_is_alike_and_refuses_what_is_not(
    store: Database, cli: Cli, worker: Callable[..., WorkerContext]
) -> None:
    context = worker()
    first, _ = transcribe(context, "first.wav", (0, 3), seed=1)
    alone = cli("voices", "enroll", first, "0", "--as", NAME, "--json").json
    conforms(alone, "voices-enroll")
    again, recording = transcribe(context, "again.wav", (0, 2), seed=3)
    (number,) = [index for index, name in enumerate(names(recording)) if name == NAME]
    joined = cli("voices", "enroll", again, str(number), "--as", NAME.upper(), "--json").json
    assert joined["voice"]["name"] == NAME
    assert joined["voice"]["seconds"] == pytest.approx(alone["voice"]["seconds"] + joined["speech"])
    (voice,) = voices.known(store)
    assert np.linalg.norm(voice.embedding) == pytest.approx(1, abs=1e-4)
    refused = cli("voices", "enroll", again, str(1 - number), "--as", NAME)
    assert refused.code == 1
    assert f"this voice is not like that of {NAME} (similarity" in " ".join(refused.err.split())
    assert voices.known(store) == [voice]


@ON_SQLITE
def test_a_voice_that_sounds_like_another_one_is_warned_of(
    store: Database, cli: Cli, worker: Callable[..., WorkerContext]
) -> None:
    context = worker()
    first, _ = transcribe(context, "first.wav", (0, 1), seed=1)
    cli("voices", "enroll", first, "0", "--as", NAME)
    assert f"{NAME} sounds like Karl (1.00)" in cli("voices", "enroll", first, "0", "--as", "Karl").err
    _, recording = transcribe(context, "later.wav", (0, 1), seed=2)
    assert names(recording) == ["", ""]


@ON_SQLITE
def test_a_voice_is_not_enrolled_where_that_cannot_be(
    store: Database, cli: Cli, worker: Callable[..., WorkerContext]
) -> None:
    context = worker()
    job_id, recording = transcribe(context, "first.wav", (0, 1), seed=1)
    short = context.settings.home.parent / "inbox" / "short.wav"
    tones.write(short, [tones.Said(0, 1.0, 5.0)])
    too_short = admit(context, short)
    carry_through(context, too_short)

    def complaint(*arguments: str) -> str:
        ended = cli("voices", *arguments)
        assert ended.code in {1, 2}
        return " ".join(ended.err.split())

    said = complaint("enroll", too_short, "0", "--as", NAME)
    assert "s alone in" in said
    assert "a voice needs 5 s; enroll it from a recording in which they speak longer" in said
    assert "there is no speaker 7" in complaint("enroll", job_id, "7", "--as", NAME)
    assert "a voice needs a name" in complaint("enroll", job_id, "0", "--as", " ")
    assert "no voice is called Bert" in complaint("forget", "Bert")
    recording.write_bytes(recording.read_bytes()[:-2])
    assert f"{recording} has changed since {job_id} transcribed it" in complaint("enroll", job_id, "0", "--as", NAME)
    recording.unlink()
    gone = complaint("enroll", job_id, "0", "--as", NAME)
    assert f"the recording of {job_id} is gone, and embeddings are not kept: cannot read {recording}" in gone
    assert "put it back, or enroll the voice from another recording" in gone
    assert voices.known(store) == []


def test_voices_are_listed_without_their_embeddings(store: Database, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "no voices yet" in cli("voices", "list").out
    voices.enroll(store, KnownVoice(NAME, "tones", (0.6, 0.8), 12.0))
    listed = cli("voices", "list", "--json").json
    conforms(listed, "voices-list")
    assert listed["recognized"] is False
    assert [(one["name"], one["seconds"]) for one in listed["voices"]] == [(NAME, 12.0)]
    assert NAME in cli("voices", "list").out
    monkeypatch.setenv("DROPSCRIBE_KNOWN_VOICES", "true")
    assert cli("voices", "list").err == ""


def test_forgetting_a_recording_leaves_the_voices(store: Database, cli: Cli) -> None:
    voices.enroll(store, KnownVoice(NAME, "tones", (0.6, 0.8), 12.0))
    cli("forget", done(store, "a.wav"), "--yes")
    assert [voice.name for voice in voices.known(store)] == [NAME]


def read_aloud(context: WorkerContext, recording: Path, said: list[Segment]) -> str:
    """A job for the recording, whose only window is what a model would make of it."""
    job_id = admit(context, recording)
    cpu_tasks.prepare_job(context, job_id)
    for chunk_id in queued(context, job_id):
        work = chunks.claim(context.database, chunk_id, "model", 90)
        assert work
        chunks.commit(context.database, work.claim, RawTranscript(tuple(said)), engine=ENGINE)
    for stretch in queued_stretches(context, job_id):
        cpu_tasks.embed_stretch(context, stretch)
    cpu_tasks.finish_job(context, job_id)
    return job_id


def cut(audio: Path, into: Path, start: float, end: float) -> list[Segment]:
    """A part of the talk of three people as a recording, and who says what in it."""
    samples, rate = soundfile.read(audio / "talk3.mp3", dtype="float32")
    soundfile.write(into, samples[round(start * rate) : round(end * rate)], rate)
    turns = json.loads((audio / "talk3.json").read_text())["segments"]
    return [
        Segment(turn["start"] - start, min(turn["end"], end) - start, "words", turn["speaker"])
        for turn in turns
        if start <= turn["start"] and turn["end"] <= end + 1
    ]


@ON_SQLITE
def test_a_real_voice_of_the_first_half_is_recognized_in_the_second(
    store: Database,
    cli: Cli,
    make_context: MakeContext,
    speaker_encoder: SpeakerEncoder,
    audio: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(speaker_encoding, "load", lambda _tell: speaker_encoder)
    real = EncoderLoader(lambda: speaker_encoder, lambda: None)
    real.start()
    wait_until("the encoder", lambda: real.encoder)
    said = cut(audio, tmp_path / "first.wav", 0.0, 147.5)
    first = read_aloud(make_context(encoder=real, outputs=("json",)), tmp_path / "first.wav", said)
    cli("voices", "enroll", first, "Speaker 2", "--as", NAME)
    said = cut(audio, tmp_path / "second.wav", 147.5, 225.7)
    context = make_context(encoder=real, outputs=("json",), known_voices=True, speaker_encoder="campplus")
    read_aloud(context, tmp_path / "second.wav", said)
    speakers = told(tmp_path / "second.wav")
    assert [name for name, _ in speakers] == [NAME, ""], "who speaks second in the first half begins the second"
    assert speakers[0][1] is not None
    assert speakers[0][1] >= 0.85
