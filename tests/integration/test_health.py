"""`dropscribe health`: what a container's or a monitor's check learns, against a real store and Redis."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import update

from dropscribe.admin.check import health
from dropscribe.admin.cli.main import main
from dropscribe.admin.context import Context
from dropscribe.store import fleet, tables
from dropscribe.store.fleet import Worker, list_workers
from dropscribe.store.roots import RootReport, report_roots
from dropscribe.store.session import Database

HERE = socket.gethostname()

pytestmark = pytest.mark.usefixtures("store", "redis")


@pytest.fixture
def check(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str]]:
    """Exit code and output of a check."""

    def run(*arguments: str) -> tuple[int, str]:
        capsys.readouterr()
        code = main(["health", *arguments], Context())
        return code, capsys.readouterr().out

    return run


Check = Callable[..., tuple[int, str]]


def register(
    database: Database, name: str, role: str, state: str = "ready", *, silent: float = 0.0, **changes: Any
) -> None:
    entry = {"host": HERE, "pid": os.getpid()} | changes
    fleet.register(database, name, role=role, state=state, **entry)
    with database.begin() as connection:
        beat = update(tables.workers).where(tables.workers.c.id == name)
        connection.execute(beat.values(heartbeat_at=tables.now() - silent))


@pytest.mark.parametrize("role", ["cpu", "model", "scheduler"])
def test_a_process_that_is_ready_is_well(role: str, database: Database, check: Check) -> None:
    report_roots(database, [RootReport("/rec", HERE, "ext4", online=True)])
    register(database, "me", role)
    code, said = check("--role", role)
    assert (code, "fail" in said) == (0, False), said
    assert check()[0] == 0, "without a role, whatever runs here"


def test_a_role_that_does_not_run_here_is_not(database: Database, check: Check) -> None:
    register(database, "elsewhere", "cpu", host="another")
    register(database, "me", "model")
    code, said = check("--role", "cpu")
    assert code == 1
    assert "no cpu runs on this host; dropscribe worker --role cpu" in said
    assert check()[0] == 0


def test_a_process_that_is_silent_is_not(database: Database, check: Check) -> None:
    register(database, "me", "cpu", silent=3510)
    code, said = check("--role", "cpu")
    assert code == 1
    assert "sent its last heartbeat 58 min" in said


@pytest.mark.parametrize("state", ["loading", "unfit"])
def test_a_model_that_is_not_loaded_or_broken_is_not(state: str, database: Database, check: Check) -> None:
    register(database, "me", "model", state)
    code, said = check("--role", "model")
    assert code == 1
    assert f"is {state}" in said


def test_a_worker_that_is_drained_is_left_to_finish(database: Database, check: Check) -> None:
    register(database, "me", "model")
    assert fleet.drain(database, "me")
    code, said = check("--role", "model")
    assert code == 0
    assert "finishes its work and ends" in said


def test_a_folder_that_is_away_is_a_warning_and_all_of_them_a_failure(database: Database, check: Check) -> None:
    register(database, "me", "scheduler")
    report_roots(database, [RootReport("/a", HERE, "nfs4", online=False, reason="not mounted")])
    report_roots(database, [RootReport("/b", "another", "ext4", online=True)])
    assert check("--role", "scheduler")[0] == 1
    report_roots(database, [RootReport("/c", HERE, "ext4", online=True)])
    code, said = check("--role", "scheduler")
    assert code == 0
    assert "warn  folder /a: is offline: not mounted; mount it again" in said
    assert "/b" not in said


def test_redis_and_the_database_have_to_answer(
    database: Database, check: Check, monkeypatch: pytest.MonkeyPatch
) -> None:
    register(database, "me", "cpu")
    monkeypatch.setenv("DROPSCRIBE_REDIS_URL", "unix:///nowhere/redis.sock")
    code, said = check("--role", "cpu")
    assert code == 1
    assert "fail  redis" in said
    monkeypatch.setenv("DROPSCRIBE_DATABASE_URL", "postgresql://nobody@localhost:1/nothing")
    code, said = check("--role", "cpu")
    assert code == 1
    assert "fail  database" in said


def test_programs_get_the_findings_as_of_doctor(database: Database, check: Check) -> None:
    register(database, "me", "model", "loading")
    code, said = check("--role", "model", "--json")
    told = json.loads(said)
    assert (code, told["status"]) == (1, "fail")
    assert [one["level"] for one in told["checks"]] == ["ok", "fail", "ok"]
    assert all(one.keys() == {"name", "level", "finding", "remedy"} for one in told["checks"])


def test_what_a_killed_process_left_behind_is_passed_over(database: Database) -> None:
    register(database, "now", "cpu")
    (worker,) = list_workers(database)
    killed = replace(worker, id="killed", pid=4711, silent=500.0)
    same_number = replace(worker, id="before", started_at=worker.started_at - 60, silent=500.0)

    def running(pid: int) -> bool:
        return pid != 4711

    def ids(*found: Worker) -> list[str]:
        return [one.id for one in health.own(found, HERE, "cpu", running)]

    assert ids(worker, killed, same_number) == ["now"]
    assert ids(replace(worker, role="model")) == []


def test_whether_a_process_runs_is_asked_of_the_system(database: Database) -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        ended.wait()
    register(database, "ended", "cpu", pid=ended.pid)
    register(database, "init", "cpu", pid=1)
    assert [worker.id for worker in health.own(list_workers(database), HERE, "cpu")] == ["init"]
