"""A spool that cannot be made or looked into: its jobs wait for room, or fail with the reason."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import pytest

from dropscribe.core.routing import FINISH
from dropscribe.core.types import JobState
from dropscribe.store import queries
from dropscribe.worker import cpu_tasks
from dropscribe.worker.runtime import spool
from tests.integration.one_worker import MakeContext, admit, carry_through, make_due


def allow_files(disk: Path, number: int) -> None:
    subprocess.run(["mount", "-o", f"remount,nr_inodes={number}", disk], check=True)


def test_a_spool_for_which_there_is_no_room_at_all_is_waited_for(
    make_context: MakeContext, recording: Path, small_disk: Path
) -> None:
    context = make_context(spool=small_disk / "spool")
    job_id = admit(context, recording)
    allow_files(small_disk, 1)
    for _ in range(4):
        make_due(context)
        cpu_tasks.prepare_job(context, job_id)
        job = queries.job(context.database, job_id)
        assert (job.state, job.failures) == (JobState.QUEUED, 0)
        assert f"cannot make the spool {small_disk}/spool: No space left on device" in job.reason
    allow_files(small_disk, 100)
    make_due(context)
    assert carry_through(context, job_id).state is JobState.DONE


def test_a_spool_that_cannot_be_made_fails_with_the_reason(
    make_context: MakeContext, recording: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    for place, reason in ((tmp_path / "file", "File exists"), (tmp_path / "file" / "spool", "Not a directory")):
        context = make_context(spool=place, failed_attempts=1)
        job_id = admit(context, recording)
        cpu_tasks.prepare_job(context, job_id)
        job = queries.job(context.database, job_id)
        assert job.state is JobState.FAILED
        assert job.reason == f"cannot make the spool {place}: {reason}; check DROPSCRIBE_SPOOL and its disk"
        recording.touch()  # a new one to admit


def irremovable(path: Path) -> Path:
    """Something that `unlink` refuses, as a disk that fails does."""
    (path / "inside").mkdir(parents=True)
    return path


def test_a_spool_that_cannot_be_cleared_ends_no_finished_job_as_a_failure(
    make_context: MakeContext, recording: Path, caplog: pytest.LogCaptureFixture
) -> None:
    context = make_context()
    job_id = admit(context, recording)
    irremovable(context.settings.spool_dir / f"{job_id}.left")
    job = carry_through(context, job_id)
    assert (job.state, job.reason, job.failures) == (JobState.DONE, "", 0)
    assert context.tally.ended[FINISH, "failed"] == 0
    assert context.tally.ended[FINISH, "done"] == 1
    assert f"the spool still holds {job_id}, which has ended: " in caplog.text
    assert "internal error" not in caplog.text


def test_one_orphan_that_cannot_be_removed_keeps_no_other_in_the_spool(make_context: MakeContext) -> None:
    context = make_context()
    folder = context.settings.spool_dir
    left = irremovable(folder / "gone.left")
    orphans = [folder / f"{number}.flac" for number in range(20)]
    old = time.time() - 2 * spool.ORPHAN_SECONDS
    for path in (left, *orphans):
        path.touch()
        os.utime(path, (old, old))
    assert spool.sweep(context.settings, context.database) == len(orphans)
    assert list(folder.iterdir()) == [left]
