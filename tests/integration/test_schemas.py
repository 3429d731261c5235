"""What every command prints with `--json` is what its schema says, and nothing else."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest
from jsonschema import ValidationError

from dropscribe.admin.state.report import JsonReport
from dropscribe.core.types import JobState
from dropscribe.store import chunks, fleet, queries, written_files
from dropscribe.store.roots import RootReport, report_roots
from dropscribe.store.session import Database
from tests.integration.console import ENGINE, Cli, admit, done, fail, prepare
from tests.schemas import conforms


@pytest.fixture
def filled(store: Database, monkeypatch: pytest.MonkeyPatch) -> str:
    """A store with jobs in several states, workers at work and a folder; a finished job of it."""
    monkeypatch.setenv("DROPSCRIBE_ENGINE", "scripted")
    fleet.register(store, "model-1", host="here", pid=1, role="model", state="ready", gpu="GPU-1")
    fleet.heartbeat(store, "model-1", engine=ENGINE, audio=80.0, busy=8.0, memory=10**9)
    fleet.register(store, "cpu-1", host="here", pid=2, role="cpu", state="loading")
    report_roots(store, [RootReport("/rec", "here", "ext4", online=True)])
    fail(store, "b.wav")
    reads = admit(store, "c.wav")
    prepare(store, reads, (0.0, 60.0))
    assert chunks.claim(store, f"{reads}.0", "model-1", 90)
    admit(store, "d.wav")
    return done(store, "a.wav", JobState.SUSPECT)


@pytest.mark.parametrize(
    ("command", "schema"),
    [
        ("jobs", "jobs"),
        ("show {job}", "show"),
        ("show /rec/c.wav", "show"),
        ("show /rec/d.wav", "show"),
        ("status", "status"),
        ("workers", "workers"),
        ("speakers {job}", "speakers"),
        ("search hello --around 1", "search"),
        ("search nothing", "search"),
        ("export {job} --format txt --to pages", "export"),
        ("logs {job}", "logs"),
        ("forget {job}", "forget"),
        ("forget {job} --outputs", "forget"),
        ("config", "config"),
        ("doctor", "doctor"),
        ("health", "doctor"),
        ("plan --vram 24", "plan"),
        ("plan", "plan"),
    ],
)
def test_the_json_of_a_command_is_what_its_schema_says(filled: str, cli: Cli, command: str, schema: str) -> None:
    conforms(cli(*command.format(job=filled).split(), "--json").json, schema)


def test_a_line_that_is_followed_is_what_its_schema_says(filled: str, cli: Cli) -> None:
    lines = cli("logs", filled, "--follow", "--json").out.splitlines()
    assert lines
    for line in lines:
        conforms(json.loads(line), "line")


def test_a_submitted_job_is_what_its_schema_says(store: Database, redis: str, cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(b"sound")
    conforms(cli("submit", "a.wav", "--json").json, "submit")


def test_what_happens_is_told_as_its_schema_says(
    filled: str, store: Database, capsys: pytest.CaptureFixture[str]
) -> None:
    job = queries.job(store, filled)
    report = JsonReport()
    report.say("hello")
    report.ended(job, written_files.files_of(store, filled))
    report.summary([job, queries.job(store, queries.list_jobs(store)[-1].id)])
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [one["event"] for one in told] == ["note", "ended", "summary"]
    for one in told:
        conforms(one, "progress")


def test_what_a_schema_does_not_tell_would_be_noticed(filled: str, store: Database, cli: Cli) -> None:
    told = cli("show", filled, "--json").json
    assert asdict(queries.job(store, filled)).keys() - {"origin"} < told.keys()
    for wrong in (told | {"extra": 1}, told | {"parts": [{"name": "x", "seconds": 1, "extra": 1}]}, {"id": "x"}):
        with pytest.raises(ValidationError):
            conforms(wrong, "show")
    with pytest.raises(ValidationError):
        conforms({"jobs": [told], "more": False}, "jobs")
