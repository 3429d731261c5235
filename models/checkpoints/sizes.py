"""How large things are together, in bytes."""

from __future__ import annotations

from collections.abc import Iterable
from operator import attrgetter
from pathlib import Path
from typing import Protocol


class HasSize(Protocol):
    """What knows its size in bytes."""

    @property
    def size(self) -> int:
        """Bytes."""
        ...


def total(parts: Iterable[HasSize]) -> int:
    """Of all parts."""
    return sum(map(attrgetter("size"), parts))


def of_files(paths: Iterable[Path]) -> int:
    """Of the files that are there; a link may lead nowhere."""
    return sum(path.stat().st_size for path in paths if path.exists())
