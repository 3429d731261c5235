"""The processes of the fleet: their heartbeats, what they have claimed, what they can do, and the roles they hold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

from sqlalchemy import Connection, case, delete, insert, or_, select, update

from dropscribe.core.routing import MODEL_QUEUE, ResidentModel
from dropscribe.core.types import ChunkKind, ChunkState, EngineInfo
from dropscribe.store.leases import owned
from dropscribe.store.session import Database, insert_ignoring
from dropscribe.store.tables import chunks, jobs, locks, now, workers

DRAINING = "draining"  # the state of a worker that was told to finish what it does and end
UNFIT = "unfit"  # the state of a worker that took itself out
FORGET_SECONDS = 7200.0  # a worker that is silent for longer is no longer listed
MIN_WINDOW = 2  # chunks; also that of a fleet that is not known yet
TRANSCRIBING, EMBEDDING = "transcribing", "embedding"  # what a worker does with a chunk


def register(
    database: Database, worker: str, *, host: str, pid: int, role: str, state: str, gpu: str = "", metrics: str = ""
) -> None:
    """Register a process that starts, with the URL of its metrics. An older entry of the same name is replaced."""
    with database.begin() as connection:
        connection.execute(
            delete(workers).where(or_(workers.c.id == worker, workers.c.heartbeat_at < now() - FORGET_SECONDS))
        )
        connection.execute(
            insert(workers).values(
                id=worker,
                host=host,
                pid=pid,
                role=role,
                state=state,
                gpu=gpu,
                metrics=metrics,
                audio_seconds=0.0,
                busy_seconds=0.0,
                started_at=now(),
                heartbeat_at=now(),
            )
        )


def heartbeat(
    database: Database,
    worker: str,
    *,
    state: str | None = None,
    engine: EngineInfo | None = None,
    called: str = "",
    audio: float = 0.0,
    busy: float = 0.0,
    memory: int | None = None,
) -> str | None:
    """Say that the worker is alive; add seconds of audio transcribed and of time spent on it since the last heartbeat.

    `memory` is the memory of the process in bytes, `called` is what settings call the checkpoint of its
    `engine`.

    Returns the worker's state, which `drain` may have set; None if the worker is no longer registered.
    """
    values: dict[str, Any] = {
        "heartbeat_at": now(),
        "audio_seconds": workers.c.audio_seconds + audio,
        "busy_seconds": workers.c.busy_seconds + busy,
    }
    if state:
        values["state"] = case((workers.c.state == DRAINING, DRAINING), else_=state)
    if memory is not None:
        values["memory"] = memory
    if engine:
        values |= {"engine": engine, "queues": list(ResidentModel.of(engine, called).queues)}
    with database.begin() as connection:
        beat = update(workers).where(workers.c.id == worker).values(**values).returning(workers.c.state)
        return connection.execute(beat).scalar()


def drain(database: Database, worker: str) -> bool:
    """Tell a worker to finish its work and end. Its next heartbeat returns that. False if there is no such worker."""
    draining = update(workers).where(workers.c.id == worker, workers.c.role != "scheduler").values(state=DRAINING)
    with database.begin() as connection:
        return bool(connection.execute(draining).rowcount)


def leave(database: Database, worker: str) -> None:
    """Remove a process that stopped in order."""
    with database.begin() as connection:
        connection.execute(delete(workers).where(workers.c.id == worker))


@dataclass(frozen=True, slots=True)
class Work:
    """What a worker has claimed: a job in the state `step`, or a chunk of it (`step` is `transcribing` or `embedding`).

    A chunk lasts from `start` to `end` in seconds of the recording; `read` seconds are transcribed.
    """

    job: str
    path: str
    step: str
    start: float | None = None
    end: float | None = None
    read: float = 0.0

    @property
    def share(self) -> float | None:
        """How much of the chunk is transcribed, from 0 to 1; None for a job."""
        if self.start is None or self.end is None:
            return None
        return min(1.0, self.read / (self.end - self.start)) if self.end > self.start else 0.0

    @property
    def part(self) -> str:
        """Which chunk it is, for people."""
        return f"{self.start:.0f}-{self.end:.0f} s" if self.step == TRANSCRIBING else self.step

    def __str__(self) -> str:
        """For people."""
        return f"{self.step} {self.path}" if self.share is None else f"{self.path} {self.part}, {self.share:.0%}"


@dataclass(frozen=True, slots=True)
class Worker:
    """A registered process; `silent` is the seconds since its last heartbeat, `memory` is in bytes."""

    id: str
    host: str
    pid: int
    role: str
    state: str
    gpu: str
    engine: EngineInfo | None
    audio_seconds: float
    busy_seconds: float
    started_at: float
    silent: float
    metrics: str = ""
    memory: int = 0
    queues: Sequence[str] = ()
    work: tuple[Work, ...] = ()

    def is_alive(self, silence: float) -> bool:
        """Was it heard of within `silence` seconds?"""
        return self.silent < silence

    @property
    def doing(self) -> tuple[str, ...]:
        """What it has claimed, for people."""
        return tuple(map(str, self.work))

    @property
    def rtfx(self) -> float | None:
        """Seconds of audio transcribed per second of work; None before the first."""
        return self.audio_seconds / self.busy_seconds if self.busy_seconds else None


_WORKER_COLUMNS = [c for c in workers.c if c.name in Worker.__dataclass_fields__]


def list_workers(database: Database) -> list[Worker]:
    """Registered processes and what each has claimed, by role and name; not those that were killed long ago."""
    recent = workers.c.heartbeat_at >= now() - FORGET_SECONDS
    query = select(*_WORKER_COLUMNS, (now() - workers.c.heartbeat_at).label("silent")).where(recent)
    with database.read() as connection:
        claimed = _work_by_owner(connection)
        rows = connection.execute(query.order_by(workers.c.role, workers.c.id)).all()
    return [Worker(**row._mapping, work=tuple(claimed.get(row.id, ()))) for row in rows]  # noqa: SLF001


def living_workers(database: Database, silence: float) -> list[Worker]:
    """Those that were heard of within `silence` seconds."""
    return [worker for worker in list_workers(database) if worker.is_alive(silence)]


def _work_by_owner(connection: Connection) -> dict[str, list[Work]]:
    """What each worker has claimed."""
    of_jobs = select(jobs.c.owner, jobs.c.id, jobs.c.path, jobs.c.state).where(owned(jobs))
    columns = (chunks.c.owner, jobs.c.id, jobs.c.path, chunks.c.kind, chunks.c.start, chunks.c.end, chunks.c.progress)
    of_chunks = select(*columns).join(jobs, jobs.c.id == chunks.c.job_id).where(chunks.c.state == ChunkState.RUNNING)
    found: dict[str, list[Work]] = {}
    for row in connection.execute(of_jobs):
        found.setdefault(row.owner, []).append(Work(row.id, row.path, row.state))
    for row in connection.execute(of_chunks):
        step = EMBEDDING if row.kind == ChunkKind.EMBED else TRANSCRIBING
        found.setdefault(row.owner, []).append(Work(row.id, row.path, step, row.start, row.end, row.progress))
    return found


@dataclass(frozen=True, slots=True)
class ModelWorker:
    """What a worker's model says of itself, and the queues that it serves."""

    engine: EngineInfo
    queues: Sequence[str]


