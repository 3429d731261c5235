"""Folders reached from above by descriptors, one after the other and through no link.

Anyone with write access to a share may exchange a folder for a link, or for another of its name, any time. What is done
through a descriptor is done in the folder that was opened.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePath

_FOLDER = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC  # on the way, the right to enter is enough
_TO_GIVE = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC  # who changes owner and mode needs more than a place
_PRIVATE = 0o700
_HERE = "/proc/self/fd"

# Takes the number of a folder on the way, counted from the top, and its descriptor.
Visit = Callable[[int, int], object]
# Takes the number of a folder that was made, the descriptor of the one above it, and its own.
Make = Callable[[int, int, int], object]


@contextmanager
def opened(
    top: str | Path,
    below: str | PurePath = "",
    *,
    make: Make | None = None,
    visit: Visit = lambda _level, _folder: None,
) -> Iterator[int]:
    """A descriptor of the folder `below` the folder `top`, which is the operator's and may be a link itself.

    With `make`, folders that are missing are made with mode 0700, and given to it; so are those that a process left
    like this, which ended meanwhile. All on the way are given to `visit`, the top as number 0. What is yielded is a
    place (O_PATH), for paths of `at` and for `dir_fd`. Raises OSError, also for a link on the way, and ValueError for
    one that leads up.
    """
    found = os.open(top, _FOLDER)
    try:
        visit(0, found)
        for level, name in enumerate(_names(below), 1):
            above, found = found, _below(found, name, level, make)
            os.close(above)
            visit(level, found)
        yield found
    finally:
        os.close(found)


def _names(below: str | PurePath) -> tuple[str, ...]:
    """The parts of a path below a folder. Raises ValueError for one that leads out of it.

    >>> _names("2026/talks")
    ('2026', 'talks')
    """
    names = PurePath(below).parts
    if not {"..", "/"}.isdisjoint(names):
        raise ValueError(f"{below} leads out of its folder")
    return names


def _below(folder: int, name: str, level: int, make: Make | None) -> int:
    """A descriptor of the folder `name` in another; with `make`, one that is not there is made. Raises OSError."""
    is_new = False
    if make:
        with suppress(FileExistsError):
            os.mkdir(name, _PRIVATE, dir_fd=folder)
            is_new = True
    found = os.open(name, _FOLDER | os.O_NOFOLLOW, dir_fd=folder)
    try:
        if make and (is_new or _is_left_over(found)):
            _give(folder, found, level, make)
    except BaseException:
        os.close(found)
        if is_new:
            with suppress(OSError):
                os.rmdir(name, dir_fd=folder)
        raise
    return found


def _is_left_over(folder: int) -> bool:
    """Is it as it was made: ours, for us alone, and empty? One that was closed on purpose has something in it."""
    found = os.fstat(folder)
    is_private = found.st_uid == os.geteuid() and found.st_mode & 0o777 == _PRIVATE
    return is_private and not any(at(folder).iterdir())


def _give(above: int, folder: int, level: int, make: Make) -> None:
    """Have `make` deal with a folder that was made, by a descriptor that lets its mode be changed."""
    found = os.open(at(folder), _TO_GIVE)
    try:
        make(level, above, found)
    finally:
        os.close(found)


def at(folder: int, name: str = "") -> Path:
    """A path that leads to the folder itself, or to what has that name in it, whatever lies at its path meanwhile."""
    return Path(_HERE, str(folder), name)


def real(path: Path) -> Path:
    """What people call the place of a path that `at` made; any other as it is."""
    if not path.is_relative_to(_HERE):
        return path
    _, _, _, _, folder, *names = path.parts
    with suppress(OSError):
        return Path(_HERE, folder).readlink().joinpath(*names)
    return path
