"""Progress on standard error: through a list, a bar on a terminal once it takes long, else a line now and then."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, TypeVar

from dropscribe.admin.context import Context

PATIENCE = 2.0  # s before anything is shown
EVERY = 10.0  # s between two lines where there is no terminal

T = TypeVar("T")


def track(context: Context, what: str, items: Sequence[T]) -> Iterator[T]:
    """The items one by one, saying how far it is."""
    began = told = time.monotonic()
    for done, item in enumerate(items):
        now = time.monotonic()
        if context.err.is_terminal and now - began > PATIENCE:
            yield from _bar(context, what, items, done)
            return
        if now - told > EVERY:
            told = now
            context.err.print(f"{what}: {done:,} of {len(items):,}")
        yield item


def busy(context: Context, what: str) -> AbstractContextManager[Any]:
    """Say on a terminal that something is done of which nobody knows how long it takes."""
    return context.err.status(what) if context.err.is_terminal else nullcontext()


def _bar(context: Context, what: str, items: Sequence[T], done: int) -> Iterator[T]:
    from rich.progress import Progress

    with Progress(console=context.err, transient=True) as shown:
        task = shown.add_task(what, total=len(items), completed=done)
        for item in items[done:]:
            yield item
            shown.advance(task)
