"""A spool that cannot be made or looked into: its jobs wait for room, or fail with the reason."""

from __future__ import annotations

import subprocess
from pathlib import Path

from dropscribe.core.types import JobState
from dropscribe.store import queries
from dropscribe.worker import cpu_tasks
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
    for spool, reason in ((tmp_path / "file", "File exists"), (tmp_path / "file" / "spool", "Not a directory")):
        context = make_context(spool=spool, failed_attempts=1)
        job_id = admit(context, recording)
        cpu_tasks.prepare_job(context, job_id)
        job = queries.job(context.database, job_id)
        assert job.state is JobState.FAILED
        assert job.reason == f"cannot make the spool {spool}: {reason}; check DROPSCRIBE_SPOOL and its disk"
        recording.touch()  # a new one to admit
