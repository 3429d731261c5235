"""Moves one file within a root, never over another and through no link. In the scan process.

Whatever a crash leaves is told from both places, so that the same request finishes it.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path, PurePosixPath

from dropscribe.core import reserved_names
from dropscribe.core.atomic_write import sync
from dropscribe.core.exclusive_placement import give_name
from dropscribe.scheduler.scanning.folder_files import opened

GONE = "it is not there any more"
CHANGED = "it is another file by now"


def move(root: str, source: str, target: str, seen: tuple[int, int]) -> str:
    """Why the file at `source`, known by its size and time, stays; empty when it lies at `target`. Raises OSError."""
    there = PurePosixPath(target)
    with opened(root, str(PurePosixPath(source).parent)) as old, opened(root, str(there.parent), make=True) as new:
        return _move(_at(old) / PurePosixPath(source).name, _at(new) / there.name, seen)


def _at(descriptor: int) -> Path:
    """The directory itself, whatever lies at its path meanwhile."""
    return Path(f"/proc/self/fd/{descriptor}")


def _move(old: Path, new: Path, seen: tuple[int, int]) -> str:
    found, at_target = _look(old), _look(new)
    if found is None:
        return "" if at_target and _is(at_target, seen) else GONE
    if not _is(found, seen):
        return CHANGED
    if at_target and found.st_size and not at_target.st_size:  # a name taken, and then a crash
        old.replace(new)
    else:
        try:
            give_name(old, new)
        except FileExistsError:
            return reserved_names.TAKEN
        old.unlink(missing_ok=True)
    for folder in (new.parent, old.parent):
        sync(folder)
    return ""


def _look(path: Path) -> os.stat_result | None:
    try:
        return path.lstat()
    except FileNotFoundError:
        return None


def _is(found: os.stat_result, seen: tuple[int, int]) -> bool:
    return stat.S_ISREG(found.st_mode) and (found.st_size, found.st_mtime_ns) == seen
