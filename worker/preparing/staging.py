"""Copies a source to local scratch: safely opened, hashed on the way, and proved not to have changed meanwhile."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from dropscribe.core.disk_errors import cannot_write
from dropscribe.core.errors import (
    NoRoomError,
    NotMediaError,
    OutsideRootError,
    SourceChangedError,
    SourceMissingError,
    SpoolError,
)
from dropscribe.core.file_marks import FileMark, fingerprint, stamp
from dropscribe.core.safe_open import SAFELY
from dropscribe.core.safe_text import printable

BLOCK = 1 << 20  # bytes read at once: one request of a usual NFS mount (rsize 1 MiB)

# What open() says of a symbolic link, and of a socket or a device without a driver.
NOT_A_FILE = frozenset({errno.ELOOP, errno.ENXIO, errno.ENODEV})


@dataclass(frozen=True, slots=True)
class Staged:
    """The copy at `path`, and what the source was: `size` in bytes, `mtime_ns`, `sha256` in hex, its mark."""

    path: Path
    size: int
    mtime_ns: int
    sha256: str
    mark: FileMark


def stage(source: Path, root: Path | None, scratch: Path, check: Callable[[], None] = lambda: None) -> Staged:
    """Copy `source` into `scratch` (mode 0600, no suffix: what a file is, its content decides).

    With a `root`, the opened file has to lie under it, whatever links its path held. `check` is called with each
    block, and may raise to stop. On any failure no copy is left. Raises SourceMissingError (gone or unreadable for
    now), OutsideRootError (a link, not a regular file, outside), SourceChangedError (written to meanwhile),
    NotMediaError (empty), NoRoomError (scratch is full) or SpoolError (scratch cannot be written).
    """
    name = shown(source)
    with _opened(source, name) as fd:
        _check_place(fd, root, name)
        before = os.fstat(fd)
        if before.st_size == 0:
            raise NotMediaError(f"{name} is empty", remedy="record or copy it again")
        with _new_copy(scratch, before.st_size, name) as (copy, copy_fd):
            sha256 = _copy(fd, copy_fd, before.st_size, name, check)
            mark = FileMark(stamp(before), _fingerprint(copy_fd, before.st_size, name))
            _check_unchanged(before, os.fstat(fd), name)
    return Staged(copy, before.st_size, before.st_mtime_ns, sha256, mark)


def shown(path: Path) -> str:
    """The path as text that can be printed, logged and stored: what is no UTF-8 or no visible character is escaped."""
    return printable(str(path))


@contextmanager
def _opened(source: Path, name: str) -> Iterator[int]:
    try:
        fd = os.open(source, SAFELY)
    except OSError as error:
        if error.errno in NOT_A_FILE:
            raise OutsideRootError(
                f"{name} is a link or not a regular file", remedy="put the recording itself there"
            ) from error
        raise _unreadable(name, error) from error
    try:
        yield fd
    finally:
        os.close(fd)


def _check_place(fd: int, root: Path | None, name: str) -> None:
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        raise OutsideRootError(f"{name} is not a regular file", remedy="put the recording itself there")
    # The kernel's own name of what was opened: unlike the path, nobody can swap it afterwards.
    if root is not None and not Path(f"/proc/self/fd/{fd}").readlink().is_relative_to(root.resolve()):
        raise OutsideRootError(f"{name} leads out of {shown(root)}", remedy="put the recording itself there")


@contextmanager
def _new_copy(scratch: Path, size: int, name: str) -> Iterator[tuple[Path, int]]:
    try:
        scratch.mkdir(parents=True, exist_ok=True, mode=0o700)
        _check_room(scratch, size, name)
        fd, path = tempfile.mkstemp(prefix="source-", dir=scratch)
    except OSError as error:
        raise _unwritable(name, error) from error
    copy = Path(path)
    try:
        try:
            yield copy, fd
        finally:
            _close(fd, name)
    except BaseException:
        copy.unlink(missing_ok=True)
        raise


def _check_room(scratch: Path, size: int, name: str) -> None:
    """Fill no disk with a copy that will not fit. Only what fits the empty disk is worth waiting for."""
    disk = os.statvfs(scratch)
    needed = f"a working copy of {name} takes {size / 1e9:.1f} GB, and the disk of DROPSCRIBE_HOME has"
    if size > disk.f_blocks * disk.f_frsize > 0:
        raise SpoolError(f"{needed} {disk.f_blocks * disk.f_frsize / 1e9:.1f}", remedy="move that to a larger one")
    if size > disk.f_bavail * disk.f_frsize and disk.f_blocks:
        raise NoRoomError(f"{needed} {disk.f_bavail * disk.f_frsize / 1e9:.1f} GB left", remedy="make room there")


def _copy(fd: int, copy_fd: int, size: int, name: str, check: Callable[[], None]) -> str:
    """Copy to the end; return the SHA-256. A file that outgrows `size` would fill the disk: stop there."""
    digest = hashlib.sha256()
    copied = 0
    while block := _read(fd, name):
        check()
        copied += len(block)
        if copied > size:
            raise _changed(name)
        digest.update(block)
        _write(copy_fd, block, name)
    if copied < size:
        raise _changed(name)
    return digest.hexdigest()


def _fingerprint(copy_fd: int, size: int, name: str) -> str:
    try:
        return fingerprint(copy_fd, size)
    except OSError as error:
        raise _unwritable(name, error) from error


def _read(fd: int, name: str) -> bytes:
    try:
        return os.read(fd, BLOCK)
    except OSError as error:
        raise _unreadable(name, error) from error


def _write(fd: int, block: bytes, name: str) -> None:
    rest = memoryview(block)
    try:
        while rest:
            rest = rest[os.write(fd, rest) :]
    except OSError as error:
        raise _unwritable(name, error) from error


def _close(fd: int, name: str) -> None:
    """Close the copy: some filesystems say only now that they had no room for it."""
    try:
        os.close(fd)
    except OSError as error:
        raise _unwritable(name, error) from error


def _check_unchanged(before: os.stat_result, after: os.stat_result, name: str) -> None:
    if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
        raise _changed(name)


def _changed(name: str) -> SourceChangedError:
    return SourceChangedError(
        f"{name} was written to while it was read", remedy="it is tried again once it stands still"
    )


def _unreadable(name: str, error: OSError) -> SourceMissingError:
    return SourceMissingError(
        f"cannot read {name}: {error.strerror}", remedy="check that it is still there, its share and its permissions"
    )


def _unwritable(name: str, error: OSError) -> SpoolError:
    return cannot_write(
        f"cannot write a working copy of {name}: {error.strerror}; "
        "make room there, or move DROPSCRIBE_HOME to another disk",
        error,
    )
