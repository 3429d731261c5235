"""What programs read of the command line: changes, errors and moments as JSON."""

from __future__ import annotations

import json
import sqlite3
from datetime import UTC, datetime
from pathlib import Path

import pytest

from dropscribe.admin.client import Client
from dropscribe.admin.context import Context
from dropscribe.admin.state import fleet_status
from dropscribe.core.errors import DropscribeError, StoreUnavailableError, UsageError
from dropscribe.core.types import JobState
from dropscribe.store import commands, fleet, jobs, queries
from dropscribe.store.session import Database
from tests.integration.console import Cli, Ended, admit, done, fail
from tests.schemas import conforms


def error_of(ended: Ended) -> dict[str, str]:
    conforms(ended.json, "error")
    assert ended.err == ""
    return ended.json["error"]


def test_retry_cancel_and_priority_say_what_became_of_each_job(store: Database, redis: str, cli: Cli) -> None:
    failed, waits, over = fail(store, "a.wav"), admit(store, "b.wav"), done(store, "c.wav")
    for command, changed in (
        (f"retry {failed} {over} --json", {"id": failed, "state": "queued"}),
        (f"priority {waits} {over} high --json", {"id": waits, "state": "queued", "priority": "high"}),
        (f"cancel {waits} {over} --json", {"id": waits, "state": "cancelled"}),
    ):
        ended = cli(*command.split())
        conforms(ended.json, "changed")
        assert (ended.code, ended.err, ended.json["jobs"]) == (1, "", [changed])
        (refused,) = ended.json["errors"]
        assert (refused["name"], refused["code"]) == (over, "failed")
    failed_again = fail(store, "d.wav")
    retried = cli("retry", "--failed", "--json").json
    conforms(retried, "changed")
    assert (retried["jobs"], retried["left"]) == ([], [failed_again])


def test_pause_resume_and_drain_say_how_it_is_now(store: Database, cli: Cli) -> None:
    fleet.register(store, "cpu-1", host="here", pid=1, role="cpu", state="ready")
    for command, schema, told in (
        ("pause", "paused", {"paused": True}),
        ("resume", "paused", {"paused": False}),
        ("drain --all", "drained", {"workers": [{"id": "cpu-1"}], "errors": [], "ended": False}),
    ):
        ended = cli(*command.split(), "--json")
        conforms(ended.json, schema)
        assert (ended.code, ended.json) == (0, told)


