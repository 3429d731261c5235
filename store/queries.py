"""Questions about jobs and their chunks: one job, lists of jobs, what waits, how many there are. Reads only."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import starmap
from operator import attrgetter
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, exists, func, or_, select

from dropscribe.core import chunk_ids
from dropscribe.core.errors import AmbiguousJobError, JobNotFoundError
from dropscribe.core.event_kinds import EventKind
from dropscribe.core.job_overrides import JobOverrides
from dropscribe.core.types import (
    ACTIVE_STATES,
    ATTENTION_STATES,
    FINAL_STATES,
    PENDING_CHUNKS,
    SETTLED_CHUNKS,
    ChunkKind,
    ChunkState,
    JobState,
    Media,
    Span,
    SpeakerNames,
)
from dropscribe.store.json_columns import media_of, speech_of
from dropscribe.store.session import Database
from dropscribe.store.tables import chunks, events, jobs, now, path_key, source_of


@dataclass(frozen=True, slots=True)
class Job:
    """A job as people see it. Moments in seconds since the epoch, durations in seconds."""

    id: str
    root: str
    path: str
    size: int
    mtime_ns: int
    settings_digest: str
    state: JobState
    reason: str
    priority: str
    context: str
    overrides: JobOverrides
    model_queue: str
    moving_to: str | None
    notes: list[str]
    missing: tuple[Span, ...]
    speakers: SpeakerNames
    attempt: int
    failures: int
    lost: int
    owner: str | None
    cancel_requested: bool
    sha256: str | None
    duplicate_of: str | None
    duration: float | None
    media: Media | None
    speech_detector: str
    timings: dict[str, float]
    created_at: float
    finished_at: float | None
    read: float  # seconds of chunks read so far, running ones included
    to_read: float  # seconds of all chunks
    reading: int  # chunks that a worker reads now

    @property
    def source(self) -> str:
        """Absolute path of the recording."""
        return source_of(self.root, self.path)

    @property
    def progress(self) -> float:
        """How much of the recording is transcribed, from 0 to 1; of a failed job, how far it came."""
        if self.state.has_transcript or self.state == JobState.FINISHING:
            return 1.0
        return min(1.0, self.read / self.to_read) if self.to_read else 0.0

    @property
    def is_taken_over(self) -> bool:
        """Is its transcript one that an earlier store had made?"""
        return is_taken_over(self)


def is_taken_over(job: Any) -> bool:
    """Was the transcript of a job, or of its row, made by an earlier store? Then nothing of it was decoded here."""
    return job.duration is not None and job.media is None and job.duplicate_of is None


_JOB_COLUMNS = [c for c in jobs.c if c.name in Job.__dataclass_fields__]


def _jobs_query() -> Any:
    windows = (chunks.c.job_id == jobs.c.id, chunks.c.kind == ChunkKind.WINDOW)
    of_job = (*windows, chunks.c.state != ChunkState.SPLIT)
    read = select(func.coalesce(func.sum(chunks.c.progress), 0.0)).where(*of_job)
    total = select(func.coalesce(func.sum(chunks.c.end - chunks.c.start), 0.0)).where(*of_job)
    running = select(func.count()).where(*windows, chunks.c.state == ChunkState.RUNNING)
    return select(
        *_JOB_COLUMNS,
        read.scalar_subquery().label("read"),
        total.scalar_subquery().label("to_read"),
        running.scalar_subquery().label("reading"),
    )


def _job(row: Any) -> Job:
    typed = {"state": JobState(row.state), "media": media_of(row.media)}
    return Job(**{**row._mapping, **typed})  # noqa: SLF001 (SQLAlchemy's public name for it)


def job(database: Database, job_id: str) -> Job:
    """One job by its whole id. Raises JobNotFoundError."""
    with database.read() as connection:
        row = connection.execute(_jobs_query().where(jobs.c.id == job_id)).first()
    if row is None:
        raise JobNotFoundError(f"there is no job {job_id}", remedy="`dropscribe jobs` lists them")
    return _job(row)


def speech(database: Database, job_id: str, channel: int | None = None) -> tuple[Span, ...]:
    """Where somebody speaks in the recording, or in one channel, as preparing it found; empty before that."""
    with database.read() as connection:
        return speech_of(connection.execute(select(jobs.c.media).where(jobs.c.id == job_id)).scalar(), channel)


NAMED_CANDIDATES = 3  # jobs that an ambiguous id is said to mean


def find(database: Database, text: str, absolute_path: str) -> str:
    """The id of the job meant by an id, an unambiguous prefix, or a path (the newest job of that file).

    Raises JobNotFoundError, or AmbiguousJobError naming the candidates.
    """
    by_path = select(jobs.c.id).where(jobs.c.path_key == path_key(absolute_path))
    by_id = select(jobs.c.id).where(jobs.c.id.startswith(text.lower(), autoescape=True))
    with database.read() as connection:
        ids = connection.execute(by_path.order_by(jobs.c.created_at.desc()).limit(1)).scalars().all()
        if not ids and text and text.isascii():
            ids = connection.execute(by_id.limit(NAMED_CANDIDATES + 1)).scalars().all()
    if not ids:
        raise JobNotFoundError(f"no job has the id or the path {text}", remedy="`dropscribe jobs` lists them")
    if len(ids) > 1:
        others = " or others" if len(ids) > NAMED_CANDIDATES else ""
        raise AmbiguousJobError(f"{text} could be {', '.join(ids[:NAMED_CANDIDATES])}{others}", remedy="type more")
    return ids[0]


def jobs_starting_with(database: Database, prefix: str, limit: int) -> list[Any]:
    """`id`, `state` and `path` of the newest jobs whose ids start with `prefix`."""
    query = select(jobs.c.id, jobs.c.state, jobs.c.path).where(jobs.c.id.startswith(prefix.lower(), autoescape=True))
    with database.read() as connection:
        return list(connection.execute(query.order_by(jobs.c.created_at.desc()).limit(limit)))


def list_jobs(
    database: Database,
    *,
    states: Collection[JobState] = (),
    folder: str | None = None,
    ids: Sequence[str] | None = None,
    path: str | None = None,
    ended_before: float | None = None,
    limit: int | None = None,
) -> list[Job]:
    """Jobs, the newest first. `folder` is an absolute path that their recordings lie under, `path` that of one."""
    query = _jobs_query().order_by(jobs.c.created_at.desc(), jobs.c.id)
    if states:
        query = query.where(jobs.c.state.in_(states))
    if ids is not None:
        query = query.where(jobs.c.id.in_(ids))
    if folder:
        query = query.where(under(folder))
    if path is not None:
        query = query.where(jobs.c.path_key == path_key(path))
    if ended_before is not None:
        query = query.where(jobs.c.finished_at < ended_before)
    with database.read() as connection:
        return [*map(_job, connection.execute(query.limit(limit)))]


def under(folder: str) -> ColumnElement[bool]:
    """The condition that a recording lies below the folder (an absolute path)."""
    prefix = folder.rstrip("/") + "/"  # not by LIKE, which takes A for a on SQLite
    below: ColumnElement[bool] = func.substr(jobs.c.root + "/" + jobs.c.path, 1, len(prefix)) == prefix
    return below


def last_troubles(database: Database, limit: int) -> list[Job]:
    """The jobs that failed, were parked or are suspect, the latest first."""
    query = _jobs_query().where(jobs.c.state.in_(ATTENTION_STATES))
    with database.read() as connection:
        return [*map(_job, connection.execute(query.order_by(jobs.c.finished_at.desc()).limit(limit)))]


def ended_since(database: Database, moment: float) -> list[Job]:
    """Jobs that came to a final state after `moment` (the database's clock), in order."""
    query = _jobs_query().where(jobs.c.finished_at > moment, jobs.c.state.in_(FINAL_STATES))
    with database.read() as connection:
        return [*map(_job, connection.execute(query.order_by(jobs.c.finished_at)))]


class Deferred(NamedTuple):
    """Why `jobs` jobs wait to be tried again, and the recording of one of them."""

    reason: str
    path: str
    jobs: int


OVERDUE_SECONDS = 60.0  # how long a deferred job may stay unclaimed after its time until it is no longer listed


def deferred(database: Database) -> list[Deferred]:
    """Why jobs that could not be prepared or finished wait for the next try. The most frequent reason comes first."""
    number = func.count().label("number")
    query = select(jobs.c.reason, func.min(jobs.c.path), number).where(
        jobs.c.state.in_([JobState.QUEUED, JobState.FINISHING]),
        jobs.c.owner.is_(None),
        jobs.c.reason != "",
        jobs.c.not_before > now() - OVERDUE_SECONDS,
    )
    with database.read() as connection:
        rows = connection.execute(query.group_by(jobs.c.reason).order_by(number.desc(), jobs.c.reason))
        return [*starmap(Deferred, rows)]


def windows_of(database: Database, job_id: str) -> dict[str, Span]:
    """The parts of the recording that a job's chunks are, by the chunk's number within the job."""
    query = select(chunks.c.id, chunks.c.start, chunks.c.end)
    with database.read() as connection:
        of_job = query.where(chunks.c.job_id == job_id, chunks.c.kind == ChunkKind.WINDOW)
        return {chunk_ids.number_of(row.id): Span(row.start, row.end) for row in connection.execute(of_job)}


def refused(database: Database) -> set[str]:
    """The failed jobs that a retry cannot help: the recording itself was at fault when they were tried last."""
    decide = events.c.kind.in_([EventKind.REFUSED, EventKind.RETRIED])
    decisive = select(func.max(events.c.id)).where(decide).group_by(events.c.job_id)
    query = select(events.c.job_id).join(jobs, jobs.c.id == events.c.job_id)
    with database.read() as connection:
        ids = query.where(
            jobs.c.state == JobState.FAILED, events.c.kind == EventKind.REFUSED, events.c.id.in_(decisive)
        )
        return set(connection.execute(ids).scalars())


def count_by_state(database: Database) -> dict[JobState, int]:
    """How many jobs are in each state; states without jobs are left out."""
    query = select(jobs.c.state, func.count()).group_by(jobs.c.state)
    with database.read() as connection:
        return {JobState(state): count for state, count in connection.execute(query)}


@dataclass(frozen=True, slots=True)
class Backlog:
    """Work that waits: seconds of audio in chunks not transcribed yet, and files whose length is not known yet."""

    audio_seconds: float
    unprepared_files: int


def backlog(database: Database) -> Backlog:
    """How much work is left."""
    left = select(func.coalesce(func.sum(chunks.c.end - chunks.c.start - chunks.c.progress), 0.0)).where(
        chunks.c.kind == ChunkKind.WINDOW,
        chunks.c.state.in_(PENDING_CHUNKS),
    )
    unread = select(func.count()).select_from(jobs).where(jobs.c.state.in_([JobState.QUEUED, JobState.PREPARING]))
    with database.read() as connection:
        return Backlog(connection.execute(left).scalar_one(), connection.execute(unread).scalar_one())


def unfinished(database: Database) -> int:
    """How many jobs are not in a final state."""
    query = select(func.count()).select_from(jobs).where(jobs.c.state.in_(ACTIVE_STATES))
    with database.read() as connection:
        return connection.execute(query).scalar_one()


def active_among(database: Database, ids: set[str]) -> set[str]:
    """Those of the given jobs that are not in a final state."""
    query = select(jobs.c.id).where(jobs.c.id.in_(ids), jobs.c.state.in_(ACTIVE_STATES))
    with database.read() as connection:
        return set(connection.execute(query).scalars()) if ids else set()


def addresses(database: Database, ids: set[str]) -> dict[str, tuple[str, str]]:
    """The priority of each of the given jobs, and the queue of its chunks."""
    if not ids:
        return {}
    query = select(jobs.c.id, jobs.c.priority, jobs.c.model_queue).where(jobs.c.id.in_(ids))
    with database.read() as connection:
        return {row.id: (row.priority, row.model_queue) for row in connection.execute(query)}


def queued_stretches(database: Database) -> list[str]:
    """The stretches whose voices wait to be embedded."""
    waits = (chunks.c.kind == ChunkKind.EMBED, chunks.c.state == ChunkState.QUEUED)
    with database.read() as connection:
        return list(connection.execute(select(chunks.c.id).where(*waits).order_by(chunks.c.id)).scalars())


_HAS_UNREAD_WINDOWS = exists().where(
    chunks.c.job_id == jobs.c.id, chunks.c.kind == ChunkKind.WINDOW, chunks.c.state.not_in(SETTLED_CHUNKS)
)


def model_queues(database: Database) -> dict[str, int]:
    """How many jobs need each queue of model workers: those that are bound to a model while it has not read them."""
    waiting = (jobs.c.state.in_(ACTIVE_STATES), or_(jobs.c.model_queue == jobs.c.wanted_queue, _HAS_UNREAD_WINDOWS))
    query = select(jobs.c.model_queue, func.count()).where(*waiting)
    with database.read() as connection:
        return dict(connection.execute(query.group_by(jobs.c.model_queue)).all())


def has_unread_windows(database: Database, job_id: str) -> bool:
    """Is there something of the job that a model has to transcribe?"""
    with database.read() as connection:
        return connection.execute(select(jobs.c.id).where(jobs.c.id == job_id, _HAS_UNREAD_WINDOWS)).first() is not None


def bound_to_others(database: Database, queues: Collection[str]) -> list[Job]:
    """The jobs that wait for the model that began them, which is none of those that serve the queues."""
    stranded = (
        jobs.c.state == JobState.TRANSCRIBING,
        jobs.c.model_queue != jobs.c.wanted_queue,
        jobs.c.model_queue.not_in(queues),
        _HAS_UNREAD_WINDOWS,
    )
    with database.read() as connection:
        return [*map(_job, connection.execute(_jobs_query().where(*stranded)))]


def _last_of_its_file() -> ColumnElement[bool]:
    """The condition that no later job is about the same file."""
    later = jobs.alias()
    return ~exists().where(later.c.path_key == jobs.c.path_key, later.c.created_at > jobs.c.created_at)


def latest_of_each_file(database: Database, root: str, states: Collection[JobState], limit: int) -> list[Job]:
    """The jobs of a root in these states, only the last of each file; first those that ended last or wait longest."""
    moment: Any = jobs.c.finished_at.desc() if all(map(attrgetter("is_final"), states)) else jobs.c.created_at
    query = select(jobs.c.id).where(jobs.c.root == root, jobs.c.state.in_(states), _last_of_its_file())
    with database.read() as connection:
        ids = list(connection.execute(query.order_by(moment).limit(limit)).scalars())
    found = {job.id: job for job in list_jobs(database, ids=ids)}
    return [found[job_id] for job_id in ids if job_id in found]


def count_by_state_in_root(database: Database, root: str, superseded: Collection[JobState]) -> dict[JobState, int]:
    """How many jobs of a root are in each state. In the states `superseded` only the last job of each file counts."""
    of_root = select(jobs.c.state, func.count()).where(jobs.c.root == root).group_by(jobs.c.state)
    with database.read() as connection:
        plain = connection.execute(of_root.where(jobs.c.state.not_in(superseded))).all()
        last = connection.execute(of_root.where(jobs.c.state.in_(superseded), _last_of_its_file())).all()
    return {JobState(state): number for state, number in [*plain, *last]}
