"""What a shell offers to complete, asked as a shell asks."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from dropscribe.admin.cli import complete
from dropscribe.store import fleet
from dropscribe.store.session import Database
from tests.integration.console import admit


def test_ids_of_jobs_are_offered_by_their_start(store: Database) -> None:
    first, second = admit(store, "a.wav"), admit(store, "b.wav")
    assert complete.job("") == [(second, "queued, b.wav"), (first, "queued, a.wav")]
    assert (first, "queued, a.wav") in complete.job(first[:3].upper())
    assert complete.job("%") == []


def test_paths_are_offered_where_one_was_begun(store: Database, tmp_path: Path) -> None:
    (tmp_path / "rec[1]").mkdir()
    (tmp_path / "rec[1]" / "a.wav").touch()
    assert complete.job(f"{tmp_path}/rec[") == [(f"{tmp_path}/rec[1]/", "")]
    assert complete.job(f"{tmp_path}/rec[1]/") == [(f"{tmp_path}/rec[1]/a.wav", "")]


def test_workers_are_offered_but_no_scheduler(store: Database) -> None:
    for name, role in (("gpu-1", "model"), ("gpu-2", "scheduler")):
        fleet.register(store, name, host="here", pid=1, role=role, state="ready")
    assert complete.worker("g") == [("gpu-1", "model, ready")]
    assert complete.worker("x") == []


def test_without_a_store_nothing_is_offered_and_none_is_made(environment: None, tmp_path: Path) -> None:
    assert complete.job("") == []
    assert complete.worker("") == []
    assert not (tmp_path / "home").exists()


def test_wrong_settings_are_no_error_here(environment: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DROPSCRIBE_NONSENSE", "1")
    assert complete.job("") == []


def test_bash_gets_jobs_states_and_options(store: Database) -> None:
    job_id = admit(store, "a.wav")

    def offered(line: str) -> list[str]:
        words = line.split(" ")
        asked = {"_DROPSCRIBE_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1)}
        command = [sys.executable, "-c", "from dropscribe.admin.cli.main import run; run()"]
        done = subprocess.run(command, env=os.environ | asked, capture_output=True, text=True, timeout=60)
        assert done.stderr == ""
        return done.stdout.split()

    assert offered(f"dropscribe show {job_id[:2]}") == [job_id]
    assert "suspect" in offered("dropscribe jobs --state s")
    assert "--older-than" in offered("dropscribe forget --o")
