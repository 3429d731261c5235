"""Pure: folders in buckets of S3 and the objects in them, by names such as s3://bucket/prefix/talk.wav.

A key is any text: it may hold `..`, `//` or a slash in front. So no key is ever taken for a path of this machine.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Iterable
from itertools import pairwise
from pathlib import Path, PurePath
from typing import NamedTuple, Self

from dropscribe.core.errors import UsageError
from dropscribe.core.safe_text import printable

KEY_BYTES = 1024  # of a key at most, in UTF-8
NANOSECONDS = 1_000_000_000
MARK_DIGITS = 32  # what the store has room for
SHORT = 60  # characters of a folder's name, each of which has four bytes at most, of 255 that a filesystem takes

# Also as a path of Python writes it, which keeps one slash of two.
_NAME = re.compile(r"s3:/{1,2}(?P<bucket>[A-Za-z0-9][A-Za-z0-9._-]{0,254})(?:/(?P<prefix>.*))?", re.DOTALL)


class BucketFolder(NamedTuple):
    """What lies below a prefix of a bucket; `prefix` is empty, or without slashes at its ends."""

    bucket: str
    prefix: str

    @classmethod
    def parse(cls, name: str | PurePath) -> Self:
        """The folder of this name. Raises UsageError.

        >>> BucketFolder.parse("s3://talks/2026/").url
        's3://talks/2026'
        """
        found = _NAME.fullmatch(str(name))
        prefix = (found["prefix"] or "").rstrip("/") if found else "/"
        if not found or "//" in f"/{prefix}":
            shown = printable(str(name))
            raise UsageError(f"{shown} is not a folder in a bucket", remedy="write s3://BUCKET or s3://BUCKET/FOLDER")
        return cls(found["bucket"], prefix)

    @property
    def url(self) -> str:
        """Its name, without a slash at its end."""
        return f"s3://{self.bucket}/{self.prefix}".rstrip("/")

    @property
    def start(self) -> str:
        """What the keys of all that lies in it begin with."""
        return f"{self.prefix}/" if self.prefix else ""

    def key(self, path: str) -> str:
        """The key of the object at a path below the folder.

        >>> BucketFolder.parse("s3://talks/2026").key("may//../a.wav")
        '2026/may//../a.wav'
        """
        return self.start + path


def is_in_bucket(place: str | PurePath) -> bool:
    """Is it the name of something in a bucket, and no path?

    >>> is_in_bucket("s3://talks/a.wav"), is_in_bucket(Path("s3://talks")), is_in_bucket("/srv/s3://talks")
    (True, True, False)
    """
    return str(place).startswith("s3:/")


def apart(folders: Iterable[Path]) -> tuple[list[Path], list[BucketFolder]]:
    """Folders of this machine, and those in buckets. Raises UsageError for a name that is neither."""
    named = [*folders]
    return [one for one in named if not is_in_bucket(one)], [
        BucketFolder.parse(one) for one in named if is_in_bucket(one)
    ]


def as_stored(folder: str | PurePath) -> str:
    """A watched folder as the store names it.

    >>> as_stored(Path("s3://talks/2026")), as_stored(Path("/srv/talks"))
    ('s3://talks/2026', '/srv/talks')
    """
    return BucketFolder.parse(folder).url if is_in_bucket(folder) else str(folder)


def check_apart(folders: Collection[BucketFolder]) -> None:
    """Raise UsageError for a folder that is named twice or lies in another: its objects would be admitted twice."""
    named = sorted(f"{folder.url}/" for folder in folders)
    for outer, inner in pairwise(named):
        if inner.startswith(outer):
            raise UsageError(f"{inner} lies in {outer}, which is watched too", remedy="watch only the outer one")


def mark_of(etag: str) -> str:
    """What tells one content of an object from another, by its etag, which has any length and form."""
    return hashlib.sha256(etag.encode(errors="replace")).hexdigest()[:MARK_DIGITS]


def moment_of(seconds: int, etag: str) -> int:
    """When an object was written, in nanoseconds: whole seconds by the server's clock, and a part of them by its etag.

    So two contents of one second are two recordings, and the clock of this machine does not matter.

    >>> moment_of(1_700_000_000, "a") == moment_of(1_700_000_000, "b"), moment_of(5, "a") // 1_000_000_000
    (False, 5)
    """
    return seconds * NANOSECONDS + int(mark_of(etag), 16) % NANOSECONDS


def names_beside(key: str, folder: str, fmt: str, job_id: str) -> list[str]:
    """Keys for a transcript of the object at `key`, best first; the last is the job's own.

    `folder` is what they begin with: empty, or with a slash at its end. None is longer than a key may be.

    >>> names_beside("in/talk.wav", "in/", "txt", "k3v9")
    ['in/talk.txt', 'in/talk.wav.txt', 'in/talk.wav.k3v9.txt']
    """
    name = key.rpartition("/")[2]
    stem = name.rpartition(".")[0] or name
    tried = ((stem, f".{fmt}"), (name, f".{fmt}"), (name, f".{job_id}.{fmt}"))
    return [*dict.fromkeys(folder + _fitted(base, ending, KEY_BYTES - len(folder.encode())) for base, ending in tried)]


def _fitted(base: str, ending: str, room: int) -> str:
    """A name of both, the base shortened by whole characters until it has `room` bytes at most."""
    while base and len((base + ending).encode()) > room:
        base = base[:-1]
    return base + ending


def local_folder(folder: str) -> PurePath:
    """The folder of an object below its root, as one that any filesystem has: no step upwards, no long name.

    >>> str(local_folder("a//../b")), str(local_folder(""))
    ('a/_/_/b', '.')
    """
    parts = (part if part.strip(".") else "_" for part in folder.split("/")) if folder else ()
    return PurePath(*(printable(part)[:SHORT] for part in parts))
