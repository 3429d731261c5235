"""Progress of long work on standard error: a bar on a terminal, else a line now and then.

`track` counts the items of a list, `byte_progress` counts bytes (`ByteLines` in a log, `byte_bar` within a live view),
`step_progress` names steps of unknown length, and `busy` names one such step on a terminal only.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any, TypeVar

from dropscribe.admin.terminal import render

if TYPE_CHECKING:
    from rich.console import Console, Group

PATIENCE = 2.0  # s before a list's progress is shown
EVERY = 10.0  # s between two lines about the same work where there is no terminal

T = TypeVar("T")
ReportBytes = Callable[[str, int, int], None]  # the step, bytes done and bytes in all; 0 of 0 if that is not known
ReportStep = Callable[[str], None]


def track(console: Console, what: str, items: Sequence[T]) -> Iterator[T]:
    """Yield the items one by one, and show how many are done."""
    began = shown = time.monotonic()
    for done, item in enumerate(items):
        now = time.monotonic()
        if console.is_terminal and now - began > PATIENCE:
            yield from _bar(console, what, items, done)
            return
        if now - shown > EVERY:
            shown = now
            console.print(f"{what}: {done:,} of {len(items):,}")
        yield item


def _bar(console: Console, what: str, items: Sequence[T], done: int) -> Iterator[T]:
    """The items one by one, with a bar that is gone at the end."""
    from rich.progress import Progress

    with Progress(console=console, transient=True) as bar:
        task = bar.add_task(what, total=len(items), completed=done)
        for item in items[done:]:
            yield item
            bar.advance(task)


def busy(console: Console, what: str) -> AbstractContextManager[Any]:
    """Show on a terminal that one step of unknown length is running."""
    return console.status(what) if console.is_terminal else nullcontext()


def byte_bar(step: str, done: int, total: int) -> Group:
    """A bar to stand in a live view: the step, and how much of it is done."""
    from rich.console import Group
    from rich.progress_bar import ProgressBar
    from rich.text import Text

    text = Text(render.safe(f"{step}{render.share(done, total)}"))
    return Group(text, ProgressBar(total=total or None, completed=done, width=60))


@contextmanager
def byte_progress(console: Console) -> Iterator[ReportBytes]:
    """Yield a function to call with each step and its bytes."""
    if not console.is_terminal:
        yield ByteLines(lambda line: console.print(render.safe(line), soft_wrap=True))
        return
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    text = TextColumn("{task.description}", markup=False)
    columns = (text, BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("", total=None)
        current = ""

        def report(step: str, done: int, total: int) -> None:
            """Show how far a step is; the bar begins again with each."""
            nonlocal current
            if step != current:
                current = step
                bar.reset(task, description=render.safe(step))
            bar.update(task, completed=done, total=total or None)

        yield report


class ByteLines:
    """The progress of bytes for a log or a pipe."""

    def __init__(self, say: Callable[[str], None]) -> None:
        """`say` prints one line."""
        self._say = say
        self._printed_at: dict[str, float] = {}  # by step: several may run side by side

    def __call__(self, step: str, done: int, total: int) -> None:
        """Print a step's first line at once, and later ones with `EVERY` seconds between."""
        now = time.monotonic()
        begins = step not in self._printed_at
        if not begins and now - self._printed_at[step] < EVERY:
            return
        self._printed_at[step] = now
        self._say(step if begins else f"{step}{render.share(done, total)}")


@contextmanager
def step_progress(console: Console) -> Iterator[ReportStep]:
    """Yield a function to call with each step; a terminal also shows the time that the step takes."""
    if not console.is_terminal:
        yield lambda step: console.print(render.safe(step), soft_wrap=True)
        return
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as spinner:
        task = spinner.add_task("")
        yield lambda step: spinner.reset(task, description=render.safe(step))