def test_what_was_done_before_the_store_went_away_is_told(
    store: Database, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second, third = (admit(store, path) for path in ("a.wav", "b.wav", "c.wav"))
    plainly = commands.cancel

    def cancel(database: Database, job_id: str) -> tuple[JobState, list[str]]:
        if job_id != first:
            raise StoreUnavailableError("the database is away")
        return plainly(database, job_id)

    monkeypatch.setattr(commands, "cancel", cancel)
    ended = cli("cancel", first, second, third, "--json")
    conforms(ended.json, "changed")
    assert (ended.code, ended.err, ended.json["jobs"]) == (1, "", [{"id": first, "state": "cancelled"}])
    assert [(one["name"], one["code"]) for one in ended.json["errors"]] == [(second, "store_unavailable")]


def test_workers_that_were_drained_before_the_store_went_away_are_told(
    store: Database, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    def draining(*_: object) -> list[str]:
        raise StoreUnavailableError("the database is away")

    fleet.register(store, "cpu-1", host="here", pid=1, role="cpu", state="ready")
    monkeypatch.setattr(fleet_status, "draining", draining)
    ended = cli("drain", "--all", "--wait", "--json")
    conforms(ended.json, "drained")
    assert (ended.code, ended.json["workers"], ended.json["ended"]) == (1, [{"id": "cpu-1"}], False)
    assert [(one["name"], one["code"]) for one in ended.json["errors"]] == [("--wait", "store_unavailable")]


@pytest.mark.parametrize(
    ("command", "status", "code"),
    [
        ("show zzzz", 1, "job_not_found"),
        ("show", 2, "usage"),
        ("jobs --state nowhere", 2, "usage"),
        ("retry", 2, "usage"),
        ("up nowhere", 2, "usage"),
    ],
)
def test_an_error_is_json_with_a_code_and_the_same_exit_status(
    store: Database, cli: Cli, command: str, status: int, code: str
) -> None:
    ended = cli(*command.split(), "--json")
    assert (ended.code, error_of(ended)["code"]) == (status, code)
    plain = cli(*command.split())
    assert (plain.code, plain.out) == (status, "")


def test_a_defect_is_json_too(capsys: pytest.CaptureFixture[str]) -> None:
    context = Context()
    context.as_json = True
    context.unexpected("KeyError: 'x'")
    assert json.loads(capsys.readouterr().out)["error"]["code"] == "internal"


def test_what_stands_behind_two_dashes_is_no_option(store: Database, cli: Cli) -> None:
    assert "no job has the id, the path or the name --json" in cli("show", "--", "--json").err


def test_moments_in_json_are_iso_8601_with_their_zone(store: Database, cli: Cli) -> None:
    job_id = done(store, "a.wav")
    before = datetime.fromtimestamp(store.clock() - 600, UTC)
    cli("pause")
    shown = cli("show", job_id, "--json").json
    for moment in (
        shown["created_at"],
        shown["finished_at"],
        shown["events"][0]["at"],
        shown["attempts"][0]["began"],
        cli("status", "--json").json["paused_since"],
        cli("logs", job_id, "--json").json["lines"][0]["at"],
        cli("forget", job_id, "--json").json["jobs"][0]["finished_at"],
    ):
        parsed = datetime.fromisoformat(moment)
        assert parsed.utcoffset() is not None
        assert parsed > before
    assert datetime.fromisoformat(shown["modified_at"]).timestamp() == pytest.approx(shown["mtime_ns"] / 1e9, abs=0.01)


def test_a_new_database_without_tables_is_called_empty(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sqlite3.connect(tmp_path / "new.db").close()
    monkeypatch.setenv("DROPSCRIBE_DATABASE_URL", f"sqlite:///{tmp_path}/new.db")
    told = error_of(cli("jobs", "--json"))
    assert told["code"] == "schema"
    assert "is empty: dropscribe has not run on it yet; start `dropscribe up FOLDER`" in told["message"]


@pytest.mark.parametrize(
    ("variable", "value", "words"),
    [
        ("WEBHOOK_URL", "ftp://Host/x", "must be a web address that begins with https:// or http://"),
        ("LANGUAGE", "Deutsch", "must be a code of two or three small letters, such as de"),
        ("SPEAKERS", "0", "must be auto, off, or a number from 1 to 99"),
        ("TRACKS", "second", "must be speech, all, or numbers of tracks, such as 1,3"),
    ],
)
def test_a_value_that_does_not_fit_is_told_what_it_must_be(
    store: Database, cli: Cli, monkeypatch: pytest.MonkeyPatch, variable: str, value: str, words: str
) -> None:
    monkeypatch.setenv(f"DROPSCRIBE_{variable}", value)
    told = error_of(cli("status", "--json"))
    assert told["code"] == "settings"
    shown = "***" if variable == "WEBHOOK_URL" else repr(value)  # which may hold a password
    assert told["message"] == f"DROPSCRIBE_{variable} = {shown}: {words}"


def test_submit_raises_a_job_that_waits_and_says_so(store: Database, redis: str, cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "talk.wav").write_bytes(b"sound")
    (job,) = cli("submit", "talk.wav", "--json").json["jobs"]
    again = cli("submit", "talk.wav", "--priority", "high")
    assert f"talk.wav is known already as {job['id']}, queued with priority high" in again.err
    assert queries.job(store, job["id"]).priority == "high"
    cli("submit", "talk.wav")
    assert queries.job(store, job["id"]).priority == "high", "nobody asked for another one"
    cli("cancel", job["id"])
    assert "cancelled\n" in cli("submit", "talk.wav", "--priority", "low").err
    assert queries.job(store, job["id"]).priority == "high"


def test_a_client_raises_a_job_too(store: Database, redis: str, database_url: str, tmp_path: Path) -> None:
    (tmp_path / "talk.wav").write_bytes(b"sound")
    with Client(database_url) as client:
        first, second = client.submit(tmp_path / "talk.wav", priority="low"), admit(store, "b.wav")
        assert client.set_priority(first, "high").priority == "high"
        assert jobs.first_to_prepare(store, 1) == [first.id]
        assert client.submit(tmp_path / "talk.wav", priority="low").priority == "low"
        assert jobs.first_to_prepare(store, 1) == [second]
        with pytest.raises(UsageError, match="there is no priority 'urgent'"):
            client.set_priority(first.id, "urgent")
        with pytest.raises(DropscribeError, match="done already; there is nothing to prioritize"):
            client.set_priority(done(store, "c.wav", JobState.DONE), "high")
