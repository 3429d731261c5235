"""Recordings that are put away when they are through: whole, once, over nothing, and not taken for new ones."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from dropscribe.admin.state import fleet_status
from dropscribe.admin.state.job_lookup import find
from dropscribe.core import reserved_names
from dropscribe.core.errors import JobNotFoundError, StoreUnavailableError
from dropscribe.core.job_overrides import JobOverrides
from dropscribe.core.settings import Settings
from dropscribe.core.types import JobState, SpeakerNames
from dropscribe.scheduler.duties import archiver
from dropscribe.scheduler.scanning import folder_files, move
from dropscribe.scheduler.watching.root_watch import RootWatch
from dropscribe.store import commands, jobs, queries, recording_moves, speakers
from dropscribe.store.events import events_of
from dropscribe.store.jobs import NewJob
from dropscribe.store.roots import report_roots
from dropscribe.store.session import Database
from dropscribe.worker import cpu_tasks
from tests.e2e.harness import speech
from tests.integration.one_worker import MakeContext, carry_through
from tests.integration.store_steps import finish, prepare


def look(watch: RootWatch, *moments: float) -> None:
    for moment in moments:
        watch.look(moment)


def complete(database: Database, job_id: str) -> None:
    """Let the job of a recording without speech come to its end."""
    prepare(database, job_id, windows=0)
    finish(database, job_id)


def ended(database: Database, root: Path, path: str, *, failed: bool = False, **overrides: object) -> str:
    """A job of a recording that is there, which has come to its end."""
    seen = (root / path).stat()
    folder = JobOverrides.read({"when_done": "archive"} | overrides)
    new = NewJob(str(root), path, seen.st_size, seen.st_mtime_ns, "digest", "normal", "", folder)
    (job_id,) = jobs.admit(database, [new])
    if failed:
        claim = jobs.claim_prepare(database, job_id, "cpu", 90)
        assert claim
        jobs.fail(database, claim, "there is no sound in it")
    else:
        complete(database, job_id)
    return job_id


def content(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_a_recording_goes_to_done_with_its_transcript_and_is_no_new_one(
    database: Database, watch: RootWatch, inbox: Path, make_context: MakeContext
) -> None:
    (inbox / "talks" / reserved_names.SETTINGS).write_text('when_done = "archive"\noutputs = ["txt", "json"]')
    speech(inbox / "talks" / "a.wav")
    speech(inbox / "b.wav", seed=2)
    look(watch, 0.0, 10.0)
    context = make_context()
    for job in queries.list_jobs(database):
        assert carry_through(context, job.id).state is JobState.DONE
    assert (inbox / "talks" / "a.wav").exists(), "the scheduler moves it"
    archiver.put_away(database, watch)
    assert sorted(os.listdir(inbox / "talks")) == [reserved_names.SETTINGS, "done"]
    assert sorted(os.listdir(inbox / "talks" / "done")) == ["a.json", "a.txt", "a.wav"]
    assert (inbox / "b.wav").exists()
    assert (inbox / "b.txt").exists()
    (moved,) = [job for job in queries.list_jobs(database) if job.path == "talks/done/a.wav"]
    assert moved.moving_to is None
    assert str(inbox / "talks" / "done" / "a.wav") in (inbox / "talks" / "done" / "a.json").read_text()
    look(watch, 20.0, 30.0)
    (inbox / "talks" / reserved_names.SETTINGS).unlink()  # and not even when nobody wants it moved any more
    look(watch, 40.0, 50.0, 60.0)
    assert len(queries.list_jobs(database)) == 2
    speakers.say(database, moved.id, SpeakerNames({0: "Ada"}))
    cpu_tasks.finish_job(context, moved.id)
    assert sorted(os.listdir(inbox / "talks" / "done")) == ["a.json", "a.txt", "a.wav"], "written again in its place"
    archiver.put_away(database, watch)
    assert (inbox / "talks" / "done" / "a.wav").exists()


def test_what_failed_goes_to_failed_with_the_reason_and_from_there_to_done(
    database: Database, watch: RootWatch, inbox: Path
) -> None:
    (inbox / "a.wav").write_bytes(b"noise")
    look(watch, 0.0)
    job_id = ended(database, inbox, "a.wav", failed=True)
    archiver.put_away(database, watch)
    assert content(inbox).keys() == {"failed/a.wav", "failed/a.wav.txt"}
    assert "there is no sound in it" in (inbox / "failed" / "a.wav.txt").read_text()
    commands.retry(database, job_id)
    assert queries.job(database, job_id).path == "failed/a.wav", "it is read from there"
    claim = jobs.claim_prepare(database, job_id, "cpu", 90)
    assert claim
    jobs.fail(database, claim, "still none")
    archiver.put_away(database, watch)
    assert "still none" in (inbox / "failed" / "a.wav.txt").read_text()
    commands.retry(database, job_id)
    complete(database, job_id)
    archiver.put_away(database, watch)
    assert content(inbox) == {"done/a.wav": b"noise"}


def test_what_failed_and_is_moved_back_is_tried_again(database: Database, watch: RootWatch, inbox: Path) -> None:
    (inbox / reserved_names.SETTINGS).write_text('when_done = "archive"')
    (inbox / "a.wav").write_bytes(b"noise")
    look(watch, 0.0)
    job_id = ended(database, inbox, "a.wav", failed=True)
    archiver.put_away(database, watch)
    look(watch, 20.0, 30.0)
    (inbox / "failed" / "a.wav").rename(inbox / "a.wav")
    look(watch, 40.0, 50.0)
    (job,) = queries.list_jobs(database)
    assert (job.id, job.state, job.path, job.reason) == (job_id, JobState.QUEUED, "a.wav", "")
    complete(database, job_id)
    archiver.put_away(database, watch)
    assert content(inbox).keys() == {reserved_names.SETTINGS, "done/a.wav"}, "and the word about it is gone"


def test_an_equal_name_is_never_overwritten(
    database: Database, watch: RootWatch, inbox: Path, make_context: MakeContext
) -> None:
    (inbox / reserved_names.SETTINGS).write_text('when_done = "archive"\noutputs = ["txt"]')
    (inbox / "done").mkdir()
    (inbox / "done" / "a.wav").write_bytes(b"precious")
    speech(inbox / "a.wav")
    look(watch, 0.0, 10.0)
    (job,) = queries.list_jobs(database)
    carry_through(make_context(), job.id)
    archiver.put_away(database, watch)
    assert set(os.listdir(inbox / "done")) == {f"a.{job.id}.txt", f"a.{job.id}.wav", "a.wav"}
    assert (inbox / "done" / "a.wav").read_bytes() == b"precious"


def test_what_is_put_away_is_found_by_the_path_it_was_dropped_at(
    database: Database, watch: RootWatch, inbox: Path
) -> None:
    dropped = inbox / "a.wav"
    found = []
    for number, failed in enumerate((False, True, False)):
        dropped.write_bytes(b"1" * (1 + number))
        look(watch, 20.0 * number)
        job_id = ended(database, inbox, "a.wav", failed=failed)
        archiver.put_away(database, watch)
        assert not dropped.exists()
        assert find(database, str(dropped)) == job_id
        found.append(queries.job(database, job_id).path)
    assert found == ["done/a.wav", "failed/a.wav", f"done/a.{job_id}.wav"]
    report_roots(database, [watch.report])
    dropped.write_bytes(b"1234")
    with pytest.raises(JobNotFoundError, match="has not changed for some seconds"):
        find(database, str(dropped))
    with pytest.raises(JobNotFoundError, match="no job has"):
        find(database, str(inbox / "b.wav"))


def test_a_folder_that_happens_to_be_named_done_is_no_place_where_something_was_put(
    database: Database, inbox: Path
) -> None:
    (inbox / "done").mkdir()
    (inbox / "done" / "a.wav").write_bytes(b"1")
    ended(database, inbox, "done/a.wav", when_done="keep")
    with pytest.raises(JobNotFoundError, match="no job has"):
        find(database, str(inbox / "a.wav"))


def test_a_name_that_is_taken_in_between_leads_to_the_next_and_to_none_in_the_end(
    database: Database, watch: RootWatch, inbox: Path
) -> None:
    (inbox / "a.wav").write_bytes(b"1")
    look(watch, 0.0)
    job_id = ended(database, inbox, "a.wav")
    for name in ("a.wav", f"a.{job_id}.wav"):
        (inbox / "done").mkdir(exist_ok=True)
        (inbox / "done" / name).write_bytes(b"precious")
    archiver.put_away(database, watch)
    assert content(inbox)["a.wav"] == b"1"
    assert events_of(database, job_id)[-1].detail == reserved_names.TAKEN
    assert recording_moves.left(database, [str(inbox)]) == 0


def test_what_was_replaced_meanwhile_stays_and_so_does_what_is_gone(
    database: Database, watch: RootWatch, inbox: Path
) -> None:
    for name in ("a.wav", "b.wav"):
        (inbox / name).write_bytes(b"1")
    look(watch, 0.0)
    changed, gone = ended(database, inbox, "a.wav"), ended(database, inbox, "b.wav")
    (inbox / "a.wav").write_bytes(b"another")
    (inbox / "b.wav").unlink()
    archiver.put_away(database, watch)
    assert content(inbox) == {"a.wav": b"another"}
    why = [events_of(database, job_id)[-1].detail for job_id in (changed, gone)]
    assert why == [move.CHANGED, move.GONE]


def test_many_that_are_put_away_are_not_missed(database: Database, watch: RootWatch, inbox: Path) -> None:
    (inbox / reserved_names.SETTINGS).write_text('when_done = "archive"')
    for number in range(12):
        (inbox / f"{number}.wav").write_bytes(b"1" * (number + 1))
    look(watch, 0.0, 10.0)
    for job in queries.list_jobs(database):
        complete(database, job.id)
    archiver.put_away(database, watch)
    look(watch, 20.0, 30.0)
    assert watch.report.online
    assert len(os.listdir(inbox / "done")) == 12
    assert len(queries.list_jobs(database)) == 12


def test_a_crash_between_the_move_and_its_row_is_made_good(
    database: Database, watch: RootWatch, inbox: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (inbox / "a.wav").write_bytes(b"1")
    look(watch, 0.0)
    job_id = ended(database, inbox, "a.wav", failed=True)
    with monkeypatch.context() as patch:
        patch.setattr(recording_moves, "_went", crash)
        with pytest.raises(StoreUnavailableError):
            archiver.put_away(database, watch)
    assert queries.job(database, job_id).path == "a.wav"
    archiver.put_away(database, watch)
    assert queries.job(database, job_id).path == "failed/a.wav"
    assert content(inbox).keys() == {"failed/a.wav", "failed/a.wav.txt"}


def crash(*_: object) -> None:
    raise StoreUnavailableError("the plug was pulled")


def test_a_job_that_is_retried_while_it_is_moved_is_put_away_at_its_end(
    database: Database, watch: RootWatch, inbox: Path
) -> None:
    (inbox / "a.wav").write_bytes(b"1")
    look(watch, 0.0)
    job_id = ended(database, inbox, "a.wav", failed=True)
    (move,) = recording_moves.due(database, str(inbox))
    commands.retry(database, job_id)
    assert not recording_moves.aim(database, move, "failed/a.wav"), "it is under way again"
    recording_moves.moved(database, move, "failed/a.wav")  # but the file may have gone already
    assert queries.job(database, job_id).path == "failed/a.wav"
    complete(database, job_id)
    assert [one.path for one in recording_moves.due(database, str(inbox))] == ["failed/a.wav"]


def test_the_same_file_dropped_again_is_read_and_put_away_again(
    database: Database, watch: RootWatch, inbox: Path
) -> None:
    (inbox / reserved_names.SETTINGS).write_text('when_done = "archive"')
    for round_ in range(3):
        (inbox / "a.wav").write_bytes(b"1")
        os.utime(inbox / "a.wav", ns=(1, 1))
        look(watch, 30.0 * round_, 30.0 * round_ + 10.0)
        (job,) = [job for job in queries.list_jobs(database) if job.path == "a.wav"]
        complete(database, job.id)
        archiver.put_away(database, watch)
        assert not (inbox / "a.wav").exists()
        if round_ == 1:  # somebody tidies up, and the name is free again
            (inbox / "done" / "a.wav").unlink()
    assert len(queries.list_jobs(database)) == 3


def no_links(*_: object, **__: object) -> None:
    raise OSError(errno.EPERM, "no hard links here")


@pytest.mark.parametrize("links", [True, False])
def test_a_move_may_be_repeated_from_wherever_it_broke_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, links: bool
) -> None:
    if not links:
        monkeypatch.setattr(os, "link", no_links)
    states: list[Callable[[Path, Path], None]] = [
        lambda old, new: None,  # not begun
        lambda old, new: new.touch(),  # the name was taken
        lambda old, new: new.hardlink_to(old) if links else new.touch(),  # both names are there
        lambda old, new: old.rename(new),  # done but for the row
    ]
    for number, broke_off in enumerate(states):
        root = tmp_path / str(number)
        (root / "done").mkdir(parents=True)
        old, new = root / "a.wav", root / "done" / "a.wav"
        old.write_bytes(b"sound")
        seen = old.stat()
        broke_off(old, new)
        for _ in range(2):
            assert move.move(str(root), "a.wav", "done/a.wav", move.MovedFile(seen.st_size, seen.st_mtime_ns)) == ""
        assert content(root) == {"done/a.wav": b"sound"}


def test_nothing_is_moved_through_a_link(tmp_path: Path) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    for folder in (root, outside):
        folder.mkdir()
    (root / "a.wav").write_bytes(b"1")
    (outside / "b.wav").write_bytes(b"1")
    (root / "done").symlink_to(outside)
    (root / "c.wav").symlink_to(outside / "b.wav")
    seen = (root / "a.wav").stat()
    with pytest.raises(OSError, match=r"directory|links"):
        move.move(str(root), "a.wav", "done/a.wav", move.MovedFile(seen.st_size, seen.st_mtime_ns))
    assert (
        move.move(str(root), "c.wav", "x/c.wav", move.MovedFile(1, (outside / "b.wav").stat().st_mtime_ns))
        == move.CHANGED
    )
    assert os.listdir(outside) == ["b.wav"]


def test_the_longest_name_that_failed_has_a_reason_file_too(database: Database, watch: RootWatch, inbox: Path) -> None:
    name = "\u00e4" * 125 + ".wav"  # 254 bytes
    (inbox / name).write_bytes(b"noise")
    look(watch, 0.0)
    job_id = ended(database, inbox, name, failed=True)
    archiver.put_away(database, watch)
    (reason,) = (inbox / "failed").glob("*.txt")
    assert "there is no sound in it" in reason.read_text(encoding="utf-8")
    commands.retry(database, job_id)
    complete(database, job_id)
    archiver.put_away(database, watch)
    assert content(inbox).keys() == {f"done/{name}"}


def test_a_done_on_another_filesystem_is_said_in_up_and_status_until_recordings_can_be_moved(
    database: Database, settings: Settings, watch: RootWatch, inbox: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def warnings() -> list[str]:
        look(watch, 0.0)
        report_roots(database, [watch.report])
        return [one for one in fleet_status.gather(database, settings).warnings if "folder" in one]

    (inbox / "a.wav").write_bytes(b"1")
    (inbox / "b.wav").write_bytes(b"12")
    look(watch, 0.0)
    job_id = ended(database, inbox, "a.wav")
    with monkeypatch.context() as patch:
        patch.setattr(watch.scanner, "move", lambda *_: move.ELSEWHERE)
        archiver.put_away(database, watch)
    (told,) = warnings()
    assert "a.wav and others stay where they are: they cannot be moved to done: that lies on another" in told
    assert events_of(database, job_id)[-1].kind == "not_archived"
    ended(database, inbox, "b.wav")
    archiver.put_away(database, watch)
    assert warnings() == []


def test_a_move_across_filesystems_stays_and_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.wav").write_bytes(b"1")

    def elsewhere(*_: object) -> None:
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))

    monkeypatch.setattr(move, "give_name", elsewhere)
    seen = (tmp_path / "a.wav").stat()
    assert move.move(str(tmp_path), "a.wav", "done/a.wav", move.MovedFile(1, seen.st_mtime_ns)) == move.ELSEWHERE
    assert (tmp_path / "a.wav").exists()


def test_a_word_is_never_written_over_a_file_that_came_this_very_moment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folder_files, "_ours", lambda *_: None)  # nothing was there a moment ago
    (tmp_path / "a.txt").write_text("theirs")
    with pytest.raises(FileExistsError):
        folder_files.put(str(tmp_path), "a.txt", "ours", "ours")
    assert content(tmp_path) == {"a.txt": b"theirs"}


def test_a_folder_that_does_not_let_it_go_keeps_it_and_says_so(
    database: Database, watch: RootWatch, inbox: Path
) -> None:
    (inbox / "a.wav").write_bytes(b"1")
    (inbox / "done").write_bytes(b"a file, and no folder")
    look(watch, 0.0)
    job_id = ended(database, inbox, "a.wav")
    archiver.put_away(database, watch)
    assert (inbox / "a.wav").exists()
    assert events_of(database, job_id)[-1].kind == "not_archived"
