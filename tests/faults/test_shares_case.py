"""Shares on which names that differ in case only are the same, as most Windows and macOS shares."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from functools import partial

import pytest

from dropscribe.core.queue import Doorbell
from dropscribe.core.settings import Settings
from dropscribe.scheduler.duties import archiver
from dropscribe.scheduler.scanning.roots import folds_case
from dropscribe.scheduler.watching import admission
from dropscribe.scheduler.watching.file_events import FileEventWatcher
from dropscribe.scheduler.watching.root_watch import RootWatch
from dropscribe.store import jobs, queries
from dropscribe.store.session import Database
from tests.faults.shares import Share
from tests.integration.store_steps import finish, prepare

SETTINGS = b'when_done = "archive"'
Watch = Callable[[], RootWatch]


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    """A migrated store; nothing here depends on its kind."""
    return sqlite_url


@pytest.fixture
def folding(share: Share) -> Share:
    """Such a share."""
    share.tell(fold=True)
    return share


@pytest.fixture
def watch(database: Database, settings: Settings, folding: Share) -> Iterator[Watch]:
    """Makes watches over it, each as a scheduler that has just started."""
    made: list[RootWatch] = []
    doorbell = Doorbell(settings)
    allowed = settings.model_copy(update={"folders": {str(folding.path): {"allow": ["when_done"]}}})  # no owners there

    def admit(root: str, whole: list, gone: set, folders: object) -> dict:
        return admission.admit(database, doorbell, folders, root, whole, gone).refused

    def make() -> RootWatch:
        known = partial(jobs.known, database)
        made.append(RootWatch(folding.path, allowed, FileEventWatcher(), known, admit, frozenset()))
        return made[-1]

    yield make
    for one in made:
        one.close()
    doorbell.close()


def look(watched: RootWatch, start: float) -> None:
    for moment in (start, start + 30, start + 60):
        watched.look(moment)


def paths(database: Database) -> list[str]:
    return [job.path for job in queries.list_jobs(database)]


def test_such_a_share_is_known_by_a_name_that_is_there(folding: Share) -> None:
    assert not folds_case(folding.path), "no name tells"
    folding.put("123/a.wav")
    assert not folds_case(folding.path)
    folding.put("a.wav")
    assert folds_case(folding.path)
    assert sorted(os.listdir(folding.server)) == ["123", "a.wav"]


def test_a_folder_in_capitals_is_where_recordings_are_archived_and_none_is_read_twice(
    database: Database, folding: Share, watch: Watch
) -> None:
    folding.put(".Dropscribe.toml", SETTINGS)
    folding.put("Done/old.wav")
    folding.put("a.wav")
    watched = watch()
    look(watched, 0.0)
    (job,) = queries.list_jobs(database)
    assert job.path == "a.wav"
    prepare(database, job.id, windows=0)
    finish(database, job.id)
    archiver.put_away(database, watched)
    restarted = watch()
    for running, start in ((watched, 100.0), (restarted, 0.0)):
        look(running, start)
        assert paths(database) == ["done/a.wav"]
    assert sorted(os.listdir(folding.server / "Done")) == ["a.wav", "old.wav"]
    (folding.server / "Done" / "a.wav").write_bytes(b"its recorder went on")
    look(restarted, 200.0)
    assert paths(database) == ["done/a.wav", "done/a.wav"]


def test_a_rename_in_case_only_reads_nothing_again(database: Database, folding: Share, watch: Watch) -> None:
    folding.put("Talks/A.wav")
    watched = watch()
    look(watched, 0.0)
    (folding.server / "Talks" / "A.wav").rename(folding.server / "Talks" / "a.wav")
    (folding.server / "Talks").rename(folding.server / "talks")
    restarted = watch()
    for running, start in ((watched, 100.0), (restarted, 0.0)):
        look(running, start)
        assert paths(database) == ["Talks/A.wav"]
    (folding.server / "talks" / "a.wav").write_bytes(b"another sound")
    look(restarted, 200.0)
    assert paths(database) == ["Talks/A.wav", "Talks/A.wav"]
