"""The state of the fleet at one moment: what waits, who works, how fast, and what is wrong."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from itertools import chain, repeat
from operator import attrgetter
from typing import Any

from dropscribe.admin.terminal import render
from dropscribe.core import old_names, reserved_names
from dropscribe.core.redis_refusals import REFUSALS, Refusal
from dropscribe.core.routing import is_bound, wish_of
from dropscribe.core.settings import Settings
from dropscribe.core.types import ACTIVE_STATES, EngineInfo, JobState
from dropscribe.store import broker_trouble, fleet, queries, switches
from dropscribe.store.broker_trouble import AWAY, BrokerTrouble
from dropscribe.store.fleet import DRAINING, Work, Worker, list_workers, living_workers
from dropscribe.store.queries import Backlog, Deferred
from dropscribe.store.roots import WatchedRoot, list_roots
from dropscribe.store.session import Database
from dropscribe.store.switches import SPOOL_FULL

SHOWN_REASONS = 3  # for which jobs are deferred

REDIS_AWAY = Refusal(AWAY, "does not answer", "`dropscribe doctor` checks it")

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
    is how many unfinished jobs go to which of them; `deferred` says why jobs wait to be tried again.
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
    deferred: tuple[Deferred, ...] = ()
    broker_trouble: BrokerTrouble | None = None

    @property
    def alive(self) -> tuple[Worker, ...]:
        """Workers whose heartbeat is fresh."""
        return tuple(worker for worker in self.workers if worker.is_alive(self.silence))

    @property
    def standing(self) -> dict[JobState, int]:
        """How many jobs are in each state that any is in, in the order of states."""
        return {state: self.jobs[state] for state in JobState if self.jobs.get(state)}

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
    def living_engines(self) -> list[EngineInfo]:
        """The engine of each living model worker."""
        return [worker.engine for worker in self.alive if worker.engine]

    @property
    def engines(self) -> list[dict[str, Any]]:
        """The distinct engines of the living model workers, each with the number of its `workers`."""
        named = ("engine", "model", "precision", "notice")
        found = Counter(map(attrgetter(*named), self.living_engines))
        return [dict(zip(named, facts, strict=True)) | {"workers": number} for facts, number in found.items()]

    @property
    def living_roles(self) -> set[str]:
        """The roles of the workers whose heartbeat is fresh."""
        return {worker.role for worker in self.alive}

    @property
    def warnings(self) -> list[str]:
        """What keeps the fleet from its work, each with what to do."""
        return [
            *(self._missing_roles() if self.unfinished else ()),
            *self._troubles_of_workers(),
            *chain.from_iterable(map(_troubles_of_folder, self.roots)),
            *self._broker(),
            *self._unserved(),
            *self._deferred(),
            *self._parked(),
        ]

    def _missing_roles(self) -> Iterator[str]:
        there = self.living_roles
        by_itself = "" if there else "`dropscribe up FOLDER` or "  # which may be what runs the others
        for role, what, command in NEEDED:
            if role not in there:
                yield f"{what}; start {by_itself}`{command}`"

    def _troubles_of_workers(self) -> Iterator[str]:
        if silent := [worker.id for worker in self.workers if not worker.is_alive(self.silence)]:
            number = render.count(len(silent), "worker")
            yield f"{number} silent, whose work goes to others: {', '.join(silent)}"
        if self.spool_full_since is not None:
            since = render.moment(self.spool_full_since)
            yield f"preparing pauses since {since}, for the spool is full; it goes on by itself as chunks are read"
        for worker in self.workers:
            if worker.state == fleet.UNFIT:
                yield f"{worker.id} took itself out: recordings failed on it one after the other; see its log"

    def _broker(self) -> Iterator[str]:
        """What the scheduler saw last, while one is there to look."""
        if self.broker_trouble and "scheduler" in self.living_roles:
            known = REFUSALS.get(self.broker_trouble.code, REDIS_AWAY)
            since = render.moment(self.broker_trouble.since)
            yield f"Redis {known.problem}, since {since}; {known.remedy}. Nothing is lost: all goes on afterwards"

    def _unserved(self) -> Iterator[str]:
        served = {queue for worker in self.alive for queue in worker.queues}
        for queue, number in self.model_queues.items():
            if (wish := wish_of(queue)) and queue not in served:
                yield f"{render.count(number, 'job')} waiting for {wish}, {unserved(queue)}"

    def _parked(self) -> Iterator[str]:
        if parked := self.jobs.get(JobState.PARKED):
            yield f"{render.count(parked, 'job')} parked and in need of a person; see `dropscribe jobs --state parked`"

    def _deferred(self) -> Iterator[str]:
        for reason, path, number in self.deferred[:SHOWN_REASONS]:
            others = f" and {render.count(number - 1, 'other')}" if number > 1 else ""
            yield f"{path}{others} deferred, to be tried again: {reason}"
        if left := sum(map(attrgetter("jobs"), self.deferred[SHOWN_REASONS:])):
            yield f"{render.count(left, 'job')} deferred for other reasons; see `dropscribe jobs`"

    def to_json(self) -> dict[str, Any]:
        """As docs/cli.md describes it."""
        return {
            "jobs": dict.fromkeys(map(str, JobState), 0) | self.jobs,
            "unfinished": self.unfinished,
            "waiting": asdict(self.backlog),
            "speed": self.speed,
            "seconds_to_finish": self.time_to_finish,
            "paused_since": self.paused_since,
            "spool_full_since": self.spool_full_since,
            "redis": self.broker_trouble and self.broker_trouble._asdict(),
            "engine": self.engine,
            "engines": self.engines,
            "workers": [*map(worker_document, self.workers, repeat(self.silence))],
            "folders": [*map(folder_document, self.roots)],
            "warnings": self.warnings,
        }


def unserved(queue: str) -> str:
    """What is said of a model that no worker has, to whoever reads which one it is; with what to do."""
    if is_bound(queue):
        return "which began and which no worker has now; start one that has, or `dropscribe rerun` changes the model"
    return "which no worker has; start one that has"


def folder_trouble(root: WatchedRoot) -> str:
    """Why recordings in the folder, or in places of it, go unseen; empty when none do."""
    if not root.online:
        return f"folder {root.path} on {root.host} is offline: {root.reason}"
    if root.unseen:
        return f"recordings in places of {root.path} on {root.host} go unseen: {root.unseen}; {root.unseen_remedy}"
    return f"folder {root.path} on {root.host}: {root.reason}" if root.reason else ""


def _troubles_of_folder(root: WatchedRoot) -> Iterator[str]:
    yield from filter(None, [folder_trouble(root)])
    for folder, reason, files in root.waiting:
        where = f"{root.path}/{folder}".rstrip("/")
        yield f"{render.count(files, 'recording')} waiting in {where} for its {reserved_names.SETTINGS}: {reason}"


def worker_document(worker: Worker, silence: float) -> dict[str, Any]:
    """A worker as docs/cli.md describes it."""
    work = [*map(_work_document, worker.work)]
    alive = worker.is_alive(silence)
    return asdict(worker) | {"work": work, "doing": worker.doing, "rtfx": worker.rtfx, "alive": alive}


def _work_document(work: Work) -> dict[str, Any]:
    named = old_names.with_new(asdict(work), old_names.WORK)
    return named | {"old_step": old_names.previous(work.step, old_names.STEPS)}


def folder_document(root: WatchedRoot) -> dict[str, Any]:
    """A watched folder as docs/cli.md describes it."""
    listed = {name: [one._asdict() for one in getattr(root, name)] for name in ("waiting", "unreadable")}
    return asdict(root) | listed | {"reason": root.reason or root.unseen}


def gather(database: Database, settings: Settings) -> Status:
    """Ask the store. Raises StoreError."""
    return Status(
        jobs=queries.count_by_state(database),
        backlog=queries.backlog(database),
        workers=tuple(list_workers(database)),
        roots=tuple(list_roots(database)),
        paused_since=switches.paused_since(database),
        spool_full_since=switches.paused_since(database, SPOOL_FULL),
        engine=settings.engine,
        silence=settings.silence_seconds,
        model_queues=queries.model_queues(database),
        deferred=tuple(queries.deferred(database)),
        broker_trouble=broker_trouble.broker_trouble(database),
    )


def draining(database: Database, silence: float) -> list[str]:
    """Names of living workers that finish what they do and end."""
    return [one.id for one in living_workers(database, silence) if one.state == DRAINING]
