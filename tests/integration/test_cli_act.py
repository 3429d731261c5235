"""The command line against a real store: submit, retry, cancel, pause and resume."""

from __future__ import annotations

import os
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from dropscribe.core.queue import Doorbell
from dropscribe.core.routing import CPU_QUEUE
from dropscribe.core.settings_loading import load
from dropscribe.core.types import JobState
from dropscribe.store import fleet, jobs, queries, recovery
from dropscribe.store.session import Database
from dropscribe.store.tables import now, workers
from tests.integration.console import Cli, admit, done, fail, give_up, state_of

pytestmark = pytest.mark.usefixtures("environment")


def test_nobody_speaks_to_dead_workers(store: Database, cli: Cli) -> None:
    for name in ("dead", "living"):
        fleet.register(store, name, host="h", pid=1, role="cpu", state="ready")
    with store.begin() as connection:
        connection.execute(update(workers).where(workers.c.id == "dead").values(heartbeat_at=now() - 500))
    ended = cli("drain", "--all")
    assert (ended.code, "dead" in ended.out) == (0, False)
    assert "living takes no new work" in ended.out
    assert "dead means no worker" in cli("drain", "dead").err


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    path = tmp_path / "talk.wav"
    path.write_bytes(b"sound")
    return path


def submitted(cli: Cli, *arguments: str) -> dict[str, Any]:
    (job,) = cli("submit", *arguments, "--json").json["jobs"]
    return job


