"""The small files of folders: settings read, words for people left behind; never through a link. In the scan process.

Everything is reached from the root's descriptor, one directory after the other. So nobody who may write to a share can
replace a directory by a link and have another file read or written.
"""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Iterator
from contextlib import suppress
from enum import StrEnum
from itertools import pairwise
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from dropscribe.core import access, atomic_write, placing, reserved_names
from dropscribe.core.access import READ
from dropscribe.core.open_folder import at, opened
from dropscribe.core.safe_open import NotRegularError, regular

MAX_SETTINGS = 16_384  # bytes of a settings file
MAX_HOTWORDS = 65_536  # bytes of a folder's hotwords; the context that they become has 10,000 characters at most

# Who decides: the account of this process, and the superuser.
OPERATORS = (os.geteuid(), 0)

MAX_OURS = 1_000_000  # bytes of a file that is ours to write
MARKED = 2_000  # of them, those that hold the mark


class Author(StrEnum):
    """Whose words a settings file has."""

    OPERATOR = "operator"  # nobody else can write it
    SHARED = "shared"  # the operator's, where others can write too; or anybody's, where files have no owners
    OWNER = "owner"  # the owner of its folder
    STRANGER = "stranger"  # it is not believed


class SettingsFile(NamedTuple):
    """A folder's settings as text and its hotwords if there are any, or the `problem` that hides them."""

    text: str = ""
    hotwords: str | None = None
    problem: str = ""
    author: str = Author.OPERATOR
    owner: int = OPERATORS[0]


def read_settings(root: str, directory: str, *, has_owners: bool = True) -> SettingsFile | None:
    """What the folder says of its recordings; None where it has no settings file.

    `has_owners` says that owners of files mean something there.
    """
    devices: list[int] = []
    try:
        with opened(root, directory, visit=lambda _, found: devices.append(os.fstat(found).st_dev)) as folder:
            proven = has_owners and devices[0] == devices[-1]  # what is mounted below may be anything
            there = os.stat(reserved_names.SETTINGS, dir_fd=folder, follow_symlinks=False)
            return _read_settings(folder, there, proven=proven)
    except FileNotFoundError:
        return None
    except OSError as error:
        return SettingsFile(problem=_unreadable(error), author=Author.OWNER)


def _read_settings(folder: int, there: os.stat_result, *, proven: bool) -> SettingsFile:
    """Raises FileNotFoundError where there is none."""
    text, terms, problem, found = "", None, "", there
    try:
        text, found = _read(folder, reserved_names.SETTINGS, MAX_SETTINGS)
        terms = _hotwords(folder, proven=proven)
    except FileNotFoundError:  # it went away this very moment
        raise
    except OSError as error:
        problem = _unreadable(error)
    except ValueError as error:
        problem = str(error)
    author = _author(folder, reserved_names.SETTINGS, found) if proven else Author.SHARED
    if author is Author.STRANGER:
        text, terms, problem = "", None, ""
    return SettingsFile(
        text=text,
        hotwords=terms,
        problem=problem,
        author=author,
        owner=found.st_uid,
    )


def _hotwords(folder: int, *, proven: bool) -> str | None:
    """The terms beside the settings; None where there are none, or a stranger's. Raises OSError, ValueError."""
    try:
        text, found = _read(folder, reserved_names.HOTWORDS, MAX_HOTWORDS)
    except FileNotFoundError:
        return None
    return None if proven and _author(folder, reserved_names.HOTWORDS, found) is Author.STRANGER else text


def _unreadable(error: OSError) -> str:
    """Why the settings of a folder are not known."""
    return f"{reserved_names.SETTINGS} or {reserved_names.HOTWORDS} cannot be read: {error.strerror}"


def _author(folder: int, name: str, found: os.stat_result) -> Author:
    """Whose words the file of that name has that was `found` there. Raises OSError."""
    here = os.fstat(folder)
    if found.st_uid in OPERATORS:
        is_open = _is_open(at(folder), here) or _is_open(at(folder, name), found)
        return Author.SHARED if is_open else Author.OPERATOR
    return Author.OWNER if found.st_uid == here.st_uid else Author.STRANGER


def _is_open(place: Path, found: os.stat_result) -> bool:
    """Can others write to it than the operator?"""
    return found.st_uid not in OPERATORS or access.others_may_write(place, found)


def borders(root: str, path: str) -> frozenset[str]:
    """Those of the folders above a path that belong to somebody else than the one above them. Raises OSError."""
    owners: list[int] = []
    above = [*places(path)]
    with opened(root, above[-1] if above else "", visit=lambda _, found: owners.append(os.fstat(found).st_uid)):
        return frozenset(place for place, (over, own) in zip(above, pairwise(owners), strict=True) if own != over)


def places(path: str) -> Iterator[str]:
    """The directories above a path, each ending with a slash.

    >>> [*places("talks/2026/a.wav")]
    ['talks/', 'talks/2026/']
    """
    end = path.find("/")
    while end >= 0:
        yield path[: end + 1]
        end = path.find("/", end + 1)


def _read(folder: int, name: str, most: int) -> tuple[str, os.stat_result]:
    """A small text file of one name. Raises OSError, and ValueError with what is wrong."""
    try:
        with regular(name, folder=folder) as descriptor, open(descriptor, "rb", closefd=False) as file:
            data, found = file.read(most + 1), os.fstat(descriptor)
    except NotRegularError as error:
        raise ValueError(f"{name} is not a regular file") from error
    if found.st_nlink != 1:
        raise ValueError(f"{name} has another name elsewhere (a hard link)")
    if len(data) > most:
        raise ValueError(f"{name} has more than {most:,} bytes")
    try:
        return data.decode("utf-8-sig"), found
    except UnicodeDecodeError as error:
        raise ValueError(f"{name} is not in UTF-8") from error


def _content(folder: int, name: str, most: int) -> bytes:
    """The first bytes of a regular file. Raises OSError."""
    with regular(name, folder=folder) as descriptor, open(descriptor, "rb", closefd=False) as file:
        return file.read(most)


def read_ours(root: str, path: str) -> str:
    """The text of a file of ours at `path` (relative to the root); empty where none can be read."""
    place = PurePosixPath(path)
    with suppress(OSError), opened(root, place.parent) as folder:
        return _content(folder, place.name, MAX_SETTINGS).decode("utf-8", "replace")
    return ""


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
    except NotRegularError as error:
        raise FileExistsError(errno.EEXIST, f"{name} is not a regular file") from error
    if mark not in data[:MARKED]:
        raise FileExistsError(errno.EEXIST, "a file of that name is there that dropscribe did not write")
    return data


def _write(folder: int, name: str, data: bytes, *, replaces: bool) -> None:
    """For all who can read the folder. A new name is given as to a transcript: never to what is somebody else's."""
    temporary = at(folder, f".dropscribe-{hashlib.sha256(os.fsencode(name)).hexdigest()[:8]}.tmp")
    placing.write(temporary, data, access.of(folder).for_file(READ))
    with atomic_write.removed_on_error(temporary):
        placing.name(temporary, at(folder, name), replaces=replaces)
    placing.settle(at(folder))
