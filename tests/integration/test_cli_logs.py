"""`dropscribe logs` over log files and events."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path

import pytest

from dropscribe.core.settings_loading import load
from dropscribe.store import commands
from dropscribe.store.session import Database
from tests.integration.console import Cli, Ended, admit, fail


@pytest.fixture
def folder(tmp_path: Path, store: Database) -> Path:
    made = load().home / "logs"
    made.mkdir(parents=True)
    return made


def logged(file: Path, at: str, job: str, message: str, **more: object) -> None:
    line = {"at": at, "level": "info", "logger": "x", "message": message, "worker": "w", "job": job} | more
    with file.open("a") as open_file:
        open_file.write(json.dumps(line) + "\n")


def test_lines_of_all_logs_and_events_are_told_in_order(store: Database, cli: Cli, folder: Path) -> None:
    job_id = fail(store, "a.wav")
    other = admit(store, "b.wav")
    logged(folder / "two.log", "2099-01-01T00:00:02+00:00", job_id, "later", chunk="0", attempt=2)
    logged(folder / "one.log.1", "1999-01-01T00:00:01+00:00", job_id, "earlier", traceback="Trace\n  back")
    logged(folder / "one.log", "2099-01-01T00:00:03+00:00", other, f"not {job_id}'s")
    (folder / "redis.log").write_bytes(b"\xff" + job_id.encode() + b"\n" + f"text [{job_id}]\n".encode())
    with (folder / "one.log").open("a") as file:
        file.write(f'{{"job": "{job_id}", "half a li')
    told = cli("logs", job_id, "--json").json
    assert told["job"] == job_id
    messages = [line["message"] for line in told["lines"]]
    at_fault = ["refused a retry cannot help", "failed it is not audio"]
    assert messages == ["earlier", "admitted", "preparing", *at_fault, "later"]
    assert told["lines"][-1] | {"at": 0} == {
        "at": 0,
        "level": "info",
        "worker": "w",
        "message": "later",
        "chunk": "0",
        "attempt": 2,
        "traceback": "",
    }
    text = cli("logs", job_id).out
    assert "later  (chunk 0, attempt 2)" in text
    assert "      back" in text
    assert text.index("earlier") < text.index("admitted") < text.index("later")


def test_without_log_files_the_events_are_told_and_why_only_those(store: Database, cli: Cli) -> None:
    shown = cli("logs", fail(store, "a.wav"))
    assert shown.code == 0
    assert "failed it is not audio" in shown.out
    assert "in their journals" in " ".join(shown.err.split())


def test_a_job_is_followed_to_its_end(store: Database, cli: Cli, folder: Path) -> None:
    job_id = admit(store, "a.wav")
    ended: list[Ended] = []
    following = threading.Thread(target=lambda: ended.append(cli("logs", job_id, "--follow", "--json")))
    following.start()
    time.sleep(0.1)
    logged(folder / "w.log", "2026-01-01T00:00:00+00:00", job_id, "at work")
    commands.cancel(store, job_id)
    following.join(60)
    messages = [json.loads(line)["message"] for line in ended[0].out.splitlines()]
    assert messages.count("at work") == 1
    assert "cancelled" in messages[-1]
