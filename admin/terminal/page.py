"""The first of what there may be too much of, and whether there is more."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """At most `limit` entries (0: all); `is_cut` if there are more."""

    shown: Sequence[T]
    limit: int
    is_cut: bool


def first(limit: int, ask: Callable[..., Sequence[T]]) -> Page[T]:
    """The first `limit` entries that `ask(limit=...)` finds; it is asked for one more, to see whether there is more."""
    if not limit:
        return Page(ask(limit=None), limit, is_cut=False)
    found = ask(limit=limit + 1)
    return Page(found[:limit], limit, is_cut=len(found) > limit)
