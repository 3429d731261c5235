"""Progress of long work on standard error: a bar on a terminal, else a line for each step and one every few seconds."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from dropscribe.admin.context import Context
from dropscribe.admin.terminal import render

EVERY = 10.0  # s between two lines about the same step

Meter = Callable[[str, int, int], None]  # what is being done, bytes done and in all; 0 of 0 where that is not known


@contextmanager
def meter(context: Context) -> Iterator[Meter]:
    """Where to tell it."""
    if not context.err.is_terminal:
        yield _Lines(context)
        return
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    text = TextColumn("{task.description}", markup=False)
    columns = (text, BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=context.err, transient=True) as shown:
        task = shown.add_task("", total=None)
        step = ""

        def tell(what: str, done: int, total: int) -> None:
            nonlocal step
            if what != step:
                step = what
                shown.reset(task, description=render.safe(what))
            shown.update(task, completed=done, total=total or None)

        yield tell


@contextmanager
def steps(context: Context) -> Iterator[Callable[[str], None]]:
    """Where to tell what is being done, if nobody knows how much is left: on a terminal with the time it takes."""
    if not context.err.is_terminal:
        yield lambda step: context.err.print(render.safe(step), soft_wrap=True)
        return
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn())
    with Progress(*columns, console=context.err, transient=True) as shown:
        task = shown.add_task("")
        yield lambda step: shown.reset(task, description=render.safe(step))


class _Lines:
    """For a log or a pipe."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._step = ""
        self._told = 0.0

    def __call__(self, what: str, done: int, total: int) -> None:
        """A step's first line at once, another after a while."""
        now = time.monotonic()
        if what != self._step:
            of = ""
        elif now - self._told < EVERY:
            return
        else:
            of = f", {render.size(done)} of {render.size(total)}"
        self._step, self._told = what, now
        self._context.err.print(render.safe(f"{what}{of}"), soft_wrap=True)
