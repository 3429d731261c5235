"""The bell with real inotify and real files. A ring comes within milliseconds; silence is waited for shortly."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from dropscribe.scheduler.scanning.roots import Root, open_root
from dropscribe.scheduler.watching.file_events import FileEventWatcher

PATIENCE = 30.0  # seconds until a ring that did not come counts as missing
SILENCE = 0.4  # seconds; a wrong ring comes far sooner


@pytest.fixture
def root(tmp_path: Path) -> Root:
    path = tmp_path.resolve() / "root"
    path.mkdir()
    return local(path)


def local(path: Path) -> Root:
    """What comes of opening it, on a local disk."""
    return replace(open_root(path), is_network=False)


@pytest.fixture
def bell(root: Root) -> Iterator[FileEventWatcher]:
    bell = FileEventWatcher(exclude={root.path / "state"})
    yield bell
    bell.stop()


@pytest.fixture
def listening(bell: FileEventWatcher, root: Root) -> FileEventWatcher:
    assert bell.start(root)
    return bell


def test_a_written_recording_rings(listening: FileEventWatcher, root: Root) -> None:
    (root.path / "a.wav").write_bytes(b"1")
    assert listening.wait(PATIENCE)


def test_a_recording_that_is_renamed_into_place_rings(listening: FileEventWatcher, root: Root, tmp_path: Path) -> None:
    (root.path / "a.wav.part").write_bytes(b"1")
    assert not listening.wait(SILENCE)
    (root.path / "a.wav.part").rename(root.path / "a.wav")
    assert listening.wait(PATIENCE)
    (tmp_path / "b.wav").write_bytes(b"1")
    (tmp_path / "b.wav").rename(root.path / "b.wav")
    assert listening.wait(PATIENCE)


def test_closing_after_the_last_write_rings_again(listening: FileEventWatcher, root: Root) -> None:
    with (root.path / "a.wav").open("wb") as file:
        assert listening.wait(PATIENCE)
        file.write(b"1" * 100_000)
        file.flush()
        assert not listening.wait(SILENCE)
    assert listening.wait(PATIENCE)


def test_recordings_in_new_directories_ring(listening: FileEventWatcher, root: Root, tmp_path: Path) -> None:
    (root.path / "x/y").mkdir(parents=True)
    (root.path / "x/y/a.wav").write_bytes(b"1")
    assert listening.wait(PATIENCE)
    (tmp_path / "moved").mkdir()
    (tmp_path / "moved/b.wav").write_bytes(b"1")
    while listening.wait(SILENCE):
        pass
    (tmp_path / "moved").rename(root.path / "moved")
    assert listening.wait(PATIENCE)


def test_many_trees_that_appear_at_once_do_not_deafen_it(listening: FileEventWatcher, root: Root) -> None:
    trees = [root.path / f"{number}/v/w/x/y/z" for number in range(300)]
    subprocess.run(["mkdir", "-p", *trees], check=True)  # a process of its own, to race with the bell
    while listening.wait(SILENCE):
        pass
    (trees[-1] / "a.wav").write_bytes(b"1")
    assert listening.wait(PATIENCE)


@pytest.mark.parametrize("name", ["a.json", ".dropscribe-a.1.tmp", "a.wav.part", "@eaDir/a.wav", "state/a.flac"])
def test_names_that_a_scan_passes_over_do_not_ring(bell: FileEventWatcher, root: Root, name: str) -> None:
    path = root.path / name
    path.parent.mkdir(exist_ok=True)
    assert bell.start(root)
    path.write_bytes(b"1")
    path.rename(path.with_name(".other"))
    assert not bell.wait(SILENCE)


def test_reading_a_recording_does_not_ring(bell: FileEventWatcher, root: Root) -> None:
    path = root.path / "a.wav"
    path.write_bytes(b"1")
    assert bell.start(root)
    assert path.read_bytes() == b"1"
    assert os.listdir(root.path) == ["a.wav"]
    assert not bell.wait(SILENCE)


def test_many_events_are_one_ring(listening: FileEventWatcher, root: Root) -> None:
    for number in range(50):
        (root.path / f"{number}.wav").write_bytes(b"1")
    assert listening.wait(PATIENCE)
    while listening.wait(SILENCE):  # events that were still on their way
        pass
    assert not listening.wait(0)


def test_a_root_that_vanishes_rings_and_is_heard_again_when_back(listening: FileEventWatcher, root: Root) -> None:
    root.path.rmdir()
    assert listening.wait(PATIENCE)
    assert not listening.start(root)
    root.path.mkdir()
    assert listening.start(local(root.path))
    (root.path / "a.wav").write_bytes(b"1")
    assert listening.wait(PATIENCE)


def test_a_root_that_was_swapped_for_another_directory_is_heard_after_a_start(
    listening: FileEventWatcher, root: Root
) -> None:
    root.path.rename(root.path.with_name("old"))
    root.path.mkdir()
    assert listening.start(local(root.path))
    (root.path / "a.wav").write_bytes(b"1")
    assert listening.wait(PATIENCE)


def test_two_roots_share_a_bell_and_one_may_vanish(listening: FileEventWatcher, root: Root, tmp_path: Path) -> None:
    (tmp_path / "second").mkdir()
    second = local(tmp_path.resolve() / "second")
    assert listening.start(second)
    shutil.rmtree(root.path)
    assert listening.wait(PATIENCE)
    (second.path / "a.wav").write_bytes(b"1")
    assert listening.wait(PATIENCE)


def test_a_network_root_is_left_to_polling_and_the_reason_is_logged_once(
    bell: FileEventWatcher, root: Root, caplog: pytest.LogCaptureFixture
) -> None:
    remote = replace(root, filesystem="nfs4", is_network=True)
    with caplog.at_level(logging.WARNING):
        assert not bell.start(remote)
        assert not bell.start(remote)
    assert len(caplog.messages) == 1
    assert "nfs4" in caplog.text


def test_a_signal_handler_may_end_the_wait(bell: FileEventWatcher) -> None:
    before = signal.signal(signal.SIGALRM, lambda *_: bell.ring())
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        assert bell.wait(PATIENCE)
    finally:
        signal.signal(signal.SIGALRM, before)


def test_a_stopped_bell_hears_nothing_and_can_be_started_again(listening: FileEventWatcher, root: Root) -> None:
    listening.stop()
    (root.path / "a.wav").write_bytes(b"1")
    assert not listening.wait(SILENCE)
    assert listening.start(root)
    (root.path / "b.wav").write_bytes(b"1")
    assert listening.wait(PATIENCE)


SHORT_OF_WATCHES = """
import logging, sys
from dataclasses import replace
from pathlib import Path

Path("/proc/sys/user/max_inotify_watches").write_text("3")
from dropscribe.scheduler.watching.file_events import FileEventWatcher
from dropscribe.scheduler.scanning.roots import open_root

logging.basicConfig(stream=sys.stdout, format="%(message)s")
bell = FileEventWatcher()
print(bell.start(replace(open_root(Path(sys.argv[1])), is_network=False)))
bell.stop()
"""


@pytest.mark.parametrize(("directories", "hears"), [(1, True), (5, False)])
def test_a_bell_short_of_watches_says_so(root: Root, directories: int, hears: bool) -> None:
    namespace = ["unshare", "--user", "--map-root-user"]
    try:
        subprocess.run([*namespace, "test", "-w", "/proc/sys/user/max_inotify_watches"], check=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("this user may not make a user namespace")
    for number in range(directories):
        (root.path / str(number)).mkdir()
    command = [*namespace, sys.executable, "-c", SHORT_OF_WATCHES, str(root.path)]
    repository = Path(__file__).parents[2]
    printed = subprocess.run(command, check=True, capture_output=True, text=True, cwd=repository).stdout
    assert printed.splitlines()[-1] == str(hears)
    assert ("watch limit reached" in printed) is not hears
