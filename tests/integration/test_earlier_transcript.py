"""A transcript beside its recording that the store does not know is taken over: nothing is transcribed again."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path

import pytest
from sqlalchemy import update

from dropscribe.admin.act.rerun import READ, action_for
from dropscribe.core.types import JobState, SpeakerNames
from dropscribe.store import commands, forget, jobs, queries, speakers, tables, written_files
from dropscribe.store.events import events_of
from dropscribe.store.jobs import NewJob
from dropscribe.worker import cpu_tasks
from dropscribe.worker.runtime.context import WorkerContext
from tests.integration.one_worker import MakeContext, admit, carry_through, queued


def forget_everything(context: WorkerContext) -> None:
    """As if the store were restored from a backup that is older than all of its jobs."""
    with context.database.begin() as connection:
        for table in reversed(tables.metadata.sorted_tables):
            connection.execute(table.delete())


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def kinds(context: WorkerContext, job_id: str) -> list[str]:
    return [event.kind for event in events_of(context.database, job_id)]


@pytest.fixture
def restored(make_context: MakeContext, recording: Path) -> WorkerContext:
    """A worker whose store knows nothing of the recording that lies there transcribed."""
    context = make_context(outputs=("json", "txt", "srt"), marker="ok")
    assert carry_through(context, admit(context, recording)).state is JobState.DONE
    forget_everything(context)
    return context


def test_it_is_taken_over_with_its_files_and_no_chunk_is_transcribed(restored: WorkerContext, recording: Path) -> None:
    before = contents(recording.parent)
    job_id = admit(restored, recording)
    cpu_tasks.prepare_job(restored, job_id)
    assert queries.job(restored.database, job_id).state is JobState.FINISHING
    cpu_tasks.finish_job(restored, job_id)
    job = queries.job(restored.database, job_id)
    assert (job.state, job.progress) == (JobState.DONE, 1.0)
    assert {"taken_over", "done"} <= set(kinds(restored, job_id))
    assert not {"prepared", "transcribing"} & set(kinds(restored, job_id))
    after = contents(recording.parent)
    assert after.keys() == before.keys()  # no talk.wav.json
    assert after["talk.txt"] == before["talk.txt"]
    old, new = (json.loads(files["talk.json"]) for files in (before, after))
    assert new == old | {"job_id": job_id}
    assert job.duration == old["source"]["duration"]
    assert json.loads(after["talk.ok"])["job"] == job_id
    assert {file.path for file in written_files.files_of(restored.database, job_id)} == {
        str(recording.parent / name) for name in after.keys() - {"talk.wav"}
    }


def test_its_speakers_can_be_named_and_its_files_written_again(restored: WorkerContext, recording: Path) -> None:
    job = carry_through(restored, admit(restored, recording))
    speakers.say(restored.database, job.id, SpeakerNames({0: "Ada"}, {}))
    cpu_tasks.finish_job(restored, job.id)
    document = json.loads(recording.with_suffix(".json").read_text())
    assert [speaker["name"] for speaker in document["speakers"]] == ["Ada", ""]
    assert document["segments"]


def test_what_was_said_of_its_speakers_can_be_taken_back(restored: WorkerContext, recording: Path) -> None:
    job = carry_through(restored, admit(restored, recording))
    before = json.loads(recording.with_suffix(".json").read_text())
    for said in (SpeakerNames({0: "Ada"}, {1: 0}), SpeakerNames({}, {})):
        speakers.say(restored.database, job.id, said)
        cpu_tasks.finish_job(restored, job.id)
    after = json.loads(recording.with_suffix(".json").read_text())
    assert after.pop("revision") == 2
    assert after == before


def test_retry_only_writes_it_where_that_had_failed(restored: WorkerContext, recording: Path) -> None:
    job_id = admit(restored, recording)
    cpu_tasks.prepare_job(restored, job_id)
    claim = jobs.claim_finish(restored.database, job_id, restored.owner, 60)
    assert claim
    jobs.fail(restored.database, claim, "no room for names")
    assert commands.retry(restored.database, job_id) is JobState.FINISHING
    cpu_tasks.finish_job(restored, job_id)
    assert queries.job(restored.database, job_id).state is JobState.DONE
    assert "transcribing" not in kinds(restored, job_id)


def test_rerun_transcribes_it(restored: WorkerContext, recording: Path) -> None:
    job = carry_through(restored, admit(restored, recording))
    assert job.is_taken_over
    wanted = NewJob(job.root, job.path, job.size, job.mtime_ns, job.settings_digest, "normal")
    assert action_for(job, wanted) == READ
    assert commands.rerun(restored.database, job.id, wanted) is JobState.QUEUED
    before = contents(recording.parent).keys()
    cpu_tasks.prepare_job(restored, job.id)
    assert queued(restored, job.id)
    again = carry_through(restored, job.id)
    assert (again.state, again.is_taken_over) == (JobState.DONE, False)
    assert contents(recording.parent).keys() == before


def test_what_was_taken_over_and_removed_is_transcribed_whatever_fails_between(
    restored: WorkerContext, recording: Path
) -> None:
    job = carry_through(restored, admit(restored, recording))
    assert job.is_taken_over
    assert forget.remove_text(restored.database, [job.id], "why") == [job.id]
    wanted = NewJob(job.root, job.path, job.size, job.mtime_ns, job.settings_digest, "normal")
    commands.rerun(restored.database, job.id, wanted)
    claim = jobs.claim_prepare(restored.database, job.id, restored.owner, 60)
    assert claim
    jobs.fail(restored.database, claim, "the share was away")
    assert commands.retry(restored.database, job.id) is JobState.QUEUED


def test_a_job_whose_document_is_kept_no_longer_starts_over(restored: WorkerContext, recording: Path) -> None:
    job_id = admit(restored, recording)
    cpu_tasks.prepare_job(restored, job_id)
    with restored.database.begin() as connection:
        connection.execute(update(tables.jobs).values(diarization=None))
    before = contents(recording.parent)
    cpu_tasks.finish_job(restored, job_id)
    assert queries.job(restored.database, job_id).state is JobState.QUEUED
    assert events_of(restored.database, job_id)[-1].detail == "the transcript that was taken over is gone"
    assert contents(recording.parent) == before


def test_what_people_changed_is_neither_taken_nor_overwritten(restored: WorkerContext, recording: Path) -> None:
    edited = recording.with_suffix(".txt")
    edited.write_text("corrected by hand")
    job = carry_through(restored, admit(restored, recording))
    assert job.state is JobState.DONE
    assert edited.read_text() == "corrected by hand"
    assert str(edited) not in {file.path for file in written_files.files_of(restored.database, job.id)}


@pytest.mark.parametrize(
    "what", ["another recording", "no transcript", "a link", "cut short", "huge", "deep", "not finite"]
)
def test_what_is_no_transcript_of_this_recording_is_left_alone(
    restored: WorkerContext, recording: Path, what: str
) -> None:
    there = recording.with_suffix(".json")
    digest = hashlib.sha256(recording.read_bytes()).hexdigest()
    match what:
        case "another recording":
            recording.write_bytes(recording.read_bytes() + bytes(32_000))
        case "no transcript":
            there.write_text('{"schema": "somebody.else/1", "source": {}}')
        case "a link":
            shutil.move(there, recording.parent / "elsewhere")
            there.symlink_to("elsewhere")
        case "cut short":
            there.write_bytes(there.read_bytes()[:200])
        case "deep":
            there.write_text("[" * 100_000 + digest)
        case "not finite":
            there.write_text(there.read_text().replace('"duration": ', '"duration": NaN, "was": ', 1))
        case "huge":
            os.truncate(there, 300_000_000)
    before = there.stat().st_size
    job = carry_through(restored, admit(restored, recording))
    assert "taken_over" not in kinds(restored, job.id)
    assert job.state.has_transcript
    assert there.stat().st_size == before
    assert recording.with_name("talk.wav.json").is_file()
