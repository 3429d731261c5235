"""What somebody still writes to is neither admitted nor archived, and what changes after that is read again."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from dropscribe.admin.check import doctor
from dropscribe.admin.state import fleet_status
from dropscribe.core import reserved_names
from dropscribe.core.settings import Settings
from dropscribe.scheduler.duties import archiver
from dropscribe.scheduler.scanning import write_lease
from dropscribe.scheduler.scanning.write_lease import has_writer, is_written
from dropscribe.scheduler.watching.root_watch import TOLD_AFTER, WAITS_FOR_WRITERS, RootWatch
from dropscribe.store import queries
from dropscribe.store.roots import WatchedRoot, report_roots
from dropscribe.store.session import Database
from tests.integration.console import Cli
from tests.integration.test_moves import complete, content, look

NOBODY = 65534


def sizes(database: Database) -> list[tuple[str, int]]:
    """Path and size of what was admitted, the newest first."""
    return [(job.path, job.size) for job in queries.list_jobs(database)]


def as_nobody(question: Callable[[], object]) -> bool:
    """What an ordinary user is answered, in a process of his own."""
    if os.geteuid():
        pytest.skip("only root can be another user")
    child = os.fork()
    if not child:
        try:
            os.setgroups([])
            os.setresuid(NOBODY, NOBODY, NOBODY)
            os._exit(int(bool(question())))
        finally:
            os._exit(2)
    return {0: False, 1: True}[os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])]


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    """A migrated store; nothing here depends on its kind."""
    return sqlite_url


@pytest.fixture
def public() -> Iterator[Path]:
    """A folder that everybody may read."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


def test_a_recorder_that_pauses_for_25_seconds_loses_nothing(database: Database, watch: RootWatch, inbox: Path) -> None:
    with (inbox / "a.wav").open("wb", buffering=0) as recorder:
        recorder.write(b"1" * 10)
        look(watch, *range(0, 100, 5))
        recorder.write(b"2" * 20)
        look(watch, *range(100, 126, 5))
        assert sizes(database) == []
        assert watch.report.pending == 1
    look(watch, 130.0, 140.0, 150.0)
    assert sizes(database) == [("a.wav", 30)]


def test_a_writer_costs_no_look_before_its_file_could_be_complete_again(watch: RootWatch, inbox: Path) -> None:
    with (inbox / "a.wav").open("wb", buffering=0) as recorder:
        recorder.write(b"1")
        look(watch, 0.0, 10.0)
        assert watch.next_look == 20.0


def test_a_file_that_never_closes_is_told_of_after_ten_minutes(
    database: Database, settings: Settings, watch: RootWatch, inbox: Path, cli: Cli
) -> None:
    with (inbox / "a.wav").open("wb", buffering=0) as recorder:
        recorder.write(b"1")
        look(watch, 0.0, 10.0, TOLD_AFTER)
        assert watch.report.reason == ""
        look(watch, TOLD_AFTER + 10.0)
        report_roots(database, [watch.report])
        (told,) = [one for one in fleet_status.gather(database, settings).warnings if "folder" in one]
        assert told.endswith(f"a.wav: {WAITS_FOR_WRITERS}")
    look(watch, TOLD_AFTER + 20.0, TOLD_AFTER + 30.0)
    assert (watch.report.reason, sizes(database)) == ("", [("a.wav", 1)])


@pytest.mark.parametrize(("names", "told"), [("ab", "a.wav (and 1 other): not"), ("abc", "a.wav (and 2 others): not")])
def test_several_files_that_never_close_are_told_of_in_one_sentence(
    watch: RootWatch, inbox: Path, names: str, told: str
) -> None:
    with ExitStack() as recorders:
        for name in names:
            recorders.enter_context((inbox / f"{name}.wav").open("wb", buffering=0)).write(b"1")
        look(watch, 0.0, 10.0, TOLD_AFTER + 10.0)
        assert watch.report.reason.startswith(told)


