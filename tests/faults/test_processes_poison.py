"""Recordings that harm their workers, sources and folders that change under them, members that do not fit together."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import text

from dropscribe.core.types import JobState
from dropscribe.store import commands, queries
from tests.e2e.harness import PATIENCE
from tests.faults import aftermath
from tests.faults.fleet import Fleet
from tests.faults.recordings import Recordings

MakeFleet = Callable[..., Fleet]
POISON = 9  # the recording of 17 s and more
GOOD = (0, 3, 5, 7)  # shorter ones
MEMORY = 2 << 30  # bytes of address space for a model worker
WHOLE = {"CHUNK_SECONDS": "60", "CHUNK_TARGET_SECONDS": "60"}


def script(**behaviour: object) -> str:
    return json.dumps({"hears": True, "when_longer_than": 16.0} | behaviour)


@pytest.mark.parametrize(("behaviour", "reason"), [("segfault", ""), ("hang", ""), ("devour", " (out of memory)")])
def test_what_three_workers_do_not_survive_is_parked_while_others_pass_and_can_be_retried(
    make_fleet: MakeFleet, tmp_path: Path, behaviour: str, reason: str
) -> None:
    recordings = Recordings(tmp_path / "whole", settings=WHOLE)
    recordings.folder.mkdir()
    patience = {"LEASE_SECONDS": "3", "RENEW_SECONDS": "0.5", "STALL_SECONDS": "3"}
    fleet = make_fleet(SCRIPTED_SCRIPT=script(behave=behaviour), **WHOLE, **patience)
    fleet.start("scheduler", "cpu")
    for place in ("model-1", "model-2"):
        fleet.add(place, memory=MEMORY)
    poison = recordings.put(fleet.inbox, POISON)
    good = recordings.put(fleet.inbox, *GOOD)
    fleet.wait_for_all(poison, JobState.PARKED)
    fleet.wait_for_all(good)
    job = fleet.job(poison[0])
    assert f"3 workers did not survive it{reason};" in job.reason
    assert f"dropscribe retry {job.id}" in job.reason
    assert fleet.kinds(poison[0]).count("lost") == 3
    fleet.environment["DROPSCRIBE_SCRIPTED_SCRIPT"] = script()
    for place in ("model-1", "model-2"):
        fleet.kill(place)
    commands.retry(fleet.database, job.id)
    fleet.wait_for_all(poison)
    aftermath.assert_whole(fleet, recordings, poison + good)
    recordings.close()


def test_two_schedulers_on_one_folder_admit_everything_once(make_fleet: MakeFleet, recordings: Recordings) -> None:
    fleet = make_fleet()
    fleet.start("scheduler-1", "scheduler-2", "cpu", "model")
    names = recordings.put(fleet.inbox, *range(10))
    fleet.kill("scheduler-1")
    fleet.wait_until("one is killed and another one comes", lambda: len(queries.list_jobs(fleet.database)) == 10)
    assert fleet.stop("scheduler-2") == 0
    names += recordings.put(fleet.inbox, *range(10, 14))
    fleet.wait_for_all(names)
    assert all(fleet.kinds(name).count("admitted") == 1 for name in names)
    aftermath.assert_whole(fleet, recordings, names)


def test_a_member_of_another_version_does_not_start_and_one_that_runs_stops(
    make_fleet: MakeFleet, recordings: Recordings
) -> None:
    fleet = make_fleet()
    fleet.start("scheduler", "cpu", "model")
    with fleet.database.begin() as connection:
        (now,) = connection.execute(text("SELECT version_num FROM alembic_version")).one()
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    (name,) = recordings.put(fleet.inbox, 0)
    statuses = {}
    for place in ("scheduler", "cpu", "model"):
        fleet.members[place].restarts = False
        process = fleet.members[place].process
        assert process
        statuses[place] = process.wait(PATIENCE)
        log = fleet.log_of(fleet.members[place]).read_text()
        assert "another version" in log or "at version 9999" in log
        refused = subprocess.run(
            [sys.executable, "-P", "-m", "dropscribe.admin.local.child", place, "late", str(fleet.inbox)][
                : None if place == "scheduler" else -1
            ],
            env=fleet.environment,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )
        assert refused.returncode == 1
        assert "9999" in refused.stderr.splitlines()[-1]
        assert "newer dropscribe" in refused.stderr.splitlines()[-1]
        assert "Traceback" not in refused.stderr
    assert statuses == dict.fromkeys(statuses, 1)
    with fleet.database.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = :now"), {"now": now})
    for member in fleet.members.values():
        member.restarts = True
    fleet.wait_for_all([name])
    aftermath.assert_whole(fleet, recordings, [name])


def test_a_source_that_is_deleted_replaced_or_cut_short_while_it_is_read_does_no_harm(
    make_fleet: MakeFleet, recordings: Recordings
) -> None:
    """Each is changed when its working copy appears in scratch, or just after, on a disk that copies it at once."""
    fleet = make_fleet(CPU_SLOTS="1", MISSING_SECONDS="1", STABLE_SECONDS="1")
    fleet.start("scheduler", "cpu", "model")
    for change in ("deleted", "cut", "replaced"):
        path = fleet.inbox / f"{change}.wav"
        big(recordings.made(0), path)
        fleet.wait_until("it is copied", partial(copied_or_ended, fleet, path.name), every=0.002)
        if change == "deleted":
            path.unlink()
        elif change == "cut":
            os.truncate(path, 100_000)
        else:
            shutil.copy(recordings.made(1), fleet.inbox / ".new.part")
            (fleet.inbox / ".new.part").replace(path)
        fleet.wait_until(f"{change} has ended", partial(ended, fleet, path.name))
    (good,) = recordings.put(fleet.inbox, 2)
    fleet.wait_for_all([good])
    for path in fleet.inbox.glob("*.json"):
        document = json.loads(path.read_text())
        source = fleet.inbox / f"{path.stem}.wav"
        jobs = {job.id: job for job in queries.list_jobs(fleet.database)}
        assert document["job_id"] in jobs
        assert document["source"]["size"] == jobs[document["job_id"]].size, "the copy that was read is the admitted one"
        assert source.exists() or path.stem == "deleted"
    assert not list((fleet.home / "scratch").glob("*"))


def copied_or_ended(fleet: Fleet, name: str) -> bool:
    return any(fleet.home.glob("scratch/*/source-*")) or ended(fleet, name)


def big(recording: Path, target: Path) -> None:
    """The recording again and again, large enough for a change to come while it is copied."""
    import soundfile

    samples, rate = soundfile.read(recording, dtype="int16")
    with soundfile.SoundFile(target.with_name(f".{target.name}.part"), "w", rate, 1, "PCM_16", format="WAV") as file:
        for _ in range(40_000_000 // samples.nbytes):
            file.write(samples)
    target.with_name(f".{target.name}.part").rename(target)


def ended(fleet: Fleet, name: str) -> bool:
    jobs = [job for job in queries.list_jobs(fleet.database) if job.path == name]
    return bool(jobs) and all(job.state.is_final for job in jobs)


def test_results_that_become_read_only_fail_with_the_reason_and_are_written_on_retry(
    make_fleet: MakeFleet, recordings: Recordings, tmp_path: Path
) -> None:
    results = tmp_path / "results"
    results.mkdir()
    if os.geteuid() or subprocess.run(["mount", "--bind", results, results], capture_output=True).returncode:
        pytest.skip("making a folder read-only for root needs mount")
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", results], check=True)
        fleet = make_fleet(RESULTS=str(results), FAILED_ATTEMPTS="1")
        fleet.start("scheduler", "cpu", "model")
        (name,) = recordings.put(fleet.inbox, 3)
        fleet.wait_for_all([name], JobState.FAILED)
        assert "cannot write" in fleet.job(name).reason
        subprocess.run(["mount", "-o", "remount,bind,rw", results], check=True)
        commands.retry(fleet.database, fleet.job(name).id)
        fleet.wait_for_all([name])
        assert sorted(path.suffix for path in (results / "inbox").iterdir()) == [
            ".json",
            ".srt",
            ".tsv",
            ".txt",
            ".vtt",
        ]
        fleet.close()
    finally:
        subprocess.run(["umount", "-l", results], check=True)
