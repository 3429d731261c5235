"""Settings in watched folders, from the share to the job, the worker and back to the share."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from dropscribe.admin.state import exit_status, fleet_status
from dropscribe.admin.state.job_lookup import find
from dropscribe.core import reserved_names
from dropscribe.core.errors import JobNotFoundError
from dropscribe.core.job_overrides import JobOverrides
from dropscribe.core.routing import ResidentModel
from dropscribe.core.settings import Settings
from dropscribe.core.types import EngineInfo, JobState
from dropscribe.scheduler.duties import reconciler
from dropscribe.scheduler.scanning.folder_files import MAX_HOTWORDS, MAX_SETTINGS, put, read_settings
from dropscribe.scheduler.scanning.scan import Scan
from dropscribe.scheduler.watching.root_watch import RootWatch
from dropscribe.store import chunk_plans, chunks, fleet, jobs, queries, recovery, tables
from dropscribe.store.fleet import ModelWorker
from dropscribe.store.jobs import NewJob
from dropscribe.store.roots import RootReport, UnreadablePlace, report_roots
from dropscribe.store.session import Database
from dropscribe.worker import cpu_tasks, model_tasks
from tests.integration.one_worker import MakeContext, carry_through, queued


def job_of(database: Database, path: str) -> queries.Job:
    (job,) = [job for job in queries.list_jobs(database) if job.path == path]
    return job


def test_a_recording_is_admitted_with_what_its_folders_say(database: Database, watch: RootWatch, inbox: Path) -> None:
    (inbox / reserved_names.SETTINGS).write_text('context = "a company"\npriority = "high"')
    (inbox / "talks" / reserved_names.SETTINGS).write_text(
        'engine = "vibevoice"\nprecision = "int8"\nresults = "texts"'
    )
    (inbox / "talks" / reserved_names.HOTWORDS).write_text("Ada\nByron")
    (inbox / "talks" / "a.wav").write_bytes(b"1")
    (inbox / "b.wav").write_bytes(b"12")
    watch.look(0.0)
    watch.look(10.0)
    talk, other = job_of(database, "talks/a.wav"), job_of(database, "b.wav")
    assert (talk.context, talk.priority) == ("a company; Ada, Byron", "high")
    assert talk.overrides.given == {
        "engine": "vibevoice",
        "precision": "int8",
        "folder": str(inbox / "talks" / "texts"),
    }
    assert (talk.model_queue, other.model_queue) == ("model.vibevoice.int8", "model")
    assert (other.context, other.overrides.given) == ("a company", {})


def test_a_folder_with_wrong_settings_waits_says_so_and_goes_on_once_they_are_mended(
    database: Database, watch: RootWatch, inbox: Path
) -> None:
    settings, error = inbox / "talks" / reserved_names.SETTINGS, inbox / "talks" / reserved_names.ERROR
    settings.write_text('engine = "wisper"')
    (inbox / "talks" / "a.wav").write_bytes(b"1")
    (inbox / "b.wav").write_bytes(b"12")
    watch.look(0.0)
    watch.look(10.0)
    assert [job.path for job in queries.list_jobs(database)] == ["b.wav"]
    assert "engine = 'wisper'" in error.read_text()
    ((folder, reason, files),) = watch.report.waiting
    assert (folder, files, watch.report.pending) == ("talks/", 1, 0)
    assert "wisper" in reason
    before = error.stat().st_mtime_ns
    watch.look(20.0)
    assert error.stat().st_mtime_ns == before, "it is not written again"
    settings.write_text('engine = "vibevoice"')
    watch.look(30.0)
    watch.look(40.0)
    assert job_of(database, "talks/a.wav").overrides.given == {"engine": "vibevoice"}
    assert not error.exists()
    assert watch.report.waiting == ()


def test_a_change_of_settings_reads_nothing_again(database: Database, watch: RootWatch, inbox: Path) -> None:
    (inbox / "a.wav").write_bytes(b"1")
    watch.look(0.0)
    watch.look(10.0)
    for said in ('context = "x"', "engine = 1", 'context = "y"'):
        (inbox / reserved_names.SETTINGS).write_text(said)
        watch.look(20.0)
        watch.look(30.0)
    assert job_of(database, "a.wav").context == ""
    assert watch.report.waiting == ()


def test_a_recording_that_waits_is_moved_with_what_holds_where_it_goes(
    database: Database, watch: RootWatch, inbox: Path
) -> None:
    (inbox / "talks" / reserved_names.SETTINGS).write_text('context = "a talk"\noutputs = ["txt"]')
    (inbox / "a.wav").write_bytes(b"1")
    watch.look(0.0)
    watch.look(10.0)
    (inbox / "a.wav").rename(inbox / "talks" / "a.wav")
    watch.look(20.0)
    watch.look(30.0)
    moved = job_of(database, "talks/a.wav")
    assert (moved.context, moved.overrides.given) == ("a talk", {"outputs": ("txt",)})
    assert len(queries.list_jobs(database)) == 1


def link(path: Path) -> None:
    outside = path.parents[2] / "outside.toml"
    outside.write_text('context = "secret"')
    path.symlink_to(outside)


def large(path: Path) -> None:
    path.write_text("#" * (MAX_SETTINGS + 1))


def latin(path: Path) -> None:
    path.write_bytes(b'context = "\xe9"')


def no_text(path: Path) -> None:
    path.write_text("")
    (path.parent / reserved_names.HOTWORDS).write_text("x" * (MAX_HOTWORDS + 1))


@pytest.mark.parametrize("trap", [link, os.mkfifo, large, latin, no_text], ids=lambda trap: trap.__name__)
def test_a_settings_file_that_is_no_plain_small_text_is_refused(
    database: Database, watch: RootWatch, inbox: Path, trap: Callable[[Path], None]
) -> None:
    trap(inbox / "talks" / reserved_names.SETTINGS)
    (inbox / "talks" / "a.wav").write_bytes(b"1")
    watch.look(0.0)
    watch.look(10.0)
    assert queries.list_jobs(database) == []
    assert watch.report.online
    ((_, reason, files),) = watch.report.waiting
    assert files == 1
    assert "secret" not in reason


def test_words_for_people_are_written_through_no_link(tmp_path: Path) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    for folder in (root, outside):
        folder.mkdir()
    (outside / "precious.txt").write_text("precious")
    (root / "linked").symlink_to(outside)
    with pytest.raises(OSError, match=r"directory|links"):
        put(str(root), f"linked/{reserved_names.ERROR}", "x", "x")
    (root / f"{reserved_names.ERROR}.tmp").symlink_to(outside / "precious.txt")
    put(str(root), reserved_names.ERROR, "mistakes", "mistakes")
    assert (outside / "precious.txt").read_text() == "precious"
    assert (root / reserved_names.ERROR).read_text() == "mistakes"
    assert [path.name for path in outside.iterdir()] == ["precious.txt"]
    assert read_settings(str(root), "linked/") is None or read_settings(str(root), "linked/").problem


def test_a_folder_that_cannot_be_written_to_is_told_of_in_the_status_alone(
    watch: RootWatch, inbox: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (inbox / "talks" / reserved_names.SETTINGS).write_text("engine = 1")
    (inbox / "talks" / reserved_names.ERROR).mkdir()
    watch.look(0.0)
    watch.look(10.0)
    assert len(watch.report.waiting) == 1
    assert sum("cannot write" in record.message for record in caplog.records) == 1


def test_what_has_no_job_yet_says_what_it_waits_for(database: Database, watch: RootWatch, inbox: Path) -> None:
    for path in (inbox / "a.wav", inbox / "talks" / "b.wav", inbox / "notes.pdf"):
        path.write_bytes(b"1")
    (inbox / "talks" / reserved_names.SETTINGS).write_text("engine = 1")
    watch.look(0.0)
    report_roots(database, [watch.report])
    with pytest.raises(JobNotFoundError, match="has not changed for some seconds"):
        find(database, str(inbox / "a.wav"))
    with pytest.raises(JobNotFoundError, match=r"talks/\.dropscribe\.toml is fixed: engine: "):
        find(database, str(inbox / "talks" / "b.wav"))
    with pytest.raises(JobNotFoundError, match="does not have the name of a recording"):
        find(database, str(inbox / "notes.pdf"))
    with pytest.raises(JobNotFoundError, match="no job has"):
        find(database, str(inbox / "gone.wav"))


def test_what_is_left_out_says_why(database: Database, watch: RootWatch, inbox: Path) -> None:
    outside = inbox.parent / "outside"
    for folder in (inbox / "dir.wav", inbox / ".hidden", outside):
        folder.mkdir()
    for path in (inbox / ".hidden.flac", inbox / "part.tmp", inbox / ".hidden" / "a.wav", outside / "a.wav"):
        path.write_bytes(b"1")
    (inbox / "empty.wav").touch()
    (inbox / "link.wav").symlink_to(outside / "a.wav")
    (inbox / "broken.wav").symlink_to("nowhere")
    (inbox / "linked").symlink_to(outside)
    os.mkfifo(inbox / "pipe.wav")
    watch.look(0.0)
    report_roots(database, [watch.report])
    reasons = {
        "dir.wav": "is a folder",
        ".hidden.flac": "hidden or unfinished",
        "part.tmp": "hidden or unfinished",
        ".hidden/a.wav": "folders named .hidden are never scanned",
        "empty.wav": "it is empty",
        "link.wav": "is a link, and links are not followed",
        "broken.wav": "is a link, and links are not followed",
        "linked/a.wav": "lies behind a link",
        "pipe.wav": "is not a regular file",
    }
    for name, reason in reasons.items():
        with pytest.raises(JobNotFoundError, match=reason):
            find(database, str(inbox / name))


def test_a_folder_that_waits_is_a_warning(
    database: Database, settings: Settings, watch: RootWatch, inbox: Path
) -> None:
    (inbox / reserved_names.SETTINGS).write_text("engine = 1")
    (inbox / "a.wav").write_bytes(b"1")
    watch.look(0.0)
    report_roots(database, [watch.report])
    found = fleet_status.gather(database, settings)
    assert [
        warning for warning in found.warnings if "1 recording waiting" in warning and reserved_names.SETTINGS in warning
    ]
    assert exit_status.is_drained(found.roots, [inbox], found.unfinished), "it waits for a person, not for us"
    assert exit_status.of_jobs([], exit_status.waiting_recordings(found.roots)) == exit_status.FAILED_EXIT


def test_what_the_scheduler_cannot_read_says_so_to_one_who_can(database: Database, inbox: Path) -> None:
    (inbox / "talks" / "a.wav").write_bytes(b"1")
    (inbox / "b.wav").write_bytes(b"1")
    places = [UnreadablePlace("secret; a: b/", "x"), UnreadablePlace("talks/", "Permission denied")]
    places.append(UnreadablePlace("talk.wav", "Permission denied"))
    partly = RootReport(str(inbox), "nas", "ext4", online=True, unreadable=places, unreadable_count=3)
    report_roots(database, [partly])
    with pytest.raises(JobNotFoundError, match="the scheduler cannot read talks/: Permission denied"):
        find(database, str(inbox / "talks" / "a.wav"))
    for whole in ("b.wav", "talk.wav.bak.mp3"):
        (inbox / whole).write_bytes(b"1")
        with pytest.raises(JobNotFoundError, match="has not changed for some seconds"):
            find(database, str(inbox / whole))
    (inbox / "secret; a: b").mkdir()
    (inbox / "secret; a: b" / "c.wav").write_bytes(b"1")
    with pytest.raises(JobNotFoundError, match="the scheduler cannot read secret; a: b/: x"):
        find(database, str(inbox / "secret; a: b" / "c.wav"))
    refused = UnreadablePlace("b.wav", "the database cannot hold it", "rename it")
    report_roots(database, [replace(partly, unreadable=[refused])])
    with pytest.raises(JobNotFoundError, match="has no job: the database cannot hold it; rename it"):
        find(database, str(inbox / "b.wav"))
    report_roots(database, [replace(partly, online=False, reason="it hangs")])
    with pytest.raises(JobNotFoundError, match="could not be scanned: it hangs"):
        find(database, str(inbox / "b.wav"))


def test_places_that_cannot_be_read_are_a_warning_and_a_reason_to_end_with_4(
    database: Database, settings: Settings, watch: RootWatch, caplog: pytest.LogCaptureFixture
) -> None:
    places = {f"{name}/": "Permission denied" for name in "abcde"}
    seen = Scan({}, 0, 0, places, 1, 0.0)
    watch._scan = lambda: seen  # the superuser of a test may read everything
    watch.look(0.0)
    watch.look(10.0)
    report_roots(database, [watch.report])
    found = fleet_status.gather(database, settings)
    assert watch.report.online
    assert any("a/: Permission denied" in warning and "and 2 more" in warning for warning in found.warnings)
    assert sum("a/: Permission denied" in record.message for record in caplog.records) == 1
    assert exit_status.is_drained(found.roots, [watch.path], found.unfinished)
    assert exit_status.of_jobs([], unread=exit_status.unread_folders(found.roots)) == exit_status.FAILED_EXIT


def test_a_job_for_which_no_worker_fits_says_so(database: Database, settings: Settings) -> None:
    jobs.admit(database, [NewJob("/root", "a.wav", 1, 1, "d", "normal", "", JobOverrides(engine="vibevoice"))])
    wanted = "1 job waiting for the engine vibevoice"
    assert any(wanted in warning for warning in fleet_status.gather(database, settings).warnings)
    fleet.register(database, "able", host="h", pid=1, role="model", state="loading")
    fleet.heartbeat(database, "able", engine=EngineInfo("vibevoice", "large", "bf16"))
    assert not any(wanted in warning for warning in fleet_status.gather(database, settings).warnings)


# What workers make of it


def admit(context, path: Path, **overrides: object) -> str:
    stat = path.stat()
    new = NewJob(
        str(path.parent),
        path.name,
        stat.st_size,
        stat.st_mtime_ns,
        "digest",
        "normal",
        "",
        JobOverrides.read(overrides),
    )
    return jobs.admit(context.database, [new])[0]


def test_outputs_results_and_chunks_are_those_of_the_folder(make_context: MakeContext, recording: Path) -> None:
    context = make_context(min_chunk_seconds=1.0)
    where = recording.parent / "texts"
    job_id = admit(context, recording, outputs=["txt", "srt"], folder=str(where), chunk_seconds=3.0)
    assert carry_through(context, job_id).state is JobState.DONE
    assert sorted(path.name for path in where.iterdir()) == ["talk.srt", "talk.txt"]
    assert [path.name for path in recording.parent.iterdir() if path.is_file()] == ["talk.wav"]
    with context.database.read() as connection:
        assert connection.execute(tables.chunks.select()).all()[1:], "it was read in several chunks"


def test_results_that_lead_out_of_the_root_by_a_link_are_not_written(
    make_context: MakeContext, recording: Path, tmp_path: Path
) -> None:
    context = make_context(failed_attempts=1)
    outside = tmp_path / "outside"
    outside.mkdir()
    (recording.parent / "texts").symlink_to(outside)
    job = carry_through(context, admit(context, recording, folder=str(recording.parent / "texts" / "deep")))
    assert job.state is JobState.FAILED
    assert "leads out of" in job.reason
    assert list(outside.iterdir()) == []


def test_a_chunk_goes_only_to_workers_of_its_engine(make_context: MakeContext, recording: Path) -> None:
    context = make_context()
    job_id = admit(context, recording, engine="vibevoice")
    cpu_tasks.prepare_job(context, job_id)
    assert (context.doorbell.depth("model"), context.doorbell.depth("model.vibevoice")) == (0, 1)
    model_tasks.transcribe_chunk(context, f"{job_id}.0")
    assert queued(context, job_id) == [f"{job_id}.0"], "the scripted worker leaves it alone"
    assert chunks.claim(context.database, f"{job_id}.0", "other", 60, ResidentModel("vibevoice", "a", "int8"))


def test_a_worker_reads_what_asks_for_its_own_engine(make_context: MakeContext, recording: Path) -> None:
    context = make_context()
    job = carry_through(context, admit(context, recording, engine="scripted"))
    assert job.state is JobState.DONE


def test_lost_messages_of_an_engine_are_sent_again_to_its_queue(make_context: MakeContext, recording: Path) -> None:
    context = make_context()
    cpu_tasks.prepare_job(context, admit(context, recording, engine="vibevoice"))
    with context.database.begin() as connection:
        connection.execute(tables.chunks.update().values(sent_at=None))
    assert recovery.unsent(context.database, "transcribe", 0.0, 9) == [], "it is not for the common queue"
    reconciler.reconcile(context.database, context.doorbell, context.settings, "me")
    assert (context.doorbell.depth("model"), context.doorbell.depth("model.vibevoice")) == (0, 2)


def test_plans_reckon_only_with_workers_that_fit(make_context: MakeContext) -> None:
    context = make_context()
    engines = [
        EngineInfo("scripted", "", "none", slots=3, longest_chunk=60.0),
        EngineInfo("vibevoice", "", "int8", slots=2, longest_chunk=1800.0),
    ]
    workers = [ModelWorker(engine, ResidentModel.of(engine).queues) for engine in engines]
    assert fleet.capacity_of(workers, "model").longest_chunk == 60.0
    fit = fleet.capacity_of(workers, "model.vibevoice.int8")
    assert (fit.workers, fit.slots, fit.longest_chunk) == (1, 2, 1800.0)
    assert fleet.capacity_of(workers, "model.auto.nf4").workers == 0
    assert chunk_plans.widen(context.database, lambda _: 2) == []
