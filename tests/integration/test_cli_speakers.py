"""The command line against a real store: who speaks, names for speakers, and merging them."""

from __future__ import annotations

import pytest

from dropscribe.core.queue import Doorbell
from dropscribe.core.routing import CPU_QUEUE
from dropscribe.core.settings_loading import load
from dropscribe.core.types import JobState, SpeakerNames
from dropscribe.store import fleet, jobs, queries
from dropscribe.store.session import Database
from tests.integration.console import Cli, admit, done, finish_again, state_of

pytestmark = pytest.mark.usefixtures("environment")


def read_said(store: Database, job_id: str) -> SpeakerNames:
    return queries.job(store, job_id).speakers


def test_speakers_are_listed_with_who_may_be_the_same(store: Database, cli: Cli) -> None:
    job_id = done(store, "a.wav")
    shown = cli("speakers", job_id)
    assert shown.code == 0
    assert [" ".join(line.split()) for line in shown.out.splitlines() if line.lstrip()[:1].isdigit()] == [
        "0 Speaker 1 2.0 s 50% 0:00:00 hello there",
        "1 Bob 1.0 s 25% 0:00:02 hello",
        "2 Speaker 3 1.0 s 25% 0:00:03 you there",
    ]
    assert shown.out.splitlines()[-1] == "Speaker 1 and Speaker 3 may be the same (similarity 0.52)"
    assert cli("speakers", job_id, "--json").json["speakers"][1] == {
        "number": 1,
        "name": "Bob",
        "seconds": 1.0,
        "maybe_same": [],
        "similarity": [],
        "recognized": None,
        "share": 0.25,
        "first": {"start": 2.0, "text": "hello"},
        "perhaps": [],
    }


def test_speakers_are_named_and_merged_by_number_or_name(store: Database, redis: str, cli: Cli) -> None:
    job_id = done(store, "a.wav")
    assert cli("speakers", job_id, "--name", "0=Ada Lovelace", "--name", "bob=Charles").code == 0
    assert state_of(store, job_id) is JobState.FINISHING
    bell = Doorbell(load())
    assert bell.depth(CPU_QUEUE) == 1
    bell.close()
    assert read_said(store, job_id) == SpeakerNames({0: "Ada Lovelace", 1: "Charles"}, {})
    finish_again(store, job_id)
    assert cli("speakers", job_id, "--merge", "Speaker 3=0", "--name", "1=").code == 0
    assert read_said(store, job_id) == SpeakerNames({0: "Ada Lovelace"}, {2: 0})
    finish_again(store, job_id)
    assert cli("speakers", job_id, "--merge", "2=2").code == 0
    assert read_said(store, job_id) == SpeakerNames({0: "Ada Lovelace"}, {})


def test_speakers_go_by_what_was_said_of_them_before_the_files_tell_it(store: Database, cli: Cli) -> None:
    job_id = done(store, "a.wav")
    said = cli("speakers", job_id, "--name", "0=Ada", "--name", "1=Bob", "--merge", "2=0")
    assert said.out == f"{job_id}: noted; its files are written again by the next `dropscribe up` or worker\n"
    assert said.err == "note: dropscribe is not running here; the next `dropscribe up FOLDER` does this\n"
    shown = cli("speakers", job_id, "--json").json["speakers"]
    assert [(one["number"], one["name"], one["seconds"]) for one in shown] == [(0, "Ada", 3.0), (1, "Bob", 1.0)]
    cli("speakers", job_id, "--name", "Ada=", "--merge", "2=2")
    assert [one["name"] for one in cli("speakers", job_id, "--json").json["speakers"]] == ["", "Bob", ""]
    claim = jobs.claim_finish(store, job_id, "cpu-1", 90)
    assert claim
    revision = queries.job(store, job_id).revision
    assert "noted" in cli("speakers", job_id, "--name", "0=Eve").out
    assert jobs.complete(store, claim, JobState.DONE, revision=revision) == [job_id], "a worker has begun without it"
    assert [one["name"] for one in cli("speakers", job_id, "--json").json["speakers"]] == ["Eve", "Bob", ""]


def test_speakers_say_that_files_are_written_now_where_a_worker_is_there(store: Database, redis: str, cli: Cli) -> None:
    job_id = done(store, "a.wav")
    assert "by the next `dropscribe up` or worker" in cli("speakers", job_id, "--name", "0=Ada").out
    fleet.register(store, "cpu-1", host="here", pid=1, role="cpu", state="ready")
    assert cli("speakers", job_id, "--name", "0=Eve").out == f"{job_id}: noted; its files are written again now\n"


@pytest.mark.parametrize(
    ("option", "value", "complaint"),
    [
        ("--name", "Ada", 'write it like "Speaker 1=Alice", or 0=Alice'),
        ("--name", "7=Ada", "there is no speaker 7; the speakers are 0 (Speaker 1), 1 (Bob), 2 (Speaker 3)"),
        ("--merge", "2=Eve", "there is no speaker Eve"),
    ],
)
def test_a_speaker_that_is_not_there_is_refused(
    store: Database, cli: Cli, option: str, value: str, complaint: str
) -> None:
    job_id = done(store, "a.wav")
    shown = cli("speakers", job_id, option, value)
    assert (shown.code, state_of(store, job_id)) == (2, JobState.DONE)
    assert complaint in " ".join(shown.err.split())


def test_speakers_cannot_be_merged_in_a_circle(store: Database, cli: Cli) -> None:
    job_id = done(store, "a.wav")
    shown = cli("speakers", job_id, "--merge", "0=1", "--merge", "1=0")
    assert shown.code == 2
    assert "would be merged with itself" in shown.err


def test_speakers_of_a_job_without_transcript_are_not_named(store: Database, cli: Cli) -> None:
    shown = cli("speakers", admit(store, "a.wav"), "--name", "0=Ada")
    assert shown.code == 1
    assert "has no transcript; see `dropscribe show" in " ".join(shown.err.split())
