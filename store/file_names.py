"""Pure: file names as the database holds them, reversibly, and as Python shows them; digests of paths for its indexes.

Python shows an undecodable byte 0xNN as the lone surrogate U+DCNN, which no database takes. A private-use plane holds
it instead: U+10DC80..U+10DCFF.
"""

from __future__ import annotations

import hashlib
import re

_SHIFT = 0x10DC00 - 0xDC00
_SURROGATE = re.compile("[\udc80-\udcff]")
_SHIFTED = re.compile("[\U0010dc80-\U0010dcff]")


def stored(name: str) -> str:
    """As the database holds it.

    >>> ascii(stored("a" + chr(0xDCFF)))
    "'a\\\\U0010dcff'"
    """
    return _SURROGATE.sub(lambda found: chr(ord(found[0]) + _SHIFT), name)


def shown(name: str) -> str:
    """As `os.fsdecode` gives it.

    >>> shown(stored("a" + chr(0xDCFF))) == "a" + chr(0xDCFF)
    True
    """
    return _SHIFTED.sub(lambda found: chr(ord(found[0]) - _SHIFT), name)


def path_key(path: str) -> str:
    """Digest of an absolute path, for indexes."""
    return hashlib.sha256(path.encode("utf-8", "surrogateescape")).hexdigest()[:32]


def folder_key(path: str) -> str:
    """Digest of the folder that holds the file of an absolute path."""
    return path_key(path.rpartition("/")[0])


def source_of(root: str, path: str) -> str:
    """Absolute path of the recording at `path` below its `root`.

    >>> source_of("/srv/talks", "2026/a.wav")
    '/srv/talks/2026/a.wav'
    """
    return f"{root.rstrip('/')}/{path}"


class StoredRecording:
    """What lies at `path` below a `root`."""

    __slots__ = ()

    root: str
    path: str

    @property
    def source(self) -> str:
        """Absolute path of the recording."""
        return source_of(self.root, self.path)
