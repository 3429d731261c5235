"""Where transcripts go and how they get there: whole or not at all, and never over a stranger's file."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
from collections.abc import Iterable, Iterator
from itertools import product
from pathlib import Path

from dropscribe.core import access, open_folder, placing
from dropscribe.core.access import Access, Doubt, withhold
from dropscribe.core.disk_errors import FULL
from dropscribe.core.errors import NoRoomError, OutputError, WithheldError
from dropscribe.core.reserved_names import fitted
from dropscribe.core.safe_open import NotRegularError, regular

MAX_SWEPT = 20  # attempts back: each that began has swept what the one before left

_OURS = re.compile(r"\.dropscribe-(?P<job>.+)-(?P<attempt>[0-9]+)\.(?P<fmt>[a-z]+)\.tmp")


class TargetExistsError(OutputError):
    """A file that dropscribe did not write has that name; the next candidate is to be tried."""


def candidates(source: Path, fmt: str, job_id: str, folder: Path) -> list[Path]:
    """Names for a transcript in `folder`, best first; the last is the job's own.

    Each name has at most 255 bytes and differs from the source's.
    """
    tried = (
        fitted(source.stem, f".{fmt}"),
        fitted(source.name, f".{fmt}"),
        fitted(source.name, f".{job_id}.{fmt}"),
    )
    targets = dict.fromkeys(map(folder.joinpath, tried))
    targets.pop(source, None)
    return [*targets]


def stage(target: Path, data: bytes, job_id: str, attempt: int, readers: Access, *, doubt: Doubt = withhold) -> Path:
    """Write `data` to a temporary file beside `target`, for its `readers`, safe on disk; return its path.

    Raises OutputError, having removed what it had begun; WithheldError where others could read it, unless `doubt`
    takes that.
    """
    temporary = target.with_name(_temporary(job_id, attempt, target.suffix))
    with translated(target, "write"):
        placing.write(temporary, data, readers, doubt)
    return temporary


def publish(temporary: Path, target: Path, *, replaces: bool) -> None:
    """Give a staged file its name, which `settle` makes last.

    `replaces` says that the file there, if any, is dropscribe's own. Without it nothing is overwritten:
    raises TargetExistsError and leaves the temporary file for another target. Publishing that a crash
    interrupted may be done again. Raises OutputError for anything that the filesystem refuses.
    """
    with translated(target, "publish"):
        try:
            placing.name(temporary, target, replaces=replaces)
        except FileExistsError as error:
            raise _taken(target) from error


def settle(folder: Path) -> None:
    """Make the names of what was published in a folder last, once for all of them. Raises OutputError."""
    with translated(folder, "publish"):
        placing.settle(folder)


def write(target: Path, data: bytes, job_id: str, readers: Access, *, replaces: bool, doubt: Doubt = withhold) -> None:
    """Put a file in place that no attempt at a job answers for. Raises what `stage` and `publish` raise."""
    temporary = stage(target, data, job_id, 0, readers, doubt=doubt)
    try:
        publish(temporary, target, replaces=replaces)
        settle(target.parent)
    finally:
        temporary.unlink(missing_ok=True)


def digest(path: Path) -> str | None:
    """SHA-256 of the file in hex; None when nothing has that name.

    Empty, which no digest is, when the name belongs to something that dropscribe does not write: a folder, a
    link, a pipe. Raises OutputError when the file cannot be read.
    """
    with translated(path, "read"):
        try:
            with regular(path) as descriptor:
                return _digest(descriptor)
        except NotRegularError:
            return ""
        except (FileNotFoundError, NotADirectoryError):
            return None


def give(path: Path, sha256: str, readers: Access) -> bool:
    """Let a file of ours that is in place have these readers; False if it has another content, or cannot have them."""
    with contextlib.suppress(OSError, WithheldError), regular(path) as descriptor:
        is_same = os.fstat(descriptor).st_nlink == 1 and _digest(descriptor) == sha256
        if is_same:
            access.give(descriptor, readers)
        return is_same
    return False


def _digest(descriptor: int) -> str:
    """The SHA-256 of an open file."""
    with open(descriptor, "rb", closefd=False) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def is_ours(name: str) -> bool:
    """True for the name of a temporary file that `stage` makes."""
    return _OURS.fullmatch(name) is not None


def sweep(folder: Path, job_id: str, attempt: int, endings: Iterable[str]) -> None:
    """Remove what earlier attempts at a job left in `folder`; raises OutputError when one cannot be removed.

    The names are tried, and the folder is not listed: it may have a hundred thousand files, and a job each.
    """
    with translated(folder, "clean up"):
        for number, ending in product(range(max(0, attempt - MAX_SWEPT), attempt), endings):
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                (folder / _temporary(job_id, number, f".{ending}")).unlink()


def _temporary(job_id: str, attempt: int, suffix: str) -> str:
    """The name of a file that is not whole yet.

    >>> is_ours(_temporary("k3v9", 1, ".json"))
    True
    """
    return f".dropscribe-{job_id}-{attempt}{suffix}.tmp"


def _taken(target: Path) -> TargetExistsError:
    """The error for a name that is somebody else's file."""
    return TargetExistsError(
        f"{_shown(target)} exists and was not written by dropscribe", remedy="move it away or let another name be used"
    )


@contextlib.contextmanager
def translated(path: Path, verb: str) -> Iterator[None]:
    """Say an OSError of the block as an OutputError about the file."""
    try:
        yield
    except OSError as error:
        if error.errno in FULL:
            raise NoRoomError(
                f"{_shown(path.parent)} is full", remedy="make room there, and dropscribe goes on"
            ) from error
        raise OutputError(
            f"cannot {verb} {_shown(path)}: {error.strerror or error}",
            remedy=f"see that {_shown(path.parent)} is a folder, writable and not full",
        ) from error


def _shown(path: Path) -> str:
    """A path that any terminal and database can hold."""
    path = open_folder.real(path)
    return "".join(char if char.isprintable() else "\ufffd" for char in str(path))
