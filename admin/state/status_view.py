"""The state of the fleet on a terminal: tables of workers and folders, a summary, warnings."""

from __future__ import annotations

from collections.abc import Sequence

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
    parts: list[RenderableType] = [summary(status)]
    if status.workers:
        parts.append(workers_table(status.workers, status.silence))
    if status.roots:
        parts.append(folders_table(status.roots))
    return Group(*parts, *warnings(status))


def warnings(status: Status) -> list[Text]:
    """A line for each."""
    return [Text(f"warning: {render.safe(warning)}", style="yellow") for warning in status.warnings]


def summary(status: Status) -> Table:
    """Names of figures and the figures."""
    facts = render.facts()
    facts.add_row("jobs", states(status))
    facts.add_row("waiting", waiting(status.backlog))
    facts.add_row("speed", _speed(status))
    for engine in status.engines:
        name = " ".join(part for part in (engine["engine"], engine["model"], engine["precision"]) if part)
        facts.add_row("engine", render.safe(f"{name}, {render.count(engine['workers'], 'worker')}"))
        if engine["notice"]:
            facts.add_row("notice", Text(render.safe(engine["notice"]), style="bold yellow"))
    if not status.engines:
        facts.add_row("engine", f"{status.engine}, not running")
    if status.paused_since is not None:
        since = render.moment(status.paused_since)
        facts.add_row("paused", Text(f"since {since}; `dropscribe resume` goes on", style="bold yellow"))
    return facts


def states(status: Status) -> Text:
    """How many jobs are in which state."""
    shown = [state for state in JobState if status.jobs.get(state)]
    parts = [Text(f"{status.jobs[state]:,} {state}", style=render.STATE_STYLES[state]) for state in shown]
    return Text(", ").join(parts) if parts else Text("none yet")


def waiting(backlog: Backlog) -> str:
    """What is left to do, for people."""
    unknown = f"{render.count(backlog.unprepared_files, 'file')} of unknown length"
    if not backlog.audio_seconds:
        return unknown if backlog.unprepared_files else "nothing"
    audio = f"{render.duration(backlog.audio_seconds)} of audio"
    return f"{audio} and {unknown}" if backlog.unprepared_files else audio


def _speed(status: Status) -> str:
    if status.speed is None:
        return "not measured yet"
    speed = f"{status.speed:.1f} times real time"
    if not status.backlog.audio_seconds:
        return speed
    return f"{speed}; what is known to wait takes {render.duration(status.time_to_finish)}"


def workers_table(workers: Sequence[Worker], silence: float) -> Table:
    """One row a worker."""
    table = render.table(
        "worker", "role", "state", "GPU", "speed", "heard", "doing", whole=("role", "state"), right=("speed", "heard")
    )
    for worker in workers:
        dead = not worker.is_alive(silence)
        table.add_row(
            render.safe(worker.id),
            worker.role,
            Text("silent", style="red") if dead else render.safe(_state(worker)),
            render.safe(worker.gpu),
            f"{worker.rtfx:.1f} x" if worker.rtfx else "",
            render.duration(worker.silent),
            _doing(worker),
        )
    return table


def _state(worker: Worker) -> str:
    return "busy" if worker.doing and worker.state == "ready" else worker.state


def _doing(worker: Worker) -> str:
    lines = [render.safe(work) for work in worker.doing[:SHOWN_WORK]]
    if len(worker.doing) > SHOWN_WORK:
        lines.append(f"and {len(worker.doing) - SHOWN_WORK} more")
    return "\n".join(lines)


def folders_table(roots: Sequence[WatchedRoot]) -> Table:
    """One row a folder."""
    table = render.table(
        "folder", "host", "kind", "state", "files", "pending", "not media", "ignored", "scanned",
        whole=("state",), right=("files", "pending", "not media", "ignored", "scanned"),
    )  # fmt: skip
    for root in roots:
        table.add_row(
            render.safe(root.path),
            render.safe(root.host),
            root.filesystem,
            Text("online", style="green") if root.online else Text("offline", style="red"),
            f"{root.files:,}",
            f"{root.pending:,}",
            f"{root.not_media:,}",
            f"{root.ignored:,}",
            render.duration(root.age),
        )
    return table


def leaves_out(root: WatchedRoot) -> bool:
    """True if not everything in a folder is a recording, or nothing is: no transcript of it is no surprise then."""
    return root.online and bool(root.not_media or root.ignored or not root.files)


def what_was_seen(root: WatchedRoot) -> str:
    """The files of a folder in one sentence: recordings, and what is left out."""
    others = render.count(root.not_media, "other file")
    hidden = f"{root.ignored:,} hidden, unfinished or linked"
    return f"{root.path}: {render.count(root.files, 'recording')}; left out: {others}, {hidden}"
