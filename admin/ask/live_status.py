"""`dropscribe status --watch`: a live view on a terminal, else a line now and then."""

from __future__ import annotations

import os
import select
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from itertools import chain

from rich.console import Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from dropscribe.admin.context import Context
from dropscribe.admin.state import fleet_status, status_view
from dropscribe.admin.state.fleet_status import Status
from dropscribe.admin.terminal import render
from dropscribe.core.errors import StoreUnavailableError
from dropscribe.store import queries
from dropscribe.store.fleet import DRAINING, Work, Worker
from dropscribe.store.queries import Job

REDRAW_SECONDS = 1.0
LINE_SECONDS = 10.0  # between two lines where there is no terminal
TROUBLES = 5  # jobs that failed or are suspect, of which the latest are shown
BAR_WIDTH = 20  # columns
ENDING = {"q", "Q", "\x1b", "\x04"}  # also Escape and Ctrl-D

Wait = Callable[[float], bool]  # waits so many seconds at most; True when a key was pressed that ends it


def watch(context: Context) -> None:
    """Show the state of the fleet until q or Ctrl-C. Raises what `status` does if it cannot begin."""
    first = _poll(context)
    with suppress(KeyboardInterrupt):  # the way to end it
        (_live if context.out.is_terminal else _lines)(context, first)


@dataclass(frozen=True, slots=True)
class Seen:
    """The state of the fleet, the last jobs in trouble, and why the store could not be asked again."""

    status: Status
    troubles: Sequence[Job]
    note: str = ""


def _poll(context: Context) -> Seen:
    """Ask the store how things are."""
    now = fleet_status.gather(context.database, context.asking)
    return Seen(now, queries.last_troubles(context.database, TROUBLES))


def _again(context: Context, before: Seen) -> Seen:
    """The current state; the one `before` with the reason, if the store is unreachable."""
    try:
        return _poll(context)
    except StoreUnavailableError as error:
        return replace(before, note=str(error))


def _live(context: Context, seen: Seen) -> None:
    """Redraw the whole screen until a key ends it."""
    with _keys() as ended, Live(console=context.out, screen=True, auto_refresh=False) as live:
        live.update(_view(seen, context.out.height), refresh=True)
        while not ended(REDRAW_SECONDS):
            seen = _again(context, seen)
            live.update(_view(seen, context.out.height), refresh=True)


def _lines(context: Context, seen: Seen) -> None:
    """Print a line whenever the summary changes, until Ctrl-C: for a pipe or a log."""
    before = ""
    while True:
        if (text := seen.note or line(seen.status)) != before:
            context.out.print(f"{time.strftime('%H:%M:%S')}  {render.safe(text)}", soft_wrap=True)
            before = text
        time.sleep(LINE_SECONDS)
        seen = _again(context, seen)


@contextmanager
def _keys() -> Iterator[Wait]:
    """Read single keys if standard input is our terminal; restore its mode at the end."""
    if not sys.stdin.isatty() or os.tcgetpgrp(sys.stdin.fileno()) != os.getpgrp():
        yield _sleep
        return
    import termios
    import tty

    before = termios.tcgetattr(sys.stdin)
    tty.setcbreak(sys.stdin)
    try:
        yield _ended_by_key
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)


def _sleep(seconds: float) -> bool:
    """Wait; no key ends the view where there is no keyboard."""
    time.sleep(seconds)
    return False


def _ended_by_key(seconds: float) -> bool:
    """Wait for a key; True for one that ends the view."""
    ready, _, _ = select.select([sys.stdin], [], [], seconds)
    return bool(ready) and os.read(sys.stdin.fileno(), 1).decode(errors="replace") in ENDING


def line(now: Status) -> str:
    """The state of the fleet in one line."""
    parts = [status_view.phases(now).plain, f"audio left: {status_view.audio_left(now.backlog)}"]
    if now.speed:
        parts.append(f"{now.speed:.1f} times real time")
    if now.time_to_finish:
        parts.append(f"{render.duration(now.time_to_finish)} left")
    if now.paused_since is not None:
        parts.append("paused")
    return "; ".join([*parts, *map(str, status_view.warnings(now))])


def _view(seen: Seen, height: int | None = None) -> RenderableType:
    """The whole screen, as much as fits."""
    now, head = seen.status, status_view.summary(seen.status)
    below: list[Table | Text] = [
        _workers(now),
        status_view.folders_table(now.roots),
        _troubles(seen.troubles),
        *status_view.warnings(now),
        Text(render.safe(seen.note), style="red"),
        Text("q ends", style="dim"),
    ]
    parts = [head, *status_view.recordings(now, status_view.room([head, *below], height)), *below]
    return Group(*filter(status_view.says_something, parts))


def _workers(now: Status) -> Table:
    """One row for each piece of work; workers without any have one too."""
    columns = ("worker", "state", "memory", "GPU", "speed", "recording", "part", "progress", "")
    rows = chain.from_iterable(_rows(worker, now) for worker in now.workers)
    return render.table(*columns, rows=rows, whole=("state", "part"), right=("memory", "GPU", "speed", "progress"))


def _rows(worker: Worker, now: Status) -> Iterator[Sequence[RenderableType]]:
    """A worker's rows, one for each piece of its work; what is said of the worker itself stands in the first."""
    who = _who(worker, now)
    for work in worker.work or (None,):
        yield [*who, *_what(work)]
        who = [""] * len(who)


def _who(worker: Worker, now: Status) -> list[RenderableType]:
    """The cells on the worker itself."""
    dead = not worker.is_alive(now.silence)
    held = worker.engine.memory_held if worker.engine else 0
    return [
        render.safe(worker.id),
        Text("silent", style="red") if dead else Text(worker.state, style="yellow" if worker.state == DRAINING else ""),
        render.size_if_any(worker.memory),
        render.size_if_any(held),
        render.speed(worker.speed),
    ]


def _what(work: Work | None) -> list[RenderableType]:
    """The cells on one piece of work: recording, part, share and bar; empty for a worker without any."""
    if work is None:
        return [""] * 4
    path = render.safe(work.path)
    if work.share is None:
        return [path, work.step, "", ""]
    bar = ProgressBar(total=1.0, completed=work.share, width=BAR_WIDTH)
    return [path, work.part, f"{work.share:.0%}", bar]


def _troubles(jobs: Sequence[Job]) -> Table:
    """The last jobs that need a person, as a table."""
    columns = ("id", "state", "ended", "recording", "reason")
    return render.table(*columns, rows=map(_trouble, jobs), whole=("id", "state", "ended"))


def _trouble(job: Job) -> list[RenderableType]:
    """The cells of such a job."""
    ended = render.moment(job.finished_at)
    return [job.id, render.phase(job.phase), ended, render.safe(job.path), render.safe(job.reason)]
