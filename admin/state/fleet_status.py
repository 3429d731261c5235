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
from dropscribe.core.clock import with_moments
from dropscribe.core.redis_refusals import REFUSALS, Refusal
from dropscribe.core.routing import is_bound, wish_of
from dropscribe.core.store_settings import StoreSettings
from dropscribe.core.types import ACTIVE_STATES, JobPhase, JobState
from dropscribe.store import broker_trouble, fleet, queries, switches
from dropscribe.store.broker_trouble import AWAY, BrokerTrouble
from dropscribe.store.fleet import DRAINING, Work, Worker, list_workers, living_workers
from dropscribe.store.queries import Backlog, Deferred
from dropscribe.store.removals import Removal, removed
from dropscribe.store.roots import WatchedRoot, list_roots
from dropscribe.store.session import Database
from dropscribe.store.switches import SPOOL_FULL
from dropscribe.store.unfinished import Outlook, outlooks, unfinished

BACKLOG = ("audio_seconds", "transcribing_seconds", "waiting_seconds", "unprepared_files")  # in JSON
MAX_REMOVALS = 5  # days and reasons
MAX_RECORDINGS = 200  # of which the place and the time left are worked out for a view that is drawn twice a second
SHOWN_REASONS = 3  # for which jobs are deferred

REDIS_AWAY = Refusal(AWAY, "does not answer", "`dropscribe doctor` checks it")

# Without one of these roles nothing moves: the role, who is missing, and the command that starts one.
NEEDED = (
    ("scheduler", "no scheduler runs, so new recordings and lost work are not noticed", "dropscribe watch FOLDER"),
    ("cpu", "no CPU worker runs, so recordings are neither prepared nor finished", "dropscribe worker --role cpu"),
    ("model", "no model worker runs, so nothing is transcribed", "dropscribe worker --role model"),
)


