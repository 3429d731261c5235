"""`up` with its server: a program sends a recording, and gets its transcript, though the server is killed meanwhile."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from dropscribe import Client
from dropscribe.admin.local.server_child import ADDRESS
from dropscribe.core.types import JobState
from tests.e2e.harness import PATIENCE, Machine, speech, wait_until


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    made = Machine(tmp_path, SERVE="true", SERVE_PORT="0")
    yield made
    made.close()


def address_of(machine: Machine) -> str:
    file = machine.home / ADDRESS
    wait_until("the server listens", lambda: file.exists() and file.read_text())
    return file.read_text()


def test_a_recording_is_sent_and_transcribed_though_the_server_is_killed(machine: Machine, tmp_path: Path) -> None:
    machine.up()
    before = address_of(machine)
    with Client(before) as client:
        job = client.submit(speech(tmp_path / "sent.wav"))
    machine.kill("child server")
    wait_until("the server is started again", lambda: address_of(machine) != before)
    with Client(address_of(machine)) as client:
        assert client.wait(job, timeout=PATIENCE).state is JobState.DONE
        assert client.transcript(job).segments
        wait_until("its files are registered", lambda: client.files(job))
    assert (machine.inbox / "sent.txt").exists()
    assert len(machine.jobs("sent.wav")) == 1, "the watcher admits it no second time"
    status, said = machine.stop()
    assert status == 0
    assert f"the server is at {before}" in said
