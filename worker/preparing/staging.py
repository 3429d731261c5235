"""Copies a source to local scratch: safely opened, hashed on the way, and proved not to have changed meanwhile."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path, PurePath

from dropscribe.core import access, mounts, open_folder
from dropscribe.core.disk_errors import cannot_write
from dropscribe.core.error_translation import translated
from dropscribe.core.errors import (
    NoRoomError,
    NotMediaError,
    OutsideRootError,
    SourceChangedError,
    SourceMissingError,
    SpoolError,
)
from dropscribe.core.file_marks import FileMark, fingerprint, stamp
from dropscribe.core.origin import RecordingOrigin, id_of
from dropscribe.core.recording_parts import RecordingPart
from dropscribe.core.safe_open import NOT_A_FILE, SAFELY
from dropscribe.core.safe_text import printable

# What open() says of a folder that is gone, and of a file or a link in its place.
GONE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP})
BLOCK = 1 << 20  # bytes read at once: one request of a usual NFS mount (rsize 1 MiB)


@dataclass(frozen=True, slots=True)
class Staged:
    """The copy at `path`, and what the source was: `size` in bytes, `mtime_ns`, `sha256` in hex, its mark.

    `origin` is where it was read, where that lay under a root. `parts` are the further files of a recording in parts,
    whose `sha256` is made of those of all.
    """

    path: Path
    size: int
    mtime_ns: int
    sha256: str
    mark: FileMark
    origin: RecordingOrigin | None = None
    parts: tuple[StagedPart, ...] = ()


@dataclass(frozen=True, slots=True)
class StagedPart:
    """A further file of a recording, and its copy; None where it cannot be read, for which `problem` is the reason."""

    part: RecordingPart
    copy: Staged | None
    problem: str = ""


def stage(
    source: Path,
    root: Path | None,
    scratch: Path,
    check: Callable[[], None] = lambda: None,
    *,
    home: PurePath | None = None,
) -> Staged:
    """Copy `source` into `scratch` (mode 0600, no suffix: what a file is, its content decides).

    With a `root`, the opened file has to lie under it, and no link may lead to it. `home` is its folder relative to
    the root, where that is not the one in which it lies. `check` is called with each block, and may raise to stop. On
    any failure no copy is left. Raises SourceMissingError (gone or unreadable for now), OutsideRootError (a link, not a
    regular file, outside), SourceChangedError (written to or moved meanwhile), NotMediaError (empty), NoRoomError
    (scratch is full) or SpoolError (scratch cannot be written).
    """
    name = shown(source)
    with _opened(source, name) as fd:
        _check_place(fd, root, name)
        before = os.fstat(fd)
        found = _found(fd, source, root, home) if root else None
        require_content(before.st_size, name)
        with new_copy(scratch, before.st_size, name) as (copy, copy_fd):
            sha256 = copied(_blocks(fd, name), copy_fd, before.st_size, name, check)
            with translated(OSError, into=partial(_unwritable, name)):
                mark = FileMark(stamp(before), fingerprint(copy_fd, before.st_size))
            after = os.fstat(fd)
            if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
                raise _changed(name)
    origin = found and replace(found, fingerprint=mark.fingerprint)
    return Staged(
        path=copy,
        size=before.st_size,
        mtime_ns=before.st_mtime_ns,
        sha256=sha256,
        mark=mark,
        origin=origin,
    )


def require_content(size: int, name: str) -> None:
    """Raise NotMediaError for a recording of no bytes."""
    if size == 0:
        raise NotMediaError(f"{name} is empty", remedy="record or copy it again")


def shown(path: Path) -> str:
    """The path as text that can be printed, logged and stored: what is not UTF-8 or not visible is escaped."""
    return printable(str(path))


@contextmanager
def _opened(source: Path, name: str) -> Iterator[int]:
    """A descriptor of the recording. Raises OutsideRootError if it is not a file of its own."""
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
    """Raise OutsideRootError where a link led out of the root, or to something else than a file."""
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        raise OutsideRootError(f"{name} is not a regular file", remedy="put the recording itself there")
    # The kernel's own name of what was opened: unlike the path, nobody can swap it afterwards.
    if root is not None and not Path(f"/proc/self/fd/{fd}").readlink().is_relative_to(root.resolve()):
        raise OutsideRootError(f"{name} leads out of {shown(root)}", remedy="put the recording itself there")


def _found(fd: int, source: Path, root: Path, home: PurePath | None) -> RecordingOrigin:
    """The folder that the open file is in, reached through no link; its inode, and who may read it."""
    name = shown(source)
    below = source.relative_to(root)
    home = below.parent if home is None else home
    has_owners = mounts.has_owners(mounts.filesystem_of(root / home))
    try:
        with open_folder.opened(root, home) as folder:
            _check_same(fd, folder, below.relative_to(home), name)
            owner = os.fstat(folder).st_uid if has_owners else None
            place = id_of(folder, root.stat().st_dev)
            return RecordingOrigin(
                folder=place,
                inode=os.fstat(fd).st_ino,
                access=access.of(fd),
                fingerprint="",
                owner=owner,
            )
    except OSError as error:
        raise (_moved(name) if error.errno in GONE else _unreadable(name, error)) from error


def _check_same(fd: int, folder: int, way: PurePath, name: str) -> None:
    """The open file is the one that lies there."""
    with open_folder.opened(open_folder.at(folder), way.parent) as there:
        if not os.path.samestat(os.fstat(fd), os.stat(way.name, dir_fd=there, follow_symlinks=False)):
            raise _moved(name)


@contextmanager
def new_copy(scratch: Path, size: int, name: str) -> Iterator[tuple[Path, int]]:
    """A file for the copy, of that size in bytes, and its descriptor; removed again if the block fails.

    `name` is what is copied, for messages. Raises NoRoomError, SpoolError.
    """
    with translated(OSError, into=partial(_unwritable, name)):
        scratch.mkdir(parents=True, exist_ok=True, mode=0o700)
        _check_room(scratch, size, name)
        fd, path = tempfile.mkstemp(prefix="source-", dir=scratch)
    copy = Path(path)
    try:
        try:
            yield copy, fd
        finally:
            # Some filesystems say only when the copy is closed that they had no room for it.
            with translated(OSError, into=partial(_unwritable, name)):
                os.close(fd)
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


def copied(blocks: Iterable[bytes], copy_fd: int, size: int, name: str, check: Callable[[], None]) -> str:
    """Copy to the end; return the SHA-256. A file that outgrows `size` would fill the disk: stop there.

    Raises SourceChangedError, SpoolError, and what `check` raises with each block.
    """
    digest = hashlib.sha256()
    length = 0
    for block in blocks:
        check()
        length += len(block)
        if length > size:
            raise _changed(name)
        digest.update(block)
        _write(copy_fd, block, name)
    if length < size:
        raise _changed(name)
    return digest.hexdigest()


def _blocks(fd: int, name: str) -> Iterator[bytes]:
    """The recording, block by block."""
    while block := _read(fd, name):
        yield block


def _read(fd: int, name: str) -> bytes:
    """The next block of the recording. Raises an error where it cannot be read."""
    with translated(OSError, into=partial(_unreadable, name)):
        return os.read(fd, BLOCK)


def _write(fd: int, block: bytes, name: str) -> None:
    """Write a whole block to the copy. Raises SpoolError."""
    rest = memoryview(block)
    with translated(OSError, into=partial(_unwritable, name)):
        while rest:
            rest = rest[os.write(fd, rest) :]


def _changed(name: str) -> SourceChangedError:
    """The error for a recording that is being written to."""
    return SourceChangedError(f"{name} was written to while it was read", remedy="it is tried again once it is stable")


def _moved(name: str) -> SourceChangedError:
    """The error for a recording that went away meanwhile."""
    return SourceChangedError(f"{name} was moved while it was read", remedy="it is tried again once it is stable")


def _unreadable(name: str, error: OSError) -> SourceMissingError:
    """The error for a recording that cannot be read."""
    return SourceMissingError(
        f"cannot read {name}: {error.strerror}", remedy="check that it is still there, its share and its permissions"
    )


def _unwritable(name: str, error: OSError) -> SpoolError:
    """The error for a copy that cannot be written."""
    return cannot_write(
        f"cannot write a working copy of {name}: {error.strerror}; "
        "make room there, or move DROPSCRIBE_HOME to another disk",
        error,
    )
