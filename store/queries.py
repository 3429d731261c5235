"""Questions about jobs and their chunks: one job, lists of jobs, what waits, how many there are. Reads only."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import starmap
from operator import attrgetter
from pathlib import PurePosixPath
from typing import Any, NamedTuple

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
from dropscribe.store import ended, sql
from dropscribe.store.file_names import StoredRecording, path_key, source_of
from dropscribe.store.json_columns import media_of, speech_of
from dropscribe.store.session import Database


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


@sql.statement
def _jobs() -> Any:
    """All that is known of jobs, in the order of the fields of `Job`."""
    windows = (sql.chunks.c.job_id == sql.jobs.c.id, sql.chunks.c.kind == ChunkKind.WINDOW)
    of_job = (*windows, sql.chunks.c.state != ChunkState.SPLIT)
    read = sql.select(sql.func.coalesce(sql.func.sum(sql.chunks.c.progress), 0.0)).where(*of_job)
    total = sql.select(sql.func.coalesce(sql.func.sum(sql.chunks.c.end - sql.chunks.c.start), 0.0)).where(*of_job)
    running = sql.select(sql.func.count()).where(*windows, sql.chunks.c.state == ChunkState.RUNNING)
    waiting = sql.select(sql.func.count()).where(*windows, sql.among(sql.chunks.c.state, WAITING_CHUNKS))
    sums = {"read": read, "to_read": total, "reading": running, "waiting_chunks": waiting}
    columns = {**sql.jobs.c, **{name: one.scalar_subquery().label(name) for name, one in sums.items()}}
    return sql.select(*(columns[name] for name in Job.__dataclass_fields__))


def _job(row: Iterable[Any]) -> Job:
    facts = dict(zip(Job.__dataclass_fields__, row, strict=True))
    return Job(**facts | {"state": JobState(facts["state"]), "media": media_of(facts["media"])})


def job(database: Database, job_id: str) -> Job:
    """One job by its whole id. Raises JobNotFoundError."""
    with database.asking() as ask:
        rows = ask(_by_id, job=job_id)
    if not rows:
        raise JobNotFoundError(f"there is no job {job_id}", remedy="`dropscribe jobs` lists them")
    return _job(rows[0])


@sql.statement
def _by_id() -> Any:
    """One `job`."""
    return _jobs().where(sql.jobs.c.id == sql.bindparam("job"))


def speech(database: Database, job_id: str, channel: int | None = None) -> tuple[Span, ...]:
    """Where somebody speaks in the recording, or in one channel, as preparing it found; empty before that."""
    with database.asking() as ask:
        return next((speech_of(media, channel) for (media,) in ask(_media, job=job_id)), ())


@sql.statement
def _media() -> Any:
    """What preparing a `job` found."""
    return sql.select(sql.jobs.c.media).where(sql.jobs.c.id == sql.bindparam("job"))


NAMED_CANDIDATES = 3  # jobs that an ambiguous id is said to mean


def find(database: Database, text: str, absolute_path: str) -> str:
    """The id of the job meant by an id, an unambiguous prefix, or a path (the newest job of that file).

    Raises JobNotFoundError, or AmbiguousJobError naming the candidates.
    """
    with database.asking() as ask:
        rows = ask(_newest_of, key=path_key(absolute_path))
        if not rows and text and text.isascii():
            rows = ask(_called, **_range(text), limit=NAMED_CANDIDATES + 1)
    ids: list[str] = [job_id for (job_id,) in rows]
    if not ids:
        raise JobNotFoundError(f"no job has the id or the path {text}", remedy="`dropscribe jobs` lists them")
    if len(ids) > 1:
        others = " or others" if len(ids) > NAMED_CANDIDATES else ""
        raise AmbiguousJobError(f"{text} could be {', '.join(ids[:NAMED_CANDIDATES])}{others}", remedy="type more")
    return ids[0]


@sql.statement
def _newest_of() -> Any:
    """The newest job of the file whose path has the digest `key`."""
    return sql.select(sql.jobs.c.id).where(_is_of(sql.bindparam("key"))).order_by(sql.jobs.c.created_at.desc()).limit(1)


@sql.statement
def _called() -> Any:
    """The first `limit` jobs whose ids begin so."""
    return sql.select(sql.jobs.c.id).where(_starts()).limit(sql.bindparam("limit"))


def _is_of(key: Any) -> sql.ColumnElement[bool]:
    """The condition that a job's recording is the file whose path has this key, or that this is a part of it."""
    of_part = sql.select(sql.parts.c.job_id).where(sql.parts.c.path_key == key)
    return sql.or_(sql.jobs.c.path_key == key, sql.jobs.c.id.in_(of_part))


