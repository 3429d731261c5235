"""Child processes that end: what is told of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dropscribe.admin.local import supervisor as supervisor_module
from dropscribe.admin.local.supervisor import YOUNG_DEATHS, Child, Supervisor
from dropscribe.core.errors import DropscribeError

CRITICAL = json.dumps({"level": "critical", "message": "the model cannot go on"})
INFO = json.dumps({"level": "info", "message": "cache hits: 0"})


@pytest.fixture
def supervisor(tmp_path: Path) -> Supervisor:
    return Supervisor(tmp_path, {}, lambda _: False)


def ended(supervisor: Supervisor, script: str) -> Child:
    """A child that ran the shell script to its end, noticed."""
    child = supervisor.start("child", "exec", "sh", "-c", script)
    assert child.process
    child.process.wait()
    supervisor.tend()
    return child


def test_a_child_that_ends_with_an_error_is_told_of_with_it_at_once(
    supervisor: Supervisor, caplog: pytest.LogCaptureFixture
) -> None:
    ended(supervisor, f"echo 'error: /x is no export; write one'; echo '{INFO}'; exit 1")
    (line,) = caplog.messages
    assert line == "child ended with status 1; starting it again in 1.0 s. It said: /x is no export; write one"


def test_the_error_of_a_log_line_is_told_without_what_is_for_programs(supervisor: Supervisor) -> None:
    child = ended(supervisor, f"echo 'error: another'; echo '{CRITICAL}'; echo '{INFO}'; exit 70")
    assert supervisor.crash_reason(child) == "the model cannot go on"


def test_a_child_without_an_error_is_told_of_with_its_last_line(supervisor: Supervisor) -> None:
    child = ended(supervisor, "echo Traceback; echo 'KeyError: 1'; exit 1")
    assert supervisor.crash_reason(child) == "KeyError: 1"


def test_an_error_of_an_earlier_start_is_not_told_again(supervisor: Supervisor, tmp_path: Path) -> None:
    (tmp_path / "child.log").write_text("error: fixed since\n")
    assert supervisor.crash_reason(ended(supervisor, "exit 1")) == ""


def test_a_child_that_was_killed_is_not_told_of_with_what_it_said_before(
    supervisor: Supervisor, caplog: pytest.LogCaptureFixture
) -> None:
    ended(supervisor, "echo ready; kill -9 $$")
    assert caplog.messages == ["child ended with status -9; starting it again in 1.0 s"]


def test_a_child_that_never_gets_to_work_is_given_up(supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor_module, "MIN_PAUSE", 0.0)
    child = supervisor.start("child", "exec", "sh", "-c", "echo 'error: torch is a build for the CPU'; exit 1")
    for _ in range(YOUNG_DEATHS - 1):
        end(child)
        supervisor.tend()
    end(child)
    with pytest.raises(DropscribeError, match=r"ends as soon as it starts .*: torch is a build for the CPU"):
        supervisor.tend()


def end(child: Child) -> None:
    assert child.process
    child.process.wait()
