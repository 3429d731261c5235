"""Where transcripts go and how they get there: whole or not at all, and never over a stranger's file."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import stat
from collections.abc import Iterable, Iterator
from itertools import product
from pathlib import Path

from dropscribe.core import reserved_names
from dropscribe.core.atomic_write import sync, write_new
from dropscribe.core.disk_errors import FULL
from dropscribe.core.errors import NoRoomError, OutputError
from dropscribe.core.exclusive_placement import give_name
from dropscribe.core.reserved_names import fitted
from dropscribe.store.queries import Job

MAX_SWEPT = 20  # attempts back: each that began has swept what the one before left

_OURS = re.compile(r"\.dropscribe-(?P<job>.+)-(?P<attempt>[0-9]+)\.(?P<fmt>[a-z]+)\.tmp")


class TargetExistsError(OutputError):
    """A file that dropscribe did not write has that name; the next candidate is to be tried."""


def folder_of(job: Job, results: Path | None) -> Path:
    """Where workers put a job's files: where its folder's settings say, else in the mirror, else beside the recording.

    Raises OutputError where a link on the way to what its folder's settings say leads elsewhere.
    """
    root = Path(job.root)
    if job.overrides.folder:
        return _within(Path(job.overrides.folder), root, results or root)
    if results:
        return mirrored(job, results)
    beside = Path(job.source).parent
    return _within(beside, root) if job.overrides.archives else beside


def mirrored(job: Job, top: Path) -> Path:
    """The recording's folder in a mirror of its root under `top`."""
    path = reserved_names.unshelved(job.path) if job.overrides.archives else job.path
    return top / (Path(job.root).name or "files") / Path(path).parent


def _within(folder: Path, *allowed: Path) -> Path:
    there = Path(os.path.realpath(folder))
    if any(there.is_relative_to(os.path.realpath(one)) for one in allowed):
        return folder
    raise OutputError(f"{folder} leads out of {allowed[0]}", remedy="put a folder there")


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


def stage(target: Path, data: bytes, job_id: str, attempt: int) -> Path:
    """Write `data` to a temporary file beside `target`, safe on disk, and return its path.

    Missing folders are made. Raises OutputError, having removed what it had begun.
    """
    temporary = target.with_name(_temporary(job_id, attempt, target.suffix))
    with _translated(target, "write"):
        target.parent.mkdir(parents=True, exist_ok=True)
        write_new(temporary, data)
    return temporary


def publish(temporary: Path, target: Path, *, replaces: bool) -> None:
    """Give a staged file its name, and make that last.

    `replaces` says that the file there, if any, is dropscribe's own. Without it nothing is overwritten:
    raises TargetExistsError and leaves the temporary file for another target. Publishing that a crash
    interrupted may be done again. Raises OutputError for anything that the filesystem refuses.
    """
    with _translated(target, "publish"):
        if replaces:
            temporary.replace(target)
        else:
            _link(temporary, target)
        # Two names of one file: replacing is then defined to do nothing, and linking leaves both.
        temporary.unlink(missing_ok=True)
        sync(target.parent)


def write(target: Path, data: bytes, job_id: str, *, replaces: bool) -> None:
    """Put a file in place that no attempt at a job answers for. Raises what `stage` and `publish` raise."""
    temporary = stage(target, data, job_id, 0)
    try:
        publish(temporary, target, replaces=replaces)
    finally:
        temporary.unlink(missing_ok=True)


def digest(path: Path) -> str | None:
    """SHA-256 of the file in hex; None when nothing has that name.

    Empty, which no digest is, when the name belongs to something that dropscribe does not write: a folder, a
    link, a pipe. Raises OutputError when the file cannot be read.
    """
    with _translated(path, "read"):
        try:
            if not stat.S_ISREG(path.lstat().st_mode):
                return ""
            with path.open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
        except (FileNotFoundError, NotADirectoryError):
            return None


def is_ours(name: str) -> bool:
    """True for the name of a temporary file that `stage` makes."""
    return _OURS.fullmatch(name) is not None


def sweep(folder: Path, job_id: str, attempt: int, endings: Iterable[str]) -> None:
    """Remove what earlier attempts at a job left in `folder`; raises OutputError when one cannot be removed.

    The names are tried, and the folder is not listed: it may have a hundred thousand files, and a job each.
    """
    with _translated(folder, "clean up"):
        for number, ending in product(range(max(0, attempt - MAX_SWEPT), attempt), endings):
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                (folder / _temporary(job_id, number, f".{ending}")).unlink()


def _temporary(job_id: str, attempt: int, suffix: str) -> str:
    return f".dropscribe-{job_id}-{attempt}{suffix}.tmp"


def _link(temporary: Path, target: Path) -> None:
    """Add the name `target` to a file, which fails where the name is taken."""
    try:
        give_name(temporary, target)
    except FileExistsError as error:
        raise _taken(target) from error


def _taken(target: Path) -> TargetExistsError:
    return TargetExistsError(
        f"{_shown(target)} exists and was not written by dropscribe", remedy="move it away or let another name be used"
    )


@contextlib.contextmanager
def _translated(path: Path, verb: str) -> Iterator[None]:
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
    return "".join(char if char.isprintable() else "\ufffd" for char in str(path))