def _starts() -> sql.ColumnElement[bool]:
    """By a range, which the index of the key finds, unlike LIKE."""
    bound: Sequence[Any] = [*map(sql.bindparam, ("first", "last", "length"))]
    first, last, length = bound
    return sql.and_(sql.jobs.c.id.between(first, last), sql.func.substr(sql.jobs.c.id, 1, length) == first)


def _range(prefix: str) -> dict[str, Any]:
    """What is bound to that for ids that begin so. They are made of digits and small letters."""
    first = prefix.lower()
    return {"first": first, "last": first + chunk_ids.LETTERS[-1] * chunk_ids.LENGTH, "length": len(first)}


def jobs_called(database: Database, name: str, roots: Collection[str]) -> list[Job]:
    """The newest job of each recording of this name: those at this path below their root or one of the roots, else all
    whose path ends so, from a slash on. No more than one above `NAMED_CANDIDATES`.
    """
    below = sql.or_(
        sql.jobs.c.path == name, sql.jobs.c.path_key.in_([path_key(source_of(root, name)) for root in roots])
    )
    source, ending = sql.jobs.c.root + "/" + sql.jobs.c.path, "/" + name
    # Compared as it stands: LIKE takes A for a on SQLite.
    ends_so = sql.func.substr(source, sql.func.length(source) - len(ending) + 1) == sql.bindparam(
        "ending", ending, sql.FileName
    )
    query = (
        sql.select(sql.jobs.c.id)
        .where(_last_of_its_file())
        .order_by(sql.jobs.c.created_at.desc())
        .limit(NAMED_CANDIDATES + 1)
    )
    with database.read() as connection:
        ids = next(
            filter(None, (connection.execute(query.where(which)).scalars().all() for which in (below, ends_so))), []
        )
    return list_jobs(database, ids=ids)


def jobs_starting_with(database: Database, prefix: str, limit: int) -> list[Any]:
    """`id`, `state` and `path` of the newest jobs whose ids start with `prefix`."""
    with database.asking() as ask:
        return [*ask(_starting, **_range(prefix), limit=limit)]


@sql.statement
def _starting() -> Any:
    """The newest `limit` of them, with state and path."""
    query = sql.select(sql.jobs.c.id, sql.jobs.c.state, sql.jobs.c.path).where(_starts())
    return query.order_by(sql.jobs.c.created_at.desc()).limit(sql.bindparam("limit"))


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
    which: list[sql.ColumnElement[bool]] = []
    if states or phases:
        which.append(sql.or_(sql.jobs.c.state.in_(states), *map(_in_phase, phases)))
    if ids is not None:
        which.append(sql.jobs.c.id.in_(ids))
    if folder:
        which.append(under(database, folder))
    if within is not None:
        which.append(under_any(database, within))
    if after is not None:
        moment, job_id = after
        which.append(
            sql.or_(sql.jobs.c.created_at < moment, sql.and_(sql.jobs.c.created_at == moment, sql.jobs.c.id > job_id))
        )
    if path is not None:
        which.append(_is_of(path_key(path)))
    if name:
        which.append(sql.jobs.c.path.icontains(name, autoescape=True))
    if ended_before is not None:
        which.append(sql.jobs.c.finished_at < ended_before)
    return [*map(_job, _found(database, which, limit))]


def _found(database: Database, which: Sequence[sql.ColumnElement[bool]], limit: int | None) -> Sequence[Any]:
    """The rows of the newest jobs that fulfil all these conditions."""
    if limit is not None and not which:
        with database.asking() as ask:
            return ask(_newest, limit=limit)
    with database.read() as connection:
        return connection.execute(_newest().where(*which).limit(limit)).all()


