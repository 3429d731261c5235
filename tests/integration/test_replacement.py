"""A recording that was replaced by another of the same name, size and time is read again, and nothing else is."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from dropscribe.core import reserved_names
from dropscribe.core.job_overrides import JobOverrides
from dropscribe.core.queue import Doorbell
from dropscribe.scheduler.duties import archiver
from dropscribe.scheduler.scanning import move
from dropscribe.scheduler.scanning import scan as scan_module
from dropscribe.scheduler.watching.replacement import admit_replaced
from dropscribe.scheduler.watching.root_watch import RootWatch
from dropscribe.store import commands, jobs, queries, recording_moves
from dropscribe.store.events import events_of
from dropscribe.store.jobs import NewJob
from dropscribe.store.queries import Job
from dropscribe.store.session import Database
from dropscribe.worker import cpu_tasks
from dropscribe.worker.runtime.context import WorkerContext
from tests.integration.one_worker import carry_through
from tests.media_files import tone, wav

Look = Callable[[], list[Job]]


@pytest.fixture
def recording(inbox: Path) -> Path:
    return put(inbox / "a.wav", level=0.2)


def put(path: Path, *, level: float) -> Path:
    """A recording of one second whose size and time are always the same, moved into place as rsync does."""
    new = wav(path.with_suffix(".part"), tone(1.0, level=level))
    os.utime(new, (1_000_000_000, 1_000_000_000))
    return new.rename(path)


@pytest.fixture
def look(database: Database, doorbell: Doorbell, watch: RootWatch) -> Look:
    """Looks until what stands still is admitted; returns all jobs, the newest first."""
    moment = iter(range(0, 10_000, 10))

    def looked() -> list[Job]:
        for _ in range(3):
            watch.look(float(next(moment)))
            admit_replaced(database, doorbell, watch)
        return queries.list_jobs(database)

    return looked


def prepare(make_context: Callable[..., WorkerContext], job: Job) -> str:
    context = make_context()
    cpu_tasks.prepare_job(context, job.id)
    return queries.job(context.database, job.id).sha256 or ""


def test_another_content_is_a_job_of_its_own_once(
    look: Look, make_context: Callable[..., WorkerContext], recording: Path
) -> None:
    (job,) = look()
    before = prepare(make_context, job)
    assert look() == [queries.job(make_context().database, job.id)], "nothing was done to it"
    put(recording, level=0.1)
    newer, _ = look()
    assert len(look()) == 2
    assert (newer.path, newer.size, newer.mtime_ns) == (job.path, job.size, job.mtime_ns)
    assert prepare(make_context, newer) != before
    assert len(look()) == 2


def test_content_that_is_written_in_place_is_noticed_too_and_also_before_the_first_was_read(
    look: Look, make_context: Callable[..., WorkerContext], recording: Path
) -> None:
    (job,) = look()
    os.utime(recording, (1_000_000_000, 1_000_000_000))
    look()
    prepare(make_context, job)
    with recording.open("r+b") as file:
        file.seek(-1000, os.SEEK_END)
        file.write(bytes(1000))
    os.utime(recording, (1_000_000_000, 1_000_000_000))
    assert len(look()) == 2


def test_a_change_of_owner_reads_a_few_blocks_once_and_transcribes_nothing(
    look: Look,
    make_context: Callable[..., WorkerContext],
    recording: Path,
    watch: RootWatch,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (job,) = look()
    prepare(make_context, job)
    asked: list[list[str]] = []
    plainly = watch.scanner.fingerprints
    monkeypatch.setattr(
        watch.scanner, "fingerprints", lambda root, names: (asked.append(names), plainly(root, names))[1]
    )
    recording.chmod(0o600)
    assert len(look()) == 1
    assert [names for names in asked if names] == [["a.wav"]]


def test_a_replacement_is_noticed_after_a_restart(
    look: Look,
    make_context: Callable[..., WorkerContext],
    recording: Path,
    watch: RootWatch,
) -> None:
    (job,) = look()
    prepare(make_context, job)
    put(recording, level=0.1)
    watch._stamps, watch._stability = {}, None  # as a new scheduler begins
    assert len(look()) == 2


def test_a_replacement_is_noticed_of_a_file_that_was_admitted_under_another_root(
    look: Look, database: Database, make_context: Callable[..., WorkerContext], inbox: Path
) -> None:
    inner = put(inbox / "talks" / "a.wav", level=0.2)
    seen = inner.stat()
    jobs.admit(database, [NewJob(str(inner.parent), "a.wav", seen.st_size, seen.st_mtime_ns, "digest", "normal")])
    (job,) = look()
    prepare(make_context, job)
    put(inner, level=0.1)
    newer, _ = look()
    assert (newer.root, newer.path) == (str(inbox), "talks/a.wav")


def test_contents_that_take_turns_are_each_read_again(
    look: Look,
    make_context: Callable[..., WorkerContext],
    recording: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    (job,) = look()
    read = [prepare(make_context, job)]
    for level in (0.1, 0.2, 0.1):
        put(recording, level=level)
        read.append(prepare(make_context, look()[0]))
    assert read[0] == read[2] != read[1] == read[3]
    assert caplog.text.count("it is transcribed again") == len(look()) - 1 == 3


def test_a_replacement_that_cannot_be_read_is_compared_once_it_can(
    look: Look,
    make_context: Callable[..., WorkerContext],
    recording: Path,
    watch: RootWatch,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (job,) = look()
    prepare(make_context, job)
    put(recording, level=0.1)
    with monkeypatch.context() as patch:
        patch.setattr(watch.scanner, "fingerprints", lambda _, names: dict.fromkeys(names, ""))  # as with EIO
        assert len(look()) == 1
    assert len(look()) == 2


def test_a_job_whose_recording_was_replaced_does_not_archive_the_other_one(
    look: Look,
    database: Database,
    make_context: Callable[..., WorkerContext],
    inbox: Path,
    watch: RootWatch,
) -> None:
    (inbox / reserved_names.SETTINGS).write_text('when_done = "archive"')
    recording = put(inbox / "a.wav", level=0.2)
    (job,) = look()
    prepare(make_context, job)
    put(recording, level=0.1)
    newer, _ = look()
    assert carry_through(make_context(), job.id).state.is_final
    archiver.put_away(database, watch)
    assert recording.exists(), "its own job has not read it"
    assert carry_through(make_context(), newer.id).sha256 != queries.job(database, job.id).sha256
    archiver.put_away(database, watch)
    assert [path.name for path in (inbox / "done").glob("*.wav")] == ["a.wav"]


def test_what_replaced_a_recording_before_the_next_look_is_not_archived_unread(
    look: Look, database: Database, make_context: Callable[..., WorkerContext], inbox: Path, watch: RootWatch
) -> None:
    (inbox / reserved_names.SETTINGS).write_text('when_done = "archive"')
    recording = put(inbox / "a.wav", level=0.2)
    (job,) = look()
    carry_through(make_context(), job.id)
    put(recording, level=0.1)
    archiver.put_away(database, watch)
    assert recording.exists()
    assert events_of(database, job.id)[-1].detail == move.CHANGED
    newer, _ = look()
    carry_through(make_context(), newer.id)
    archiver.put_away(database, watch)
    assert not recording.exists()


def test_a_replaced_recordings_job_archives_nothing_when_it_is_retried_or_run_again(
    look: Look, database: Database, make_context: Callable[..., WorkerContext], inbox: Path
) -> None:
    (inbox / reserved_names.SETTINGS).write_text('when_done = "archive"')
    recording = put(inbox / "a.wav", level=0.2)
    (job,) = look()
    prepare(make_context, job)
    put(recording, level=0.1)
    newer, _ = look()
    for one in (job, newer):
        commands.cancel(database, one.id)
    for one in (job, newer):  # one at a time, as a worker takes what has waited longest
        commands.retry(database, one.id)
        carry_through(make_context(), one.id)
    assert [move.job_id for move in recording_moves.due(database, str(inbox))] == [newer.id]
    for one in (job, newer):
        overrides = JobOverrides.read({"when_done": "archive"})
        commands.rerun(database, one.id, NewJob(str(inbox), "a.wav", 1, 1, "digest", "normal", "", overrides))
        carry_through(make_context(), one.id)
    assert [move.job_id for move in recording_moves.due(database, str(inbox))] == [newer.id]


def test_a_fingerprint_of_ten_gigabytes_sees_the_last_byte_and_takes_no_time(tmp_path: Path) -> None:
    large = tmp_path / "a.wav"
    large.touch()
    os.truncate(large, 10 << 30)
    first = scan_module.fingerprint_of(tmp_path, "a.wav")
    with large.open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"x")
    assert scan_module.fingerprint_of(tmp_path, "a.wav") not in {first, ""}
    assert scan_module.fingerprint_of(tmp_path, "gone.wav") == ""
