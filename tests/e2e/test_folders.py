"""A share and nothing else: settings, results and status are files in the folder."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from dropscribe.core import reserved_names
from dropscribe.core.types import JobState
from dropscribe.scheduler.duties.status_page import NAME
from tests.e2e.harness import Machine, speech, wait_until


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    made = Machine(tmp_path)
    yield made
    made.close()


def test_who_has_only_the_share_says_there_what_is_wanted_and_finds_it_done(machine: Machine) -> None:
    talks = machine.inbox / "talks"
    talks.mkdir()
    (machine.inbox / reserved_names.SETTINGS).write_text('status_page = true\noutputs = ["txt"]')
    (talks / reserved_names.SETTINGS).write_text('when_done = "archive"\nengine = "scripted"')
    speech(talks / "a.wav")
    (talks / "b.wav").write_bytes(b"no sound at all")
    speech(machine.inbox / "c.wav", seed=2)
    ended = machine.run("up", str(machine.inbox), "--drain")
    assert ended.returncode == 4, "b is no recording"
    assert sorted(os.listdir(talks)) == [reserved_names.SETTINGS, "done", "failed"]
    assert sorted(os.listdir(talks / "done")) == ["a.txt", "a.wav"]
    assert sorted(os.listdir(talks / "failed")) == ["b.wav", "b.wav.txt"]
    assert {"c.wav", "c.txt"} <= set(os.listdir(machine.inbox))
    again = machine.run("up", str(machine.inbox), "--drain")
    assert again.returncode == 4
    assert len(machine.jobs("talks/done/a.wav")) == 1


def test_a_mistake_is_told_on_the_share_and_what_waits_goes_on_once_it_is_mended(machine: Machine) -> None:
    (machine.inbox / reserved_names.SETTINGS).write_text('status_page = true\nengine = "wisper"')
    speech(machine.inbox / "a.wav")
    machine.up()
    wait_until("the mistake is told", (machine.inbox / reserved_names.ERROR).exists)
    (machine.inbox / reserved_names.SETTINGS).write_text('status_page = true\nengine = "scripted"')
    machine.wait_for("a.wav", JobState.DONE)
    wait_until("the mistake is forgotten", lambda: not (machine.inbox / reserved_names.ERROR).exists())
    page = machine.inbox / NAME
    wait_until("the page says so", lambda: page.exists() and "1 done" in page.read_text())