@sql.statement
def _newest() -> Any:
    """The newest `limit` jobs."""
    return _jobs().order_by(sql.jobs.c.created_at.desc(), sql.jobs.c.id).limit(sql.bindparam("limit"))


def _in_phase(phase: JobPhase) -> sql.ColumnElement[bool]:
    """The condition that `JobPhase.of` gives this phase for a job."""
    window = (
        sql.chunks.c.job_id == sql.jobs.c.id,
        sql.chunks.c.kind == ChunkKind.WINDOW,
        sql.chunks.c.state != ChunkState.SPLIT,
    )
    running = sql.exists().where(*window, sql.chunks.c.state == ChunkState.RUNNING)
    left = sql.or_(
        sql.exists().where(*window, sql.among(sql.chunks.c.state, WAITING_CHUNKS)), ~sql.exists().where(*window)
    )
    transcribing = sql.jobs.c.state == JobState.TRANSCRIBING
    match phase:
        case JobPhase.WAITING:
            return sql.or_(sql.jobs.c.state == JobState.QUEUED, sql.and_(transcribing, ~running, left))
        case JobPhase.TRANSCRIBING:
            return sql.and_(transcribing, running)
        case JobPhase.FINISHING:
            return sql.or_(sql.jobs.c.state == JobState.FINISHING, sql.and_(transcribing, ~running, ~left))
    return sql.jobs.c.state == phase


def under(database: Database, folder: str) -> sql.ColumnElement[bool]:
    """The condition that a recording lies below the folder (an absolute path), by roots, of which there is an index.

    With the roots /a and /a/b/c, below /a/b is what lies in /a/b/c, and what has a path in /a that begins with b/.
    """
    prefix = folder.rstrip("/") + "/"
    roots = _roots(database)
    whole = [root for root in roots if f"{root}/".startswith(prefix)]
    parts = {root: prefix.removeprefix(f"{root}/") for root in roots if prefix.startswith(f"{root}/")}
    return sql.or_(
        sql.jobs.c.root.in_(whole),
        # Not by LIKE, which takes A for a on SQLite.
        *(
            sql.and_(sql.jobs.c.root == root, sql.func.substr(sql.jobs.c.path, 1, len(part)) == part)
            for root, part in parts.items()
        ),
    )


def under_any(database: Database, folders: Collection[str]) -> sql.ColumnElement[bool]:
    """The condition that a recording lies below one of the folders; of none where there are none."""
    return sql.or_(sql.false(), *(under(database, folder) for folder in folders))


def _roots(database: Database) -> list[str]:
    """The folders that jobs were ever found in, each by one step in the index from the one before."""
    found = sql.select(sql.func.min(sql.jobs.c.root).label("root")).cte(recursive=True)
    later = sql.select(sql.func.min(sql.jobs.c.root)).where(sql.jobs.c.root > found.c.root).scalar_subquery()
    found = found.union_all(sql.select(later).where(found.c.root.is_not(None)))
    with database.read() as connection:
        return list(connection.execute(sql.select(found.c.root).where(found.c.root.is_not(None))).scalars())


def last_troubles(database: Database, limit: int) -> list[Job]:
    """The jobs that failed, were parked or are suspect, the latest first."""
    with database.read() as connection:
        ids = _latest(connection, ATTENTION_STATES, limit)
    return list_jobs_in_order(database, ids)


def _latest(
    connection: sql.Connection, states: Collection[JobState], limit: int, *conditions: sql.ColumnElement[bool]
) -> list[str]:
    """The jobs in these states that ended last. State by state, as an index has them in order."""
    found: list[tuple[float, str]] = []
    for state in states:
        query = sql.select(sql.jobs.c.finished_at, sql.jobs.c.id).where(*conditions, sql.jobs.c.state == state)
        found += map(tuple, connection.execute(query.order_by(sql.jobs.c.finished_at.desc()).limit(limit)))
    return [job_id for _, job_id in sorted(found, reverse=True)[:limit]]


