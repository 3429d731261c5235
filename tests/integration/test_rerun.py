"""`dropscribe rerun`: the current settings for recordings of before, knowingly."""

from __future__ import annotations

from pathlib import Path

import pytest

from dropscribe.core import reserved_names
from dropscribe.core.job_overrides import JobOverrides
from dropscribe.core.routing import ResidentModel
from dropscribe.core.settings import Settings
from dropscribe.core.types import EngineInfo, JobState
from dropscribe.scheduler.duties import archiver
from dropscribe.scheduler.watching.root_watch import RootWatch
from dropscribe.store import chunks, fleet, jobs, queries
from dropscribe.store.leases import ChunkClaim
from dropscribe.store.roots import report_roots
from dropscribe.store.session import Database
from dropscribe.worker import cpu_tasks
from tests.e2e.harness import speech
from tests.integration.console import Cli
from tests.integration.one_worker import MakeContext, carry_through
from tests.schemas import conforms


@pytest.fixture
def read(
    store: Database,
    redis: str,
    settings: Settings,
    watch: RootWatch,
    inbox: Path,
    make_context: MakeContext,
    monkeypatch: pytest.MonkeyPatch,
) -> list[str]:
    """Two recordings in a folder, read with the settings of then; the command line has those of the scheduler."""
    monkeypatch.setenv("DROPSCRIBE_ENGINE", settings.engine)
    monkeypatch.setenv("DROPSCRIBE_SPEAKER_ENCODER", settings.speaker_encoder)
    (inbox / "talks" / reserved_names.SETTINGS).write_text('outputs = ["txt"]')
    for number, name in enumerate(("a.wav", "b.wav")):
        speech(inbox / "talks" / name, seed=number + 1)
    for moment in (0.0, 10.0):
        watch.look(moment)
    report_roots(store, [watch.report])
    found = sorted(queries.list_jobs(store), key=lambda job: job.path)
    context = make_context()
    for job in found:
        assert carry_through(context, job.id).state is JobState.DONE
    return [job.id for job in found]


def test_nothing_is_done_before_it_is_said_to(store: Database, cli: Cli, inbox: Path, read: list[str]) -> None:
    (inbox / "talks" / reserved_names.SETTINGS).write_text('context = "a talk"')
    shown = cli("rerun", str(inbox))
    assert "2 recordings read again. Nothing was begun yet; --yes does so" in shown.out
    assert [job.state for job in queries.list_jobs(store)] == [JobState.DONE, JobState.DONE]
    told = cli("rerun", str(inbox / "talks" / "a.wav"), "--json").json
    conforms(told, "rerun")
    assert [(one["id"], one["fate"]) for one in told["recordings"]] == [(read[0], "read again")]


def test_what_shapes_a_transcript_has_it_read_again(
    store: Database, cli: Cli, inbox: Path, read: list[str], make_context: MakeContext
) -> None:
    (inbox / "talks" / reserved_names.SETTINGS).write_text('context = "a talk"\noutputs = ["txt"]')
    assert cli("rerun", str(inbox / "talks"), "--yes").code == 0
    new = [job for job in queries.list_jobs(store) if job.state is JobState.QUEUED]
    assert [(job.context, job.path) for job in sorted(new, key=lambda job: job.path)] == [
        ("a talk", "talks/a.wav"), ("a talk", "talks/b.wav")
    ]  # fmt: skip
    assert "under way, left alone" in cli("rerun", str(inbox / "talks")).out
    for job in new:
        assert carry_through(make_context(), job.id).state is JobState.DONE
    (inbox / "talks" / reserved_names.SETTINGS).write_text('outputs = ["txt"]')
    assert cli("rerun", str(inbox / "talks" / "a.wav"), "--yes").code == 0
    assert queries.job(store, read[0]).state is JobState.FINISHING, "what was read so before is written again"


def stranded(store: Database, watch: RootWatch, inbox: Path, make_context: MakeContext) -> str:
    """A recording that a model began which no worker has."""
    speech(inbox / "talks" / "c.wav", seed=7)
    for moment in (20.0, 30.0):
        watch.look(moment)
    (job,) = [job for job in queries.list_jobs(store) if job.path == "talks/c.wav"]
    cpu_tasks.prepare_job(make_context(), job.id)
    assert chunks.claim(store, f"{job.id}.0", "gone", 90, ResidentModel("whisper", "base", "int8"))
    fleet.register(store, "other", host="h", pid=1, role="model", state="ready")
    fleet.heartbeat(store, "other", engine=EngineInfo("whisper", "small", "int8"))
    return job.id


