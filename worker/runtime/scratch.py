"""Directories of scratch, each held by a lock that dies with its process, so that what a crash left is known at once.

Scratch is local to its machine, and so are the locks (`flock`).
"""

from __future__ import annotations

import fcntl
import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dropscribe.core.error_translation import writing

log = logging.getLogger(__name__)

PREFIX = "work-"
LOCK = "lock"


@contextmanager
def directory(scratch: Path, label: str) -> Iterator[Path]:
    """A new directory in `scratch` for the duration of the block, mode 0700.

    `label` is what it is for in messages. Raises NoRoomError or SpoolError when it cannot be made.
    """
    advice = "make room there, or move DROPSCRIBE_HOME to another disk"
    with writing(f"cannot make a working directory for {label} in {scratch}", advice):
        scratch.mkdir(parents=True, exist_ok=True, mode=0o700)
        folder, lock = _held(scratch)
    try:
        yield folder
    finally:
        _remove(folder)
        os.close(lock)


def sweep(scratch: Path) -> list[Path]:
    """Remove the directories whose process is gone; returns them. Raises OSError where they cannot be looked at."""
    return [*filter(_removed_if_free, scratch.glob(f"{PREFIX}*"))]


def _held(scratch: Path) -> tuple[Path, int]:
    """A new directory and the descriptor that holds its lock. A sweep may have been quicker: then another one."""
    while True:
        folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=scratch))
        try:
            lock = _open(folder)
        except FileNotFoundError:
            continue
        fcntl.flock(lock, fcntl.LOCK_EX)
        if os.fstat(lock).st_nlink:
            return folder, lock
        os.close(lock)


def _open(folder: Path) -> int:
    """The lock of a working directory. Raises OSError."""
    return os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def _removed_if_free(folder: Path) -> bool:
    """Remove a working directory whose process has ended; False where one still holds it, or another was quicker."""
    try:
        lock = _open(folder)
    except (FileNotFoundError, NotADirectoryError, PermissionError):  # its process was quicker, or it is not ours
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    else:
        return _remove(folder)
    finally:
        os.close(lock)


def _remove(folder: Path) -> bool:
    """Remove a working directory; False where that fails, which is tried again later."""
    try:
        shutil.rmtree(folder)
    except OSError as error:
        log.warning("cannot remove %s: %s; it is tried again", folder, error.strerror)
        return False
    return True
