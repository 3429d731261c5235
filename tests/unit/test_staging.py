"""A staged copy is the source, byte for byte, or there is none."""

import errno
import hashlib
import os
import stat
import threading
from pathlib import Path

import pytest

from dropscribe.core.errors import (
    NoRoomError,
    NotMediaError,
    OutsideRootError,
    SourceChangedError,
    SourceMissingError,
    SpoolError,
)
from dropscribe.worker.preparing import staging
from dropscribe.worker.preparing.staging import BLOCK, shown, stage


@pytest.fixture
def root(tmp_path):
    path = tmp_path / "root"
    path.mkdir()
    return path


@pytest.fixture
def scratch(tmp_path):
    return tmp_path / "home" / "scratch"


def write(path: Path, data: bytes = b"sound") -> Path:
    path.write_bytes(data)
    return path


def left(scratch: Path) -> list[Path]:
    return list(scratch.iterdir()) if scratch.exists() else []


def test_a_copy_holds_the_bytes_the_hash_and_the_times_of_the_source(root, scratch):
    data = os.urandom(2 * BLOCK + 17)
    source = write(root / "talk.wav", data)
    staged = stage(source, root, scratch)
    assert staged.path.read_bytes() == data
    assert staged.sha256 == hashlib.sha256(data).hexdigest()
    assert (staged.size, staged.mtime_ns) == (len(data), source.stat().st_mtime_ns)


def test_a_copy_lies_in_scratch_and_is_private(root, scratch):
    staged = stage(write(root / "talk.wav"), root, scratch)
    assert staged.path.parent == scratch
    assert stat.S_IMODE(staged.path.stat().st_mode) == 0o600


def test_without_a_root_any_regular_file_is_taken(tmp_path, scratch):
    assert stage(write(tmp_path / "a.wav"), None, scratch).size == 5


def test_a_name_that_is_no_utf8_is_staged_and_can_be_shown(root, scratch):
    source = Path(os.fsdecode(bytes(root) + b"/caf\xe9.wav"))
    write(source)
    assert stage(source, root, scratch).size == 5
    source.unlink()
    with pytest.raises(SourceMissingError, match="caf\ufffd\\.wav") as caught:
        stage(source, root, scratch)
    str(caught.value).encode()


@pytest.mark.parametrize("name", ["/a/Gespräch.wav", "/a/\u0645\u06cc\u200c\u062e 🎙️.wav"])
def test_a_common_name_is_shown_as_it_is(name):
    assert shown(Path(name)) == name


@pytest.mark.parametrize(
    ("name", "text"),
    [("a\nb", r"a\nb"), ("\x1b[2J", r"\x1b[2J"), ("\x9b1m", r"\x9b1m"), ("\u202efdp", r"\u202efdp")],
)
def test_what_a_terminal_or_a_log_would_obey_is_shown_escaped(name, text):
    assert shown(Path(name)) == text


def test_a_missing_file_and_a_missing_folder_may_come_back(root, scratch):
    write(root / "file")
    for missing in (root / "gone.wav", root / "no" / "gone.wav", root / "file" / "below.wav"):
        with pytest.raises(SourceMissingError, match="cannot read"):
            stage(missing, root, scratch)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission_may_be_granted_it(root, scratch):
    source = write(root / "a.wav")
    source.chmod(0)
    with pytest.raises(SourceMissingError, match="permissions"):
        stage(source, root, scratch)


def test_a_link_is_refused_wherever_it_leads(root, scratch):
    link = root / "link.wav"
    link.symlink_to(write(root / "real.wav"))
    with pytest.raises(OutsideRootError, match="link"):
        stage(link, root, scratch)
    assert left(scratch) == []


def test_a_linked_folder_that_leads_out_of_the_root_is_refused(root, tmp_path, scratch):
    outside = tmp_path / "outside"
    outside.mkdir()
    write(outside / "secret.wav")
    (root / "sub").symlink_to(outside)
    with pytest.raises(OutsideRootError, match="leads out"):
        stage(root / "sub" / "secret.wav", root, scratch)


def test_a_root_that_is_itself_a_link_is_a_root(root, tmp_path, scratch):
    (tmp_path / "alias").symlink_to(root)
    write(root / "a.wav")
    assert stage(tmp_path / "alias" / "a.wav", tmp_path / "alias", scratch).size == 5