def test_a_submitted_recording_is_told_its_context_and_its_hotwords(
    store: Database, redis: str, cli: Cli, recording: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("mine.txt").write_text("Ada, Babbage\n")
    Path("ours.txt").write_text("Byron\n")
    monkeypatch.setenv("DROPSCRIBE_CONTEXT", "engines")
    monkeypatch.setenv("DROPSCRIBE_HOTWORDS", "ours.txt")
    jobs_by_context = {
        job["context"]: job
        for job in (
            submitted(cli, str(recording)),
            submitted(cli, str(recording), "--hotwords", "mine.txt"),
            submitted(cli, str(recording), "--context", "a talk"),
            submitted(cli, str(recording), "--context", "a talk", "--hotwords", "mine.txt"),
        )
    }
    assert set(jobs_by_context) == {"engines; Byron", "engines; Ada, Babbage", "a talk; Byron", "a talk; Ada, Babbage"}
    assert len({job["settings_digest"] for job in jobs_by_context.values()}) == 4
    again = cli("submit", str(recording))
    assert "is known already" in again.err
    Path("ours.txt").write_text("Byron, Menabrea\n")
    assert submitted(cli, str(recording))["context"] == "engines; Byron, Menabrea"


@pytest.mark.parametrize("name", ["talk", "talk.recording", "notes.txt", "talk.wav.part", ".talk.wav"])
def test_a_file_of_any_name_is_submitted(store: Database, redis: str, cli: Cli, tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"sound")
    assert submitted(cli, str(tmp_path / name))["state"] == "queued"


def test_hotwords_that_cannot_be_read_admit_nothing(store: Database, redis: str, cli: Cli, recording: Path) -> None:
    shown = cli("submit", str(recording), "--hotwords", "trems.txt")
    assert (shown.code, shown.out) == (2, "")
    assert "cannot read the hotwords file trems.txt: No such file or directory; fix it, or name another" in shown.err
    Path("long.txt").write_text("x" * 10_001)
    assert "has 10,001 characters and 10,000 are allowed" in cli("submit", str(recording), "--hotwords", "long.txt").err
    assert queries.list_jobs(store) == []


def test_what_nobody_may_read_is_not_submitted(
    store: Database, cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recording = tmp_path / "a.wav"
    recording.write_bytes(b"x")
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may read everything
    shown = cli("submit", str(recording))
    assert (shown.code, shown.err) == (
        2,
        f"error: you may not read {recording}; make it readable (chmod u+r), or ask its owner\n",
    )


def test_retry_restarts_and_rings(store: Database, redis: str, cli: Cli) -> None:
    job_id = fail(store, "a.wav")
    shown = cli("retry", "/rec/a.wav")
    assert (shown.code, shown.err) == (0, "")
    assert state_of(store, job_id) == JobState.QUEUED
    bell = Doorbell(load())
    assert bell.depth(CPU_QUEUE) == 1
    bell.close()


def test_a_redis_of_ones_own_that_is_away_is_named(store: Database, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DROPSCRIBE_REDIS_URL", "redis://localhost:1")
    shown = cli("retry", fail(store, "a.wav"), fail(store, "b.wav"))
    assert shown.code == 0
    assert shown.err.count("warning: Redis at redis://localhost:1") == 1
    assert "Nothing is lost" in shown.err


def test_retry_without_redis_warns_once_and_loses_nothing(store: Database, cli: Cli) -> None:
    names = [fail(store, "a.wav"), fail(store, "b.wav")]
    shown = cli("retry", *names)
    assert shown.code == 0
    assert shown.err == "note: dropscribe is not running here; the next `dropscribe up FOLDER` does this\n"
    assert {state_of(store, name) for name in names} == {JobState.QUEUED}
    assert len(recovery.unsent(store, "prepare", 3600, 10)) == 2  # so the reconciler sends them


def test_retry_goes_on_after_a_job_that_cannot_be_retried(store: Database, redis: str, cli: Cli) -> None:
    good, bad = done(store, "a.wav"), fail(store, "b.wav")
    shown = cli("retry", good, "zzzz", bad)
    assert shown.code == 1
    assert shown.err.count("error: ") == 2
    assert state_of(store, bad) == JobState.QUEUED


def test_retry_failed_means_failed_and_parked(store: Database, redis: str, cli: Cli) -> None:
    failed, good, lost = give_up(store, admit(store, "a.wav")), done(store, "b.wav"), admit(store, "c.wav")
    assert jobs.claim_prepare(store, lost, "dead", -1)
    recovery.expire(store, 1)
    assert state_of(store, lost) == JobState.PARKED
    assert cli("retry", "--failed").code == 0
    assert [state_of(store, one) for one in (failed, good, lost)] == [JobState.QUEUED, JobState.DONE, JobState.QUEUED]
    assert "no job is failed" in cli("retry", "--failed").out


def test_retry_failed_leaves_what_a_retry_cannot_help_and_says_so(store: Database, redis: str, cli: Cli) -> None:
    hopeless, hopeful = fail(store, "a.wav"), give_up(store, admit(store, "b.wav"))
    shown = cli("retry", "--failed")
    assert shown.code == 0
    assert "1 job not retried, because the recordings themselves are at fault" in shown.out
    assert [state_of(store, one) for one in (hopeless, hopeful)] == [JobState.FAILED, JobState.QUEUED]
    assert cli("retry", "--failed", "--all").code == 0
    assert state_of(store, hopeless) == JobState.QUEUED
    give_up(store, hopeless)  # for another reason this time
    assert "at fault" not in cli("retry", "--failed").out
    assert state_of(store, hopeless) == JobState.QUEUED


def test_retry_needs_names_or_failed_but_not_both(store: Database, cli: Cli) -> None:
    assert cli("retry").code == 2
    assert cli("retry", "--failed", "k3v9").code == 2
    assert cli("retry", "--all", "k3v9").code == 2


def test_cancel_ends_what_waits_and_asks_the_worker_of_what_runs(store: Database, cli: Cli) -> None:
    waits, runs, over = admit(store, "a.wav"), admit(store, "b.wav"), done(store, "c.wav")
    assert jobs.claim_prepare(store, runs, "cpu-1", 90)
    shown = cli("cancel", waits, runs, over)
    assert shown.code == 1
    assert f"{waits} is cancelled" in shown.out
    assert cli("show", waits, "--json").json["progress"] == 0
    assert f"{runs} is preparing; its worker stops" in shown.out
    assert "nothing to cancel" in shown.err
    assert queries.job(store, runs).cancel_requested


def test_pause_and_resume_are_seen_in_the_status(store: Database, cli: Cli) -> None:
    assert cli("pause").code == 0
    since = datetime.fromisoformat(cli("status", "--json").json["paused_since"])
    assert since.timestamp() == pytest.approx(store.clock(), abs=60)
    assert "paused" in cli("status").out
    assert cli("resume").code == 0
    assert cli("status", "--json").json["paused_since"] is None
