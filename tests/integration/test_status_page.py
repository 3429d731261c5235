"""The page that people with only the share see: kept by the scheduler's own parts, opened in a real browser."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Sequence
from functools import partial
from pathlib import Path

import pytest
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By

from dropscribe.core import reserved_names
from dropscribe.core.errors import UnstorableError
from dropscribe.core.settings import Settings
from dropscribe.core.types import JobState
from dropscribe.scheduler.duties import status_page
from dropscribe.scheduler.duties.status_page import EVERY, NAME, StatusPage
from dropscribe.scheduler.watching.file_events import FileEventWatcher
from dropscribe.scheduler.watching.folder_rules import Folders
from dropscribe.scheduler.watching.joining import WholeRecording
from dropscribe.scheduler.watching.root_watch import RootWatch
from dropscribe.store import jobs, queries
from dropscribe.store.jobs import NewJob
from dropscribe.store.session import Database

SILENCE = 60.0  # seconds


@pytest.fixture
def watch(database: Database, settings: Settings, tmp_path: Path) -> Iterator[RootWatch]:
    """A root with a page, which admits by hand."""
    inbox = tmp_path.resolve() / "inbox"
    inbox.mkdir()
    (inbox / reserved_names.SETTINGS).write_text("status_page = true")

    def admit(
        root: str, whole: Sequence[WholeRecording], gone: Collection[str], folders: Folders
    ) -> dict[str, UnstorableError]:
        return {}

    watched = RootWatch(inbox, settings, FileEventWatcher(), partial(jobs.known, database), admit, frozenset())
    yield watched
    watched.close()


def failed(database: Database, root: Path, path: str, reason: str) -> str:
    (job_id,) = jobs.admit(database, [NewJob(str(root), path, 1, hash(reason) % 1000, "d", "normal")])
    claim = jobs.claim_prepare(database, job_id, "cpu", 90)
    assert claim
    jobs.fail(database, claim, reason)
    return job_id


def test_the_page_changes_with_the_folder_and_only_then_and_goes_when_unwanted(
    database: Database, watch: RootWatch
) -> None:
    page, file = StatusPage(database, SILENCE), watch.path / NAME
    page.update(watch, 0.0)
    assert not file.exists(), "nothing is known of the folder yet"
    watch.look(0.0)
    page.update(watch, EVERY)
    before = file.stat().st_mtime_ns
    assert "No recordings yet" in file.read_text()
    failed(database, watch.path, "a.wav", "there is no sound in it")
    page.update(watch, EVERY + 1)
    assert file.stat().st_mtime_ns == before, "not so soon"
    page.update(watch, 2 * EVERY)
    assert "there is no sound in it" in file.read_text()
    before = file.stat().st_mtime_ns
    page.update(watch, 3 * EVERY)
    assert file.stat().st_mtime_ns == before, "nothing has changed"
    assert sorted(os.listdir(watch.path)) == [reserved_names.SETTINGS, NAME]
    (watch.path / reserved_names.SETTINGS).write_text("")
    watch.look(10.0)
    page.update(watch, 4 * EVERY)
    assert not file.exists()


def test_a_file_of_somebody_else_is_left_alone(
    database: Database, watch: RootWatch, caplog: pytest.LogCaptureFixture
) -> None:
    (watch.path / NAME).write_text("mine")
    watch.look(0.0)
    for moment in (0.0, EVERY):
        StatusPage(database, SILENCE).update(watch, moment)
    assert (watch.path / NAME).read_text() == "mine"
    assert sum("dropscribe did not write" in record.message for record in caplog.records) == 1


def test_recordings_far_back_in_the_queue_of_the_fleet_are_shown_without_their_place(
    database: Database, watch: RootWatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    watch.look(0.0)
    jobs.admit(database, [NewJob("/other", f"{n}.wav", 1, n, "d", "high") for n in range(3)])
    jobs.admit(database, [NewJob(str(watch.place), f"{n}.wav", 1, n, "d", "normal") for n in range(2)])
    for known, told in ((4, [("0.wav", 4), ("1.wav", None)]), (3, [("0.wav", None), ("1.wav", None)])):
        monkeypatch.setattr(status_page, "QUEUED", known)
        seen = status_page.gather(database, watch.report, str(watch.place), SILENCE)
        assert [(one.recording.path, one.place) for one in seen.waiting] == told
    assert "after 3 others" in status_page.body(seen, seen.folders)


def test_what_failed_is_forgotten_once_it_was_read_after_all(database: Database, watch: RootWatch) -> None:
    root = str(watch.path)
    failed(database, watch.path, "a.wav", "too short")
    failed(database, watch.path, "a.wav", "too long")
    assert [job.reason for job in queries.latest_of_each_file(database, root, [JobState.FAILED], 9)] == ["too long"]
    assert queries.count_by_state_in_root(database, root, [JobState.FAILED]) == {JobState.FAILED: 1}


def test_recordings_in_a_folder_that_not_every_reader_may_list_are_only_counted(
    database: Database, watch: RootWatch
) -> None:
    folder, page = watch.path / "board", StatusPage(database, SILENCE)
    watch.path.chmod(0o755)
    folder.mkdir(0o755)
    failed(database, watch.path, "board/merger.wav", "too short")
    failed(database, watch.path, "board/gone/lost.wav", "too long")
    watch.look(0.0)
    page.update(watch, 0.0)
    told = (watch.path / NAME).read_text()
    assert "board/merger.wav" in told
    assert "lost.wav" not in told, "of a folder that is not there, nobody knows who may list it"
    (watch.path / "link").symlink_to(folder)
    asked = ["", "board", "board/gone", "/etc", "../inbox", "link"]
    assert watch.scanner.listed(watch.place, NAME, asked) == {"", "board"}
    folder.chmod(0o750)
    page.update(watch, EVERY)
    told = (watch.path / NAME).read_text()
    assert "merger" not in told
    assert "and 2 in folders that not every reader of this page may open" in told
    watch.path.chmod(0o750)
    (watch.path / NAME).chmod(0o644)
    page.update(watch, 2 * EVERY)
    assert "merger" in (watch.path / NAME).read_text(), "who is not in the group cannot get at the page"


def test_a_page_that_somebody_opened_to_more_people_names_no_more_than_they_may_list(
    database: Database, watch: RootWatch
) -> None:
    folder = watch.path / "board"
    folder.mkdir()
    folder.chmod(0o700)
    watch.path.chmod(0o711)
    failed(database, watch.path, "board/merger.wav", "too short")
    watch.look(0.0)
    page = StatusPage(database, SILENCE)
    page.update(watch, 0.0)
    assert "merger" in (watch.path / NAME).read_text()
    (watch.path / NAME).chmod(0o644)
    page.update(watch, EVERY)
    assert "merger" not in (watch.path / NAME).read_text()


def test_a_name_leads_to_its_recording(database: Database, watch: RootWatch, browser: Chrome) -> None:
    name = "talk #1 50%.wav"
    (watch.path / name).write_bytes(b"RIFF")
    failed(database, watch.path, name, "too short")
    watch.look(0.0)
    StatusPage(database, SILENCE).update(watch, 0.0)
    browser.get((watch.path / NAME).as_uri())
    link = browser.find_element(By.LINK_TEXT, name).get_attribute("href")
    assert link == (watch.path / name).as_uri()


def test_a_double_click_shows_it_and_no_name_can_run_anything(
    database: Database, watch: RootWatch, browser: Chrome
) -> None:
    hostile = "<img src=x onerror='document.title=1'><script>document.title=2</script>.wav"
    (watch.path / hostile).parent.mkdir()
    failed(database, watch.path, hostile, "<b>no</b>")
    watch.look(0.0)
    StatusPage(database, SILENCE).update(watch, 0.0)
    browser.get((watch.path / NAME).as_uri())
    assert browser.title == "Transcripts of inbox"
    shown = browser.find_element(By.TAG_NAME, "body").text
    assert hostile in shown
    assert "failed: <b>no</b>" in shown
    assert browser.find_elements(By.CSS_SELECTOR, "img, script, b") == []
    assert [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"] == []
