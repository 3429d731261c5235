"""Moves one file within a root, never over another and through no link. In the scan process.

Whatever a crash leaves is seen from both places, so that the same request finishes it.
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from dropscribe.core import access, reserved_names
from dropscribe.core.atomic_write import sync
from dropscribe.core.exclusive_placement import give_name
from dropscribe.core.file_marks import fingerprint
from dropscribe.core.open_folder import at, opened
from dropscribe.core.safe_open import SAFELY
from dropscribe.scheduler.scanning.scan import observed
from dropscribe.scheduler.scanning.write_lease import has_writer

GONE = "it is gone"
CHANGED = "it is another file by now"
WRITTEN = "somebody has it open for writing"
ELSEWHERE = 'that lies on another filesystem; put both on one, or set `when_done` to "keep"'
NO_FILE = (-1, -1)


class MovedFile(NamedTuple):
    """What is known of a file that is to be moved.

    `size` in bytes, `mtime_ns`, and the `fingerprint` of what was read of it (empty: nothing was); `is_local` says that
    a lease tells whether somebody writes to it.
    """

    size: int
    mtime_ns: int
    fingerprint: str = ""
    is_local: bool = True

    @property
    def seen(self) -> tuple[int, int]:
        """As a look at it tells."""
        return self.size, self.mtime_ns


def move(root: str, source: str, target: str, file: MovedFile) -> str:
    """Why the file at `source` stays; empty when it lies at `target`. Raises OSError.

    Where both are one path, nothing moves: the answer is whether it could be, as far as the file itself says.
    """
    there = PurePosixPath(target)
    with opened(root, PurePosixPath(source).parent) as old, opened(root, there.parent, make=follow) as new:
        path = at(old, PurePosixPath(source).name)
        return _move(path, path if source == target else at(new, there.name), file)


def follow(_level: int, above: int, made: int) -> None:
    """Let a folder that was made have the readers of the one above it. Raises OSError, WithheldError."""
    access.give(made, access.of(above), own=access.ALL)


def _move(old: Path, new: Path, file: MovedFile) -> str:
    """Why the file at `old` stays; empty when it lies at `new`, also by an attempt before. Raises OSError."""
    found, at_target = _seen(old), _seen(new)
    if found is None:
        return "" if at_target == file.seen else GONE
    if found != file.seen:
        return CHANGED
    return _busy(old, file) or (
        "" if new == old else _renamed(old, new, is_ours=at_target is not None and at_target[0] == 0 < file.size)
    )


def _renamed(old: Path, new: Path, *, is_ours: bool) -> str:
    """Why it cannot be moved; `is_ours` says that an empty file at `new` is from a name taken, and then a crash."""
    try:
        if is_ours:
            old.replace(new)
        else:
            give_name(old, new)
            old.unlink(missing_ok=True)
    except FileExistsError:
        return reserved_names.TAKEN
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        return ELSEWHERE
    sync(new.parent)
    sync(old.parent)
    return ""


def _busy(path: Path, file: MovedFile) -> str:
    """Why a file that looks as it did is not to be moved now; empty also where it cannot be opened."""
    try:
        descriptor = os.open(path, SAFELY)
    except OSError:
        return ""
    try:
        if file.is_local and has_writer(descriptor):
            return WRITTEN
        return CHANGED if file.fingerprint not in {"", fingerprint(descriptor, file.size)} else ""
    finally:
        os.close(descriptor)


def _seen(path: Path) -> tuple[int, int] | None:
    """Size and time of a file, for anything else values that no file has; None where there is nothing."""
    with suppress(FileNotFoundError):
        found = path.lstat()
        return observed(found) if stat.S_ISREG(found.st_mode) else NO_FILE
    return None
