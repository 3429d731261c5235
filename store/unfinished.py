"""Recordings that are not finished, in the order of the queue: the place of each, and how long it takes.

The queries read unfinished jobs by the index of states, and the chunks of those. They do not grow with history.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import count, starmap
from operator import attrgetter
from statistics import mean
from typing import Any

from dropscribe.core import forecast
from dropscribe.core.forecast import QueuedChunks, Stream
from dropscribe.core.types import ACTIVE_STATES, WAITING_CHUNKS, ChunkKind, ChunkState, JobPhase, JobState, Priority
from dropscribe.store import sql, switches
from dropscribe.store.file_names import StoredRecording
from dropscribe.store.fleet import Worker, capacity_of_engines, living_workers
from dropscribe.store.session import Database

RANKS = {priority: rank for rank, priority in enumerate(Priority)}


@dataclass(frozen=True, slots=True)
class Unfinished(StoredRecording):
    """A recording on its way. Moments in seconds since the epoch, durations in seconds.

    Of its chunks, `running` are transcribed now and `waiting` wait, which have `waiting_seconds` of audio together. Of
    the `chunk_seconds` of all, `read` are transcribed. Chunks overlap: together they are longer than the recording.
    """

    id: str
    root: str
    path: str
    state: JobState
    priority: str
    created_at: float
    model_queue: str
    duration: float | None
    duplicate_of: str | None
    reason: str = ""
    running: int = 0
    waiting: int = 0
    waiting_seconds: float = 0.0
    read: float = 0.0
    chunk_seconds: float = 0.0

    @property
    def phase(self) -> JobPhase:
        """What happens to it now."""
        left = self.waiting > 0 or not self.chunk_seconds  # one without chunks follows another
        return JobPhase.of(self.state, running=self.running, chunks_left=left)

    @property
    def progress(self) -> float:
        """How much of it is transcribed, from 0 to 1."""
        if self.state is JobState.FINISHING:
            return 1.0
        return min(1.0, self.read / self.chunk_seconds) if self.chunk_seconds else 0.0


@dataclass(frozen=True, slots=True)
class Outlook:
    """A recording, its place among those that wait (from 1), and the seconds until it is transcribed, where known."""

    recording: Unfinished
    place: int | None
    seconds_left: float | None


def unfinished(database: Database, limit: int | None = None, root: str | None = None) -> list[Unfinished]:
    """Recordings in no final state, in the order of the queue; with a `root`, those in it.

    With a `limit`, the first so many, and all that somebody works on. Raises StoreError.
    """
    bound = {} if root is None else {"root": root}
    with database.asking() as ask:
        if limit is None:
            rows = ask(_of_root if bound else _all, **bound)
        else:
            rows = ask(_first_of_root if bound else _first, limit=limit, **bound)
    return [*starmap(_recording, rows)]


def _recording(*facts: Any) -> Unfinished:
    """A recording by its row."""
    found = Unfinished(*facts)
    return replace(found, state=JobState(found.state))


@sql.statement
def _all() -> Any:
    """Unfinished jobs in the order of the queue, each with the sums over its windows."""
    windows = (sql.chunks.c.job_id == sql.jobs.c.id, sql.chunks.c.kind == ChunkKind.WINDOW)
    length, waits = sql.chunks.c.end - sql.chunks.c.start, sql.among(sql.chunks.c.state, WAITING_CHUNKS)
    figures = {
        "running": sql.case((sql.chunks.c.state == ChunkState.RUNNING, 1), else_=0),
        "waiting": sql.case((waits, 1), else_=0),
        "waiting_seconds": sql.case((waits, length), else_=0.0),
        "read": sql.chunks.c.progress,
        "chunk_seconds": length,
    }
    summed = {name: sql.func.coalesce(sql.func.sum(figure), 0) for name, figure in figures.items()}
    columns = {**sql.jobs.c, **summed}
    not_split = sql.chunks.c.state != ChunkState.SPLIT
    of_jobs = sql.select(*(columns[name].label(name) for name in Unfinished.__dataclass_fields__)).select_from(
        sql.jobs.outerjoin(sql.chunks, sql.and_(*windows, not_split))
    )
    return of_jobs.where(sql.among(sql.jobs.c.state, ACTIVE_STATES)).group_by(sql.jobs.c.id).order_by(*_order())


@sql.statement
def _of_root() -> Any:
    """Those of one `root`."""
    return _all().where(sql.jobs.c.root == sql.bindparam("root"))


@sql.statement
def _first() -> Any:
    """The first `limit` in the queue, and all that somebody works on."""
    return _all().where(_among_first(sql.among(sql.jobs.c.state, ACTIVE_STATES)))


@sql.statement
def _first_of_root() -> Any:
    """Both."""
    return _of_root().where(
        _among_first(sql.and_(sql.among(sql.jobs.c.state, ACTIVE_STATES), sql.jobs.c.root == sql.bindparam("root")))
    )


def _order() -> Sequence[Any]:
    """A job keeps the turn by which it was prepared, and what is prepared goes on in that order."""
    rank = sql.case(RANKS, value=sql.jobs.c.priority, else_=len(RANKS))
    return rank, sql.jobs.c.turn, sql.jobs.c.created_at, sql.jobs.c.id


def _among_first(active: Any) -> Any:
    """The condition that an active job is at the head of the queue, or that somebody works on it."""
    head = sql.select(sql.jobs.c.id).where(active).order_by(*_order()).limit(sql.bindparam("limit")).subquery()
    running = sql.select(sql.chunks.c.job_id).where(sql.chunks.c.state == ChunkState.RUNNING)
    claimed = sql.select(sql.jobs.c.id).where(active, sql.owned(sql.jobs))
    return sql.jobs.c.id.in_(sql.select(head.c.id).union(running, claimed))


def expected(database: Database, silence: float, limit: int | None = None) -> list[Outlook]:
    """What is to be expected of all unfinished recordings, or of the first `limit`, by the workers that run now.

    A worker that was not heard of for `silence` seconds does not count. Raises StoreError.
    """
    alive, paused_since = living_workers(database, silence), switches.paused_since(database)
    return outlooks(unfinished(database, limit), alive, paused=paused_since is not None)


def outlooks(recordings: Sequence[Unfinished], alive: Sequence[Worker], *, paused: bool = False) -> list[Outlook]:
    """What is to be expected of recordings that stand in the order of the queue, by the workers that are alive. Pure.

    While the fleet is paused, only what is transcribed now has an end.
    """
    waiting = [] if paused else [*map(_queued, filter(attrgetter("waiting"), recordings))]
    window = capacity_of_engines(filter(None, map(attrgetter("engine"), alive))).window
    left = forecast.seconds_left(waiting, streams(alive), window)
    places = dict(zip(map(attrgetter("id"), filter(_has_place, recordings)), count(1), strict=False))
    return [Outlook(one, places.get(one.id), left.get(one.duplicate_of or one.id)) for one in recordings]


def _has_place(one: Unfinished) -> bool:
    """Does the recording wait in the queue?"""
    return one.phase is JobPhase.WAITING and not one.duplicate_of  # which waits for another recording, in no queue


def _queued(one: Unfinished) -> QueuedChunks:
    """What is left to do of a recording, as a forecast needs it."""
    rank, folder = RANKS[Priority(one.priority)], one.source.rpartition("/")[0]
    return QueuedChunks(
        job=one.id,
        queue=one.model_queue,
        chunks=one.waiting,
        seconds=one.waiting_seconds,
        rank=rank,
        folder=folder,
    )


def streams(alive: Sequence[Worker]) -> list[Stream]:
    """What the models of the workers can transcribe at once; a speed that is not known is taken from the others."""
    known = [*filter(None, map(attrgetter("chunk_speed"), alive))]
    return [stream for worker in alive if known for stream in _of_worker(worker, mean(known))]


def _of_worker(worker: Worker, usual: float) -> Iterable[Stream]:
    """What a worker can do at once: a stream for each slot."""
    speed = worker.chunk_speed or usual
    work = worker.transcribing
    yield from (Stream(speed, worker.queues, one.job, one.audio_left(speed)) for one in work)
    slots = worker.engine.slots if worker.engine else 0
    yield from [Stream(speed, worker.queues)] * (slots - len(work))
