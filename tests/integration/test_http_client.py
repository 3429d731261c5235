"""`dropscribe.Client` by a server: the same methods, and the same answers, as by the store."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from dropscribe import Client, DropscribeError
from dropscribe.core.clock import iso
from dropscribe.core.corrections import MAX_EDITS, MAX_TEXT, SpeakerEdit, TextEdit
from dropscribe.core.errors import (
    EditConflictError,
    FolderOfflineError,
    ForbiddenError,
    JobNotFoundError,
    NameTakenError,
    StoreUnavailableError,
    UsageError,
)
from dropscribe.core.settings import Settings
from dropscribe.core.types import JobState, TokenRole
from dropscribe.store import commands, tokens
from dropscribe.store.session import Database
from dropscribe.store.speakers import SpeakerNames, say
from tests.e2e.harness import speech
from tests.integration.console import finish_again
from tests.integration.serving import World, gate, listening, watched, world


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    """SQLite alone: the server's questions are asked of both databases elsewhere."""
    return sqlite_url


@pytest.fixture
def own(settings: Settings, tmp_path: Path, database_url: str) -> Settings:
    return settings.model_copy(update={"home": tmp_path / "home", "database_url": database_url})


@pytest.fixture
def there(database: Database, inbox: Path) -> World:
    return world(database, inbox)


@pytest.fixture
def address(database: Database, own: Settings) -> Iterator[str]:
    with gate(database, own) as made, listening(made, own) as (host, port):
        yield f"http://{host}:{port}"


@pytest.fixture
def near(own: Settings) -> Iterator[Client]:
    with Client(own) as client:
        yield client


@pytest.fixture
def far(address: str, database: Database) -> Iterator[Client]:
    with Client(address, token=tokens.create(database, "editor", TokenRole.EDITOR)) as client:
        yield client


ASKED: tuple[Callable[[Client, World], object], ...] = (
    lambda client, there: client.jobs(),
    lambda client, there: client.jobs(states=["cancelled", "duplicate", "queued"], folder=there.our_folder, limit=9),
    lambda client, there: client.job(there.ours),
    lambda client, there: client.job(there.root / "hr" / "talk.wav"),
    lambda client, there: client.wait(there.same, timeout=0),
    lambda client, there: client.files(there.ours),
    lambda client, there: client.speakers(there.ours),
    lambda client, there: client.transcript(there.ours),
    lambda client, there: client.search("budget", speaker="Speaker 1", folder=there.our_folder),
    lambda client, there: list(client.as_ended([there.ours, there.theirs])),
    lambda client, there: [replace(one, at=0.0) for one in client.revisions(there.theirs)],
)


def test_both_answer_alike(near: Client, far: Client, there: World, database: Database) -> None:
    say(database, there.ours, SpeakerNames({0: "Alice"}, {2: 0}))
    commands.cancel(database, there.ours)
    near.correct(there.theirs, [TextEdit(0, "the budget of the zebras")])
    finish_again(database, there.theirs)
    for ask in ASKED:
        here = ask(near, there)
        assert here, ask
        assert str(_rounded(ask(far, there))) == str(_rounded(here))


def test_as_many_edits_as_a_revision_has_arrive_in_one_request(far: Client, there: World) -> None:
    edits = [TextEdit(0, f"{number} {'budget ' * 60}".strip()) for number in range(MAX_EDITS)]
    assert far.correct(there.ours, edits) == 1
    assert [len(one.edits) for one in far.revisions(there.ours)] == [MAX_EDITS]


def test_a_transcript_is_corrected_and_the_second_of_two_is_told(near: Client, far: Client, there: World) -> None:
    assert far.correct(there.ours, [TextEdit(0, "the budgets"), SpeakerEdit(1, 2, 0)], revision=0) == 1
    with pytest.raises(EditConflictError, match="its revision is now 1, and not 0"):
        far.correct(there.ours, [TextEdit(0, "no budget")], revision=0)
    with pytest.raises(UsageError, match="cannot be kept: String should have at most 20000 characters"):
        near.correct(there.ours, [TextEdit(0, "x" * (MAX_TEXT + 1))])
    with pytest.raises(UsageError, match="there is no segment 9"):
        far.correct(there.ours, [TextEdit(9, "no budget")])
    for client in (near, far):
        said = client.transcript(there.ours)
        assert [(one.text, one.speaker) for one in said.segments] == [
            ("the budgets", 0),
            ("hello", 0),
            ("you there", 0),
        ]
        assert said.revision == 1
    assert near.undo(there.ours, revision=1) == 2
    assert [one.number for one in client.speakers(there.ours)] == [0, 1, 2]
    assert [(one.number, one.who, one.back_to) for one in far.revisions(there.ours)][1][2] == 0
    with pytest.raises(UsageError, match="there is nothing left to undo"):
        far.undo(there.ours)


