"""A fleet: watcher, CPU worker and two model workers as processes of their own, on PostgreSQL and one Redis."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from dropscribe.core.queue import redis_url
from dropscribe.core.settings import Settings
from dropscribe.core.types import JobState
from dropscribe.store import queries
from dropscribe.store.events import events_of
from dropscribe.store.fleet import Worker, list_workers
from dropscribe.store.session import open_database
from tests import nvidia_smi
from tests.e2e.harness import PATIENCE, Machine, speech, wait_until

COMMANDS = (
    ("watch", "{inbox}"),
    ("worker", "--role", "cpu"),
    ("worker", "--role", "model"),
    ("worker", "--role", "model"),
)


class Fleet(Machine):
    """The same inbox and settings, but each role started by its own command."""

    def __init__(self, folder: Path, **settings: str) -> None:
        super().__init__(folder, **settings)
        self.members: list[subprocess.Popen[bytes]] = []

    def start(self, patience: float = PATIENCE) -> None:
        """Start every role, and wait until all are at work."""
        self.home.mkdir(exist_ok=True)
        for number, words in enumerate(COMMANDS):
            command = [sys.executable, "-m", "dropscribe", *(word.format(inbox=self.inbox) for word in words)]
            with (self.home / f"{number}.log").open("wb") as log:
                self.members.append(subprocess.Popen(command, env=self.environment, stdout=log, stderr=log))
        wait_until("all are ready", lambda: [w.state for w in list_workers(self.database)] == ["ready"] * 4, patience)

    def close(self) -> None:
        for member in self.members:
            member.kill()
            member.wait()
        super().close()


@pytest.fixture
def fleet(tmp_path: Path, postgresql: str, settings: Settings) -> Iterator[Fleet]:
    engine = create_engine(postgresql)
    with engine.begin() as connection:
        connection.execute(text("DROP SCHEMA public CASCADE"))
        connection.execute(text("CREATE SCHEMA public"))
    engine.dispose()
    open_database(postgresql).close()
    made = Fleet(
        tmp_path / "fleet",
        DATABASE_URL=postgresql,
        REDIS_URL=redis_url(settings),
        SCRIPTED_SCRIPT=json.dumps({"seconds": 1}),
        CHUNK_SECONDS="10",
    )
    yield made
    made.close()


def test_a_fleet_shares_the_work_and_survives_the_loss_of_a_worker(fleet: Fleet) -> None:
    fleet.start()
    names = [f"{seed}.wav" for seed in range(4)]
    for seed, name in enumerate(names):
        speech(fleet.inbox / name, 25, seed=seed)
    wait_until("both model workers read", lambda: sum(bool(w.doing) for w in model_workers(fleet)) == 2)
    victim = model_workers(fleet)[0]
    os.kill(victim.pid, signal.SIGKILL)
    wait_until("all are done", lambda: queries.count_by_state(fleet.database) == {JobState.DONE: 4}, 2 * PATIENCE)
    fleet.assert_whole(*names)
    lost = [event for name in names for event in events_of(fleet.database, fleet.job(name).id)]
    assert any(event.kind == "lost" and victim.id in event.detail for event in lost)


def test_a_drained_worker_finishes_what_it_reads_others_do_the_rest_and_all_stop_in_order(fleet: Fleet) -> None:
    fleet.environment["DROPSCRIBE_SCRIPTED_SCRIPT"] = json.dumps({"seconds": 3})
    fleet.start()
    speech(fleet.inbox / "a.wav", 45)
    wait_until("both model workers read", lambda: sum(bool(w.doing) for w in model_workers(fleet)) == 2)
    victim = model_workers(fleet)[0]
    ran = fleet.run("drain", victim.id, "--wait")
    assert (ran.returncode, ran.stderr.count("still working")) == (0, 1)
    assert victim.id not in [worker.id for worker in model_workers(fleet)]
    ended = next(member for member in fleet.members if member.pid == victim.pid)
    assert ended.wait(PATIENCE) == 0
    fleet.wait_for("a.wav", JobState.DONE)
    told = events_of(fleet.database, fleet.job("a.wav").id)
    assert not [event for event in told if event.kind in {"released", "lost"}]
    of_victim = [event.kind for event in told if event.where == victim.id]
    assert of_victim.count("transcribing") == of_victim.count("transcribed") > 0
    for member in fleet.members:
        member.terminate()
    assert [member.wait(PATIENCE) for member in fleet.members] == [0, 0, 0, 0]
    assert list_workers(fleet.database) == []


def test_a_worker_whose_model_cannot_be_loaded_does_not_start(fleet: Fleet, tmp_path: Path) -> None:
    nvidia_smi.install_machine(tmp_path, "one")  # a card that CPU builds cannot compute on
    fleet.environment["PATH"] = f"{tmp_path}:{os.environ['PATH']}"
    fleet.environment["DROPSCRIBE_MODEL"] = "/nowhere"
    for options, cause in (
        (["--engine", "vibevoice"], "/nowhere is not a folder"),
        (["--gpu", "7"], "there is no GPU 7: this process may use 1 of this machine's 1"),
        (["--engine", "whisper", "--gpu", "0"], "ctranslate2 cannot compute on GPU 0 (NVIDIA L4): CUDA failed"),
    ):
        ran = fleet.run("worker", "--role", "model", *options)
        assert ran.returncode == 1
        assert ran.stderr.splitlines()[-1].startswith("error: ")
        assert cause in ran.stderr
        assert "Traceback" not in ran.stderr
    assert list_workers(fleet.database) == []


def model_workers(fleet: Fleet) -> list[Worker]:
    return [worker for worker in list_workers(fleet.database) if worker.role == "model"]
