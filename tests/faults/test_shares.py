"""Shares that come late, go away, come back, lie, or answer with errors: the watch is neither fooled nor stopped."""

from __future__ import annotations

import errno
import logging
import os
from pathlib import Path

import pytest

from dropscribe.scheduler.scanning.scan import scan
from dropscribe.scheduler.watching import outages, root_watch
from dropscribe.scheduler.watching.file_events import FileEventWatcher
from tests.faults.conftest import MakeWatched
from tests.faults.shares import Share

STILL = (0.0, 30.0)  # two looks, as far apart as a file on a share has to stand still


def seen(file: Path) -> tuple[int, int]:
    now = file.stat()
    return now.st_size, now.st_mtime_ns


def test_a_share_that_comes_and_goes_and_comes_again_is_believed_only_while_it_is_there(
    unmounted: Share, over: MakeWatched
) -> None:
    known = {f"{n}.wav": seen(unmounted.put(f"{n}.wav")) for n in range(12)}
    watched = over(unmounted.path, known=known)
    watched.look(0.0)
    assert watched.watch.report.files == 0, "an empty mount point"
    unmounted.mount()
    unmounted.put("new.wav")
    watched.look(10.0, 30.0)
    assert watched.watch.report.files == 13
    assert watched.admitted == [], "a share asks for more patience than the local folder below it"
    watched.look(40.0)
    assert watched.admitted == ["new.wav"]
    unmounted.unmount()
    watched.look(50.0)
    assert "another filesystem is mounted there now" in watched.reason
    assert "was fuse.fault server:/share" in watched.reason
    unmounted.mount()
    watched.look(60.0, 90.0, 120.0)
    assert watched.watch.report.online
    assert watched.admitted == ["new.wav"], "nothing was forgotten meanwhile"
    assert watched.gone == set()


def test_a_share_that_covers_a_folder_with_strangers_is_taken_for_the_root(unmounted: Share, over: MakeWatched) -> None:
    for n in range(12):
        (unmounted.path / f"left here {n}.wav").write_bytes(b"sound")
    unmounted.put("a.wav")
    watched = over(unmounted.path)
    watched.look(0.0)
    unmounted.mount()
    watched.look(10.0, 40.0)
    assert watched.watch.report.online
    assert watched.admitted == ["a.wav"]
    unmounted.unmount()
    watched.look(50.0, 80.0)
    assert watched.reason
    assert watched.admitted == ["a.wav"], "what lies under the mount point is not what is watched"


def test_a_share_mounted_below_a_local_folder_makes_it_wait_longer(
    unmounted: Share, over: MakeWatched, tmp_path: Path
) -> None:
    outer = unmounted.path.parent
    unmounted.put("a.wav")
    watched = over(outer)
    watched.look(0.0)
    unmounted.mount()
    watched.look(100.0, 110.0)
    assert "share/a.wav" not in watched.admitted
    watched.look(130.0)
    assert "share/a.wav" in watched.admitted


def test_stale_handles_at_the_root_are_offline_with_the_reason_and_pass(
    share: Share, over: MakeWatched, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "dropscribe.scheduler")
    share.put("a.wav")
    watched = over(share.path)
    watched.look(*STILL)
    share.tell(fail="", errno=errno.ESTALE)
    watched.look(40.0)
    assert "Stale file handle" in watched.reason
    assert watched.watch.next_look <= 40.0 + 2 * outages.RETRY_SECONDS
    share.tell(heal=True)
    watched.look(50.0, 80.0)
    assert watched.watch.report.online
    assert watched.admitted == ["a.wav"]
    assert f"{share.path} is online again" in caplog.messages


def test_a_directory_that_went_stale_hides_its_files_and_loses_none(share: Share, over: MakeWatched) -> None:
    for n in range(12):
        share.put(f"sub/{n}.wav")
    share.put("a.wav")
    watched = over(share.path)
    watched.look(*STILL)
    assert len(watched.admitted) == 13
    share.tell(fail="sub", errno=errno.ESTALE)
    share.put("b.wav")
    watched.look(*(40.0 + 30 * n for n in range(root_watch.VOID_SCANS + 2)))
    assert watched.watch.report.online, "twelve of thirteen files are hidden, not gone"
    assert watched.watch.report.unseen == "sub/: Stale file handle"
    assert watched.admitted[13:] == ["b.wav"]
    share.tell(heal=True)
    watched.look(300.0, 330.0, 360.0)
    assert watched.watch.report.unseen == ""
    assert len(watched.admitted) == 14, "none of them is new"
    assert watched.gone == set()


def test_files_that_cannot_be_looked_at_are_hidden_and_none_is_lost(share: Share, over: MakeWatched) -> None:
    for n in range(50):
        share.put(f"sub/{n}.wav")
    watched = over(share.path)
    watched.look(*STILL)
    share.tell(fail_files=errno.EIO)
    watched.look(*(60.0 + 30 * n for n in range(root_watch.VOID_SCANS + 2)))
    assert watched.watch.report.online
    assert "Input/output error" in watched.watch.report.unseen
    share.tell(heal=True)
    watched.look(300.0, 330.0)
    assert len(watched.admitted) == 50, "none of them is new"
    assert watched.gone == set()


