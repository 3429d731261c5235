"""Names in watched folders that are dropscribe's own. Nothing heavy is imported here, as every scan needs them."""

from __future__ import annotations

from pathlib import PurePosixPath

SETTINGS = ".dropscribe.toml"  # what holds for the recordings of a folder,
HOTWORDS = "hotwords.txt"  # the terms beside it,
ERROR = ".dropscribe.error.txt"  # and what is wrong with them
OWNER = ".dropscribe.owner"  # who watches a folder
STATUS_PAGE = "_status.html"  # what becomes of the recordings of a watched folder

# Where recordings are archived once their job ended, beside the place they were dropped in, if that is wanted.
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
    """The file beside a recording that failed which says why.

    >>> reason_file("failed/talk.wav")
    'failed/talk.wav.txt'
    """
    place = PurePosixPath(path)
    return str(place.parent / fitted(place.name, ".txt"))


def shelf_of(path: str) -> str:
    """`DONE` or `FAILED` where that is the folder that the file lies in, else empty.

    >>> shelf_of("talks/done/a.wav"), shelf_of("talks/a.wav")
    ('done', '')
    """
    folder = PurePosixPath(path).parent.name
    return folder if folder in SHELVES else ""


def unshelved(path: str) -> str:
    """Where the file was dropped.

    >>> unshelved("talks/done/a.wav"), unshelved("talks/a.wav")
    ('talks/a.wav', 'talks/a.wav')
    """
    place = PurePosixPath(path)
    return str(place.parent.parent / place.name) if shelf_of(path) else path


def shelved(path: str, shelf: str, job_id: str) -> tuple[str, str]:
    """Where the file may be archived, best first; the second name is the job's own.

    >>> shelved("talks/a.wav", DONE, "k3v9")
    ('talks/done/a.wav', 'talks/done/a.k3v9.wav')
    """
    dropped = PurePosixPath(unshelved(path))
    folder = dropped.parent / shelf
    return str(folder / dropped.name), str(folder / fitted(dropped.stem, f".{job_id}{dropped.suffix}"))