def list_jobs_in_order(database: Database, ids: Sequence[str]) -> list[Job]:
    """These jobs, in this order; those that are gone are left out."""
    found = {job.id: job for job in list_jobs(database, ids=ids)}
    return [found[job_id] for job_id in ids if job_id in found]


def ended_since(database: Database, moment: float) -> list[Job]:
    """Jobs that came to a final state after `moment` (the database's clock), in order."""
    query = _jobs().where(sql.jobs.c.finished_at > moment, sql.jobs.c.state.in_(FINAL_STATES))
    with database.read() as connection:
        return [*map(_job, connection.execute(query.order_by(sql.jobs.c.finished_at)))]


class Deferred(NamedTuple):
    """Why `jobs` jobs wait to be tried again, and the recording of one of them."""

    reason: str
    path: str
    jobs: int


OVERDUE_SECONDS = 60.0  # how long a deferred job may stay unclaimed after its time until it is no longer listed


def deferred(database: Database) -> list[Deferred]:
    """Why jobs that could not be prepared or finished wait for the next try. The most frequent reason comes first."""
    with database.asking() as ask:
        return [*starmap(Deferred, ask(_deferred))]


@sql.statement
def _deferred() -> Any:
    """Reasons, each with a recording and the number of its jobs."""
    number = sql.func.count().label("number")
    query = sql.select(sql.jobs.c.reason, sql.func.min(sql.jobs.c.path), number).where(
        sql.among(sql.jobs.c.state, [JobState.QUEUED, JobState.FINISHING]),
        sql.jobs.c.owner.is_(None),
        sql.jobs.c.reason != "",
        sql.jobs.c.not_before > sql.now() - OVERDUE_SECONDS,
    )
    return query.group_by(sql.jobs.c.reason).order_by(number.desc(), sql.jobs.c.reason)


def windows_of(database: Database, job_id: str) -> dict[str, Span]:
    """The parts of the recording that a job's chunks are, by the chunk's number within the job."""
    with database.asking() as ask:
        rows = ask(_windows, job=job_id)
    return {chunk_ids.number_of(chunk): Span(start, end) for chunk, start, end in rows}


@sql.statement
def _windows() -> Any:
    """Where the windows of a `job` begin and end."""
    of_job = (sql.chunks.c.job_id == sql.bindparam("job"), sql.chunks.c.kind == ChunkKind.WINDOW)
    return sql.select(sql.chunks.c.id, sql.chunks.c.start, sql.chunks.c.end).where(*of_job)


def refused(database: Database) -> set[str]:
    """The failed jobs that a retry cannot help: the recording itself was at fault when they were tried last."""
    decides = (sql.events.c.job_id == sql.jobs.c.id, sql.events.c.kind.in_([EventKind.REFUSED, EventKind.RETRIED]))
    last = sql.select(sql.events.c.kind).where(*decides).order_by(sql.events.c.id.desc()).limit(1).scalar_subquery()
    query = sql.select(sql.jobs.c.id).where(sql.jobs.c.state == JobState.FAILED, last == EventKind.REFUSED)
    with database.read() as connection:
        return set(connection.execute(query).scalars())


def count_by_state(database: Database) -> dict[JobState, int]:
    """How many jobs are in each state; states without jobs are left out."""
    with database.asking() as ask:
        unfinished = {JobState(state): count for state, count in ask(_active)}
    return unfinished | ended.count_by_state(database)


@sql.statement
def _active() -> Any:
    """Unfinished jobs by state."""
    state = sql.jobs.c.state
    return sql.select(state, sql.func.count()).where(sql.among(state, ACTIVE_STATES)).group_by(state)


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
    with database.asking() as ask:
        return Backlog(*ask(_backlog)[0])


@sql.statement
def _backlog() -> Any:
    """In the order of the fields of `Backlog`."""
    unprepared = sql.among(sql.jobs.c.state, [JobState.QUEUED, JobState.PREPARING])
    unread = sql.select(sql.func.count()).select_from(sql.jobs).where(unprepared)
    columns = {**_left(), "unprepared_files": unread.scalar_subquery()}
    return sql.select(*(columns[name].label(name) for name in Backlog.__dataclass_fields__))


