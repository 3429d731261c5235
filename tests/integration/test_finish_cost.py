"""Finishing a recording takes three transactions and one sync of its folder, in an order that survives a power cut."""

from __future__ import annotations

import os
import stat
import threading
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, event

from dropscribe.core.types import JobState
from dropscribe.store import queries
from dropscribe.store.session import READ_ONLY
from dropscribe.worker import cpu_tasks, model_tasks
from dropscribe.worker.finishing import placement
from dropscribe.worker.runtime.context import WorkerContext
from tests.integration.one_worker import MakeContext, admit

MAX_STATEMENTS = 25  # with each BEGIN that SQLite is sent


def finished(context: WorkerContext, recording: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[list[str], int]:
    """What happens to disks while a recording is finished, in order, and how many statements it takes."""
    job_id = admit(context, recording)
    cpu_tasks.prepare_job(context, job_id)
    model_tasks.transcribe_chunk(context, f"{job_id}.0")
    steps: list[str] = []
    statements: list[Any] = []
    fsync, publish, here = os.fsync, placement.publish, threading.get_ident()  # another one renews leases

    def sync(fd: int) -> None:
        steps.append("sync folder" if stat.S_ISDIR(os.fstat(fd).st_mode) else "sync file")
        fsync(fd)

    def name(temporary: Path, target: Path, *, replaces: bool) -> None:
        steps.append(f"name {target.suffix}")
        publish(temporary, target, replaces=replaces)

    def commit(connection: Connection) -> None:
        reads = connection.get_execution_options().keys() & READ_ONLY.keys()
        if not reads and threading.get_ident() == here:
            steps.append("commit")

    def count(*found: Any) -> None:
        if threading.get_ident() == here:
            statements.append(found)

    monkeypatch.setattr(os, "fsync", sync)
    monkeypatch.setattr(placement, "publish", name)
    event.listen(context.database.engine, "commit", commit)
    event.listen(context.database.engine, "before_cursor_execute", count)
    cpu_tasks.finish_job(context, job_id)
    taken = len(statements)
    monkeypatch.undo()
    assert queries.job(context.database, job_id).state is JobState.DONE
    return steps, taken


def test_files_are_on_disk_before_they_are_named_and_named_before_the_job_ends(
    make_context: MakeContext, recording: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = make_context(outputs=("json", "txt"))
    steps, statements = finished(context, recording, monkeypatch)
    reserved = ["commit", "sync file", "sync file", "commit"]  # the first is the claim
    assert steps == [*reserved, "name .json", "name .txt", "sync folder", "commit"]
    assert statements <= MAX_STATEMENTS


def test_a_marker_is_named_when_the_others_last(
    make_context: MakeContext, recording: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = make_context(outputs=("txt",), marker="done")
    steps, _ = finished(context, recording, monkeypatch)
    reserved = ["commit", "sync file", "commit"]
    marked = ["sync file", "commit", "name .done", "sync folder", "commit"]
    assert steps == [*reserved, "name .txt", "sync folder", *marked]


def test_a_transcript_without_files_is_saved_all_the_same(
    make_context: MakeContext, recording: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = make_context(outputs=())
    steps, _ = finished(context, recording, monkeypatch)
    assert steps == ["commit", "commit", "commit"]
