"""Where a recording was read and who could read it: kept with its job, so that its transcript gets nowhere else."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

from dropscribe.core import access
from dropscribe.core.access import Access
from dropscribe.core.file_marks import fingerprint
from dropscribe.core.safe_open import PLACE, regular


class FolderId(NamedTuple):
    """What a folder is known by, wherever it is mounted: its inode, and whether its root's filesystem holds it."""

    in_root: bool
    inode: int


@dataclass(frozen=True, slots=True)
class RecordingOrigin:
    """The recording's folder, its own inode, who could read it, and the fingerprint of what it held.

    `owner` is the account that the folder belongs to, None where a filesystem has no owners.
    """

    folder: FolderId
    inode: int
    access: Access
    fingerprint: str
    owner: int | None = None

    @classmethod
    def read(cls, stored: Mapping[str, Any]) -> Self:
        """From JSON."""
        folder, readers = FolderId(*stored["folder"]), Access.read(stored["access"])
        return cls(
            folder=folder,
            inode=stored["inode"],
            access=readers,
            fingerprint=stored["fingerprint"],
            owner=stored.get("owner"),
        )

    def stored(self) -> dict[str, Any]:
        """As JSON, from which `read` makes the same."""
        return {
            "folder": [*self.folder],
            "inode": self.inode,
            "access": self.access.stored(),
            "fingerprint": self.fingerprint,
            "owner": self.owner,
        }


def id_of(folder: int, root_device: int) -> FolderId:
    """What an open folder is known by. Raises OSError."""
    found = os.fstat(folder)
    return FolderId(found.st_dev == root_device, found.st_ino)


def holds(folder: int, name: str, origin: RecordingOrigin) -> bool:
    """Does the recording itself lie in the open folder? It proves the place where a filesystem renumbers folders."""
    with suppress(OSError), regular(name, folder=folder) as descriptor:
        return fingerprint(descriptor, os.fstat(descriptor).st_size) == origin.fingerprint
    return False


def readers(folder: int, name: str, origin: RecordingOrigin | None) -> Access | None:
    """Who may read the recording now; None if it is not that file any more. Raises OSError."""
    with regular(name, folder=folder, flags=PLACE) as descriptor:
        is_same = origin is None or os.fstat(descriptor).st_ino == origin.inode
        return access.of(descriptor) if is_same else None
