"""Names in watched folders that are dropscribe's own. Nothing heavy is imported here, as every scan needs them."""

from __future__ import annotations

from pathlib import PurePosixPath

SETTINGS = ".dropscribe.toml"  # what holds for the recordings of a folder,
HOTWORDS = "hotwords.txt"  # the terms beside it,
ERROR = ".dropscribe.error.txt"  # and what is wrong with them
STATUS_PAGE = "_status.html"  # what becomes of the recordings of a watched folder

# Where recordings are put away once their job ended, beside the place they were dropped in, if that is wanted.
DONE = "done"
FAILED = "failed"
SHELVES = (DONE, FAILED)
NAME_BYTES = 255  # of a file's name at most, on every common filesystem (NAME_MAX)
TAKEN = "a file of that name is there already"  # why it cannot be put there


def fitted(base: str, ending: str) -> str:
    """A file name of both, the base shortened by whole characters until it has NAME_BYTES at most.

    >>> fitted("talk", ".txt")
    'talk.txt'
    >>> len(fitted("talk" * 100, ".txt"))
    255
    """
    while base and len((base + ending).encode("utf-8", "surrogateescape")) > NAME_BYTES:
        base = base[:-1]
    return base + ending


def reason_file(path: str) -> str:
    """The file beside a recording that failed which says why."""
    place = PurePosixPath(path)
    return str(place.parent / fitted(place.name, ".txt"))


def shelf_of(path: str) -> str:
    """`DONE` or `FAILED` where that is the folder that the file lies in, else empty."""
    folder = PurePosixPath(path).parent.name
    return folder if folder in SHELVES else ""


def unshelved(path: str) -> str:
    """Where the file was dropped."""
    place = PurePosixPath(path)
    return str(place.parent.parent / place.name) if shelf_of(path) else path


def shelved(path: str, shelf: str, job_id: str) -> tuple[str, str]:
    """Where the file may be put away, best first; the second name is the job's own."""
    dropped = PurePosixPath(unshelved(path))
    folder = dropped.parent / shelf
    return str(folder / dropped.name), str(folder / fitted(dropped.stem, f".{job_id}{dropped.suffix}"))
