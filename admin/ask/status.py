"""`dropscribe status` and `workers`: what waits, who works, how fast, and what is wrong."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from dropscribe.admin.context import Context
from dropscribe.admin.terminal import render as looks
from dropscribe.core import reserved_names
from dropscribe.core.routing import wish_of
from dropscribe.core.settings import Settings
from dropscribe.core.types import ACTIVE_STATES, JobState
from dropscribe.store import fleet, queries
from dropscribe.store.leases import DRAINING, SPOOL_FULL
from dropscribe.store.queries import Backlog, PutOff, WatchedRoot, Worker
from dropscribe.store.session import Database

SHOWN_REASONS = 3  # for which jobs are put off
SHOWN_WORK = 8  # lines of a worker in the table; a CPU worker's processes are seldom more

# Without one of these roles nothing moves: the role, who is missing, and the command that starts one.
NEEDED = (
    ("scheduler", "no scheduler runs, so new recordings and lost work go unseen", "dropscribe watch FOLDER"),
    ("cpu", "no CPU worker runs, so recordings are neither prepared nor finished", "dropscribe worker --role cpu"),
    ("model", "no model worker runs, so nothing is transcribed", "dropscribe worker --role model"),
)


@dataclass(frozen=True, slots=True)
class Status:
    """The state of the fleet at one moment.

    `engine` is the configured one; a worker silent for more than `silence` seconds is presumed dead; `model_queues`
    is how many unfinished jobs go to which of them; `put_off` is why jobs wait to be tried again.
    """

    jobs: dict[JobState, int]
    backlog: Backlog
    workers: tuple[Worker, ...]
    roots: tuple[WatchedRoot, ...]
    paused_since: float | None
    spool_full_since: float | None
    engine: str
    silence: float
    model_queues: Mapping[str, int] = field(default_factory=dict)
    put_off: tuple[PutOff, ...] = ()

    @property
    def alive(self) -> tuple[Worker, ...]:
        """Workers whose heartbeat is fresh."""
        return tuple(worker for worker in self.workers if worker.silent < self.silence)

    @property
    def unfinished(self) -> int:
        """Jobs that are not in a final state."""
        return sum(self.jobs.get(state, 0) for state in ACTIVE_STATES)

    @property
    def speed(self) -> float | None:
        """Seconds of audio that the living model workers read per second; None before the first was measured."""
        return sum(worker.rtfx or 0.0 for worker in self.alive if worker.role == "model") or None

    @property
    def time_to_finish(self) -> float | None:
        """Seconds until the known audio is read; None where the speed is not known."""
        return self.backlog.audio_seconds / self.speed if self.speed else None

    @property
    def engines(self) -> list[dict[str, Any]]:
        """The distinct engines of the living model workers, each with the number of its `workers`."""
        found: dict[tuple[str, ...], dict[str, Any]] = {}
        for engine in (worker.engine for worker in self.alive if worker.engine):
            told = {name: str(engine.get(name, "")) for name in ("engine", "model", "precision", "notice")}
            entry = found.setdefault(tuple(told.values()), told | {"workers": 0})
            entry["workers"] += 1
        return list(found.values())

    @property
    def warnings(self) -> list[str]:
        """What keeps the fleet from its work, each with what to do."""
        return [*self._missing_roles(), *self._troubles()]

    def _missing_roles(self) -> Iterator[str]:
        there = {worker.role for worker in self.alive}
        for role, what, command in NEEDED:
            if self.unfinished and role not in there:
                by_itself = "" if there else "`dropscribe up FOLDER` or "  # which may be what runs the others
                yield f"{what}; start {by_itself}`{command}`"

    def _troubles(self) -> Iterator[str]:
        if silent := [worker.id for worker in self.workers if worker.silent >= self.silence]:
            number = looks.count(len(silent), "worker")
            yield f"{number} silent, whose work goes to others: {', '.join(silent)}"
        if self.spool_full_since is not None:
            since = looks.moment(self.spool_full_since)
            yield f"preparing pauses since {since}, for the spool is full; it goes on by itself as chunks are read"
        for worker in self.workers:
            if worker.state == fleet.UNFIT:
                yield f"{worker.id} took itself out: recordings failed on it one after the other; see its log"
        for root in self.roots:
            if trouble := folder_trouble(root):
                yield trouble
            for folder, reason, files in root.waiting:
                where = f"{root.path}/{folder}".rstrip("/")
                file = reserved_names.SETTINGS
                yield f"{looks.count(files, 'recording')} waiting in {where} for its {file}: {reason}"
        yield from self._unserved()
        yield from self._put_off()
        if parked := self.jobs.get(JobState.PARKED):
            yield f"{looks.count(parked, 'job')} parked and in need of a person; see `dropscribe jobs --state parked`"

    def _unserved(self) -> Iterator[str]:
        engines = [worker.engine for worker in self.alive if worker.engine]
        for queue, number in self.model_queues.items():
            if (wish := wish_of(queue)) and not queries.capacity_of(engines, queue).workers:
                yield f"{looks.count(number, 'job')} waiting for {wish}, which no worker has; start one that has"

    def _put_off(self) -> Iterator[str]:
        for reason, path, number in self.put_off[:SHOWN_REASONS]:
            others = f" and {looks.count(number - 1, 'other')}" if number > 1 else ""
            yield f"{path}{others} put off, to be tried again: {reason}"
        if left := sum(one.jobs for one in self.put_off[SHOWN_REASONS:]):
            yield f"{looks.count(left, 'job')} put off for other reasons; see `dropscribe jobs`"

    def to_json(self) -> dict[str, Any]:
        """As docs/cli.md describes it."""
        return {
            "jobs": {state.value: self.jobs.get(state, 0) for state in JobState},
            "unfinished": self.unfinished,
            "waiting": asdict(self.backlog),
            "speed": self.speed,
            "seconds_to_finish": self.time_to_finish,
            "paused_since": self.paused_since,
            "spool_full_since": self.spool_full_since,
            "engine": self.engine,
            "engines": self.engines,
            "workers": [worker_document(worker, self.silence) for worker in self.workers],
            "folders": [folder_document(root) for root in self.roots],
            "warnings": self.warnings,
        }


def folder_trouble(root: WatchedRoot) -> str:
    """Why recordings in the folder, or in places of it, go unseen; empty when none do."""
    if not root.online:
        return f"folder {root.path} on {root.host} is offline: {root.reason}"
    if root.unseen:
        remedy = "let the scheduler read them"
        return f"recordings in places of {root.path} on {root.host} go unseen: {root.unseen}; {remedy}"
    return ""


def worker_document(worker: Worker, silence: float) -> dict[str, Any]:
    """A worker as docs/cli.md describes it."""
    return asdict(worker) | {"doing": worker.doing, "rtfx": worker.rtfx, "alive": worker.silent < silence}


def folder_document(root: WatchedRoot) -> dict[str, Any]:
    """A watched folder as docs/cli.md describes it."""
    return asdict(root) | {"waiting": [folder._asdict() for folder in root.waiting]}


def gather(database: Database, settings: Settings) -> Status:
    """Ask the store. Raises StoreError."""
    return Status(
        jobs=queries.count_by_state(database),
        backlog=queries.backlog(database),
        workers=tuple(queries.list_workers(database)),
        roots=tuple(queries.list_roots(database)),
        paused_since=fleet.paused_since(database),
        spool_full_since=fleet.paused_since(database, SPOOL_FULL),
        engine=settings.engine,
        silence=settings.silence_seconds,
        model_queues=queries.model_queues(database),
        put_off=tuple(queries.put_off(database)),
    )


def draining(database: Database, silence: float) -> list[Worker]:
    """Living workers that finish what they do and end."""
    return [one for one in queries.list_workers(database) if one.state == DRAINING and one.silent < silence]


def render(status: Status) -> RenderableType:
    """The status as a person reads it."""
    parts: list[RenderableType] = [summary(status)]
    if status.workers:
        parts.append(workers_table(status.workers, status.silence))
    if status.roots:
        parts.append(folders_table(status.roots))
    return Group(*parts, *warnings(status))


def warnings(status: Status) -> list[Text]:
    """A line for each."""
    return [Text(f"warning: {looks.safe(warning)}", style="yellow") for warning in status.warnings]


def summary(status: Status) -> Table:
    """Names of figures and the figures."""
    facts = looks.facts()
    facts.add_row("jobs", states(status))
    facts.add_row("waiting", waiting(status.backlog))
    facts.add_row("speed", _speed(status))
    for engine in status.engines:
        name = " ".join(part for part in (engine["engine"], engine["model"], engine["precision"]) if part)
        facts.add_row("engine", looks.safe(f"{name}, {looks.count(engine['workers'], 'worker')}"))
        if engine["notice"]:
            facts.add_row("notice", Text(looks.safe(engine["notice"]), style="bold yellow"))
    if not status.engines:
        facts.add_row("engine", f"{status.engine}, not running")
    if status.paused_since is not None:
        since = looks.moment(status.paused_since)
        facts.add_row("paused", Text(f"since {since}; `dropscribe resume` goes on", style="bold yellow"))
    return facts


def states(status: Status) -> Text:
    """How many jobs are in which state."""
    shown = [state for state in JobState if status.jobs.get(state)]
    parts = [Text(f"{status.jobs[state]:,} {state}", style=looks.STATE_STYLES[state]) for state in shown]
    return Text(", ").join(parts) if parts else Text("none yet")


def waiting(backlog: Backlog) -> str:
    """What is left to do, for people."""
    unknown = f"{looks.count(backlog.unprepared_files, 'file')} of unknown length"
    if not backlog.audio_seconds:
        return unknown if backlog.unprepared_files else "nothing"
    audio = f"{looks.duration(backlog.audio_seconds)} of audio"
    return f"{audio} and {unknown}" if backlog.unprepared_files else audio


def _speed(status: Status) -> str:
    if status.speed is None:
        return "not measured yet"
    speed = f"{status.speed:.1f} times real time"
    if not status.backlog.audio_seconds:
        return speed
    return f"{speed}; what is known to wait takes {looks.duration(status.time_to_finish)}"


def workers_table(workers: Sequence[Worker], silence: float) -> Table:
    """One row a worker."""
    table = looks.table(
        "worker", "role", "state", "GPU", "speed", "heard", "doing", whole=("role", "state"), right=("speed", "heard")
    )
    for worker in workers:
        dead = worker.silent >= silence
        table.add_row(
            looks.safe(worker.id),
            worker.role,
            Text("silent", style="red") if dead else looks.safe(_state(worker)),
            looks.safe(worker.gpu),
            f"{worker.rtfx:.1f} x" if worker.rtfx else "",
            looks.duration(worker.silent),
            _doing(worker),
        )
    return table


def _state(worker: Worker) -> str:
    return "busy" if worker.doing and worker.state == "ready" else worker.state


def _doing(worker: Worker) -> str:
    lines = [looks.safe(work) for work in worker.doing[:SHOWN_WORK]]
    if len(worker.doing) > SHOWN_WORK:
        lines.append(f"and {len(worker.doing) - SHOWN_WORK} more")
    return "\n".join(lines)


def folders_table(roots: Sequence[WatchedRoot]) -> Table:
    """One row a folder."""
    table = looks.table(
        "folder", "host", "kind", "state", "files", "pending", "not media", "ignored", "scanned",
        whole=("state",), right=("files", "pending", "not media", "ignored", "scanned"),
    )  # fmt: skip
    for root in roots:
        table.add_row(
            looks.safe(root.path),
            looks.safe(root.host),
            root.filesystem,
            Text("online", style="green") if root.online else Text("offline", style="red"),
            f"{root.files:,}",
            f"{root.pending:,}",
            f"{root.not_media:,}",
            f"{root.ignored:,}",
            looks.duration(root.age),
        )
    return table


def show(context: Context, *, as_json: bool) -> None:
    """Print the status once."""
    status = gather(context.database, context.settings)
    if as_json:
        looks.write_json(status.to_json())
    else:
        context.out.print(render(status))


def workers(context: Context, *, as_json: bool) -> None:
    """Print who is there."""
    found = queries.list_workers(context.database)
    silence = context.settings.silence_seconds
    if as_json:
        looks.write_json({"workers": [worker_document(worker, silence) for worker in found]})
    elif found:
        context.out.print(workers_table(found, silence))
    else:
        context.out.print("no workers; start `dropscribe up FOLDER` or `dropscribe worker`")
