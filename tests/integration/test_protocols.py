"""Programs that are made for other servers ask this one: OpenAI's client, and the requests that Bazarr sends."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest
import soundfile
from openai import OpenAI

from dropscribe.core.settings import Settings
from dropscribe.core.types import JobState, TokenRole
from dropscribe.models.scripted.transcriber import Script
from dropscribe.serve.gate import Gate
from dropscribe.serve.protocols import request_sweep
from dropscribe.serve.request_limits import MAX_AT_ONCE, AtOnce
from dropscribe.store import commands, forget, queries, tokens, transcripts
from dropscribe.store.session import Database
from dropscribe.worker import cpu_tasks, model_tasks
from dropscribe.worker.runtime.context import WorkerContext
from tests.documents import REPOSITORY, blocks
from tests.e2e.harness import speech, wait_until
from tests.integration.one_worker import MakeContext, carry_through, queued
from tests.integration.serving import gate, listening

SECONDS = 6.0


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    """SQLite alone: no query is of its own here."""
    return sqlite_url


@pytest.fixture
def own(settings: Settings, tmp_path: Path) -> Settings:
    changes = {"home": tmp_path / "home", "spool": tmp_path / "spool", "redis_url": "unix:///nowhere/redis.sock"}
    return settings.model_copy(update={**changes, "when_done": "archive", "results": tmp_path / "results"})


@pytest.fixture
def talk(tmp_path: Path) -> Path:
    return speech(tmp_path / "talk.wav", SECONDS)


class Worker:
    """Transcribes what is asked for, in a thread, until it is told to stop."""

    def __init__(self, context: WorkerContext) -> None:
        self._context = context

    def _run(self) -> None:
        while not self._stop.wait(0.02):
            for job in queries.list_jobs(self._context.database, states=[JobState.QUEUED, JobState.FINISHING]):
                carry_through(self._context, job.id)

    def __enter__(self) -> None:
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def __exit__(self, *_error: object) -> None:
        self._stop.set()
        self._thread.join()


@pytest.fixture
def worker(make_context: MakeContext, tmp_path: Path) -> Worker:
    script = Script(text="hello there", segment_seconds=2.0)
    return Worker(make_context(script, speech_detector="energy", when_done="archive", results=tmp_path / "results"))


@pytest.fixture
def address(made: Gate, own: Settings) -> Iterator[str]:
    with listening(made, own) as (host, port, *_):
        yield f"http://{host}:{port}"


@pytest.fixture
def secret(database: Database) -> str:
    return tokens.create(database, "program", TokenRole.EDITOR, ["/srv/talks"])


@pytest.fixture
def client(address: str, secret: str) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{address}/v1", api_key=secret, max_retries=0) as found:
        yield found


def raw_sound(talk: Path) -> bytes:
    """As Bazarr has FFmpeg write it."""
    samples, rate = soundfile.read(talk, dtype="int16")
    assert rate == 16_000
    return bytes(samples.astype("<i2").tobytes())


def files(folder: Path) -> set[str]:
    return {path.name for path in folder.rglob("*") if path.is_file()}


HELLO = "hello there"


@contextmanager
def sent(client: OpenAI, content: bytes, missing: int = 0) -> Iterator[None]:
    """A request of which so many bytes are not sent yet, on a connection that is closed at the end."""
    body = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n' + content + b"\r\n--x--\r\n"
    head = (
        "POST /v1/audio/transcriptions HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary=x\r\n"
        f"Authorization: Bearer {client.api_key}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    with socket.create_connection((client.base_url.host, client.base_url.port)) as connection:
        connection.sendall(head.encode() + body[: len(body) - missing])
        yield


def test_openais_client_gets_a_transcript_in_every_form(
    client: OpenAI, worker: Worker, talk: Path, database: Database
) -> None:
    def ask(fmt: Any, **more: Any) -> Any:
        given = {"model": "whisper-1", "language": "en-US", "prompt": "Ada", "temperature": 0.2, **more}
        return client.audio.transcriptions.create(file=talk, response_format=fmt, **given)

    with worker:
        assert ask("json").text == " ".join([HELLO] * 3)
        assert ask("text") == " ".join([HELLO] * 3) + "\n"
        assert ask("srt").startswith(f"1\n00:00:00,000 --> 00:00:02,000\n{HELLO}\n")
        assert ask("vtt").startswith("WEBVTT\n")
        verbose = ask("verbose_json", timestamp_granularities=["segment", "word"])
        assert (verbose.duration, verbose.usage.seconds, verbose.words) == (SECONDS, SECONDS, [])
        told = [(one.id, one.start, one.end, one.text) for one in verbose.segments]
        assert told == [(0, 0.0, 2.0, HELLO), (1, 2.0, 4.0, HELLO), (2, 4.0, 6.0, HELLO)]
        assert ask("verbose_json", timestamp_granularities=["word"]).segments is None
        (job,) = queries.list_jobs(database)
        assert (job.priority, job.context, job.overrides.language) == ("high", "Ada", "en"), "one job for all forms"
        by_speaker = ask("diarized_json", model="gpt-4o-transcribe-diarize")
        assert [(one.speaker, one.text) for one in by_speaker.segments] == [("A", HELLO), ("B", HELLO), ("A", HELLO)]


def test_a_stream_tells_what_is_transcribed_and_ends_with_all_of_it(client: OpenAI, worker: Worker, talk: Path) -> None:
    def stream(fmt: Any) -> list[Any]:
        return [*client.audio.transcriptions.create(file=talk, model="whisper-1", response_format=fmt, stream=True)]

    with worker:
        *deltas, done = stream("json")
        assert {one.type for one in deltas} == {"transcript.text.delta"}
        assert (done.type, done.text) == ("transcript.text.done", "".join(one.delta for one in deltas))
        *turns, done = stream("diarized_json")
        assert [(one.type, one.speaker) for one in turns] == [("transcript.text.segment", name) for name in "ABA"]
        assert done.text == " ".join([HELLO] * 3)


def test_a_stream_sends_each_chunk_as_it_is_done_and_ends_with_all_of_them(
    client: OpenAI, make_context: MakeContext, database: Database, tmp_path: Path
) -> None:
    windows = {"chunk_seconds": 10.0, "min_chunk_seconds": 1.0, "overlap_seconds": 2.0}
    worker = make_context(Script(segment_seconds=4.0), speech_detector="energy", **windows)
    talk = speech(tmp_path / "long.wav", 20.0)
    stream = client.audio.transcriptions.create(file=talk, model="whisper-1", stream=True)
    (job,) = queries.list_jobs(database)
    cpu_tasks.prepare_job(worker, job.id)
    deltas: list[str] = []
    while True:  # a chunk is transcribed when somebody has read what the one before it says
        model_tasks.transcribe_chunk(worker, queued(worker, job.id)[0])
        if not queued(worker, job.id):
            break
        deltas.append(next(stream).delta)
        heard = transcripts.transcribed(database, job.id).chunks[-1].segments
        assert any(one.text.endswith(deltas[-1].split()[-1]) for one in heard), "of this chunk, too"
    cpu_tasks.finish_job(worker, job.id)
    *rest, done = stream
    assert [one.type for one in rest] == ["transcript.text.delta"]
    written = json.loads(transcripts.document(database, job.id) or "")["segments"]
    assert done.text == "".join([*deltas, rest[0].delta]) == " ".join(one["text"] for one in written)
    assert len(deltas) > 1


def test_a_stream_of_what_is_no_recording_ends_with_an_error(client: OpenAI, worker: Worker) -> None:
    with worker, pytest.raises(openai.APIError, match="is failed"):
        [*client.audio.transcriptions.create(file=b"none", model="whisper-1", stream=True)]


def test_the_example_in_the_documents_runs(
    client: OpenAI, worker: Worker, talk: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (example,) = (block for block in blocks((REPOSITORY / "docs" / "api.md").read_text()) if block.language == "python")
    monkeypatch.setenv("OPENAI_BASE_URL", str(client.base_url))
    monkeypatch.setenv("OPENAI_API_KEY", client.api_key)
    monkeypatch.chdir(talk.parent)
    with worker:
        exec(example.body, {})
    said = capsys.readouterr().out
    assert said.startswith(f"{HELLO} {HELLO}")
    assert "transcript.text.done" in said
    assert talk.with_suffix(".srt").read_text().startswith("1\n00:00:00,000")


@pytest.mark.filterwarnings("ignore:deprecated:DeprecationWarning")  # by OpenAI itself
def test_translations_are_made_where_the_engine_can(
    client: OpenAI, worker: Worker, talk: Path, made: Gate, database: Database
) -> None:
    with worker:
        assert client.audio.translations.create(file=talk, model="whisper-1").text.startswith(HELLO)
    (job,) = queries.list_jobs(database)
    assert job.overrides.task == "translate"
    assert json.loads(transcripts.document(database, job.id) or "")["task"] == "translate"
    context = made.app.state.context
    context.settings = context.settings.model_copy(update={"engine": "vibevoice"})
    with pytest.raises(openai.BadRequestError, match="the engine vibevoice cannot translate"):
        client.audio.translations.create(file=talk, model="whisper-1")


def test_models_are_those_of_openai_and_those_that_folders_may_name(
    client: OpenAI, made: Gate, talk: Path, database: Database
) -> None:
    context = made.app.state.context
    context.settings = context.settings.model_copy(update={"folder_models": ("owner/small",)})
    assert {"whisper-1", "owner/small"} < {model.id for model in client.models.list()}
    assert client.models.retrieve("owner/small").object == "model"
    for ask in (
        lambda: client.models.retrieve("gpt-5"),
        lambda: client.audio.transcriptions.create(file=talk, model="gpt-5"),
    ):
        with pytest.raises(openai.NotFoundError) as error:
            ask()
        assert error.value.code == "model_not_found"
    assert not queries.list_jobs(database)


def test_errors_have_the_shape_that_clients_of_openai_know(
    client: OpenAI, worker: Worker, talk: Path, own: Settings
) -> None:
    ask = client.audio.transcriptions.create
    for wrong in (
        {"response_format": "docx"},
        {"temperature": 7},
        {"language": "x1"},
        {"extra_body": {"known_speaker_references": ["data:audio/wav;base64,AA"]}},
        {"file": ("a.wav", b"")},
    ):
        with pytest.raises(openai.BadRequestError) as error:
            ask(**{"file": talk, "model": "whisper-1", **wrong})
        assert (error.value.type, error.value.body["param"]) == ("invalid_request_error", None)
    assert not files(own.requests_dir)
    with pytest.raises(openai.AuthenticationError, match="the token is not valid"):
        client.with_options(api_key="sk-none").models.list()
    with worker, pytest.raises(openai.BadRequestError, match=r"is failed: .*damaged, or not media"):
        ask(file=b"no recording at all", model="whisper-1")


def test_who_asks_the_same_again_gets_the_same_job_also_after_a_new_start(
    made: Gate, own: Settings, database: Database, worker: Worker, talk: Path, secret: str
) -> None:
    made.app.state.stopping.set()
    with listening(made, own) as (host, port, *_):
        first = OpenAI(base_url=f"http://{host}:{port}/v1", api_key=secret, max_retries=0)
        with pytest.raises(openai.InternalServerError) as error:
            first.audio.transcriptions.create(file=talk, model="whisper-1")
        assert (error.value.status_code, error.value.code) == (503, "stopping")
        assert error.value.response.headers["retry-after"]
    (job,) = queries.list_jobs(database)
    with gate(database, own) as again, listening(again, own) as (host, port, *_), worker:
        second = OpenAI(base_url=f"http://{host}:{port}/v1", api_key=secret, max_retries=0)
        answered = second.audio.transcriptions.with_raw_response.create(file=talk, model="whisper-1")
        assert answered.headers["x-dropscribe-job"] == job.id
        assert answered.parse().text.startswith(HELLO)
        seen = {"Authorization": f"Bearer {secret}"}
        own_job = httpx2.get(f"http://{host}:{port}/api/v1/recordings/{job.id}", headers=seen)
        assert own_job.status_code == 200, "the token sees what it sent"
        other = tokens.create(database, "other", TokenRole.EDITOR, ["/srv/talks"])
        seen = {"Authorization": f"Bearer {other}"}
        assert httpx2.get(f"http://{host}:{port}/api/v1/recordings/{job.id}", headers=seen).status_code == 404
    assert len(queries.list_jobs(database)) == 1


def bazarr(address: str, secret: str, path: str, sound: bytes, **params: str) -> httpx2.Response:
    """The request of its provider whisperai, with the token in the endpoint."""
    endpoint = address.replace("http://", f"http://bazarr:{secret}@")
    sent = {"encode": "false", "video_file": "/films/Der Film (2020).mkv", **params}
    headers = {"User-Agent": "Subliminal/2.1"}
    return httpx2.post(
        f"{endpoint}{path}", params=sent, files={"audio_file": ("audio_file", sound)}, headers=headers, timeout=60
    )


def test_bazarr_gets_subtitles_and_languages(
    address: str, secret: str, worker: Worker, talk: Path, database: Database
) -> None:
    with worker:
        for task in ("transcribe", "translate"):
            found = bazarr(address, secret, "/asr", raw_sound(talk), task=task, language="de", output="srt")
            assert found.status_code == 200
            assert found.text.startswith(f"1\n00:00:00,000 --> 00:00:02,000\n{HELLO}\n")
            assert "Der%20Film" in found.headers["content-disposition"]
        newest, oldest = queries.list_jobs(database)
        assert (oldest.overrides.language, oldest.overrides.task, newest.overrides.task) == (
            "de", "transcribe", "translate",
        )  # fmt: skip
        assert (oldest.duration, oldest.priority) == (SECONDS, "high")
        assert Path(oldest.path).name.startswith("Der Film (2020).")
        detected = bazarr(address, secret, "/detect-language", raw_sound(talk))
        assert detected.json() == {"detected_language": "", "language_code": "", "confidence": 0.0}


def test_other_programs_send_files_and_get_every_format(
    address: str, secret: str, worker: Worker, talk: Path, own: Settings
) -> None:
    def ask(**params: str) -> httpx2.Response:
        with talk.open("rb") as file:
            headers = {"Authorization": f"Bearer {secret}"}
            return httpx2.post(f"{address}/asr", params=params, files={"audio_file": file}, headers=headers, timeout=60)

    with worker:
        assert ask().text == f"{HELLO}\n" * 3
        assert ask(output="tsv").text.splitlines()[:2] == ["start\tend\ttext", f"0\t2000\t{HELLO}"]
        assert json.loads(ask(output="json").text)["segments"][0]["end"] == 2.0
        assert ask(output="vtt").text.startswith("WEBVTT")
    refused = ask(output="docx")
    assert (refused.status_code, refused.headers["content-type"]) == (422, "application/problem+json")
    assert bazarr(address, secret, "/asr", b"").json()["detail"] == "the recording is empty"
    assert bazarr(address, "ds_none", "/asr", b"").status_code == 401
    basic = httpx2.get(f"{address}/api/v1/status", auth=("any", secret))
    assert basic.status_code == 401, "where a token can be sent, it is no password"


def test_of_what_is_done_nothing_stays_but_what_the_store_keeps(
    client: OpenAI, worker: Worker, talk: Path, own: Settings, database: Database
) -> None:
    def ask(content: Any = talk) -> str:
        return client.audio.transcriptions.create(file=content, model="whisper-1").text

    request_sweep.sweep(own, database)
    with worker:
        text = ask()
    (job,) = queries.list_jobs(database)
    assert Path(job.source).exists()
    assert not job.overrides.archives, "nobody watches that folder"
    assert files(own.spool_dir) == {Path(job.source).name, Path(job.source).with_suffix(".json").name}
    with sent(client, b"waits"):
        wait_until("it is a job", lambda: len(queries.list_jobs(database)) == 2)
    request_sweep.sweep(own, database)
    assert {Path(one.source).exists() for one in queries.list_jobs(database)} == {True, False}
    assert len(files(own.requests_dir)) == 1, "what waits is kept, and what was written is removed with its recording"
    (waiting,) = (one for one in queries.list_jobs(database) if one.id != job.id)
    commands.cancel(database, waiting.id)
    request_sweep.sweep(own, database)
    assert len(files(own.requests_dir)) == 1, "somebody may try it again"
    forget.forget(database, [waiting.id])
    request_sweep.sweep(own, database)
    assert not files(own.requests_dir)
    forget.remove_text(database, [job.id], "test")
    with worker:
        assert ask() == text, "what was forgotten is transcribed again"


def test_what_nobody_put_there_is_removed_and_keeps_nothing_else_there(
    own: Settings, database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    done = own.requests_dir / "token" / "done"
    done.mkdir(parents=True)
    for path in (own.requests_dir / "a file", done / "talk.json", done.parent / "later.wav"):
        path.touch()
    request_sweep.sweep(own, database)
    assert files(own.requests_dir) == {"a file"}
    assert not done.exists()
    assert f"{own.requests_dir / 'a file'} is not removed now: Not a directory" in caplog.text


def test_a_client_that_goes_away_ends_its_request_and_not_its_job(
    client: OpenAI, made: Gate, talk: Path, own: Settings, database: Database
) -> None:
    held = made.app.state.limits._held
    with sent(client, talk.read_bytes()):
        wait_until("it waits", lambda: held[AtOnce.REQUEST, "program"])
    wait_until("the server has noticed", lambda: not any(held.values()))
    (job,) = queries.list_jobs(database)
    assert job.state is JobState.QUEUED
    with sent(client, talk.read_bytes(), missing=1000):
        wait_until("it is sent", lambda: held[AtOnce.UPLOAD, "program"])
    wait_until("the server has noticed", lambda: not any(held.values()))
    assert files(own.requests_dir) == {job.path}
    assert not files(own.home)


def test_a_token_has_so_many_requests_and_uploads_at_once(
    client: OpenAI, made: Gate, talk: Path, own: Settings
) -> None:
    limits = made.app.state.limits
    caller = made._find(client.api_key)
    for what in (AtOnce.UPLOAD, AtOnce.REQUEST):
        for _ in range(MAX_AT_ONCE[what]):
            limits.enter(what, caller)
        with pytest.raises(openai.RateLimitError, match=what):
            client.audio.transcriptions.create(file=talk, model="whisper-1")
        for _ in range(MAX_AT_ONCE[what]):
            limits.leave(what, caller)
