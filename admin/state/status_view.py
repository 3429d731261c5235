"""The state of the fleet on a terminal: tables of workers and folders, a summary, warnings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, repeat
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from dropscribe.admin.state.fleet_status import Status
from dropscribe.admin.terminal import render
from dropscribe.core.types import JobState
from dropscribe.store.fleet import Worker
from dropscribe.store.queries import Backlog
from dropscribe.store.roots import WatchedRoot

SHOWN_WORK = 8  # lines of a worker in the table; a CPU worker's processes are seldom more


def draw(status: Status) -> RenderableType:
    """The status as a person reads it."""
    parts: list[Table | Text] = [
        summary(status),
        workers_table(status.workers, status.silence),
        folders_table(status.roots),
        *warnings(status),
    ]
    return Group(*filter(says_something, parts))


def says_something(part: Table | Text) -> bool:
    """False for a table without rows and a text without words."""
    return bool(part.row_count if isinstance(part, Table) else part)


def warnings(status: Status) -> list[Text]:
    """A line for each."""
    return [Text(f"warning: {render.safe(warning)}", style="yellow") for warning in status.warnings]


def summary(status: Status) -> Table:
    """Names of figures and the figures."""
    since = status.paused_since
    paused = f"since {render.moment(since)}; `dropscribe resume` goes on" if since is not None else ""
    engines = [*chain.from_iterable(map(_engine, status.engines))]
    return render.facts(
        [
            ("jobs", states(status)),
            ("waiting", waiting(status.backlog)),
            ("speed", _speed(status)),
            *(engines or [("engine", f"{status.engine}, not running")]),
            ("paused", Text(paused, style="bold yellow")),
        ]
    )


def _engine(engine: Mapping[str, Any]) -> Iterator[tuple[str, str | Text]]:
    name = " ".join(filter(None, (engine["engine"], engine["model"], engine["precision"])))
    yield "engine", f"{name}, {render.count(engine['workers'], 'worker')}"
    yield "notice", Text(render.safe(engine["notice"]), style="bold yellow")


def states(status: Status) -> Text:
    """How many jobs are in which state."""
    return Text(", ").join(map(_number, status.standing.items())) or Text("none yet")


def _number(of_state: tuple[JobState, int]) -> Text:
    state, number = of_state
    return Text(f"{number:,} {state}", style=render.STATE_STYLES[state])


def waiting(backlog: Backlog) -> str:
    """What is left to do, for people."""
    files, seconds = backlog.unprepared_files, backlog.audio_seconds
    unknown = f"{render.count(files, 'file')} of unknown length" if files else ""
    audio = f"{render.duration(seconds)} of audio" if seconds else ""
    return " and ".join(filter(None, (audio, unknown))) or "nothing"


def _speed(status: Status) -> str:
    if status.speed is None:
        return "not measured yet"
    speed = f"{status.speed:.1f} times real time"
    left = f"what is known to wait takes {render.duration(status.time_to_finish)}" if status.time_to_finish else ""
    return "; ".join(filter(None, (speed, left)))


def workers_table(workers: Sequence[Worker], silence: float) -> Table:
    """One row a worker."""
    columns = ("worker", "role", "state", "GPU", "speed", "heard", "doing")
    rows = map(_worker, workers, repeat(silence))
    return render.table(*columns, rows=rows, whole=("role", "state"), right=("speed", "heard"))


def _worker(worker: Worker, silence: float) -> list[RenderableType]:
    return [
        render.safe(worker.id),
        worker.role,
        render.safe(_state(worker)) if worker.is_alive(silence) else Text("silent", style="red"),
        render.safe(worker.gpu),
        render.speed(worker.rtfx),
        render.duration(worker.silent),
        _doing(worker),
    ]


def _state(worker: Worker) -> str:
    return "busy" if worker.doing and worker.state == "ready" else worker.state


def _doing(worker: Worker) -> str:
    lines = [*map(render.safe, worker.doing[:SHOWN_WORK])]
    if len(worker.doing) > SHOWN_WORK:
        lines.append(f"and {len(worker.doing) - SHOWN_WORK} more")
    return "\n".join(lines)


def folders_table(roots: Sequence[WatchedRoot]) -> Table:
    """One row a folder."""
    figures = ("files", "pending", "not media", "ignored", "scanned")
    columns = ("folder", "host", "kind", "state", *figures)
    return render.table(*columns, rows=map(_folder, roots), whole=("state",), right=figures)


def _folder(root: WatchedRoot) -> list[RenderableType]:
    return [
        render.safe(root.path),
        render.safe(root.host),
        root.filesystem,
        Text("online", style="green") if root.online else Text("offline", style="red"),
        f"{root.files:,}",
        f"{root.pending:,}",
        f"{root.not_media:,}",
        f"{root.ignored:,}",
        render.duration(root.age),
    ]


def leaves_out(root: WatchedRoot) -> bool:
    """True if not everything in a folder is a recording, or nothing is: no transcript of it is no surprise then."""
    return root.online and bool(root.not_media or root.ignored or not root.files)


def what_was_seen(root: WatchedRoot) -> str:
    """The files of a folder in one sentence: recordings, and what is left out."""
    others = render.count(root.not_media, "other file")
    hidden = f"{root.ignored:,} hidden, unfinished or linked"
    return f"{root.path}: {render.count(root.files, 'recording')}; left out: {others}, {hidden}"
