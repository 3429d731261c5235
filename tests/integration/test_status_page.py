"""The page that people with only the share see: kept by the scheduler's own parts, opened in a real browser."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping
from functools import partial
from pathlib import Path

import pytest
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By

from dropscribe.core import reserved_names
from dropscribe.core.errors import UnstorableError
from dropscribe.core.settings import Settings
from dropscribe.core.types import JobState
from dropscribe.scheduler.duties.status_page import EVERY, NAME, StatusPage
from dropscribe.scheduler.scanning.scan import Observation
from dropscribe.scheduler.watching.file_events import FileEventWatcher
from dropscribe.scheduler.watching.folder_rules import Folders
from dropscribe.scheduler.watching.root_watch import RootWatch
from dropscribe.store import jobs, queries
from dropscribe.store.jobs import NewJob
from dropscribe.store.session import Database


@pytest.fixture
def watch(database: Database, settings: Settings, tmp_path: Path) -> Iterator[RootWatch]:
    """A root with a page, which admits by hand."""
    inbox = tmp_path.resolve() / "inbox"
    inbox.mkdir()
    (inbox / reserved_names.SETTINGS).write_text("status_page = true")

    def admit(
        root: str, complete: Mapping[str, Observation], gone: Collection[str], folders: Folders
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
    page, file = StatusPage(database), watch.path / NAME
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
        StatusPage(database).update(watch, moment)
    assert (watch.path / NAME).read_text() == "mine"
    assert sum("dropscribe did not write" in record.message for record in caplog.records) == 1


def test_what_failed_is_forgotten_once_it_was_read_after_all(database: Database, watch: RootWatch) -> None:
    root = str(watch.path)
    failed(database, watch.path, "a.wav", "too short")
    failed(database, watch.path, "a.wav", "too long")
    assert [job.reason for job in queries.latest_of_each_file(database, root, [JobState.FAILED], 9)] == ["too long"]
    assert queries.count_by_state_in_root(database, root, [JobState.FAILED]) == {JobState.FAILED: 1}


def test_a_double_click_shows_it_and_no_name_can_run_anything(
    database: Database, watch: RootWatch, browser: Chrome
) -> None:
    hostile = "<img src=x onerror='document.title=1'><script>document.title=2</script>.wav"
    failed(database, watch.path, hostile, "<b>no</b>")
    watch.look(0.0)
    StatusPage(database).update(watch, 0.0)
    browser.get((watch.path / NAME).as_uri())
    assert browser.title == "Transcripts of inbox"
    shown = browser.find_element(By.TAG_NAME, "body").text
    assert hostile in shown
    assert "failed: <b>no</b>" in shown
    assert browser.find_elements(By.CSS_SELECTOR, "img, script, b") == []
    assert [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"] == []