def _left() -> dict[str, Any]:
    """What is left of the jobs that are prepared, summed up from the figures of each."""
    length, is_running = sql.chunks.c.end - sql.chunks.c.start, sql.chunks.c.state == ChunkState.RUNNING
    pending = sql.among(sql.chunks.c.state, PENDING_CHUNKS)
    figures = {
        "total": length,
        "left": sql.case((pending, length - sql.chunks.c.progress), else_=0.0),
        "running": sql.case((is_running, 1), else_=0),
        "pending": sql.case((pending, 1), else_=0),
    }
    summed = (sql.func.sum(figure).label(name) for name, figure in figures.items())
    windows = sql.and_(
        sql.chunks.c.job_id == sql.jobs.c.id,
        sql.chunks.c.kind == ChunkKind.WINDOW,
        sql.chunks.c.state != ChunkState.SPLIT,
    )
    prepared = sql.select(sql.jobs.c.id, sql.jobs.c.duration, *summed).select_from(
        sql.jobs.outerjoin(sql.chunks, windows)
    )
    one = prepared.where(sql.jobs.c.state == JobState.TRANSCRIBING).group_by(sql.jobs.c.id).subquery().c
    own = one.duration * one.left / sql.func.nullif(one.total, 0.0)
    waits = sql.and_(sql.func.coalesce(one.running, 0) == 0, sql.or_(one.pending > 0, one.total.is_(None)))
    sums = {
        "audio_seconds": own,
        "transcribing_seconds": sql.case((one.running > 0, own)),
        "chunk_seconds": one.left,
        "transcribing": sql.case((one.running > 0, 1)),
        "waiting": sql.case((waits, 1)),
    }
    return {name: sql.func.coalesce(sql.func.sum(figure), 0) for name, figure in sums.items()}


class UnderWay(NamedTuple):
    """A recording of which chunks are being transcribed: seconds that are transcribed, and in all; running chunks."""

    path: str
    done: float
    whole: float
    running: int


def under_way(database: Database) -> list[UnderWay]:
    """The recordings of which chunks are being transcribed."""
    length, running = sql.chunks.c.end - sql.chunks.c.start, sql.chunks.c.state == ChunkState.RUNNING
    keeps = sql.case((sql.chunks.c.state == ChunkState.DONE, length), else_=0.0)
    query = (
        sql.select(
            sql.jobs.c.path, sql.func.sum(keeps), sql.func.sum(length), sql.func.sum(sql.case((running, 1), else_=0))
        )
        .join(sql.chunks, sql.chunks.c.job_id == sql.jobs.c.id)
        .where(sql.jobs.c.state == JobState.TRANSCRIBING, sql.chunks.c.kind == ChunkKind.WINDOW)
        .where(sql.chunks.c.state != ChunkState.SPLIT)
        .group_by(sql.jobs.c.id, sql.jobs.c.path)
        .order_by(sql.jobs.c.path)
    )
    with database.read() as connection:
        return [found for found in starmap(UnderWay, connection.execute(query)) if found.running]


def unfinished(database: Database) -> int:
    """How many jobs are not in a final state."""
    query = sql.select(sql.func.count()).select_from(sql.jobs).where(sql.among(sql.jobs.c.state, ACTIVE_STATES))
    with database.read() as connection:
        return connection.execute(query).scalar_one()


def active_among(database: Database, ids: set[str]) -> set[str]:
    """Those of the given jobs that are not in a final state."""
    query = sql.select(sql.jobs.c.id).where(sql.jobs.c.id.in_(ids), sql.among(sql.jobs.c.state, ACTIVE_STATES))
    with database.read() as connection:
        return set(connection.execute(query).scalars()) if ids else set()


def addresses(database: Database, ids: set[str]) -> dict[str, tuple[str, str]]:
    """The priority of each of the given jobs, and the queue of its chunks."""
    if not ids:
        return {}
    query = sql.select(sql.jobs.c.id, sql.jobs.c.priority, sql.jobs.c.model_queue).where(sql.jobs.c.id.in_(ids))
    with database.read() as connection:
        return {row.id: (row.priority, row.model_queue) for row in connection.execute(query)}


