"""Which files an installed package consists of, without importing it."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path


def files(package: str, pattern: str) -> Iterator[Path]:
    """The files of a package whose paths in it match a pattern; none where it is not installed."""
    spec = importlib.util.find_spec(package)
    for folder in getattr(spec, "submodule_search_locations", None) or ():
        yield from Path(folder).glob(pattern)
