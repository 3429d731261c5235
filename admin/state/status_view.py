"""The state of the fleet on a terminal: tables of workers and folders, a summary, warnings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, repeat
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from dropscribe.admin.state.fleet_status import Status
from dropscribe.admin.state.job_view import expectation
from dropscribe.admin.terminal import render
from dropscribe.core.types import JobPhase
from dropscribe.store.fleet import Worker
from dropscribe.store.queries import Backlog
from dropscribe.store.removals import TEXT, Removal
from dropscribe.store.roots import WatchedRoot
from dropscribe.store.unfinished import Outlook

SHOWN_RECORDINGS, LEAST_RECORDINGS = 10, 3  # rows, where there is room and where there is none
FRAME_LINES = (
    5  # of a table beside its rows: a blank line, names, a rule, another blank line; and a line about the rest
)
LEAST_LEFT = 0.05  # seconds that are shown; less is what rounding left
SHOWN_WORK = 8  # lines of a worker in the table; a CPU worker's processes are seldom more


def draw(status: Status, height: int | None = None) -> RenderableType:
    """The status as a person reads it; on a screen of `height` lines, with as many recordings as have room."""
    head = summary(status)
    below: list[Table | Text] = [
        workers_table(status.workers, status.silence),
        folders_table(status.roots),
        *warnings(status),
    ]
    parts = [head, *recordings(status, room([head, *below], height)), *below]
    return Group(*filter(says_something, parts))


def room(others: Sequence[Table | Text], height: int | None) -> int:
    """How many recordings have room beside the other parts on a screen of `height` lines; None: it has no end."""
    if height is None:
        return SHOWN_RECORDINGS
    taken = FRAME_LINES + sum(_lines(part) for part in others if says_something(part))
    return min(SHOWN_RECORDINGS, max(LEAST_RECORDINGS, height - taken))


def _lines(part: Table | Text) -> int:
    """How many lines of a terminal a part takes."""
    return part.row_count + FRAME_LINES if isinstance(part, Table) else 1


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
            ("jobs", phases(status)),
            ("audio left", audio_left(status.backlog)),
            ("time left", time_left(status)),
            ("speed", f"{status.speed:.1f} times real time" if status.speed else "not measured yet"),
            *(engines or [("engine", f"{status.engine}, not running")]),
            ("paused", Text(paused, style="bold yellow")),
            *(("waiting for parts", _parts(root)) for root in status.roots if root.parts),
            *(("removed", _removal(one)) for one in status.removals),
        ]
    )


def _parts(root: WatchedRoot) -> str:
    """How many files of a folder wait for further parts of their recordings, and the first of them."""
    first = root.parts[0]
    until = "" if first.until is None else f", until {render.moment(first.until)} at most"
    told = f"{render.count(len(root.parts), 'file')} in {root.path}, such as {first.path}"
    return render.safe(f"{told}, which waits for {first.waits_for}{until}")


def _removal(one: Removal) -> str:
    """What was removed by a rule of retention, when and why."""
    what = "the text" if one.what == TEXT else "all data"
    return f"{what} of {render.count(one.jobs, 'recording')}, {render.moment(one.at)}: {render.safe(one.why)}"


def _engine(engine: Mapping[str, Any]) -> Iterator[tuple[str, str | Text]]:
    """Which engine transcribes, by how many workers, and what to know of it."""
    name = " ".join(filter(None, (engine["engine"], engine["model"], engine["precision"])))
    yield "engine", f"{name}, {render.count(engine['workers'], 'worker')}"
    yield "notice", Text(render.safe(engine["notice"]), style="bold yellow")


def phases(status: Status) -> Text:
    """How many jobs wait, are worked on, and are over."""
    return Text(", ").join(map(_number, status.phases.items())) or Text("none yet")


def _number(of_phase: tuple[JobPhase, int]) -> Text:
    """How many jobs are in a phase, in its colour."""
    phase, number = of_phase
    return Text(f"{number:,} {phase}", style=render.PHASE_STYLES[phase])


def audio_left(backlog: Backlog) -> str:
    """What is left to do, for people: what is worked on and what waits, in the recordings' own length."""
    amounts = {"being transcribed": backlog.transcribing_seconds, "waiting": backlog.waiting_seconds}
    parts = [f"{render.duration(seconds)} {what}" for what, seconds in amounts.items() if seconds >= LEAST_LEFT]
    if backlog.unprepared_files:
        parts.append(f"{render.count(backlog.unprepared_files, 'file')} of unknown length")
    return ", ".join(parts) or "nothing"


