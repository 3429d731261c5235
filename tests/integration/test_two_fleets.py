"""Two stores over one folder, or one folder by two paths: one of them works, and the other says why it does not."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from dropscribe.admin.check import doctor
from dropscribe.admin.state import fleet_status
from dropscribe.core import reserved_names
from dropscribe.core.queue import Doorbell
from dropscribe.core.settings import Settings
from dropscribe.scheduler.scanning.roots import RootOfflineError
from dropscribe.scheduler.service import Scheduler
from dropscribe.scheduler.watching import admission, folder_mark
from dropscribe.scheduler.watching.file_events import FileEventWatcher
from dropscribe.scheduler.watching.folder_mark import BEAT_SECONDS, DEAD_SECONDS, FolderMark, Mark, WatchingProcess
from dropscribe.scheduler.watching.root_watch import RootWatch
from dropscribe.store import fleet, jobs, queries
from dropscribe.store.roots import list_roots, report_roots
from dropscribe.store.session import Database, open_database

HERE = WatchingProcess.own()
ELSEWHERE = WatchingProcess("another-machine", "another-boot", "pid:[1]", 1, "1")
ROOT = Path("/srv/recordings")
Fleet = Callable[..., RootWatch]


class Clock:
    """Seconds since the epoch, set by hand."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store_of(tmp_path: Path) -> Iterator[Callable[[str], Database]]:
    """The stores of fleets, by their names."""
    opened: dict[str, Database] = {}

    def of(name: str) -> Database:
        if name not in opened:
            opened[name] = open_database(f"sqlite:///{tmp_path / name}.db")
        return opened[name]

    yield of
    for one in opened.values():
        one.close()


@pytest.fixture
def watch_of(store_of: Callable[[str], Database], settings: Settings, inbox: Path, clock: Clock) -> Iterator[Fleet]:
    """Watches of fleets by their names, over the inbox or another path."""
    made: list[RootWatch] = []
    doorbell = Doorbell(settings)

    def watch(name: str, path: Path = inbox, process: WatchingProcess = HERE) -> RootWatch:
        database = store_of(name)

        def admit(root: str, whole: list, gone: set, folders: object) -> dict:
            return admission.admit(database, doorbell, folders, root, whole, gone).refused

        mark = FolderMark(fleet.store_id(database), clock, process)
        known = partial(jobs.known, database)
        made.append(RootWatch(path, settings, FileEventWatcher(), known, admit, frozenset(), mark=mark))
        return made[-1]

    yield watch
    for one in made:
        one.close()
    doorbell.close()


def look(watched: RootWatch, start: float = 0.0) -> str:
    """Look until what is there is admitted; why nothing is, else empty."""
    for moment in (start, start + 30, start + 60):
        watched.look(moment)
    return "" if watched.report.online else watched.report.reason


def number(database: Database) -> int:
    return len(queries.list_jobs(database))


def test_a_second_fleet_says_who_watches_the_folder_and_transcribes_nothing(
    watch_of: Fleet, store_of: Callable[[str], Database], settings: Settings, inbox: Path
) -> None:
    (inbox / "a.wav").write_bytes(b"1")
    first, second = watch_of("first"), watch_of("second")
    assert look(first) == ""
    reason = look(second)
    assert f"watches it as {inbox} since " in reason
    assert f"rm '{inbox}/{reserved_names.OWNER}'" in reason
    assert (number(store_of("first")), number(store_of("second"))) == (1, 0)
    report_roots(store_of("second"), [second.report])
    (warning,) = [one for one in fleet_status.gather(store_of("second"), settings).warnings if str(inbox) in one]
    assert "for another store" in warning
    (root,) = list_roots(store_of("second"))
    finding = doctor._folder(root, str(inbox))
    assert (finding.level, finding.advice) == (doctor.Severity.WARN, "do as it says; work on it waits meanwhile")
    assert sorted(os.listdir(inbox)) == [reserved_names.OWNER, "a.wav", "talks"]
    assert (first.report.files, first.report.ignored) == (1, 0)


