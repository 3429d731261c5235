"""Folders on the way take the right to enter alone, and one that was left half made is made whole."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

import pytest

from dropscribe.core import open_folder
from dropscribe.scheduler.scanning.move import follow
from dropscribe.worker.preparing.staging import stage
from tests.accounts import OWNER, WORKER, shared_folder

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can be several accounts")


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def make(top: Path, below: str) -> None:
    with open_folder.opened(top, below, make=follow):
        pass


def test_a_folder_that_a_process_left_before_it_gave_it_away_is_given_by_the_next(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    (tmp_path / "done").mkdir(mode=0o700)
    make(tmp_path, "done/new")
    assert (mode(tmp_path / "done"), mode(tmp_path / "done" / "new")) == (0o755, 0o755)


def test_a_folder_that_was_closed_on_purpose_stays_closed(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    (tmp_path / "done").mkdir(mode=0o700)
    (tmp_path / "done" / "kept.txt").touch()
    make(tmp_path, "done")
    assert mode(tmp_path / "done") == 0o700


@as_root
def test_a_recording_in_a_folder_that_may_be_entered_and_not_listed_is_staged() -> None:
    with shared_folder() as top:
        source = recording_of_the_owner(top, 0o711)
        scratch = WORKER.owns(made(top.parent / "scratch"), 0o700)
        staged = WORKER.does(partial(stage, source, top / "own", scratch))
    assert (staged.size, staged.origin.owner) == (5, OWNER.uid)


def recording_of_the_owner(top: Path, folder_mode: int) -> Path:
    source = made(top / "own") / "talk.wav"
    source.write_bytes(b"sound")
    OWNER.owns(source, 0o644)
    OWNER.owns(source.parent, folder_mode)
    return source


def made(folder: Path) -> Path:
    folder.mkdir()
    return folder