def time_left(status: Status) -> str:
    """How long the known audio takes, for people; empty where nothing is left, or nothing is known."""
    more = "; files of unknown length come on top" if status.backlog.unprepared_files else ""
    return f"{render.duration(status.time_to_finish)}{more}" if status.time_to_finish else ""


def recordings(status: Status, most: int = SHOWN_RECORDINGS) -> Iterator[Table | Text]:
    """The recordings that are worked on, then the first that wait: one row each, at `most` so many."""
    found = sorted(status.recordings, key=lambda one: one.recording.phase is JobPhase.WAITING)
    columns = ("recording", "state", "progress", "length", "place", "time left")
    right = ("progress", "length", "place", "time left")
    yield render.table(*columns, rows=map(_recording, found[:most]), whole=("state",), right=right)
    if (more := status.unfinished - min(len(found), most)) > 0:
        yield Text(f"and {render.count(more, 'more recording')}; `dropscribe jobs --state waiting` lists what waits")


def _recording(outlook: Outlook) -> list[RenderableType]:
    """The cells of a recording in the queue."""
    one = outlook.recording
    progress = f"{one.progress:.0%}" if one.chunk_seconds else ""
    return [
        render.safe(one.path),
        render.phase(one.phase),
        progress,
        render.duration(one.duration),
        *expectation(outlook),
    ]


def workers_table(workers: Sequence[Worker], silence: float) -> Table:
    """One row a worker."""
    columns = ("worker", "role", "state", "GPU", "speed", "heard", "doing")
    rows = map(_worker, workers, repeat(silence))
    return render.table(*columns, rows=rows, whole=("role", "state"), right=("speed", "heard"))


def workers_and_attention(workers: Sequence[Worker], silence: float) -> RenderableType:
    """The table, then a line for each model that has a choice of how to compute attention: which it took, and why."""
    engines = ((worker.id, worker.engine) for worker in workers)
    lines = (
        Text(render.safe(f"{name}: attention by {engine.attention}, since {engine.attention_reason}"))
        for name, engine in engines
        if engine and engine.attention
    )
    return Group(workers_table(workers, silence), *lines)


def _worker(worker: Worker, silence: float) -> list[RenderableType]:
    """The cells of a worker; one that is silent in red."""
    return [
        render.safe(worker.id),
        worker.role,
        render.safe(_state(worker)) if worker.is_alive(silence) else Text("silent", style="red"),
        render.safe(worker.gpu),
        render.speed(worker.speed),
        render.duration(worker.silent),
        _doing(worker),
    ]


def _state(worker: Worker) -> str:
    """What a worker does, in a word."""
    return "busy" if worker.doing and worker.state == "ready" else worker.state


def _doing(worker: Worker) -> str:
    """The first pieces of a worker's work, a line each, and how many there are besides."""
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
    """The cells of a watched folder."""
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
    """True if not everything in a folder is a recording, or nothing is: then a missing transcript is no surprise."""
    return root.online and bool(root.not_media or root.ignored or not root.files)


def what_was_seen(root: WatchedRoot) -> str:
    """The files of a folder in one sentence: recordings, and what is left out."""
    others = render.count(root.not_media, "other file")
    hidden = f"{root.ignored:,} hidden, unfinished or linked"
    return f"{root.path}: {render.count(root.files, 'recording')}; left out: {others}, {hidden}"