def queued_stretches(database: Database) -> list[str]:
    """The stretches whose voices wait to be embedded."""
    waits = (sql.chunks.c.kind == ChunkKind.EMBED, sql.chunks.c.state == ChunkState.QUEUED)
    with database.read() as connection:
        return list(connection.execute(sql.select(sql.chunks.c.id).where(*waits).order_by(sql.chunks.c.id)).scalars())


@cache
def _is_unread() -> sql.ColumnElement[bool]:
    """The condition that there is something of a job that a model has to transcribe."""
    windows = (sql.chunks.c.job_id == sql.jobs.c.id, sql.chunks.c.kind == ChunkKind.WINDOW)
    return sql.exists().where(*windows, ~sql.among(sql.chunks.c.state, SETTLED_CHUNKS))


def model_queues(database: Database) -> dict[str, int]:
    """How many jobs need each queue of model workers: those that are bound to a model while it has not read them."""
    with database.asking() as ask:
        return dict(map(tuple, ask(_queues)))


@sql.statement
def _queues() -> Any:
    """Jobs by the queue that they need."""
    queue = sql.jobs.c.model_queue
    needs = sql.or_(queue == sql.jobs.c.wanted_queue, _is_unread())
    return sql.select(queue, sql.func.count()).where(sql.among(sql.jobs.c.state, ACTIVE_STATES), needs).group_by(queue)


def has_unread_windows(database: Database, job_id: str) -> bool:
    """Is there something of the job that a model has to transcribe?"""
    with database.asking() as ask:
        return bool(ask(_unread, job=job_id))


@sql.statement
def _unread() -> Any:
    """The `job`, where something of it is unread."""
    return sql.select(sql.jobs.c.id).where(sql.jobs.c.id == sql.bindparam("job"), _is_unread())


def bound_to_others(database: Database, queues: Collection[str]) -> list[Job]:
    """The jobs that wait for the model that began them, which none of the workers at the queues has."""
    stranded = (
        sql.jobs.c.state == JobState.TRANSCRIBING,
        sql.jobs.c.model_queue != sql.jobs.c.wanted_queue,
        sql.jobs.c.model_queue.not_in(queues),
        _is_unread(),
    )
    with database.read() as connection:
        return [*map(_job, connection.execute(_jobs().where(*stranded)))]


def _last_of_its_file() -> sql.ColumnElement[bool]:
    """The condition that no later job is about the same file."""
    later = sql.jobs.alias()
    return ~sql.exists().where(later.c.path_key == sql.jobs.c.path_key, later.c.created_at > sql.jobs.c.created_at)


def latest_of_each_file(database: Database, root: str, states: Collection[JobState], limit: int) -> list[Job]:
    """The jobs of a root in these states, only the last of each file; first those that ended last or wait longest."""
    which = (sql.jobs.c.root == root, _last_of_its_file())
    with database.read() as connection:
        if all(map(attrgetter("is_final"), states)):
            ids = _latest(connection, states, limit, *which)
        else:
            query = sql.select(sql.jobs.c.id).where(*which, sql.jobs.c.state.in_(states))
            ids = list(connection.execute(query.order_by(sql.jobs.c.created_at).limit(limit)).scalars())
    return list_jobs_in_order(database, ids)


def count_by_state_in_root(database: Database, root: str, superseded: Collection[JobState]) -> dict[JobState, int]:
    """How many jobs of a root are in each state. In the states `superseded` only the last job of each file counts."""
    of_root = sql.select(sql.jobs.c.state, sql.func.count()).where(sql.jobs.c.root == root).group_by(sql.jobs.c.state)
    with database.read() as connection:
        unfinished = connection.execute(of_root.where(sql.among(sql.jobs.c.state, ACTIVE_STATES))).all()
        last = connection.execute(of_root.where(sql.jobs.c.state.in_(superseded), _last_of_its_file())).all()
    over = ended.count_by_state(database, root)
    plain = {state: number for state, number in over.items() if state not in superseded}
    return plain | {JobState(state): number for state, number in [*unfinished, *last]}
