"""The processes of the fleet: their heartbeats, what they have claimed, what they can do, and the roles they hold."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import starmap
from operator import attrgetter
from typing import Any

from dropscribe.core.routing import MODEL_QUEUE, ResidentModel
from dropscribe.core.types import ChunkKind, ChunkState, EngineInfo
from dropscribe.store import speeds, sql
from dropscribe.store.names import FORGET_SECONDS
from dropscribe.store.session import Ask, Database, insert_ignoring
from dropscribe.store.speeds import MIN_SAMPLE, Measured, Place

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
            sql.delete(sql.workers).where(
                sql.or_(sql.workers.c.id == worker, sql.workers.c.heartbeat_at < sql.now() - FORGET_SECONDS)
            )
        )
        speeds.forget_old(connection)
        connection.execute(
            sql.insert(sql.workers).values(
                id=worker,
                host=host,
                pid=pid,
                role=role,
                state=state,
                gpu=gpu,
                metrics=metrics,
                audio_seconds=0.0,
                busy_seconds=0.0,
                started_at=sql.now(),
                heartbeat_at=sql.now(),
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
        "heartbeat_at": sql.now(),
        "audio_seconds": sql.workers.c.audio_seconds + audio,
        "busy_seconds": sql.workers.c.busy_seconds + busy,
    }
    if state:
        values["state"] = sql.case((sql.workers.c.state == DRAINING, DRAINING), else_=state)
    if memory is not None:
        values["memory"] = memory
    if engine:
        values |= {"engine": engine, "queues": list(ResidentModel.of(engine, called).queues)}
    with database.begin() as connection:
        beat = sql.update(sql.workers).where(sql.workers.c.id == worker).values(**values)
        found = connection.execute(
            beat.returning(sql.workers.c.state, sql.workers.c.host, sql.workers.c.gpu, sql.workers.c.queues)
        )
        row = found.first()
        if row and audio:
            speeds.note(connection, Place.of(row.host, row.gpu, row.queues), Measured(audio, busy))
        return row.state if row else None


def drain(database: Database, worker: str) -> bool:
    """Tell a worker to finish its work and end. Its next heartbeat returns that. False if there is no such worker."""
    draining = (
        sql.update(sql.workers)
        .where(sql.workers.c.id == worker, sql.workers.c.role != "scheduler")
        .values(state=DRAINING)
    )
    with database.begin() as connection:
        return bool(connection.execute(draining).rowcount)


def leave(database: Database, worker: str) -> None:
    """Remove a process that stopped in order."""
    with database.begin() as connection:
        connection.execute(sql.delete(sql.workers).where(sql.workers.c.id == worker))


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


def list_workers(database: Database) -> list[Worker]:
    """Registered processes and what each has claimed, by role and name; not those that were killed long ago."""
    with database.asking() as ask:
        claimed, known = _work_by_owner(ask), speeds.kept(ask)
        found = [*starmap(Worker, ask(_recent))]
    return [_with_work(worker, claimed.get(worker.id, ()), known) for worker in found]


@sql.statement
def _recent() -> Any:
    """Processes that were heard of lately, by role and name."""
    beat = sql.workers.c.heartbeat_at
    columns = {**sql.workers.c, "silent": sql.now() - beat}
    asked = (columns[name] for name in Worker.__dataclass_fields__ if name in columns)
    recent = sql.select(*asked).where(beat >= sql.now() - FORGET_SECONDS)
    return recent.order_by(sql.workers.c.role, sql.workers.c.id)


def _with_work(worker: Worker, work: Iterable[Work], known: Mapping[Place, Measured]) -> Worker:
    """The worker with its work and the speed that is known of its like."""
    kept = speeds.nearest(known, Place.of(worker.host, worker.gpu, worker.queues))
    return replace(worker, work=tuple(work), kept_audio_seconds=kept.audio, kept_busy_seconds=kept.busy)


def living_workers(database: Database, silence: float) -> list[Worker]:
    """Those that were heard of within `silence` seconds."""
    return [worker for worker in list_workers(database) if worker.is_alive(silence)]


def speed_of(alive: Iterable[Worker]) -> float | None:
    """Seconds of audio that these workers transcribe per second together; None where no speed is known."""
    return sum(worker.speed or 0.0 for worker in alive) or None


def _work_by_owner(ask: Ask) -> dict[str, list[Work]]:
    """What each worker has claimed."""
    found: dict[str, list[Work]] = {}
    for owner, *of_job in ask(_claimed_jobs):
        found.setdefault(owner, []).append(Work(*of_job))
    for owner, kind, job, path, *how_far in ask(_running_chunks):
        step = EMBEDDING if kind == ChunkKind.EMBED else TRANSCRIBING
        found.setdefault(owner, []).append(Work(job, path, step, *how_far))
    return found


@sql.statement
def _claimed_jobs() -> Any:
    """Jobs that somebody prepares or finishes."""
    columns = (sql.jobs.c.owner, sql.jobs.c.id, sql.jobs.c.path, sql.jobs.c.state)
    return sql.select(*columns).where(sql.owned(sql.jobs))


@sql.statement
def _running_chunks() -> Any:
    """Chunks that somebody reads or embeds."""
    elapsed = sql.func.coalesce(sql.now() - sql.chunks.c.claimed_at, 0.0)
    how_far = (sql.chunks.c.start, sql.chunks.c.end, sql.chunks.c.progress, elapsed)
    of_chunks = sql.select(sql.chunks.c.owner, sql.chunks.c.kind, sql.jobs.c.id, sql.jobs.c.path, *how_far)
    joined = of_chunks.join(sql.jobs, sql.jobs.c.id == sql.chunks.c.job_id)
    return joined.where(sql.chunks.c.state == ChunkState.RUNNING)


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
    with database.asking() as ask:
        return [ModelWorker(engine, queues) for engine, queues in ask(_models, silence=silence) if engine]


@sql.statement
def _models() -> Any:
    """What the model workers can do that were heard of within `silence` seconds."""
    workers = sql.workers.c
    fresh = workers.heartbeat_at > sql.now() - sql.bindparam("silence")
    takes = (workers.role == "model", workers.state != DRAINING)
    return sql.select(workers.engine, workers.queues).where(*takes, fresh)


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
        fresh = insert_ignoring(connection, sql.locks).values(name=STORE, owner=secrets.token_hex(6), lease_until=0.0)
        connection.execute(fresh)
        return str(connection.execute(sql.select(sql.locks.c.owner).where(sql.locks.c.name == STORE)).scalar_one())


def hold_role(database: Database, role: str, owner: str, seconds: float) -> bool:
    """Take or renew a role that only one process of the fleet has at a time. False while another process has it."""
    # A lease that ends far in the future was set before somebody set the clock back.
    free = sql.or_(
        sql.locks.c.owner == owner,
        sql.locks.c.lease_until < sql.now(),
        sql.locks.c.lease_until > sql.now() + 2 * seconds,
    )
    with database.begin() as connection:
        renewed = (
            sql.update(sql.locks)
            .where(sql.locks.c.name == role, free)
            .values(owner=owner, lease_until=sql.now() + seconds)
        )
        if connection.execute(renewed).rowcount:
            return True
        fresh = insert_ignoring(connection, sql.locks).values(name=role, owner=owner, lease_until=sql.now() + seconds)
        return connection.execute(fresh.returning(sql.locks.c.name)).first() is not None
