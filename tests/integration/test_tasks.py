"""The worker's tasks, called one by one: what each leaves in store, spool and folder, also after a crash."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from dropscribe.core import child_process
from dropscribe.core.routing import CPU_QUEUE, MODEL_QUEUE
from dropscribe.core.types import JobState, RawTranscript, Span, SpeakerNames
from dropscribe.models.base import Audio, TranscribeRequest
from dropscribe.models.scripted.transcriber import Script, Scripted
from dropscribe.store import (
    commands,
    fleet,
    forget,
    jobs,
    queries,
    recovery,
    speakers,
    switches,
    transcripts,
    written_files,
)
from dropscribe.store.events import events_of
from dropscribe.store.fleet import list_workers
from dropscribe.store.jobs import NewJob
from dropscribe.store.session import Database
from dropscribe.store.switches import SPOOL_FULL
from dropscribe.worker import cpu_tasks, model_tasks
from dropscribe.worker.finishing import placement
from dropscribe.worker.runtime.spool import has_room
from tests.e2e.harness import speech
from tests.integration.one_worker import Died, MakeContext, admit, carry_through, make_due
from tests.media_files import claim_less, tone, wav, write


def test_three_tasks_make_a_transcript(make_context: MakeContext, recording: Path) -> None:
    context = make_context()
    job_id = admit(context, recording)
    cpu_tasks.prepare_job(context, job_id)
    assert context.spooled(job_id).exists()
    assert context.doorbell.depth(MODEL_QUEUE) == 1
    model_tasks.transcribe_chunk(context, f"{job_id}.0")
    assert context.doorbell.depth(CPU_QUEUE) == 1
    cpu_tasks.finish_job(context, job_id)
    job = queries.job(context.database, job_id)
    assert (job.state, job.reason) == (JobState.DONE, "")
    assert not context.spooled(job_id).exists()
    assert {path.suffix for path in recording.parent.iterdir()} == {".wav", ".json", ".txt", ".srt", ".vtt", ".tsv"}
    document = json.loads(recording.with_suffix(".json").read_text())
    assert document["source"]["sha256"] == job.sha256
    assert document["timings"].keys() >= {"audio_decode", "speech_detection", "model"}
    assert transcripts.document(context.database, job_id) == recording.with_suffix(".json").read_text()


def test_a_copy_that_broke_off_nobody_knows_where_is_suspect_and_tells_what_is_there(
    make_context: MakeContext, recording: Path
) -> None:
    context = make_context(outputs=("json", "html"))
    half = write(recording.with_name("half.opus"), "ogg", "libopus", 48_000, samples=tone(8, 48_000))
    os.truncate(half, half.stat().st_size // 2)
    job = carry_through(context, admit(context, half))
    assert (job.state, job.missing) == (JobState.SUSPECT, ())
    assert 2 < (job.duration or 0) < 5
    assert job.reason == f"the recording breaks off: {job.duration:.0f} s are there; copy it again"
    page = half.with_suffix(".html").read_text()
    assert "Nobody speaks in what is there." in page
    assert "SUSPECT: the recording breaks off" in page


def test_a_header_that_claims_less_than_there_is_is_noted_and_what_is_no_sound_is_suspect(
    make_context: MakeContext, recording: Path
) -> None:
    context = make_context(outputs=("json",))
    crashed = claim_less(wav(recording.with_name("crashed.wav"), tone(20)), 0.4)
    job = carry_through(context, admit(context, crashed))
    assert (job.state, job.reason) == (JobState.DONE, "")
    assert "its header claims 8 of 20 s: it was read to the end of the file" in job.notes
    assert job.duration == 20
    broken = wav(recording.with_name("broken.wav"), tone(8))
    with broken.open("ab") as file:
        file.write(b"\xff" + random.Random(0).randbytes(500_000))
    job = carry_through(context, admit(context, broken))
    assert job.state is JobState.SUSPECT
    assert job.reason == "0.5 MB behind its sound are neither sound nor described by the file; copy it again"


def test_what_is_damaged_in_the_middle_of_a_recording_is_suspect_with_its_place(
    make_context: MakeContext, recording: Path
) -> None:
    context = make_context(outputs=("json",))
    link = write(recording.with_name("link.opus"), "ogg", "libopus", 48_000, samples=tone(6, 48_000)).read_bytes()
    broken = link.replace(b"OpusHead\x01", b"OpusHead\xff")
    chain = recording.with_name("chain.opus")
    chain.write_bytes(link + broken + link)
    job = carry_through(context, admit(context, chain))
    assert job.state is JobState.SUSPECT
    assert job.reason == "the recording is damaged: 0:00:06-0:00:12 could not be read; copy it again"
    assert Span(6.0, 12.0) in [Span(round(span.start, 1), round(span.end, 1)) for span in job.missing]
    assert job.duration == pytest.approx(18, abs=0.1)


def test_doubled_and_stale_messages_do_no_harm(make_context: MakeContext, recording: Path) -> None:
    context = make_context()
    job_id = admit(context, recording)
    for task in (cpu_tasks.prepare_job, cpu_tasks.finish_job, cpu_tasks.prepare_job):
        task(context, job_id)
    for _ in range(2):
        model_tasks.transcribe_chunk(context, f"{job_id}.0")
        model_tasks.transcribe_chunk(context, "unknown.0")
    for _ in range(2):
        cpu_tasks.finish_job(context, job_id)
    cpu_tasks.finish_job(context, "unknown")
    kinds = [event.kind for event in events_of(context.database, job_id)]
    assert kinds == ["admitted", "preparing", "prepared", "transcribing", "transcribed", "finishing", "done"]


def test_a_chunk_whose_spool_file_is_gone_is_prepared_again(make_context: MakeContext, recording: Path) -> None:
    context = make_context()
    job_id = admit(context, recording)
    cpu_tasks.prepare_job(context, job_id)
    context.spooled(job_id).unlink()
    model_tasks.transcribe_chunk(context, f"{job_id}.0")
    assert queries.job(context.database, job_id).state is JobState.QUEUED
    assert carry_through(context, job_id).state is JobState.DONE


def test_a_failing_model_is_tried_three_times(make_context: MakeContext, recording: Path) -> None:
    context = make_context(Script(behave="error"))
    job_id = admit(context, recording)
    cpu_tasks.prepare_job(context, job_id)
    for _ in range(3):
        make_due(context)
        model_tasks.transcribe_chunk(context, f"{job_id}.0")
    job = queries.job(context.database, job_id)
    assert job.state is JobState.FAILED
    assert "the script makes the model fail" in job.reason


def test_a_model_that_fails_once_costs_nothing_but_time(make_context: MakeContext, recording: Path) -> None:
    context = make_context(Script(behave="error", first_n=1))
    job_id = admit(context, recording)
    cpu_tasks.prepare_job(context, job_id)
    model_tasks.transcribe_chunk(context, f"{job_id}.0")
    make_due(context)
    assert carry_through(context, job_id).state is JobState.DONE


def test_a_model_beyond_repair_ends_the_process_and_keeps_the_claim(make_context: MakeContext, recording: Path) -> None:
    context = make_context(Script(behave="fatal"))
    job_id = admit(context, recording)
    cpu_tasks.prepare_job(context, job_id)
    with pytest.raises(Died):
        model_tasks.transcribe_chunk(context, f"{job_id}.0")
    assert recovery.expire_of(context.database, "worker", 3) == 1, "it counts as an attempt that was lost"


class Broken(Scripted):
    """Raises what no model should."""

    def transcribe(self, audio: Audio, request: TranscribeRequest) -> RawTranscript:
        raise ZeroDivisionError("a defect")


def test_a_defect_does_not_lose_the_job(make_context: MakeContext, recording: Path) -> None:
    context = replace(make_context(), model=Broken(Script()))
    job_id = admit(context, recording)
    cpu_tasks.prepare_job(context, job_id)
    for _ in range(3):
        make_due(context)
        model_tasks.transcribe_chunk(context, f"{job_id}.0")
    assert "internal error: ZeroDivisionError: a defect" in queries.job(context.database, job_id).reason


def test_a_file_that_is_not_there_is_tried_again_and_fails_in_the_end(
    make_context: MakeContext, recording: Path
) -> None:
    context = make_context()
    job_id = admit(context, recording)
    hidden = recording.rename(recording.with_suffix(".away"))
    cpu_tasks.prepare_job(context, job_id)
    assert queries.job(context.database, job_id).state is JobState.QUEUED
    hidden.rename(recording)
    make_due(context)
    assert carry_through(context, job_id).state is JobState.DONE


def test_a_job_whose_whole_folder_is_away_waits_for_it_however_long(make_context: MakeContext, recording: Path) -> None:
    context = make_context()
    job_id = admit(context, recording)
    away = recording.parent.rename(recording.parent.with_name("away"))
    for _ in range(5):
        make_due(context)
        cpu_tasks.prepare_job(context, job_id)
        job = queries.job(context.database, job_id)
        assert (job.state, job.failures) == (JobState.QUEUED, 0)
        assert "its folder is offline" in job.reason
    away.rename(recording.parent)
    make_due(context)
    done = carry_through(context, job_id)
    assert (done.state, done.reason) == (JobState.DONE, "")


def test_a_link_out_of_the_folder_is_refused(make_context: MakeContext, recording: Path, tmp_path: Path) -> None:
    context = make_context()
    job_id = admit(context, recording)
    recording.rename(tmp_path / "outside.wav")
    recording.symlink_to(tmp_path / "outside.wav")
    cpu_tasks.prepare_job(context, job_id)
    job = queries.job(context.database, job_id)
    assert job.state is JobState.FAILED
    assert "talk.wav" in job.reason


@pytest.mark.parametrize(("step", "in_place"), [("stage", 0), ("publish", 2)])
def test_a_crash_while_files_are_written_is_mended_without_writing_twice(
    make_context: MakeContext, recording: Path, monkeypatch: pytest.MonkeyPatch, step: str, in_place: int
) -> None:
    context = make_context()
    job_id = admit(context, recording)
    cpu_tasks.prepare_job(context, job_id)
    model_tasks.transcribe_chunk(context, f"{job_id}.0")
    real = getattr(placement, step)
    calls = []

    def crash_at_the_third(*arguments: object, **options: object) -> object:
        calls.append(arguments)
        if len(calls) == 3:
            raise Died
        return real(*arguments, **options)

    monkeypatch.setattr(placement, step, crash_at_the_third)
    with pytest.raises(Died):
        cpu_tasks.finish_job(context, job_id)
    before = {path: path.stat().st_mtime_ns for path in recording.parent.glob("talk.*")}
    assert len(before) == 1 + in_place
    recovery.expire_of(context.database, "worker", 3)
    cpu_tasks.finish_job(context, job_id)
    assert queries.job(context.database, job_id).state is JobState.DONE
    after = {path: path.stat().st_mtime_ns for path in recording.parent.iterdir()}
    assert sorted(path.name for path in after) == [
        f"talk.{kind}" for kind in ("json", "srt", "tsv", "txt", "vtt", "wav")
    ]
    assert after[recording] == before[recording]


def test_a_file_that_somebody_puts_there_after_a_crash_is_not_overwritten(
    make_context: MakeContext, recording: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = make_context()
    job_id = admit(context, recording)
    cpu_tasks.prepare_job(context, job_id)
    model_tasks.transcribe_chunk(context, f"{job_id}.0")

    def crash(*_: object, **__: object) -> None:
        raise Died

    with monkeypatch.context() as patched:
        patched.setattr(placement, "publish", crash)  # the name is recorded by then, and not used yet
        with pytest.raises(Died):
            cpu_tasks.finish_job(context, job_id)
    recording.with_suffix(".json").write_text("somebody else's")
    recovery.expire_of(context.database, "worker", 3)
    cpu_tasks.finish_job(context, job_id)
    assert queries.job(context.database, job_id).state is JobState.DONE
    assert recording.with_suffix(".json").read_text() == "somebody else's"
    assert recording.with_name("talk.wav.json").exists()


def test_a_crash_while_a_newer_transcript_replaces_ours_is_mended_under_the_same_names(
    make_context: MakeContext, recording: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = make_context()
    carry_through(context, admit(context, recording))
    speech(recording, seed=7)
    job_id = admit(context, recording)

    def crash(*_: object, **__: object) -> None:
        raise Died

    with monkeypatch.context() as patched:
        patched.setattr(placement, "publish", crash)
        with pytest.raises(Died):
            carry_through(context, job_id)
    recovery.expire_of(context.database, "worker", 3)
    cpu_tasks.finish_job(context, job_id)
    assert queries.job(context.database, job_id).state is JobState.DONE
    assert sorted(path.name for path in recording.parent.glob("talk.*json")) == ["talk.json"]


def test_a_newer_transcript_replaces_ours_but_not_one_that_was_edited(
    make_context: MakeContext, recording: Path
) -> None:
    context = make_context()
    carry_through(context, admit(context, recording))
    recording.with_suffix(".txt").write_text("corrected by hand")
    speech(recording, seed=7)
    assert carry_through(context, admit(context, recording)).state is JobState.DONE
    assert recording.with_suffix(".txt").read_text() == "corrected by hand"
    assert recording.with_name("talk.wav.txt").exists()
    assert sorted(path.name for path in recording.parent.glob("*.srt")) == ["talk.srt"]


def test_no_name_left_fails_the_job_with_the_way_out(
    make_context: MakeContext, recording: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = make_context(outputs=("txt",))
    job_id = admit(context, recording)
    for path in placement.candidates(recording, "txt", job_id, recording.parent):
        path.write_text("mine")
    for _ in range(3):
        make_due(context)
        job = carry_through(context, job_id)
    assert job.state is JobState.FAILED
    assert f"dropscribe retry {job_id}" in job.reason
    assert all(path.read_text() == "mine" for path in recording.parent.glob("*.txt"))
    for path in recording.parent.glob("*.txt"):
        path.unlink()
    assert commands.retry(context.database, job_id) is JobState.FINISHING, "what was read is not read again"
    cpu_tasks.finish_job(context, job_id)
    assert recording.with_suffix(".txt").exists()


def test_a_file_put_there_this_very_moment_is_not_overwritten(
    make_context: MakeContext, recording: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = make_context(outputs=("txt",))
    job_id = admit(context, recording)
    real = placement.stage

    def stage_and_lose_the_race(target: Path, *arguments: object) -> Path:
        staged = real(target, *arguments)
        if target.name == "talk.txt":
            target.write_text("mine")
        return staged

    monkeypatch.setattr(placement, "stage", stage_and_lose_the_race)
    assert carry_through(context, job_id).state is JobState.DONE
    assert recording.with_suffix(".txt").read_text() == "mine"
    assert recording.with_name("talk.wav.txt").exists()
    (file,) = written_files.files_of(context.database, job_id)
    assert file.path.endswith("talk.wav.txt")


def test_results_that_cannot_be_written_fail_with_the_reason_and_keep_the_transcript(
    make_context: MakeContext, recording: Path
) -> None:
    context = make_context(results=recording / "below a file")
    job_id = admit(context, recording)
    told = []
    for _ in range(3):
        make_due(context)
        job = carry_through(context, job_id)
        told.append(job.reason)
    assert [reason.endswith("; dropscribe tries again") for reason in told] == [True, True, False]
    assert (job.state, job.failures) == (JobState.FAILED, 3)
    assert "below a file" in job.reason
    for step in ("or set `results`", f"`dropscribe retry {job_id}`", f"`dropscribe transcript {job_id}`"):
        assert step in job.reason
    assert transcripts.document(context.database, job_id)


def test_a_duplicate_gets_the_leaders_transcript_under_its_own_name(make_context: MakeContext, recording: Path) -> None:
    context = make_context()
    leader = admit(context, recording)
    copy = recording.with_name("copy.wav")
    copy.write_bytes(recording.read_bytes())
    follower = admit(context, copy)
    cpu_tasks.prepare_job(context, leader)
    cpu_tasks.prepare_job(context, follower)
    assert queries.job(context.database, follower).duplicate_of == leader
    carry_through(context, leader)
    cpu_tasks.finish_job(context, follower)
    job = queries.job(context.database, follower)
    assert (job.state, job.reason) == (JobState.DUPLICATE, f"same content as job {leader} (talk.wav)")
    theirs, ours = (json.loads(path.with_suffix(".json").read_text()) for path in (recording, copy))
    assert ours["segments"] == theirs["segments"]
    assert ours["source"] == theirs["source"] | {"path": str(copy)}


@pytest.mark.parametrize("remove", [partial(forget.remove_text, why="why"), forget.forget])
def test_a_duplicate_is_written_again_from_its_own_transcript_when_its_leaders_is_gone(
    make_context: MakeContext, recording: Path, remove: Callable[[Database, list[str]], list[str]]
) -> None:
    context = make_context()
    leader = admit(context, recording)
    copy = recording.with_name("copy.wav")
    copy.write_bytes(recording.read_bytes())
    follower = admit(context, copy)
    carry_through(context, leader)
    assert carry_through(context, follower).state is JobState.DUPLICATE
    before = json.loads(copy.with_suffix(".json").read_text())
    assert remove(context.database, [leader]) == [leader]
    speakers.say(context.database, follower, SpeakerNames({0: "Ada"}))
    cpu_tasks.finish_job(context, follower)
    job = queries.job(context.database, follower)
    assert (job.state, job.reason) == (JobState.DUPLICATE, f"same content as job {leader} (talk.wav)")
    after = json.loads(copy.with_suffix(".json").read_text())
    assert after["speakers"][0]["name"] == "Ada"
    assert after.pop("revision") == 1
    assert after | {"speakers": before["speakers"], "segments": before["segments"]} == before


def test_a_duplicate_without_a_transcript_starts_over_when_its_leaders_is_gone(
    make_context: MakeContext, recording: Path
) -> None:
    context = make_context()
    leader = admit(context, recording)
    copy = recording.with_name("copy.wav")
    copy.write_bytes(recording.read_bytes())
    follower = admit(context, copy)
    carry_through(context, leader)
    cpu_tasks.prepare_job(context, follower)
    forget.remove_text(context.database, [leader], "why")
    cpu_tasks.finish_job(context, follower)
    assert queries.job(context.database, follower).state is JobState.QUEUED


def test_preparing_pauses_while_the_spool_is_full(make_context: MakeContext, recording: Path) -> None:
    context = make_context(spool_gb=0.001)
    job_id = admit(context, recording)
    spool = context.settings.spool_dir
    spool.mkdir()
    (spool / "other.flac").write_bytes(bytes(1_000_000))
    cpu_tasks.prepare_job(context, job_id)
    assert queries.job(context.database, job_id).state is JobState.QUEUED
    assert switches.paused_since(context.database, SPOOL_FULL)
    assert recovery.unsent(context.database, "prepare", 0, 10) == [], "nothing is sent that could not be taken up"
    (spool / "other.flac").unlink()
    assert has_room(context.settings, context.database), "as the worker's heartbeat asks"
    assert [row.id for row in recovery.unsent(context.database, "prepare", 60, 0)] == [job_id]
    assert carry_through(context, job_id).state is JobState.DONE


def test_a_spool_that_is_nearly_full_stays_paused(make_context: MakeContext) -> None:
    context = make_context(spool_gb=0.001)
    context.settings.spool_dir.mkdir()
    for size, room in ((950_000, True), (1_000_000, False), (950_000, False), (890_000, True)):
        (context.settings.spool_dir / "other.flac").write_bytes(bytes(size))
        assert has_room(context.settings, context.database) is room, size


def test_a_worker_on_which_everything_fails_takes_itself_out(make_context: MakeContext, recording: Path) -> None:
    context = make_context(Script(behave="error"), circuit_breaker_failures=3)
    fleet.register(context.database, "worker", host="h", pid=1, role="model", state="ready")
    waiting = [admit(context, speech(recording.with_name(f"{number}.wav"), seed=number)) for number in (1, 2, 3)]
    for job_id in waiting:
        cpu_tasks.prepare_job(context, job_id)
    model_tasks.transcribe_chunk(context, f"{waiting[0]}.0")
    make_due(context)
    model_tasks.transcribe_chunk(context, f"{waiting[0]}.0")  # the same recording again says nothing new
    model_tasks.transcribe_chunk(context, f"{waiting[1]}.0")
    with pytest.raises(Died):
        model_tasks.transcribe_chunk(context, f"{waiting[2]}.0")
    assert list_workers(context.database)[0].state == fleet.UNFIT
    assert queries.job(context.database, waiting[2]).state is JobState.TRANSCRIBING, "and gave its work back"


def test_recordings_whose_decoder_is_killed_are_tried_again_and_end_no_worker(
    make_context: MakeContext, recording: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = replace(make_context(circuit_breaker_failures=2), zygote=None)  # each decoder is started as a program
    script = recording.with_name("python")
    script.write_text("#!/bin/sh\nkill -KILL $$\n")
    script.chmod(0o700)
    monkeypatch.setattr(child_process.sys, "executable", str(script))
    for number in range(3):
        job_id = admit(context, speech(recording.with_name(f"{number}.wav"), seed=number))
        cpu_tasks.prepare_job(context, job_id)
        job = queries.job(context.database, job_id)
        assert (job.state, job.failures, "SIGKILL" in job.reason) == (JobState.QUEUED, 1, True)


def test_a_success_in_between_clears_a_worker_of_suspicion(make_context: MakeContext, recording: Path) -> None:
    context = make_context(Script(behave="error", when_context="bad"), circuit_breaker_failures=2)
    names = ["bad 1", "good", "bad 2"]
    for number, name in enumerate(names):
        path = speech(recording.with_name(f"{name}.wav"), seed=number)
        stat = path.stat()
        new = NewJob(str(path.parent), path.name, stat.st_size, stat.st_mtime_ns, "digest", "normal", name)
        (job_id,) = jobs.admit(context.database, [new])
        cpu_tasks.prepare_job(context, job_id)
        model_tasks.transcribe_chunk(context, f"{job_id}.0")


def fill(disk: Path, *, leave: int) -> Path:
    free = os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize
    ballast = disk / "ballast"
    ballast.write_bytes(bytes(free - leave))
    return ballast


def test_a_full_disk_of_results_is_waited_for(make_context: MakeContext, recording: Path, small_disk: Path) -> None:
    context = make_context(results=small_disk / "results")
    job_id = admit(context, recording)
    ballast = fill(small_disk, leave=8192)
    for _ in range(5):
        make_due(context)
        job = carry_through(context, job_id)
        assert (job.state, job.failures) == (JobState.FINISHING, 0)
        assert "is full; make room there" in job.reason
    ballast.unlink()
    make_due(context)
    done = carry_through(context, job_id)
    assert (done.state, done.reason) == (JobState.DONE, "")
    assert sorted(path.suffix for path in (small_disk / "results" / "inbox").iterdir()) == sorted(
        [".json", ".srt", ".tsv", ".txt", ".vtt"]
    )


def test_a_full_spool_is_waited_for(make_context: MakeContext, recording: Path, small_disk: Path) -> None:
    context = make_context(spool=small_disk / "spool")
    speech(recording, 60)
    job_id = admit(context, recording)
    ballast = fill(small_disk, leave=200_000)  # enough to begin with
    for _ in range(4):
        make_due(context)
        cpu_tasks.prepare_job(context, job_id)
        job = queries.job(context.database, job_id)
        assert (job.state, job.failures) == (JobState.QUEUED, 0)
        assert "make room" in job.reason
    ballast.unlink()
    make_due(context)
    assert carry_through(context, job_id).state is JobState.DONE