def test_what_is_opened_after_its_job_ended_is_archived_once_it_is_closed(
    database: Database, watch: RootWatch, inbox: Path
) -> None:
    (inbox / reserved_names.SETTINGS).write_text('when_done = "archive"')
    (inbox / "a.wav").write_bytes(b"1")
    look(watch, 0.0, 10.0)
    complete(database, queries.list_jobs(database)[0].id)
    with (inbox / "a.wav").open("ab"):
        archiver.put_away(database, watch)
        assert (inbox / "a.wav").exists()
        look(watch, 20.0)
        assert watch.report.reason == f"a.wav: {WAITS_FOR_WRITERS}"
    archiver.put_away(database, watch)
    look(watch, 30.0)
    assert (watch.report.reason, content(inbox).keys()) == ("", {reserved_names.SETTINGS, "done/a.wav"})


def test_an_archived_recording_that_changes_is_read_again_in_its_place_and_files_of_others_are_not(
    database: Database, watch: RootWatch, inbox: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (inbox / reserved_names.SETTINGS).write_text('when_done = "archive"')
    (inbox / "a.wav").write_bytes(b"1")
    look(watch, 0.0, 10.0)
    complete(database, queries.list_jobs(database)[0].id)
    archiver.put_away(database, watch)
    (inbox / "done" / "b.wav").write_bytes(b"of others")
    look(watch, 20.0, 30.0, 40.0)
    assert sizes(database) == [("done/a.wav", 1)]
    with (inbox / "done" / "a.wav").open("ab") as recorder:
        recorder.write(b"the rest")
    watch._stability = None  # it was not lost with a restart either
    look(watch, 50.0, 60.0, 70.0)
    assert sizes(database) == [("done/a.wav", 9), ("done/a.wav", 1)]
    assert "a.wav changed since it was archived: it is transcribed again" in caplog.text
    complete(database, queries.list_jobs(database)[0].id)
    archiver.put_away(database, watch)
    look(watch, 80.0, 90.0)
    assert len(sizes(database)) == 2
    assert content(inbox)["done/a.wav"] == b"1the rest"


def test_the_files_owner_and_who_has_the_capability_see_a_writer_and_others_do_not(tmp_path: Path) -> None:
    for owner, seen_by_nobody in ((NOBODY, True), (0, False)):
        file = tmp_path / f"{owner}.wav"
        with file.open("wb") as writer, file.open("rb") as reader:
            os.chown(file, owner, owner)
            assert is_written(file)
            assert as_nobody(lambda reader=reader: has_writer(reader.fileno())) is seen_by_nobody
            assert as_nobody(lambda reader=reader: has_writer(reader.fileno()) is None) is not seen_by_nobody
            writer.close()
            assert is_written(file) is False


def test_whoever_opens_a_file_this_very_moment_ends_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "a.wav"
    file.touch()
    give_back = write_lease.fcntl.F_UNLCK
    monkeypatch.setattr(write_lease.fcntl, "F_UNLCK", write_lease.fcntl.F_RDLCK)  # it lasts until the file is closed
    with file.open("rb") as reader:
        assert has_writer(reader.fileno()) is False
        with pytest.raises(BlockingIOError):
            os.open(file, os.O_WRONLY | os.O_NONBLOCK)
        write_lease.fcntl.fcntl(reader, write_lease.fcntl.F_SETLEASE, give_back)


def test_what_has_no_lease_is_not_known(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("a.wav")
    os.mkfifo(tmp_path / "fifo")
    for name in ("gone", "link", "fifo"):
        assert is_written(tmp_path / name) is None


@pytest.mark.parametrize(("owner", "told"), [(0, True), (NOBODY, False)])
def test_doctor_says_where_a_writer_would_not_be_seen(public: Path, owner: int, told: bool) -> None:
    (public / "a.wav").touch()
    (public / "a.wav").chmod(0o644)
    os.chown(public / "a.wav", owner, owner)
    root = WatchedRoot(str(public), "here", "ext4", True, "", 1, 0, 0, 0, 0.0, 0.0)
    assert as_nobody(lambda: [*doctor.writers(root)]) is told
    assert [*doctor.writers(root)] == []
