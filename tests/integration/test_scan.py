"""What one pass over real folders sees."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from dropscribe.scheduler.scanning import scan as scan_module
from dropscribe.scheduler.scanning.roots import RootOfflineError
from dropscribe.scheduler.scanning.scan import Observation, Scan, look, scan
from dropscribe.scheduler.scanning.transport_stream import Heads


def put(path: Path, content: bytes = b"sound") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def test_recordings_are_found_with_size_and_time_at_any_depth(tmp_path: Path) -> None:
    put(tmp_path / "a.wav", b"123")
    put(tmp_path / "x/y/b.MP3")
    os.utime(tmp_path / "a.wav", ns=(1, 1_700_000_000_123_456_789))
    seen = scan(tmp_path)
    assert set(seen.files) == {"a.wav", "x/y/b.MP3"}
    assert seen.files["a.wav"] == Observation(3, 1_700_000_000_123_456_789)
    assert seen.directories == 3
    assert seen.unreadable == {}
    assert seen.seconds > 0


def test_other_files_are_counted_and_left_out(tmp_path: Path) -> None:
    put(tmp_path / "a.wav")
    put(tmp_path / "a.wav.part")
    put(tmp_path / ".b.wav")
    put(tmp_path / "notes.pdf")
    put(tmp_path / "a.txt")
    seen = scan(tmp_path)
    assert (list(seen.files), seen.ignored, seen.not_media) == (["a.wav"], 2, 1)


@pytest.mark.parametrize("name", ["notes.txt", "plan.md", "a.notes.txt", "sub/a.txt", "b.json", "A.txt"])
def test_a_file_with_the_ending_of_a_transcript_counts_where_it_is_named_after_no_recording(
    tmp_path: Path, name: str
) -> None:
    put(tmp_path / "a.wav")
    put(tmp_path / name)
    assert scan(tmp_path).not_media == 1


@pytest.mark.parametrize("name", ["a.txt", "a.wav.json", "a.wav.k3v9m2xq.srt", "_status.html", "hotwords.txt"])
def test_transcripts_beside_their_recording_do_not_count_nor_do_files_of_our_own(tmp_path: Path, name: str) -> None:
    put(tmp_path / name)
    put(tmp_path / "a.wav")
    assert scan(tmp_path).not_media == 0


STREAM = b"".join(b"G" + bytes([packet % 256]) * 187 for packet in range(8))
TYPESCRIPT = b"export function Gain(level: number): Gain {\n" * 60


@pytest.mark.parametrize("name", ["a.ts", "a.MTS"])
@pytest.mark.parametrize(
    ("content", "admitted"),
    [(STREAM, True), (STREAM[77:], True), (TYPESCRIPT, False), (b"", False), (STREAM[:300], False)],
)
def test_transport_streams_are_known_by_their_beginning(
    tmp_path: Path, name: str, content: bytes, admitted: bool
) -> None:
    put(tmp_path / name, content)
    seen = scan(tmp_path)
    assert (list(seen.files), seen.not_media) == (([name], 0) if admitted else ([], 1))


def test_a_beginning_is_read_once_and_again_when_the_file_changed(tmp_path: Path) -> None:
    file, heads = put(tmp_path / "a.ts", TYPESCRIPT), Heads()
    changed = file.stat().st_mtime_ns
    assert list(scan(tmp_path, heads=heads).files) == []
    file.write_bytes((STREAM + TYPESCRIPT)[: len(TYPESCRIPT)])
    os.utime(file, ns=(changed, changed))
    assert list(scan(tmp_path, heads=heads).files) == []
    os.utime(file, ns=(changed, changed + 1))
    assert list(scan(tmp_path, heads=heads).files) == ["a.ts"]


def test_system_and_excluded_directories_are_not_entered(tmp_path: Path) -> None:
    put(tmp_path / "@eaDir/a.wav")
    put(tmp_path / ".stversions/a.wav")
    put(tmp_path / "x/state/spool.flac")
    put(tmp_path / "x/state2/b.wav")
    assert set(scan(tmp_path, exclude={tmp_path / "x/state"}).files) == {"x/state2/b.wav"}


def test_an_excluded_directory_is_known_below_a_root_that_is_a_symlink(tmp_path: Path) -> None:
    put(tmp_path / "root/state/spool.flac")
    (tmp_path / "link").symlink_to("root")
    assert scan(tmp_path / "link", exclude={tmp_path.resolve() / "root/state"}).files == {}


def test_no_symlink_is_followed(tmp_path: Path) -> None:
    outside = put(tmp_path / "outside/secret.wav")
    root = tmp_path / "root"
    root.mkdir()
    (root / "file.wav").symlink_to(outside)
    (root / "directory").symlink_to(outside.parent)
    (root / "loop").symlink_to(root)
    (root / "dangling.wav").symlink_to("nowhere")
    assert scan(root).files == {}


def test_paths_and_names_of_the_greatest_length_are_found_and_longer_ones_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for number in range(2000):
        Path(f"{number:05}{'é' * 123}.wav").touch()  # of 255 bytes
    for _ in range(21):  # beyond the 4,096 bytes of a path
        put(Path("a.wav"))
        Path("d" * 200).mkdir()
        os.chdir("d" * 200)
    seen = scan(tmp_path)
    depth = (4096 - len(str(tmp_path))) // 201
    assert 2000 + depth - 1 <= len(seen.files) <= 2000 + depth + 1
    assert {*seen.unreadable.values()} == {"File name too long"}


def test_a_fifo_with_the_name_of_a_recording_is_ignored(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.wav")
    assert scan(tmp_path).files == {}
    assert look(tmp_path, "a.wav") is None


def test_names_that_are_not_text_survive_the_round_trip(tmp_path: Path) -> None:
    raw = os.fsencode(tmp_path) + b"/caf\xe9.wav"
    Path(os.fsdecode(raw)).write_bytes(b"1234")
    (name,) = scan(tmp_path).files
    assert os.fsencode(name) == b"caf\xe9.wav"
    assert (tmp_path / name).stat().st_size == 4


def test_a_root_that_cannot_be_listed_is_offline(tmp_path: Path) -> None:
    with pytest.raises(RootOfflineError, match="gone"):
        scan(tmp_path / "gone")
    with pytest.raises(RootOfflineError, match="Not a directory"):
        scan(put(tmp_path / "file"))


@pytest.fixture
def deep(tmp_path: Path) -> Iterator[list[str]]:
    """Makes directories of the names put into the list, one in the other; pytest itself cannot remove them."""
    names: list[str] = []
    yield names
    home = Path.cwd()
    os.chdir(tmp_path)
    for name in names:
        os.chdir(name)
    for name in reversed(names):
        os.chdir("..")
        os.rmdir(name)
    os.chdir(home)


def make(root: Path, names: list[str]) -> None:
    home = Path.cwd()
    os.chdir(root)
    for name in names:
        os.mkdir(name)
        os.chdir(name)
    os.chdir(home)


def test_directories_deeper_than_the_recursion_limit_are_scanned(tmp_path: Path, deep: list[str]) -> None:
    deep += ["d"] * 1200
    make(tmp_path, deep)
    assert scan(tmp_path).directories == 1201


def test_a_directory_that_cannot_be_listed_is_named_and_the_rest_is_scanned(tmp_path: Path, deep: list[str]) -> None:
    put(tmp_path / "a.wav")
    deep += ["d" * 200] * 21  # beyond PATH_MAX, which stops the superuser as well
    make(tmp_path, deep)
    seen = scan(tmp_path)
    assert list(seen.files) == ["a.wav"]
    ((hidden, reason),) = seen.unreadable.items()
    assert reason == "File name too long"
    assert seen.is_blind_to(f"{hidden}b.wav")
    assert not seen.is_blind_to("a.wav")


def test_a_clear_view_is_blind_to_nothing(tmp_path: Path) -> None:
    assert not scan(tmp_path).is_blind_to("a.wav")


def test_what_is_delivered_piece_by_piece_is_what_is_found_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scan_module, "PIECE", 3)
    for n in range(10):
        put(tmp_path / f"{n}.wav")
        put(tmp_path / f"sub/{n}.wav")
    pieces: list[tuple[str, dict[str, Observation]]] = []
    told = scan(tmp_path, deliver=lambda directory, found, _stamps: pieces.append((directory, found)))
    assert told.files == {}
    assert [directory for directory, _ in pieces][-1] == ""
    assert "sub/" in [directory for directory, _ in pieces]
    assert max(len(found) for _, found in pieces) == 3
    together = {name: seen for _, found in pieces for name, seen in found.items()}
    assert together == scan(tmp_path).files


def test_a_file_is_hidden_with_any_directory_above_it() -> None:
    seen = Scan({}, 0, 0, {"a/b/": "no", "c.wav": "no"}, 0, 0.0)
    assert [seen.is_blind_to(path) for path in ("a/b/x.wav", "a/b/c/x.wav", "c.wav")] == [True] * 3
    assert not any(seen.is_blind_to(path) for path in ("a/x.wav", "a/bb/x.wav", "b/x.wav", "c.wav2", "x.wav"))


def test_a_look_at_one_file_agrees_with_the_scan(tmp_path: Path) -> None:
    put(tmp_path / "x/a.wav")
    assert look(tmp_path, "x/a.wav") == scan(tmp_path).files["x/a.wav"]


def test_a_look_at_what_is_no_regular_file_sees_nothing(tmp_path: Path) -> None:
    put(tmp_path / "a.wav")
    (tmp_path / "link.wav").symlink_to("a.wav")
    (tmp_path / "directory.wav").mkdir()
    for name in ("link.wav", "directory.wav", "gone.wav"):
        assert look(tmp_path, name) is None


def test_files_that_come_and_go_during_a_scan_do_no_harm(tmp_path: Path) -> None:
    put(tmp_path / "stays.wav")
    stop = threading.Event()

    def churn() -> None:
        while not stop.is_set():
            put(tmp_path / "sub/passing.wav").unlink()
            (tmp_path / "sub").rmdir()

    thread = threading.Thread(target=churn)
    thread.start()
    try:
        end = time.monotonic() + 0.5
        scans = []
        while time.monotonic() < end:
            scans.append(scan(tmp_path))
    finally:
        stop.set()
        thread.join()
    assert all("stays.wav" in seen.files and not seen.unreadable for seen in scans)