@dataclass(frozen=True, slots=True)
class Capacity:
    """What the living model workers can do together: `slots` chunks at once, each at most `longest_chunk` seconds.

    `longest_chunk` is None if no model worker is known.
    """

    workers: int = 0
    slots: int = 0
    longest_chunk: float | None = None

    @property
    def window(self) -> int:
        """How many chunks of one job may wait or run at once: one for each slot, and one for each worker to follow."""
        return max(MIN_WINDOW, self.slots + self.workers)


def capacity(database: Database, silence: float, queue: str = MODEL_QUEUE) -> Capacity:
    """What the model workers can do that serve the queue and sent a heartbeat within `silence` seconds."""
    return capacity_of(model_workers(database, silence), queue)


def model_workers(database: Database, silence: float) -> list[ModelWorker]:
    """The model workers that sent a heartbeat within `silence` seconds and are not draining."""
    fresh = select(workers.c.engine, workers.c.queues).where(
        workers.c.role == "model", workers.c.state != DRAINING, workers.c.heartbeat_at > now() - silence
    )
    with database.read() as connection:
        return [ModelWorker(*row) for row in connection.execute(fresh) if row.engine]


def capacity_of(workers: Sequence[ModelWorker], queue: str) -> Capacity:
    """What those of the workers can do that serve the queue."""
    fit = [worker.engine for worker in workers if queue in worker.queues]
    longest = min(map(attrgetter("longest_chunk"), fit), default=None)
    return Capacity(len(fit), sum(map(attrgetter("slots"), fit)), longest)


def hold_role(database: Database, role: str, owner: str, seconds: float) -> bool:
    """Take or renew a role that only one process of the fleet has at a time. False while another process has it."""
    # A lease that ends far in the future was set before somebody set the clock back.
    free = or_(locks.c.owner == owner, locks.c.lease_until < now(), locks.c.lease_until > now() + 2 * seconds)
    with database.begin() as connection:
        renewed = update(locks).where(locks.c.name == role, free).values(owner=owner, lease_until=now() + seconds)
        if connection.execute(renewed).rowcount:
            return True
        fresh = insert_ignoring(connection, locks).values(name=role, owner=owner, lease_until=now() + seconds)
        return connection.execute(fresh.returning(locks.c.name)).first() is not None