def test_a_fifo_a_folder_and_a_device_are_refused_without_waiting(root, scratch):
    os.mkfifo(root / "pipe.wav")
    (root / "folder.wav").mkdir()
    for source in (root / "pipe.wav", root / "folder.wav", Path("/dev/zero")):
        with pytest.raises(OutsideRootError, match="regular file"):
            stage(source, None, scratch)


def test_an_empty_file_is_no_recording(root, scratch):
    with pytest.raises(NotMediaError, match="is empty"):
        stage(write(root / "a.wav", b""), root, scratch)
    assert left(scratch) == []


def stage_while(change, monkeypatch, source: Path, root: Path, scratch: Path) -> None:
    """Stage a file that another program changes after its first block was read."""
    read, once = os.read, threading.Event()

    def reading(fd: int, size: int) -> bytes:
        block = read(fd, size)
        if not once.is_set():
            once.set()
            change(source)
        return block

    monkeypatch.setattr(staging.os, "read", reading)
    stage(source, root, scratch)


def grow(source: Path) -> None:
    with source.open("ab") as file:
        file.write(b"more")


def shrink(source: Path) -> None:
    os.truncate(source, BLOCK)


def touch(source: Path) -> None:
    os.utime(source, ns=(0, 1))


@pytest.mark.parametrize("change", [grow, shrink, touch])
def test_a_file_that_changes_meanwhile_is_not_taken(change, monkeypatch, root, scratch):
    source = write(root / "a.wav", bytes(2 * BLOCK))
    with pytest.raises(SourceChangedError, match="while it was read"):
        stage_while(change, monkeypatch, source, root, scratch)
    assert left(scratch) == []


def test_a_copy_that_is_told_to_stop_ends_with_the_next_block_and_leaves_nothing(root, scratch):
    class StopError(Exception):
        pass

    blocks = iter(range(1, 100))

    def check() -> None:
        if next(blocks) == 3:
            raise StopError

    with pytest.raises(StopError):
        stage(write(root / "a.wav", bytes(10 * BLOCK)), root, scratch, check)
    assert next(blocks) == 4
    assert left(scratch) == []


def failing(code: int):
    def fail(*_, **__):
        raise OSError(code, os.strerror(code))

    return fail


@pytest.mark.parametrize("code", [errno.EIO, errno.ESTALE])
def test_a_share_that_fails_while_reading_may_come_back(code, monkeypatch, root, scratch):
    source = write(root / "a.wav")
    monkeypatch.setattr(staging.os, "read", failing(code))
    with pytest.raises(SourceMissingError, match=r"a\.wav"):
        stage(source, root, scratch)
    assert left(scratch) == []


@pytest.mark.parametrize(
    ("code", "error", "words"),
    [
        (errno.ENOENT, SourceChangedError, "was moved"),
        (errno.ENOTDIR, SourceChangedError, "was moved"),
        (errno.ELOOP, SourceChangedError, "was moved"),
        (errno.EACCES, SourceMissingError, r"cannot read .*a\.wav: Permission denied"),
        (errno.EIO, SourceMissingError, r"cannot read .*a\.wav: Input/output error"),
    ],
)
def test_a_folder_that_is_gone_was_moved_and_one_that_cannot_be_opened_says_why(
    code, error, words, monkeypatch, root, scratch
):
    source = write(root / "a.wav")
    monkeypatch.setattr(staging.open_folder, "opened", failing(code))
    with pytest.raises(error, match=words):
        stage(source, root, scratch)
    assert left(scratch) == []


@pytest.mark.parametrize(
    ("code", "error"), [(errno.ENOSPC, NoRoomError), (errno.EDQUOT, NoRoomError), (errno.EROFS, SpoolError)]
)
def test_a_full_scratch_says_so_and_keeps_no_piece(code, error, monkeypatch, root, scratch):
    source = write(root / "a.wav")
    monkeypatch.setattr(staging.os, "write", failing(code))
    with pytest.raises(SpoolError, match="make room") as caught:
        stage(source, root, scratch)
    assert type(caught.value) is error
    assert left(scratch) == []


def test_a_scratch_that_cannot_be_made_says_so(root, tmp_path):
    source = write(root / "a.wav")
    with pytest.raises(SpoolError, match=r"a\.wav"):
        stage(source, root, write(tmp_path / "file") / "scratch")
