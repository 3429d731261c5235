"""How work on a checkpoint reports its progress."""

from __future__ import annotations

from collections.abc import Callable

Tell = Callable[[str, int, int], None]  # what is being done, bytes done and in all


def ignore(_what: str, _done: int, _total: int) -> None:
    """Default progress callback: does nothing."""
