"""The small files of folders: settings read, words for people left behind; never through a link. In the scan process.

Everything is reached from the root's own descriptor, one directory after the other, so that nobody who may write to a
share can have another file read or written by exchanging a directory for a link.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from dropscribe.core import atomic_write, reserved_names
from dropscribe.core.exclusive_placement import give_name
from dropscribe.core.safe_open import SAFELY

MAX_SETTINGS = 16_384  # bytes of a settings file
MAX_HOTWORDS = 65_536  # bytes of a folder's hotwords; the context that they become has 10,000 characters at most

MAX_OURS = 1_000_000  # bytes of a file that is ours to write
MARKED = 2_000  # of them, those that hold the mark

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class SettingsFile(NamedTuple):
    """A folder's settings as text and its hotwords if there are any, or the `problem` that hides them."""

    text: str = ""
    hotwords: str | None = None
    problem: str = ""


@contextmanager
def opened(root: str, directory: str, *, make: bool = False) -> Iterator[int]:
    """A descriptor of a directory below the root, made if told so. Raises OSError, also for a link on the way."""
    found = os.open(root, _DIRECTORY)
    try:
        for name in PurePosixPath(directory).parts:
            if make:
                with suppress(FileExistsError):
                    os.mkdir(name, dir_fd=found)
            below = os.open(name, _DIRECTORY, dir_fd=found)
            os.close(found)
            found = below
        yield found
    finally:
        os.close(found)


def read_settings(root: str, directory: str) -> SettingsFile | None:
    """What the folder says of its recordings; None where it has no settings file."""
    try:
        with opened(root, directory) as folder:
            text = _read(folder, reserved_names.SETTINGS, MAX_SETTINGS)
            try:
                return SettingsFile(text, _read(folder, reserved_names.HOTWORDS, MAX_HOTWORDS))
            except FileNotFoundError:
                return SettingsFile(text)
    except FileNotFoundError:
        return None
    except OSError as error:
        return SettingsFile(
            problem=f"{reserved_names.SETTINGS} or {reserved_names.HOTWORDS} cannot be read: {error.strerror}"
        )
    except ValueError as error:
        return SettingsFile(problem=str(error))


def _read(folder: int, name: str, most: int) -> str:
    """Raises OSError, and ValueError with what is wrong."""
    data = _content(folder, name, most + 1)
    if len(data) > most:
        raise ValueError(f"{name} has more than {most:,} bytes")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{name} is not in UTF-8") from error


def _content(folder: int, name: str, most: int) -> bytes:
    """The first bytes of a file. Raises OSError, and ValueError when it is no regular one."""
    descriptor = os.open(name, SAFELY, dir_fd=folder)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise ValueError(f"{name} is not a regular file")
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            return file.read(most)
    finally:
        os.close(descriptor)


def put(root: str, path: str, text: str | None, mark: str) -> None:
    """Let the file of ours at `path` (relative to the root) hold the text, or with None be gone.

    It is there whole or not at all, and not written where it says so already. One without the `mark` near its
    beginning is somebody else's. Raises OSError.
    """
    place = PurePosixPath(path)
    wanted = None if text is None else text.encode()
    if wanted is None and not os.path.lexists(Path(root, path)):
        return
    with opened(root, str(place.parent)) as folder:
        there = _ours(folder, place.name, mark.encode())
        if wanted == there:
            return
        if wanted is None:
            os.unlink(place.name, dir_fd=folder)
        else:
            _write(folder, place.name, wanted, replaces=there is not None)


def _ours(folder: int, name: str, mark: bytes) -> bytes | None:
    """What stands in our file of that name; None where there is none. Raises OSError where another one is."""
    try:
        data = _content(folder, name, MAX_OURS)
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise FileExistsError(errno.EEXIST, str(error)) from error
    if mark not in data[:MARKED]:
        raise FileExistsError(errno.EEXIST, "a file of that name is there that dropscribe did not write")
    return data


def _write(folder: int, name: str, data: bytes, *, replaces: bool) -> None:
    """A new name is given as to a transcript: never to what somebody else put there this very moment."""
    temporary = f".dropscribe-{hashlib.sha256(os.fsencode(name)).hexdigest()[:8]}.tmp"
    atomic_write.write_new(temporary, data, folder=folder, mode=0o644)
    with atomic_write.removed_on_error(temporary, folder=folder):
        if replaces:
            os.replace(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
            return
        here = Path(f"/proc/self/fd/{folder}")
        give_name(here / temporary, here / name)
        (here / temporary).unlink(missing_ok=True)