def test_another_model_transcribes_what_was_begun_by_one_that_no_worker_has(
    store: Database, cli: Cli, inbox: Path, read: list[str], watch: RootWatch, make_context: MakeContext
) -> None:
    job_id = stranded(store, watch, inbox, make_context)
    fleet.leave(store, "other")
    assert "under way, left alone" in cli("rerun", str(inbox / "talks" / "c.wav")).out, "its worker may come back first"
    fleet.register(store, "other", host="h", pid=1, role="model", state="ready")
    fleet.heartbeat(store, "other", engine=EngineInfo("whisper", "small", "int8"))
    assert "1 recording read again by another model" in cli("rerun", str(inbox / "talks" / "c.wav"), "--yes").out
    assert queries.job(store, job_id).state is JobState.QUEUED
    assert carry_through(make_context(), job_id).state is JobState.DONE


def test_what_waits_for_its_model_while_its_folder_wants_something_else_makes_way_for_that(
    store: Database, cli: Cli, inbox: Path, read: list[str], watch: RootWatch, make_context: MakeContext
) -> None:
    job_id = stranded(store, watch, inbox, make_context)
    chunks.release(store, ChunkClaim(f"{job_id}.0", "running", 1, "gone"))
    (inbox / "talks" / reserved_names.SETTINGS).write_text('context = "a talk"')
    assert "1 recording read again" in cli("rerun", str(inbox / "talks" / "c.wav"), "--yes").out
    assert queries.job(store, job_id).state is JobState.CANCELLED
    new = next(job for job in queries.list_jobs(store) if job.path == "talks/c.wav" and job.id != job_id)
    assert carry_through(make_context(), new.id).state is JobState.DONE


def test_what_shapes_only_files_has_them_written_again(
    store: Database, cli: Cli, watch: RootWatch, inbox: Path, read: list[str], make_context: MakeContext
) -> None:
    (inbox / "talks" / reserved_names.SETTINGS).write_text('outputs = ["srt"]\nwhen_done = "archive"')
    assert "written again" in cli("rerun", str(inbox / "talks" / "a.wav"), "--yes").out
    cpu_tasks.finish_job(make_context(), read[0])
    archiver.put_away(store, watch)
    assert {path.name for path in (inbox / "talks" / "done").iterdir()} == {"a.wav", "a.srt"}
    assert (inbox / "talks" / "a.txt").exists(), "what was written before stays"
    assert len(queries.list_jobs(store)) == 2


def test_what_failed_is_tried_again_with_the_settings_of_now(
    store: Database, cli: Cli, inbox: Path, read: list[str], watch: RootWatch
) -> None:
    (inbox / "talks" / "c.wav").write_bytes(b"noise")
    for moment in (20.0, 30.0):
        watch.look(moment)
    (job,) = [job for job in queries.list_jobs(store) if job.path == "talks/c.wav"]
    claim = jobs.claim_prepare(store, job.id, "cpu", 90)
    assert claim
    jobs.fail(store, claim, "no sound")
    (inbox / "talks" / reserved_names.SETTINGS).write_text('outputs = ["vtt"]\npriority = "high"')
    assert "1 recording tried again" in cli("rerun", str(inbox / "talks" / "c.wav"), "--yes").out
    again = queries.job(store, job.id)
    assert (again.state, again.priority, again.overrides) == (JobState.QUEUED, "high", JobOverrides(outputs=("vtt",)))


def test_settings_that_are_wrong_are_said_and_nothing_is_begun(
    store: Database, cli: Cli, inbox: Path, read: list[str]
) -> None:
    (inbox / "talks" / reserved_names.SETTINGS).write_text('engine = "wisper"')
    ended = cli("rerun", str(inbox), "--yes")
    assert ended.code == 2
    assert "wisper" in ended.err
    assert all(job.state is JobState.DONE for job in queries.list_jobs(store))


def test_a_folder_without_recordings_and_a_file_without_a_job_are_said(cli: Cli, read: list[str], inbox: Path) -> None:
    (inbox / "empty").mkdir()
    assert "no recordings were admitted there" in cli("rerun", str(inbox / "empty")).out
    assert cli("rerun", str(inbox / "gone.wav")).code == 1
