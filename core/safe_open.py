"""How files that strangers may have laid out are opened for reading."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# NOFOLLOW refuses a link, NONBLOCK keeps a FIFO of that name from stopping us for ever, CLOEXEC keeps children out.
SAFELY = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
# The place of a file alone, which takes no right to read it.
PLACE = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC

# What open() says of a symbolic link, and of a socket or a device without a driver.
NOT_A_FILE = frozenset({errno.ELOOP, errno.ENXIO, errno.ENODEV})


class NotRegularError(OSError):
    """A link, a folder, a pipe or a device has the name of a file."""


@contextmanager
def descriptor_of(path: str | Path) -> Iterator[int]:
    """A descriptor of what is at the path, opened `SAFELY`, for the duration of the block. Raises OSError."""
    descriptor = os.open(path, SAFELY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def regular(path: str | Path, *, folder: int | None = None, flags: int = SAFELY) -> Iterator[int]:
    """A descriptor of a regular file, below the descriptor `folder` where one is given.

    Raises OSError, and NotRegularError for anything but a regular file.
    """
    try:
        descriptor = os.open(path, flags, dir_fd=folder)
    except OSError as error:
        if error.errno in NOT_A_FILE:
            raise NotRegularError(errno.EINVAL, "not a regular file") from error
        raise
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise NotRegularError(errno.EINVAL, "not a regular file")
        yield descriptor
    finally:
        os.close(descriptor)
