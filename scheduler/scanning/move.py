"""Moves one file within a root, never over another and through no link. In the scan process.

Whatever a crash leaves is told from both places, so that the same request finishes it.
"""

from __future__ import annotations

import errno
import stat
from pathlib import Path, PurePosixPath

from dropscribe.core import reserved_names
from dropscribe.core.atomic_write import sync
from dropscribe.core.exclusive_placement import give_name
from dropscribe.scheduler.scanning.folder_files import opened
from dropscribe.scheduler.scanning.scan import observed

GONE = "it is not there any more"
CHANGED = "it is another file by now"
ELSEWHERE = 'that lies on another filesystem; let both lie on one, or set `when_done` to "keep"'
NO_FILE = (-1, -1)


def move(root: str, source: str, target: str, seen: tuple[int, int]) -> str:
    """Why the file at `source`, known by its size and time, stays; empty when it lies at `target`. Raises OSError."""
    there = PurePosixPath(target)
    with opened(root, str(PurePosixPath(source).parent)) as old, opened(root, str(there.parent), make=True) as new:
        return _move(_at(old) / PurePosixPath(source).name, _at(new) / there.name, seen)


def _at(descriptor: int) -> Path:
    """The directory itself, whatever lies at its path meanwhile."""
    return Path(f"/proc/self/fd/{descriptor}")


def _move(old: Path, new: Path, seen: tuple[int, int]) -> str:
    found, at_target = _seen(old), _seen(new)
    if found is None:
        return "" if at_target == seen else GONE
    if found != seen:
        return CHANGED
    try:
        _rename(old, new, is_ours=at_target is not None and at_target[0] == 0 < found[0])
    except FileExistsError:
        return reserved_names.TAKEN
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        return ELSEWHERE
    for folder in (new.parent, old.parent):
        sync(folder)
    return ""


def _rename(old: Path, new: Path, *, is_ours: bool) -> None:
    """`is_ours` says that an empty file at `new` is from a name taken, and then a crash. Raises FileExistsError."""
    if is_ours:
        old.replace(new)
    else:
        give_name(old, new)
        old.unlink(missing_ok=True)


def _seen(path: Path) -> tuple[int, int] | None:
    """Size and time of a file, which of anything else are none that a file can have; None where there is nothing."""
    try:
        found = path.lstat()
    except FileNotFoundError:
        return None
    return observed(found) if stat.S_ISREG(found.st_mode) else NO_FILE
