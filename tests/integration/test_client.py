"""Waiting for recordings, by `submit --wait` and from Python, with a real store, Redis and worker."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from dropscribe.admin.client import Client
from dropscribe.core.errors import DropscribeError, JobNotFoundError, SettingsError, StoreError, UsageError
from dropscribe.core.routing import CPU_QUEUE
from dropscribe.core.settings import Settings
from dropscribe.core.settings_loading import load
from dropscribe.core.types import JobState, Priority
from dropscribe.models.scripted.transcriber import Script
from dropscribe.store import commands, queries
from dropscribe.store.session import Database
from dropscribe.worker.runtime.context import WorkerContext
from tests.documents import REPOSITORY, blocks
from tests.e2e.harness import speech, wait_until
from tests.integration.console import Cli
from tests.integration.one_worker import MakeContext, carry_through

# As from a terminal: a runner in the background may have handed down that SIGINT is ignored.
COMMAND = (
    "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
    "from dropscribe.admin.cli.main import run; run()"
)

pytestmark = pytest.mark.usefixtures("store", "redis")


@pytest.fixture
def client(database: Database) -> Iterator[Client]:
    with Client() as opened:
        yield opened


@contextmanager
def at_work(context: WorkerContext) -> Iterator[None]:
    """A worker that carries every job through as it comes."""
    stop = threading.Event()

    def work() -> None:
        while not stop.wait(0.05):
            for job in queries.list_jobs(context.database, states=[JobState.QUEUED]):
                carry_through(context, job.id)

    worker = threading.Thread(target=work)
    worker.start()
    try:
        yield
    finally:
        stop.set()
        worker.join()


def waiting(*files: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", COMMAND, "submit", *map(str, files), "--wait"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


# submit --wait


def test_several_files_are_waited_for_and_the_worst_decides_the_status(
    make_context: MakeContext, recording: Path, cli: Cli
) -> None:
    broken = recording.with_name("broken.wav")
    broken.write_text("no sound")
    with at_work(make_context()):
        ended = cli("submit", str(recording), str(broken), "--wait", "--json")
    assert ended.code == 4, ended.err
    events = [json.loads(line) for line in ended.out.splitlines()]
    assert [event["event"] for event in events] == ["ended", "ended", "summary"]
    assert {event["job"]["path"]: event["job"]["state"] for event in events[:2]} == {
        "talk.wav": "done",
        "broken.wav": "failed",
    }


@pytest.mark.parametrize(("script", "status"), [(Script(), 0), (Script(behave="loop"), 3)])
def test_the_status_tells_how_it_ended(
    script: Script, status: int, make_context: MakeContext, recording: Path, cli: Cli
) -> None:
    with at_work(make_context(script, max_halvings=0)):
        ended = cli("submit", str(recording), "--wait")
    assert ended.code == status, ended.err
    assert ended.out.startswith("suspect" if status else "done")
    again = cli("submit", str(recording), "--wait")
    assert again.err.startswith("note: talk.wav is known already")
    assert again.code == status, "what has ended before is not waited for"


def test_ctrl_c_ends_the_waiting_and_says_that_the_jobs_go_on(recording: Path, database: Database) -> None:
    running = waiting(recording, speech(recording.with_name("b.wav"), seed=2))
    wait_until("both are admitted", lambda: len(queries.list_jobs(database)) == 2)
    ids = {job.id for job in queries.list_jobs(database)}
    commands.cancel(database, ended := ids.pop())
    assert running.stdout
    assert ended in running.stdout.readline()
    running.send_signal(signal.SIGINT)
    _, err = running.communicate(timeout=60)
    assert running.returncode == 130, err
    assert err == f"note: no longer waiting, but the jobs go on: {ids.pop()}\n"
    assert queries.count_by_state(database)[JobState.QUEUED] == 1


# From Python


def test_the_documented_example_works(
    make_context: MakeContext,
    recording: Path,
    client: Client,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(recording.parent)
    (block,) = [
        b for b in blocks((REPOSITORY / "docs" / "client.md").read_text()) if b.language == "python" and not b.needs
    ]
    with at_work(make_context()):
        exec(compile(block.body, "client.md", "exec"), {})
    first, *segments = capsys.readouterr().out.splitlines()
    assert first.strip() == "done"
    assert segments
    assert all(" s  speaker " in line for line in segments)
    job = client.job(recording)
    assert job.context == "Ada Lovelace, Babbage"
    assert [segment.text for segment in client.transcript(job).segments] == [
        line.partition(": ")[2] for line in segments
    ]


def test_a_submitted_recording_waits_with_what_was_asked_for(
    client: Client, recording: Path, settings: Settings
) -> None:
    terms = recording.with_name("terms.txt")
    terms.write_text("Jacquard\n")
    job = client.submit(str(recording), priority=Priority.HIGH, context="looms", hotwords=terms)
    assert (job.state, job.priority, job.context) == (JobState.QUEUED, "high", "looms; Jacquard")
    assert client._doorbell.depth(CPU_QUEUE) == 1
    again = client.submit(recording, priority=Priority.HIGH, context="looms", hotwords=terms)
    assert again.id == job.id
    assert client._doorbell.depth(CPU_QUEUE) == 1
    assert client.job(job.id[:5]).id == job.id


def test_a_recording_may_have_settings_of_its_own(
    database: Database, recording: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DROPSCRIBE_FOLDER_MODELS", "small")
    with Client() as client:
        job = client.submit(
            recording, language="de", speakers=2, outputs=["srt", "txt"], precision="int8", model="small", tracks=None
        )
    assert job.overrides.given == {
        "language": "de", "speakers": "2", "outputs": ("srt", "txt"), "precision": "int8", "model": "small",
    }  # fmt: skip
    assert job.model_queue == "model.auto.int8.small"


def test_waiting_has_an_end_and_leaves_the_job_alone(client: Client, recording: Path, database: Database) -> None:
    job = client.submit(recording)
    with pytest.raises(TimeoutError, match=f"{job.id} is still queued after 0 s; it goes on"):
        client.wait(job, timeout=0)
    commands.cancel(database, job.id)
    assert client.wait(job.id, timeout=0).state is JobState.CANCELLED


@pytest.mark.parametrize(
    ("ask", "error", "hint"),
    [
        (lambda client, path: client.submit(path / "nothing.wav"), UsageError, "name an existing recording"),
        (lambda client, path: client.job("zzzzzzzz"), JobNotFoundError, "no job has the id"),
        (lambda client, path: client.submit(path / "talk.wav", priority="hgh"), UsageError, "high, normal, low"),
        (lambda client, path: client.jobs(states=["finished"]), UsageError, "no state 'finished'; take one of waiting"),
        (lambda client, path: client.submit(path / "talk.wav", temperature=1), UsageError, "no setting temperature"),
        (lambda client, path: client.submit(path / "talk.wav", speakers="many"), SettingsError, "speakers = 'many'"),
        (lambda client, path: client.submit(path / "talk.wav", model="small"), SettingsError, "no checkpoint may be"),
        (
            lambda client, path: client.transcript(client.submit(path / "talk.wav")),
            DropscribeError,
            "has no transcript",
        ),
    ],
)
def test_what_goes_wrong_is_an_error_that_says_what_to_do(
    ask: Callable[[Client, Path], object], error: type[Exception], hint: str, client: Client, recording: Path
) -> None:
    with pytest.raises(error, match=hint):
        ask(client, recording.parent)


def test_a_redis_that_is_away_only_delays(
    database: Database, database_url: str, recording: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DROPSCRIBE_REDIS_URL", "unix:///nowhere/redis.sock")
    with Client(load()) as client:
        assert client.submit(recording).state is JobState.QUEUED


def test_a_client_is_opened_by_settings_or_a_url(
    database: Database, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DROPSCRIBE_DATABASE_URL")
    with Client(database_url) as client, pytest.raises(JobNotFoundError):
        client.job("zzzzzzzz")
    with pytest.raises(StoreError, match="dropscribe up"):
        Client(load({"DROPSCRIBE_HOME": str(tmp_path / "empty")}))
