"""The processes of the fleet: their heartbeats, what they have claimed, what they can do, and the roles they hold."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

from sqlalchemy import Connection, case, delete, func, insert, or_, select, update

from dropscribe.core.routing import MODEL_QUEUE, ResidentModel
from dropscribe.core.types import ChunkKind, ChunkState, EngineInfo
from dropscribe.store import speeds
from dropscribe.store.leases import owned
from dropscribe.store.names import FORGET_SECONDS
from dropscribe.store.session import Database, insert_ignoring
from dropscribe.store.speeds import MIN_SAMPLE, Measured, Place
from dropscribe.store.tables import chunks, jobs, locks, now, workers

DRAINING = "draining"  # the state of a worker that has to finish what it does and end
STORE = "store"  # the row of `locks` that names the store and is held by nobody
UNFIT = "unfit"  # the state of a worker that took itself out
MIN_ELAPSED = 2.0  # seconds; the progress of a chunk is noted every second, so that it tells little before
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
        speeds.forget_old(connection)
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

    The same is added to what is known of the model's speed, which outlives the worker.
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
        beat = update(workers).where(workers.c.id == worker).values(**values)
        found = connection.execute(beat.returning(workers.c.state, workers.c.host, workers.c.gpu, workers.c.queues))
        row = found.first()
        if row and audio:
            speeds.note(connection, Place.of(row.host, row.gpu, row.queues), Measured(audio, busy))
        return row.state if row else None


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

    A chunk lasts from `start` to `end` in seconds of the recording; `read` seconds are transcribed, and it was claimed
    `elapsed` seconds ago (0 where that is not known).
    """

    job: str
    path: str
    step: str
    start: float | None = None
    end: float | None = None
    read: float = 0.0
    elapsed: float = 0.0

    def audio_left(self, speed: float) -> float:
        """Seconds of a chunk's audio that are left; of a model that tells no progress, what that speed has left."""
        return max(0.0, (self.end or 0.0) - (self.start or 0.0) - (self.read or self.elapsed * speed))

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
    """A registered process; `silent` is the seconds since its last heartbeat, `memory` is in bytes.

    `kept_audio_seconds` and `kept_busy_seconds` are what is known of the speed of its model on this host and GPU, from
    earlier processes too.
    """

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
    kept_audio_seconds: float = 0.0
    kept_busy_seconds: float = 0.0

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

    @property
    def transcribing(self) -> Sequence[Work]:
        """The chunks that its model transcribes now."""
        return [work for work in self.work if work.step == TRANSCRIBING]

    @property
    def chunk_speed(self) -> float | None:
        """Seconds of one chunk transcribed per second, running chunks included; None until enough was measured."""
        telling = [work for work in self.transcribing if work.read and work.elapsed >= MIN_ELAPSED]
        audio = self.kept_audio_seconds + sum(map(attrgetter("read"), telling))
        busy = self.kept_busy_seconds + sum(map(attrgetter("elapsed"), telling))
        return audio / busy if audio >= MIN_SAMPLE and busy else None

    @property
    def speed(self) -> float | None:
        """Seconds of audio transcribed per second in all the chunks that it transcribes at once; None until known."""
        return self.chunk_speed and self.chunk_speed * (self.engine.slots if self.engine else 1)


_WORKER_COLUMNS = [c for c in workers.c if c.name in Worker.__dataclass_fields__]


def list_workers(database: Database) -> list[Worker]:
    """Registered processes and what each has claimed, by role and name; not those that were killed long ago."""
    recent = workers.c.heartbeat_at >= now() - FORGET_SECONDS
    query = select(*_WORKER_COLUMNS, (now() - workers.c.heartbeat_at).label("silent")).where(recent)
    with database.read() as connection:
        claimed, known = _work_by_owner(connection), speeds.kept(connection)
        rows = connection.execute(query.order_by(workers.c.role, workers.c.id)).all()
    return [_worker(row, claimed.get(row.id, ()), known) for row in rows]


def _worker(row: Any, work: Iterable[Work], known: Mapping[Place, Measured]) -> Worker:
    """A worker by its row, with its work and the speed that is known of its like."""
    kept = speeds.nearest(known, Place.of(row.host, row.gpu, row.queues))
    of_row = row._mapping  # noqa: SLF001 (SQLAlchemy's public name for it)
    return Worker(**of_row, work=tuple(work), kept_audio_seconds=kept.audio, kept_busy_seconds=kept.busy)


def living_workers(database: Database, silence: float) -> list[Worker]:
    """Those that were heard of within `silence` seconds."""
    return [worker for worker in list_workers(database) if worker.is_alive(silence)]


def speed_of(alive: Iterable[Worker]) -> float | None:
    """Seconds of audio that these workers transcribe per second together; None where no speed is known."""
    return sum(worker.speed or 0.0 for worker in alive) or None


def _work_by_owner(connection: Connection) -> dict[str, list[Work]]:
    """What each worker has claimed."""
    of_jobs = select(jobs.c.owner, jobs.c.id, jobs.c.path, jobs.c.state).where(owned(jobs))
    elapsed = func.coalesce(now() - chunks.c.claimed_at, 0.0)
    how_far = (chunks.c.start, chunks.c.end, chunks.c.progress, elapsed)
    of_chunks = select(chunks.c.owner, chunks.c.kind, jobs.c.id, jobs.c.path, *how_far).join(
        jobs, jobs.c.id == chunks.c.job_id
    )
    of_chunks = of_chunks.where(chunks.c.state == ChunkState.RUNNING)
    found: dict[str, list[Work]] = {}
    for row in connection.execute(of_jobs):
        found.setdefault(row.owner, []).append(Work(row.id, row.path, row.state))
    for row in connection.execute(of_chunks):
        step = EMBEDDING if row.kind == ChunkKind.EMBED else TRANSCRIBING
        found.setdefault(row.owner, []).append(Work(row.id, row.path, step, *row[4:]))
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
    return capacity_of_engines(worker.engine for worker in workers if queue in worker.queues)


def capacity_of_engines(engines: Iterable[EngineInfo]) -> Capacity:
    """What these models can do, one in each worker."""
    fit = [*engines]
    longest = min(map(attrgetter("longest_chunk"), fit), default=None)
    return Capacity(len(fit), sum(map(attrgetter("slots"), fit)), longest)


def store_id(database: Database) -> str:
    """What tells this store from all others. It stays with the store when that is moved, or restored from a backup."""
    with database.begin() as connection:
        fresh = insert_ignoring(connection, locks).values(name=STORE, owner=secrets.token_hex(6), lease_until=0.0)
        connection.execute(fresh)
        return str(connection.execute(select(locks.c.owner).where(locks.c.name == STORE)).scalar_one())


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