@dataclass(frozen=True, slots=True)
class Status:
    """The state of the fleet at one moment.

    `engine` is the configured one; a worker silent for more than `silence` seconds is presumed dead; `model_queues`
    is how many unfinished jobs go to which of them; `deferred` says why jobs wait to be tried again. `recordings` are
    the first in the queue. `removals` are what was removed lately, the latest first.
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
    recordings: tuple[Outlook, ...] = ()
    removals: tuple[Removal, ...] = ()

    @property
    def alive(self) -> tuple[Worker, ...]:
        """Workers whose heartbeat is fresh."""
        return tuple(worker for worker in self.workers if worker.is_alive(self.silence))

    @property
    def phases(self) -> dict[JobPhase, int]:
        """How many jobs are in each phase that any is in: what waits, and what is worked on."""
        return self.backlog.phases(self.jobs)

    @property
    def unfinished(self) -> int:
        """Jobs that are not in a final state."""
        return sum(self.jobs.get(state, 0) for state in ACTIVE_STATES)

    @property
    def unserved_jobs(self) -> int:
        """How many unfinished jobs no living worker has the model for."""
        return sum(self.unserved_queues.values())

    @property
    def unserved_queues(self) -> dict[str, int]:
        """The queues from which no living worker takes, with how many unfinished jobs wait in each."""
        served = frozenset[str]().union(*map(attrgetter("queues"), self.alive))
        return {queue: number for queue, number in self.model_queues.items() if queue not in served}

    @property
    def speed(self) -> float | None:
        """Seconds of audio that the living model workers transcribe per second; None before that was ever measured."""
        return fleet.speed_of(worker for worker in self.alive if worker.role == "model")

    @property
    def time_to_finish(self) -> float | None:
        """Seconds until all prepared recordings are transcribed; None where the speed is not known."""
        if self.speed is None:
            return None
        known = [one.seconds_left for one in self.recordings if one.seconds_left is not None]
        if not known or len(self.recordings) < self.unfinished:
            known.append(self.backlog.chunk_seconds / self.speed)
        return max(known)

    @property
    def engines(self) -> list[dict[str, Any]]:
        """The distinct engines of the living model workers, each with the number of its `workers`."""
        named = ("engine", "model", "precision", "notice")
        found = Counter(map(attrgetter(*named), filter(None, map(attrgetter("engine"), self.alive))))
        return [dict(zip(named, facts, strict=True)) | {"workers": number} for facts, number in found.items()]

    @property
    def living_roles(self) -> set[str]:
        """The roles of the workers whose heartbeat is fresh."""
        return set(map(attrgetter("role"), self.alive))

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
        """The processes without which nothing goes on, and how to start each."""
        there = self.living_roles
        by_itself = "" if there else "`dropscribe up FOLDER` or "  # which may be what runs the others
        for role, what, command in NEEDED:
            if role not in there:
                yield f"{what}; start {by_itself}`{command}`"

    def _troubles_of_workers(self) -> Iterator[str]:
        """Workers that are silent or took themselves out, and a spool that is full."""
        if silent := [worker.id for worker in self.workers if not worker.is_alive(self.silence)]:
            number = render.count(len(silent), "worker")
            yield f"{number} silent, their work goes to others: {', '.join(silent)}"
        if self.spool_full_since is not None:
            since = render.moment(self.spool_full_since)
            yield f"preparing pauses since {since}: the spool is full; it goes on by itself as chunks are transcribed"
        for worker in self.workers:
            if worker.state == fleet.UNFIT:
                yield f"{worker.id} stopped itself: recordings failed on it one after the other; see its log"

    def _broker(self) -> Iterator[str]:
        """What the scheduler saw last, while one is there to look."""
        if self.broker_trouble and "scheduler" in self.living_roles:
            known = REFUSALS.get(self.broker_trouble.code, REDIS_AWAY)
            since = render.moment(self.broker_trouble.since)
            yield f"Redis {known.problem}, since {since}; {known.remedy}. Nothing is lost: all goes on afterwards"

    def _unserved(self) -> Iterator[str]:
        """Jobs that wait for a model which no living worker has."""
        for queue, number in self.unserved_queues.items():
            if wish := wish_of(queue):
                yield f"{render.count(number, 'job')} waiting for {wish}, {unserved(queue)}"

    def _parked(self) -> Iterator[str]:
        """Jobs that a person has to look at."""
        if parked := self.jobs.get(JobState.PARKED):
            yield f"{render.count(parked, 'job')} parked; a person must decide: see `dropscribe jobs --state parked`"

    def _deferred(self) -> Iterator[str]:
        """Why jobs are tried again later, the most frequent reasons first."""
        for reason, path, number in self.deferred[:SHOWN_REASONS]:
            others = f" and {render.count(number - 1, 'other')}" if number > 1 else ""
            yield f"{path}{others} deferred, to be tried again: {reason}"
        if left := sum(map(attrgetter("jobs"), self.deferred[SHOWN_REASONS:])):
            yield f"{render.count(left, 'job')} deferred for other reasons; see `dropscribe jobs`"

    def to_json(self) -> dict[str, Any]:
        """As docs/cli.md describes it."""
        told = {
            "jobs": dict.fromkeys(map(str, JobState), 0) | self.jobs,
            "phases": dict.fromkeys(map(str, JobPhase), 0) | self.phases,
            "unfinished": self.unfinished,
            "waiting": {name: getattr(self.backlog, name) for name in ("audio_seconds", "unprepared_files")},
            "backlog": {name: getattr(self.backlog, name) for name in BACKLOG},
            "speed": self.speed,
            "seconds_to_finish": self.time_to_finish,
            "paused_since": self.paused_since,
            "spool_full_since": self.spool_full_since,
            "redis": self.broker_trouble and with_moments(self.broker_trouble._asdict(), "since"),
            "engine": self.engine,
            "engines": self.engines,
            "workers": [*map(worker_document, self.workers, repeat(self.silence))],
            "folders": [*map(folder_document, self.roots)],
            "removals": [with_moments(asdict(one), "at") for one in self.removals],
            "warnings": self.warnings,
        }
        return with_moments(told, "paused_since", "spool_full_since")


def unserved(queue: str) -> str:
    """What is said of a model that no worker has, to anyone who reads which one it is; with what to do."""
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
    """What is wrong with a watched folder, and which recordings wait for settings to be fixed."""
    yield from filter(None, [folder_trouble(root)])
    for folder, reason, files in root.waiting:
        where = f"{root.path}/{folder}".rstrip("/")
        if not files:
            yield f"{where}/{reserved_names.SETTINGS}: {reason}"
            continue
        yield f"{render.count(files, 'recording')} waiting in {where} for its {reserved_names.SETTINGS}: {reason}"


def worker_document(worker: Worker, silence: float) -> dict[str, Any]:
    """A worker as docs/cli.md describes it."""
    work = [*map(_work_document, worker.work)]
    alive = worker.is_alive(silence)
    return with_moments(asdict(worker), "started_at") | {
        "work": work,
        "doing": worker.doing,
        "rtfx": worker.rtfx,
        "alive": alive,
    }


def _work_document(work: Work) -> dict[str, Any]:
    """A piece of work, under its current names and before."""
    named = old_names.with_new(asdict(work), old_names.WORK)
    return named | {"old_step": old_names.previous(work.step, old_names.STEPS)}


def folder_document(root: WatchedRoot) -> dict[str, Any]:
    """A watched folder as docs/cli.md describes it."""
    listed: dict[str, Any] = {
        name: [one._asdict() for one in getattr(root, name)] for name in ("waiting", "unreadable")
    }
    listed["parts"] = [with_moments(part._asdict(), "until") for part in root.parts]
    return asdict(root) | listed | {"reason": root.reason or root.unseen}


def gather(database: Database, settings: StoreSettings) -> Status:
    """Ask the store. Raises StoreError.

    Folders come first: what they no longer hold back is among the jobs by then, so nothing seems to be done too early.
    """
    roots = tuple(list_roots(database))
    workers, paused_since = tuple(list_workers(database)), switches.paused_since(database)
    waiting = unfinished(database, MAX_RECORDINGS)
    alive = [worker for worker in workers if worker.is_alive(settings.silence_seconds)]
    return Status(
        jobs=queries.count_by_state(database),
        backlog=queries.backlog(database),
        workers=workers,
        roots=roots,
        paused_since=paused_since,
        spool_full_since=switches.paused_since(database, SPOOL_FULL),
        engine=settings.engine,
        silence=settings.silence_seconds,
        model_queues=queries.model_queues(database),
        deferred=tuple(queries.deferred(database)),
        broker_trouble=broker_trouble.broker_trouble(database),
        recordings=tuple(outlooks(waiting, alive, paused=paused_since is not None)),
        removals=tuple(removed(database, MAX_REMOVALS)),
    )


def draining(database: Database, silence: float) -> list[str]:
    """Names of living workers that finish what they do and end."""
    return [one.id for one in living_workers(database, silence) if one.state == DRAINING]
