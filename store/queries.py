"""Questions about jobs and their chunks: one job, lists of jobs, what waits, how many there are. Reads only."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import starmap
from operator import attrgetter
from pathlib import PurePosixPath
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, and_, bindparam, case, exists, false, func, or_, select

from dropscribe.core import chunk_ids, reserved_names
from dropscribe.core.errors import AmbiguousJobError, JobNotFoundError
from dropscribe.core.event_kinds import EventKind
from dropscribe.core.job_overrides import JobOverrides
from dropscribe.core.origin import RecordingOrigin
from dropscribe.core.types import (
    ACTIVE_STATES,
    ATTENTION_STATES,
    FINAL_STATES,
    PENDING_CHUNKS,
    SETTLED_CHUNKS,
    WAITING_CHUNKS,
    ChunkKind,
    ChunkState,
    JobPhase,
    JobState,
    Media,
    Span,
    SpeakerNames,
)
from dropscribe.store import ended
from dropscribe.store.json_columns import media_of, speech_of
from dropscribe.store.session import Database
from dropscribe.store.tables import FileName, StoredRecording, chunks, events, jobs, now, parts, path_key, source_of


@dataclass(frozen=True, slots=True)
class Job(StoredRecording):
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
    origin: RecordingOrigin | None
    duplicate_of: str | None
    duration: float | None
    media: Media | None
    speech_detector: str
    timings: dict[str, float]
    created_at: float
    finished_at: float | None
    text_removed_at: float | None
    read: float  # seconds of chunks read so far, running ones included
    to_read: float  # seconds of all chunks
    reading: int  # chunks that a worker reads now
    waiting_chunks: int  # chunks that wait for a model
    revision: int = 0  # the number of the last correction that its transcript has
    part_count: int = 0  # files that follow the first, where its recorder wrote it in parts

    @property
    def phase(self) -> JobPhase:
        """What happens to it now: waiting and being transcribed apart."""
        left = bool(self.waiting_chunks) or not self.to_read  # one without chunks follows another
        return JobPhase.of(self.state, running=self.reading, chunks_left=left)

    @property
    def transcribed(self) -> float:
        """Seconds of the recording's own length that are transcribed; chunks together are longer, as they overlap."""
        return self.progress * (self.duration or 0.0)

    @property
    def home(self) -> str:
        """The folder that the recording was dropped in, relative to its root; archived, it lies in one below."""
        path = reserved_names.unshelved(self.path) if self.overrides.archives else self.path
        return str(PurePosixPath(path).parent)

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
    """Is the transcript of a job, or of its row, one that an earlier store made? Nothing of it was decoded here."""
    if job.text_removed_at is not None:
        return False
    return job.duration is not None and job.media is None and job.duplicate_of is None


_JOB_COLUMNS = [c for c in jobs.c if c.name in Job.__dataclass_fields__]