def _rounded(answer: object) -> object:
    """Without what a document leaves out, or rounds."""
    if isinstance(answer, list):
        return [*map(_rounded, answer)]
    if hasattr(answer, "created_at") and hasattr(answer, "finished_at"):
        moments = {name: iso(getattr(answer, name) or 0) for name in ("created_at", "finished_at")}
        return replace(answer, origin=None, **moments)
    return answer


def test_a_recording_is_sent_with_what_is_wanted_for_it(far: Client, there: World, tmp_path: Path) -> None:
    sent, terms = speech(tmp_path / "sent.wav"), tmp_path / "terms.txt"
    terms.write_text("Jacquard\n")
    with pytest.raises(UsageError, match="hgh"):
        far.submit(sent, priority="hgh")
    job = far.submit(
        sent, folder=there.our_folder, priority="high", context="looms", hotwords=terms, language="de", outputs=["srt"]
    )
    assert (job.state, job.priority, job.context, job.source) == (
        JobState.QUEUED, "high", "looms; Jacquard", f"{there.our_folder}/sent.wav",
    )  # fmt: skip
    assert job.overrides.given == {"language": "de", "outputs": ("srt",)}
    with pytest.raises(NameTakenError, match="another name"):
        far.submit(sent, folder=there.our_folder)
    assert far.submit(sent).root == str(there.root), "the first watched folder, where none is named"
    assert far.set_priority(job, "low").priority == "low"
    assert far.cancel(job).state is JobState.CANCELLED
    assert far.retry(job).state is JobState.QUEUED
    with pytest.raises(TimeoutError, match="still queued"):
        far.wait(job, timeout=0)


def test_it_is_sent_into_the_first_folder_that_is_online(
    far: Client, there: World, tmp_path: Path, database: Database
) -> None:
    (tmp_path / "away").mkdir()
    watched(database, tmp_path / "away", online=False)
    assert far.submit(speech(tmp_path / "sent.wav")).root == str(there.root)
    watched(database, there.root, online=False)
    with pytest.raises(FolderOfflineError):
        far.submit(tmp_path / "sent.wav")


def test_many_are_waited_for_with_one_request_and_a_server_that_refuses_is_asked_later(
    database: Database, own: Settings, there: World
) -> None:
    seldom = own.model_copy(update={"serve_requests": 1})
    token = tokens.create(database, "reader", TokenRole.READER)
    with (
        gate(database, seldom) as made,
        listening(made, seldom) as (host, port),
        Client(f"http://{host}:{port}", token=token) as far,
    ):
        assert [job.id for job in far.as_ended([there.theirs, there.ours, there.same])] == [
            there.theirs, there.ours, there.same,
        ]  # fmt: skip
        with pytest.raises(TimeoutError, match="could not be asked for"):
            far.wait(there.ours, timeout=0)
    with Client("http://127.0.0.1:1") as nobody, pytest.raises(TimeoutError):
        nobody.wait(there.ours, timeout=0)


def test_a_job_that_there_is_not_is_not_waited_for(near: Client, far: Client) -> None:
    for client in (near, far):
        with pytest.raises(JobNotFoundError):
            client.wait("zzzzzzzz")


def test_jobs_are_cancelled_and_retried_by_the_store_too(near: Client, recording: Path) -> None:
    job = near.submit(recording)
    assert near.cancel(job).state is JobState.CANCELLED
    assert near.retry(job).state is JobState.QUEUED


def test_errors_are_the_same(far: Client, address: str, database: Database, there: World, tmp_path: Path) -> None:
    with pytest.raises(JobNotFoundError):
        far.job("zzzzzzzz")
    with pytest.raises(JobNotFoundError):
        far.job("/nowhere/talk.wav")
    with pytest.raises(DropscribeError, match="nothing to cancel"):
        far.cancel(there.ours)
    with pytest.raises(UsageError, match="no word"):
        far.search("!")
    with (
        Client(address, token=tokens.create(database, "reader", TokenRole.READER)) as reader,
        pytest.raises(ForbiddenError),
    ):
        reader.retry(there.ours)
    with Client("http://127.0.0.1:1") as nobody, pytest.raises(StoreUnavailableError, match="does not answer"):
        nobody.jobs()
    with pytest.raises(UsageError, match="a token is for a server"):
        Client(f"sqlite:///{tmp_path}/x.db", token="ds_x")
