"""A flood of settings files: they are worked out once, and keep no recording of others waiting."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from dropscribe.core import reserved_names
from dropscribe.scheduler.watching import root_watch
from dropscribe.scheduler.watching.root_watch import RootWatch
from dropscribe.store import queries
from dropscribe.store.session import Database

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


@pytest.fixture
def inbox() -> Iterator[Path]:
    """A folder to be watched, in memory, as a disk takes minutes for so many files."""
    made = Path(tempfile.mkdtemp(prefix="flood-", dir="/dev/shm"))
    yield made
    shutil.rmtree(made)


def test_ten_thousand_settings_files_keep_no_recording_of_others_waiting(
    inbox: Path, watch: RootWatch, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(root_watch, "MAX_NOTICES", 20)
    for number in range(10_000):
        (inbox / f"{number:05}").mkdir()
        (inbox / f"{number:05}" / reserved_names.SETTINGS).write_text("contxt = 1")
    (inbox / "talks").mkdir()
    (inbox / "talks" / "talk.wav").write_bytes(b"x")
    (inbox / "talks" / reserved_names.SETTINGS).write_text('context = "board"')
    for moment in (0.0, 20.0, 40.0):
        watch.look(moment)
    (job,) = queries.list_jobs(database)
    assert job.context == "board"
    assert len([*inbox.glob(f"*/{reserved_names.ERROR}")]) == 3 * 20
    before = watch.folders
    watch.look(60.0)
    assert watch.folders is before
    (inbox / "talks" / reserved_names.SETTINGS).write_text('context = "press"')
    watch.look(80.0)
    assert watch.folders.orders("talks/talk.wav").context == "press"