def _jobs_query() -> Any:
    windows = (chunks.c.job_id == jobs.c.id, chunks.c.kind == ChunkKind.WINDOW)
    of_job = (*windows, chunks.c.state != ChunkState.SPLIT)
    read = select(func.coalesce(func.sum(chunks.c.progress), 0.0)).where(*of_job)
    total = select(func.coalesce(func.sum(chunks.c.end - chunks.c.start), 0.0)).where(*of_job)
    running = select(func.count()).where(*windows, chunks.c.state == ChunkState.RUNNING)
    waiting = select(func.count()).where(*windows, chunks.c.state.in_(WAITING_CHUNKS))
    return select(
        *_JOB_COLUMNS,
        read.scalar_subquery().label("read"),
        total.scalar_subquery().label("to_read"),
        running.scalar_subquery().label("reading"),
        waiting.scalar_subquery().label("waiting_chunks"),
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
    by_path = select(jobs.c.id).where(_is_of(absolute_path))
    by_id = select(jobs.c.id).where(_starts_with(text))
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


def _is_of(path: str) -> ColumnElement[bool]:
    """The condition that a job's recording is the file at this absolute path, or that this is a part of it."""
    key = path_key(path)
    return or_(jobs.c.path_key == key, jobs.c.id.in_(select(parts.c.job_id).where(parts.c.path_key == key)))


def _starts_with(prefix: str) -> ColumnElement[bool]:
    """By a range, which the index of the key finds, unlike LIKE. Ids are made of digits and small letters."""
    first = prefix.lower()
    return and_(
        jobs.c.id.between(first, first + chunk_ids.LETTERS[-1] * chunk_ids.LENGTH),
        func.substr(jobs.c.id, 1, len(first)) == first,
    )


def jobs_called(database: Database, name: str, roots: Collection[str]) -> list[Job]:
    """The newest job of each recording of this name: those at this path below their root or one of the roots, else all
    whose path ends so, from a slash on. No more than one above `NAMED_CANDIDATES`.
    """
    below = or_(jobs.c.path == name, jobs.c.path_key.in_([path_key(source_of(root, name)) for root in roots]))
    source, ending = jobs.c.root + "/" + jobs.c.path, "/" + name
    # Compared as it stands: LIKE takes A for a on SQLite.
    ends_so = func.substr(source, func.length(source) - len(ending) + 1) == bindparam("ending", ending, FileName)
    query = select(jobs.c.id).where(_last_of_its_file()).order_by(jobs.c.created_at.desc()).limit(NAMED_CANDIDATES + 1)
    with database.read() as connection:
        ids = next(
            filter(None, (connection.execute(query.where(which)).scalars().all() for which in (below, ends_so))), []
        )
    return list_jobs(database, ids=ids)


def jobs_starting_with(database: Database, prefix: str, limit: int) -> list[Any]:
    """`id`, `state` and `path` of the newest jobs whose ids start with `prefix`."""
    query = select(jobs.c.id, jobs.c.state, jobs.c.path).where(_starts_with(prefix))
    with database.read() as connection:
        return list(connection.execute(query.order_by(jobs.c.created_at.desc()).limit(limit)))


def list_jobs(
    database: Database,
    *,
    states: Collection[JobState] = (),
    phases: Collection[JobPhase] = (),
    folder: str | None = None,
    ids: Sequence[str] | None = None,
    path: str | None = None,
    name: str | None = None,
    ended_before: float | None = None,
    within: Collection[str] | None = None,
    after: tuple[float, str] | None = None,
    limit: int | None = None,
) -> list[Job]:
    """Jobs, the newest first, that are in one of the states or phases.

    `folder` is an absolute path that their recordings lie under, `path` that of one; `within` are folders, under one of
    which they lie (None: anywhere). `name` is a part of their paths below the root, in whatever case (of letters
    that PostgreSQL's locale knows). `after` are the moment of admission and the id of the last one on the page before.
    """
    query = _jobs_query().order_by(jobs.c.created_at.desc(), jobs.c.id)
    if states or phases:
        query = query.where(or_(jobs.c.state.in_(states), *map(_in_phase, phases)))
    if ids is not None:
        query = query.where(jobs.c.id.in_(ids))
    if folder:
        query = query.where(under(database, folder))
    if within is not None:
        query = query.where(under_any(database, within))
    if after is not None:
        moment, job_id = after
        query = query.where(or_(jobs.c.created_at < moment, and_(jobs.c.created_at == moment, jobs.c.id > job_id)))
    if path is not None:
        query = query.where(_is_of(path))
    if name:
        query = query.where(jobs.c.path.icontains(name, autoescape=True))
    if ended_before is not None:
        query = query.where(jobs.c.finished_at < ended_before)
    with database.read() as connection:
        return [*map(_job, connection.execute(query.limit(limit)))]


def _in_phase(phase: JobPhase) -> ColumnElement[bool]:
    """The condition that `JobPhase.of` gives this phase for a job."""
    window = (chunks.c.job_id == jobs.c.id, chunks.c.kind == ChunkKind.WINDOW, chunks.c.state != ChunkState.SPLIT)
    running = exists().where(*window, chunks.c.state == ChunkState.RUNNING)
    left = or_(exists().where(*window, chunks.c.state.in_(WAITING_CHUNKS)), ~exists().where(*window))
    transcribing = jobs.c.state == JobState.TRANSCRIBING
    match phase:
        case JobPhase.WAITING:
            return or_(jobs.c.state == JobState.QUEUED, and_(transcribing, ~running, left))
        case JobPhase.TRANSCRIBING:
            return and_(transcribing, running)
        case JobPhase.FINISHING:
            return or_(jobs.c.state == JobState.FINISHING, and_(transcribing, ~running, ~left))
    return jobs.c.state == phase


def under(database: Database, folder: str) -> ColumnElement[bool]:
    """The condition that a recording lies below the folder (an absolute path), by roots, of which there is an index.

    With the roots /a and /a/b/c, below /a/b is what lies in /a/b/c, and what has a path in /a that begins with b/.
    """
    prefix = folder.rstrip("/") + "/"
    roots = _roots(database)
    whole = [root for root in roots if f"{root}/".startswith(prefix)]
    parts = {root: prefix.removeprefix(f"{root}/") for root in roots if prefix.startswith(f"{root}/")}
    return or_(
        jobs.c.root.in_(whole),
        # Not by LIKE, which takes A for a on SQLite.
        *(and_(jobs.c.root == root, func.substr(jobs.c.path, 1, len(part)) == part) for root, part in parts.items()),
    )


def under_any(database: Database, folders: Collection[str]) -> ColumnElement[bool]:
    """The condition that a recording lies below one of the folders; of none where there are none."""
    return or_(false(), *(under(database, folder) for folder in folders))


def _roots(database: Database) -> list[str]:
    """The folders that jobs were ever found in, each by one step in the index from the one before."""
    found = select(func.min(jobs.c.root).label("root")).cte(recursive=True)
    later = select(func.min(jobs.c.root)).where(jobs.c.root > found.c.root).scalar_subquery()
    found = found.union_all(select(later).where(found.c.root.is_not(None)))
    with database.read() as connection:
        return list(connection.execute(select(found.c.root).where(found.c.root.is_not(None))).scalars())


def last_troubles(database: Database, limit: int) -> list[Job]:
    """The jobs that failed, were parked or are suspect, the latest first."""
    with database.read() as connection:
        ids = _latest(connection, ATTENTION_STATES, limit)
    return list_jobs_in_order(database, ids)


def _latest(
    connection: Connection, states: Collection[JobState], limit: int, *conditions: ColumnElement[bool]
) -> list[str]:
    """The jobs in these states that ended last. State by state, as an index has them in order."""
    found: list[tuple[float, str]] = []
    for state in states:
        query = select(jobs.c.finished_at, jobs.c.id).where(*conditions, jobs.c.state == state)
        found += map(tuple, connection.execute(query.order_by(jobs.c.finished_at.desc()).limit(limit)))
    return [job_id for _, job_id in sorted(found, reverse=True)[:limit]]


def list_jobs_in_order(database: Database, ids: Sequence[str]) -> list[Job]:
    """These jobs, in this order; those that are gone are left out."""
    found = {job.id: job for job in list_jobs(database, ids=ids)}
    return [found[job_id] for job_id in ids if job_id in found]


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
    decides = (events.c.job_id == jobs.c.id, events.c.kind.in_([EventKind.REFUSED, EventKind.RETRIED]))
    last = select(events.c.kind).where(*decides).order_by(events.c.id.desc()).limit(1).scalar_subquery()
    query = select(jobs.c.id).where(jobs.c.state == JobState.FAILED, last == EventKind.REFUSED)
    with database.read() as connection:
        return set(connection.execute(query).scalars())


def count_by_state(database: Database) -> dict[JobState, int]:
    """How many jobs are in each state; states without jobs are left out."""
    query = select(jobs.c.state, func.count()).where(jobs.c.state.in_(ACTIVE_STATES)).group_by(jobs.c.state)
    with database.read() as connection:
        unfinished = {JobState(state): count for state, count in connection.execute(query)}
    return unfinished | ended.count_by_state(database)


@dataclass(frozen=True, slots=True)
class Backlog:
    """Work that is left.

    `audio_seconds` are of prepared recordings, in their own length, and not transcribed yet; `transcribing_seconds` of
    them belong to the `transcribing` jobs on which a model works now, the others to the `waiting` jobs that are
    prepared. Chunks have `chunk_seconds` of audio left together, more than that where they overlap. Of
    `unprepared_files`, the length is not known yet.
    """

    audio_seconds: float = 0.0
    unprepared_files: int = 0
    transcribing_seconds: float = 0.0
    chunk_seconds: float = 0.0
    transcribing: int = 0
    waiting: int = 0

    @property
    def waiting_seconds(self) -> float:
        """Seconds of prepared recordings that wait for a model."""
        return max(0.0, self.audio_seconds - self.transcribing_seconds)

    def phases(self, states: Mapping[JobState, int]) -> dict[JobPhase, int]:
        """How many jobs are in each phase, of so many in each state; phases without jobs are left out."""
        found = Counter({JobPhase.of(state, running=0, chunks_left=False): n for state, n in states.items()})
        found[JobPhase.TRANSCRIBING] += self.transcribing
        found[JobPhase.WAITING] += self.waiting
        comparing_voices = states.get(JobState.TRANSCRIBING, 0) - self.transcribing - self.waiting
        found[JobPhase.FINISHING] = max(0, states.get(JobState.FINISHING, 0) + comparing_voices)
        return {phase: found[phase] for phase in JobPhase if found[phase]}


def backlog(database: Database) -> Backlog:
    """How much work is left; reads unfinished jobs only."""
    unread = select(func.count()).select_from(jobs).where(jobs.c.state.in_([JobState.QUEUED, JobState.PREPARING]))
    query = _left().add_columns(unread.scalar_subquery().label("unprepared_files"))
    with database.read() as connection:
        return Backlog(**connection.execute(query).one()._mapping)  # noqa: SLF001


def _left() -> Any:
    """What is left of the jobs that are prepared, summed up from the figures of each."""
    length, is_running = chunks.c.end - chunks.c.start, chunks.c.state == ChunkState.RUNNING
    pending = chunks.c.state.in_(PENDING_CHUNKS)
    figures = {
        "total": length,
        "left": case((pending, length - chunks.c.progress), else_=0.0),
        "running": case((is_running, 1), else_=0),
        "pending": case((pending, 1), else_=0),
    }
    summed = (func.sum(figure).label(name) for name, figure in figures.items())
    windows = and_(chunks.c.job_id == jobs.c.id, chunks.c.kind == ChunkKind.WINDOW, chunks.c.state != ChunkState.SPLIT)
    prepared = select(jobs.c.id, jobs.c.duration, *summed).select_from(jobs.outerjoin(chunks, windows))
    one = prepared.where(jobs.c.state == JobState.TRANSCRIBING).group_by(jobs.c.id).subquery().c
    own = one.duration * one.left / func.nullif(one.total, 0.0)
    waits = and_(func.coalesce(one.running, 0) == 0, or_(one.pending > 0, one.total.is_(None)))
    sums = {
        "audio_seconds": own,
        "transcribing_seconds": case((one.running > 0, own)),
        "chunk_seconds": one.left,
        "transcribing": case((one.running > 0, 1)),
        "waiting": case((waits, 1)),
    }
    return select(*(func.coalesce(func.sum(sums[name]), 0).label(name) for name in sums))


class UnderWay(NamedTuple):
    """A recording of which chunks are being transcribed: seconds that are transcribed, and in all; running chunks."""

    path: str
    done: float
    whole: float
    running: int


def under_way(database: Database) -> list[UnderWay]:
    """The recordings of which chunks are being transcribed."""
    length, running = chunks.c.end - chunks.c.start, chunks.c.state == ChunkState.RUNNING
    keeps = case((chunks.c.state == ChunkState.DONE, length), else_=0.0)
    query = (
        select(jobs.c.path, func.sum(keeps), func.sum(length), func.sum(case((running, 1), else_=0)))
        .join(chunks, chunks.c.job_id == jobs.c.id)
        .where(jobs.c.state == JobState.TRANSCRIBING, chunks.c.kind == ChunkKind.WINDOW)
        .where(chunks.c.state != ChunkState.SPLIT)
        .group_by(jobs.c.id, jobs.c.path)
        .order_by(jobs.c.path)
    )
    with database.read() as connection:
        return [found for found in starmap(UnderWay, connection.execute(query)) if found.running]


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
    """The jobs that wait for the model that began them, which none of the workers at the queues has."""
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
    which = (jobs.c.root == root, _last_of_its_file())
    with database.read() as connection:
        if all(map(attrgetter("is_final"), states)):
            ids = _latest(connection, states, limit, *which)
        else:
            query = select(jobs.c.id).where(*which, jobs.c.state.in_(states))
            ids = list(connection.execute(query.order_by(jobs.c.created_at).limit(limit)).scalars())
    return list_jobs_in_order(database, ids)


def count_by_state_in_root(database: Database, root: str, superseded: Collection[JobState]) -> dict[JobState, int]:
    """How many jobs of a root are in each state. In the states `superseded` only the last job of each file counts."""
    of_root = select(jobs.c.state, func.count()).where(jobs.c.root == root).group_by(jobs.c.state)
    with database.read() as connection:
        unfinished = connection.execute(of_root.where(jobs.c.state.in_(ACTIVE_STATES))).all()
        last = connection.execute(of_root.where(jobs.c.state.in_(superseded), _last_of_its_file())).all()
    over = ended.count_by_state(database, root)
    plain = {state: number for state, number in over.items() if state not in superseded}
    return plain | {JobState(state): number for state, number in [*unfinished, *last]}
