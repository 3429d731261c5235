"""Files that are on disk as a whole or not at all: written under a temporary name, synced, and then given their own.

What gives the name is the caller's: `os.replace` where the file there is ours, `core.exclusive_placement` else.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from dropscribe.core.errors import DropscribeError

_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
# What filesystems that cannot sync a directory (SMB, some FUSE mounts) answer; they leave nothing to be done.
_NO_SYNC = frozenset({errno.EINVAL, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS})


def write_new(
    path: str | Path,
    data: bytes,
    *,
    folder: int | None = None,
    mode: int = 0o666,
    begin: Callable[[int], object] = lambda _file: None,
) -> None:
    """Write a file and sync it; on an error nothing is left. Raises OSError, and what `begin` raises.

    `path` is relative to the descriptor `folder` where one is given. What has that name is removed first: it was left
    by a crash, or laid out as a trap. `mode` is lessened by the umask. `begin` is given the empty file's descriptor.
    """
    with suppress(FileNotFoundError):
        os.unlink(path, dir_fd=folder)
    with removed_on_error(path, folder=folder):
        descriptor = os.open(path, _NEW, mode, dir_fd=folder)
        with os.fdopen(descriptor, "wb") as file:
            begin(descriptor)
            file.write(data)
            file.flush()
            os.fsync(descriptor)


@contextmanager
def removed_on_error(path: str | Path, *, folder: int | None = None) -> Iterator[None]:
    """Remove the file when the block raises OSError or an error of ours, which is passed on."""
    try:
        yield
    except (OSError, DropscribeError):
        with suppress(OSError):  # the first failure is the one to report
            os.unlink(path, dir_fd=folder)
        raise


def sync(path: Path) -> None:
    """Make a file, or the names in a directory, last as far as the filesystem can. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _NO_SYNC:
            raise
    finally:
        os.close(descriptor)