@pytest.fixture
def by_another_path(inbox: Path, tmp_path: Path) -> Iterator[Path]:
    """The inbox, mounted elsewhere too."""
    place = tmp_path.resolve() / "again"
    place.mkdir()
    if os.geteuid() or subprocess.run(["mount", "--bind", inbox, place], capture_output=True).returncode:
        pytest.skip("this user may not mount a folder")
    yield place
    subprocess.run(["umount", place], check=True)


def test_one_folder_by_two_paths_is_watched_by_one(
    watch_of: Fleet, store_of: Callable[[str], Database], inbox: Path, by_another_path: Path
) -> None:
    (inbox / "a.wav").write_bytes(b"1")
    assert look(watch_of("first")) == ""
    reason = look(watch_of("first", by_another_path))
    assert f"watches it as {inbox} since" in reason
    assert reason.endswith("already, which is the same folder; watch it by one path only")
    assert number(store_of("first")) == 1


def test_the_scheduler_marks_its_folders_and_leaves_no_mark(
    database: Database, settings: Settings, inbox: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scheduler = Scheduler(settings, database, [inbox], "me")
    marked: list[str] = []
    plainly = RootWatch.look

    def look(watched: RootWatch, now: float) -> None:
        plainly(watched, now)
        marked.append((inbox / reserved_names.OWNER).read_text())
        scheduler.stop()

    monkeypatch.setattr(RootWatch, "look", look)
    scheduler.run()
    mark = Mark.read(marked[0])
    assert mark
    assert (mark.store, mark.folder, mark.process.pid) == (fleet.store_id(database), str(inbox), os.getpid())
    assert os.listdir(inbox) == ["talks"]


def test_the_folder_is_free_for_another_fleet_once_the_first_ended_in_order(watch_of: Fleet) -> None:
    first, second = watch_of("first"), watch_of("second")
    assert look(first) == ""
    assert look(second) != ""
    first.close()
    assert look(second, 100.0) == ""
    assert "second" not in look(first, 200.0)
    assert look(first, 300.0) != "", "it has changed hands"


def test_a_store_that_was_moved_or_restored_takes_its_folder_over_at_once(watch_of: Fleet, inbox: Path) -> None:
    assert look(watch_of("first", process=ELSEWHERE)) == ""
    assert look(watch_of("first")) == ""


def test_a_mark_that_is_removed_lets_another_fleet_take_over_and_the_first_stops(watch_of: Fleet, inbox: Path) -> None:
    first, second = watch_of("first", process=ELSEWHERE), watch_of("second")
    assert look(first) == ""
    assert look(second) != ""
    (inbox / reserved_names.OWNER).unlink()
    assert look(second, 100.0) == ""
    assert "for another store" in look(first, 100.0)


def test_a_folder_that_may_not_be_written_to_is_watched_without_a_mark(
    watch_of: Fleet, inbox: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = watch_of("first")
    monkeypatch.setattr(first.scanner, "put", lambda *_: {reserved_names.OWNER: "Read-only file system"})
    assert look(first) == ""
    assert not (inbox / reserved_names.OWNER).exists()


def test_whoever_marks_the_folder_first_in_one_moment_has_it(
    watch_of: Fleet, inbox: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = watch_of("first"), watch_of("second")
    plainly = second.scanner.put

    def put(*arguments: object) -> dict[str, str]:
        look(first)
        return plainly(*arguments)

    monkeypatch.setattr(second.scanner, "put", put)
    assert "for another store" in look(second)


def mark_of(store: str, clock: Clock, process: WatchingProcess = ELSEWHERE, root: Path = ROOT) -> str:
    return FolderMark(store, clock, process).due(root, "")


def test_a_mark_is_written_anew_every_quarter_of_an_hour_only(clock: Clock) -> None:
    claim = FolderMark("ours", clock, HERE)
    text = claim.due(ROOT, "")
    clock.now += BEAT_SECONDS - 1
    assert claim.due(ROOT, text) == ""
    clock.now += 1
    assert claim.due(ROOT, text) != ""


@pytest.mark.parametrize(
    "process",
    [
        replace(HERE, started="another start"),  # it was killed
        replace(HERE, pid=2**22 + 1),  # more than there can be
        replace(HERE, boot="before", machine="this"),
    ],
)
def test_a_process_that_has_ended_on_this_machine_holds_no_folder(clock: Clock, process: WatchingProcess) -> None:
    text = mark_of("theirs", clock, process)
    assert FolderMark("ours", clock, replace(HERE, machine="this")).due(ROOT, text)


def test_a_mark_on_another_machine_counts_for_an_hour_after_the_last_word(clock: Clock) -> None:
    text = mark_of("theirs", clock)
    ours = FolderMark("ours", clock, HERE)
    for _ in range(2):
        clock.now += DEAD_SECONDS / 2 - 1
        with pytest.raises(RootOfflineError):
            ours.due(ROOT, text)
    clock.now += 2
    assert ours.due(ROOT, text)


def holders(*claims: tuple[FolderMark, Clock]) -> list[FolderMark]:
    """Who has the folder after each look; everybody looks once a minute, one after the other."""
    text, found = "", []
    for _ in range(10):
        for claim, clock in claims:
            try:
                text = claim.due(ROOT, text) or text
                found.append(claim)
            except RootOfflineError:
                pass
            clock.now += 60
    return found


def test_clocks_that_differ_by_days_let_one_of_two_have_the_folder(clock: Clock) -> None:
    theirs_clock = Clock()
    theirs_clock.now -= 30 * 86400
    theirs, ours = FolderMark("theirs", theirs_clock, ELSEWHERE), FolderMark("ours", clock, HERE)
    assert len(set(holders((theirs, theirs_clock), (ours, clock))[-8:])) == 1


@pytest.mark.parametrize("number", [2, 3])
def test_clones_of_one_machine_let_one_of_them_have_the_folder(number: int) -> None:
    clones = [replace(ELSEWHERE, machine="baked into the image", boot=str(boot)) for boot in range(number)]
    claims = [(FolderMark(clone.boot, one := Clock(), clone), one) for clone in clones]
    assert len(set(holders(*claims)[-5:])) == 1


def test_a_mark_of_an_ended_process_that_cannot_be_replaced_holds_no_folder(clock: Clock) -> None:
    text = mark_of("theirs", clock, replace(HERE, pid=2**22 + 1))
    ours = FolderMark("ours", clock, HERE)
    assert [bool(ours.due(ROOT, text)) for _ in range(3)] == [True, True, True]


@pytest.mark.parametrize(("pid", "is_gone"), [(1, False), (os.getppid(), False), (2**22 + 1, True), (10**30, True)])
def test_a_process_that_is_hidden_lives_until_its_number_is_free(
    pid: int, is_gone: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folder_mark, "_started", lambda _: "")  # as under hidepid, for another user's process
    assert replace(HERE, pid=pid).is_gone(HERE) is is_gone


@pytest.mark.parametrize(
    "text", ["", "x", "x\n[]", "x\n{}", 'x\n{"since": "x"}', "x\n1", "x\nnull", "x\n" + "[" * 16000]
)
def test_what_is_no_mark_holds_no_folder(text: str, clock: Clock) -> None:
    assert Mark.read(text) is None
    assert FolderMark("ours", clock, HERE).due(ROOT, text)


@pytest.mark.parametrize("moment", ["NaN", "Infinity", "1e300", "9" * 400])
def test_a_moment_that_no_clock_shows_is_no_mark(moment: str, clock: Clock) -> None:
    for name in ("since", "seen"):
        text = mark_of("theirs", clock).replace(f'"{name}": {clock.now}', f'"{name}": {moment}')
        assert moment in text
        assert Mark.read(text) is None


def test_a_system_that_tells_nothing_of_processes_goes_by_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folder_mark, "_said", lambda _: "")
    monkeypatch.setattr(folder_mark, "_namespace", lambda: "")
    here = WatchingProcess.own()
    assert not replace(here, pid=1).is_gone(here)


def test_a_store_keeps_its_name_and_two_stores_have_two(store_of: Callable[[str], Database]) -> None:
    names = [fleet.store_id(store_of(name)) for name in ("first", "second", "first")]
    assert names[0] == names[2] != names[1]