def test_a_file_that_grows_behind_an_attribute_cache_is_not_taken_for_complete(share: Share, over: MakeWatched) -> None:
    share.tell(cached=3600)
    file = share.put("a.wav")
    watched = over(share.path)
    watched.look(0.0)
    with file.open("ab") as writing:
        writing.write(b"more")
    assert (share.path / "a.wav").stat().st_size == 5, "the kernel believes what it was told before"
    watched.look(30.0)
    assert watched.admitted == []
    watched.look(60.0, 90.0)
    assert watched.admitted == ["a.wav"]


def test_a_file_that_may_not_be_opened_gets_a_job_that_says_so(share: Share, over: MakeWatched) -> None:
    share.put("a.wav")
    share.tell(fail_open=errno.EACCES)
    watched = over(share.path)
    watched.look(*STILL)
    assert watched.admitted == ["a.wav"]


def test_a_file_that_cannot_be_opened_just_now_waits(share: Share, over: MakeWatched) -> None:
    share.put("a.wav")
    share.tell(fail_open=errno.ESTALE)
    watched = over(share.path)
    watched.look(*STILL, 60.0)
    assert watched.admitted == []
    share.tell(heal=True)
    watched.look(90.0, 120.0)
    assert watched.admitted == ["a.wav"]


def test_a_listing_that_is_slow_but_moves_is_not_given_up(share: Share, over: MakeWatched) -> None:
    for n in range(8):
        share.put(f"{n}/a.wav")
    share.tell(delay=0.5)
    watched = over(share.path, deadline=3.0)
    watched.look(0.0)
    assert watched.watch.report.files == 8
    assert watched.watch.report.scan_seconds > 3.0


def test_a_file_that_grows_for_an_hour_is_admitted_once_and_then_only(over: MakeWatched, tmp_path: Path) -> None:
    folder = tmp_path / "inbox"
    folder.mkdir()
    watched = over(folder)
    now = 0.0
    with (folder / "a.wav").open("wb", buffering=0) as recording:
        while now < 3600:
            recording.write(b"sound")
            watched.look(now)
            now += 9.0
    assert watched.admitted == []
    watched.look(now, now + 10, now + 20, now + 30)
    assert watched.admitted == ["a.wav"]


def test_a_preallocated_file_is_not_complete_while_it_is_filled(over: MakeWatched, tmp_path: Path) -> None:
    folder = tmp_path / "inbox"
    folder.mkdir()
    watched = over(folder)
    with (folder / "a.wav").open("wb", buffering=0) as recording:
        recording.truncate(1000)
        for moment in range(0, 100, 9):
            os.utime(recording.fileno(), ns=(moment, moment))
            watched.look(float(moment))
    assert watched.admitted == []


FILES, EACH = 200_000, 200


@pytest.fixture
def large(tmp_path: Path) -> Path:
    """A folder with many recordings."""
    folder = tmp_path / "large"
    for number in range(FILES // EACH):
        directory = folder / f"{number:04d}"
        directory.mkdir(parents=True)
        for n in range(EACH):
            os.close(os.open(directory / f"recording {n:03d}.wav", os.O_CREAT | os.O_WRONLY))
    return folder


def test_two_hundred_thousand_files_are_admitted_once_by_a_small_process(
    large: Path, over: MakeWatched, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FileEventWatcher, "start", lambda *_: True)  # a thousand watches are another matter
    watched = over(large)
    watched.look(0.0, 100.0, 200.0)
    assert len(set(watched.admitted)) == len(watched.admitted) == FILES
    assert set(watched.admitted) == scan(large).files.keys()
    status = Path(f"/proc/{watched.watch.scanner.pid}/status").read_text(encoding="ascii")
    megabytes = int(status.split("VmHWM:")[1].split()[0]) // 1024
    assert megabytes < 60, "it hands over what it finds and keeps nothing"


STAND_IN = """
import os
from pathlib import Path

told = Path(__file__).with_name("told")
plainly = os.scandir


def scandir(path):
    number, _, place = told.read_text().partition(" ") if told.exists() else ("0", "", "")
    if int(number) and str(path).rstrip("/") == place:
        raise OSError(int(number), os.strerror(int(number)))
    return plainly(path)


os.scandir = scandir
"""


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stands in for a share where none can be mounted: its content says which directory fails, and how."""
    folder = tmp_path / "stand-in"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(STAND_IN)
    monkeypatch.syspath_prepend(folder)
    return folder / "told"


@pytest.mark.parametrize("number", [errno.ESTALE, errno.EIO, errno.ENOTCONN, errno.EHOSTDOWN, errno.ETIMEDOUT])
def test_whatever_error_a_listing_ends_with_hides_files_and_loses_none(
    stand_in: Path, over: MakeWatched, tmp_path: Path, number: int
) -> None:
    folder = tmp_path.resolve() / "inbox"
    (folder / "sub").mkdir(parents=True)
    for n in range(12):
        (folder / f"sub/{n}.wav").write_bytes(b"sound")
    watched = over(folder)
    watched.look(0.0, 10.0)
    assert len(watched.admitted) == 12
    stand_in.write_text(f"{number} {folder}/sub")
    watched.look(20.0, 40.0)
    assert watched.watch.report.unseen == f"sub/: {os.strerror(number)}"
    stand_in.write_text(f"{number} {folder}")
    watched.look(60.0)
    assert os.strerror(number) in watched.reason
    stand_in.unlink()
    watched.look(80.0, 100.0)
    assert watched.watch.report.online
    assert len(watched.admitted) == 12
    assert watched.gone == set()
