"""Pure: the further files of a recording that its recorder wrote in parts, as its job keeps them."""

from __future__ import annotations

from dataclasses import dataclass

MAX_PARTS = 99  # files of one recording: two days in pieces of half an hour


@dataclass(frozen=True, slots=True)
class RecordingPart:
    """A file after the first: `path` relative to its root, `size` in bytes, `mtime_ns`.

    `fingerprint` is that of what was read of it; empty before that.
    """

    path: str
    size: int
    mtime_ns: int
    fingerprint: str = ""

    @property
    def name(self) -> str:
        """The name of the file."""
        return self.path.rpartition("/")[2]
