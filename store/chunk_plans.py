"""Which chunks a job has: planned, admitted to their queues a few at a time, and halved if they failed their checks.

A job's windows are read by models; meanwhile CPU workers embed the voices in its stretches of speech. Most chunks of a
long recording stay in its backlog (the state `held`), so that a short recording that comes later waits for one chunk
and not for all. The transaction that ends a chunk admits the next one; the reconciler admits more after the fleet has
grown.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from operator import attrgetter
from typing import Any

from sqlalchemy import ColumnElement, Connection, Integer, bindparam, case, func, select

from dropscribe.core import chunk_ids
from dropscribe.core.types import SETTLED_CHUNKS, Chunk, ChunkKind, ChunkState, JobState, Media, Span
from dropscribe.store import jobs as job_store
from dropscribe.store import transitions, waiting_line
from dropscribe.store.chunk_work import ChunkWork
from dropscribe.store.json_columns import stored_media
from dropscribe.store.leases import ChunkClaim, JobClaim
from dropscribe.store.session import Database, insert_all
from dropscribe.store.tables import among, chunks, jobs
from dropscribe.store.transitions import ChunkEvent, JobEvent

EMBEDDED_AT_ONCE = 2  # stretches of one job: the CPU workers have others to prepare and to finish
SAME = 0.001  # seconds; two preparations of the same file agree better than this


@dataclass(frozen=True, slots=True)
class Onward:
    """What is to be sent next: windows to be read, stretches to be embedded, and whether the job may be finished.

    `following` is the job's window that the worker goes on with, for which nothing is to be sent.
    """

    transcribe: tuple[str, ...] = ()
    embed: tuple[str, ...] = ()
    finish: bool = False
    following: ChunkWork | None = None


@dataclass(frozen=True, slots=True)
class Prepared:
    """What preparing a recording found out.

    `chunks` are the windows for a model, `stretches` those whose voices are to be embedded. `speech_of_channels` is
    that of each channel, where these are transcribed one by one, and `speech` that of all of them.
    """

    duration: float
    media: Media
    speech_detector: str
    chunks: Sequence[Chunk]
    speech: Sequence[Span]
    notes: tuple[str, ...] = ()
    timings: dict[str, float] = field(default_factory=dict)
    stretches: Sequence[Span] = ()
    speech_of_channels: Sequence[Sequence[Span]] = ()


def prepared(database: Database, claim: JobClaim, result: Prepared, *, window: int) -> Onward:
    """Record the chunk plan and let the job go on.

    Up to `window` of its windows wait for a model at once, the others stay in the backlog. Windows that were
    transcribed before are kept if the plan is still the same: then the job was prepared again only because its audio
    was gone from the spool. Embeddings lay there too, and are made again.
    """
    with database.begin() as connection:
        length = connection.execute(select(jobs.c.duration).where(jobs.c.id == claim.id)).scalar_one()
        planned = length is not None and _planned_before(connection, claim.id, result, length)
        unread = _unread(connection, claim.id) if planned else result.chunks
        state = JobState.TRANSCRIBING if unread or result.stretches else JobState.FINISHING
        found: dict[str, Any] = {
            "duration": result.duration,
            "media": stored_media(result.media, result.speech, result.speech_of_channels),
            "speech_detector": result.speech_detector,
            "notes": list(result.notes),
            "timings": result.timings,
            "diarization": None,
        }
        number = f"chunks: {len(result.chunks)}"
        transitions.move(connection, JobEvent.PREPARED, claim, to=state, detail=number, **found)
        if length is not None:  # else it is prepared for the first time, and has no chunks
            old = chunks.delete().where(chunks.c.job_id == claim.id)
            connection.execute(old.where(chunks.c.kind == ChunkKind.EMBED) if planned else old)
        rows = [_stretch(claim.id, number, span, result.speech) for number, span in enumerate(result.stretches)]
        if planned:
            of_job = chunks.c.job_id == claim.id
            transitions.apply(connection, ChunkEvent.PLANNED_AGAIN, of_job, where=claim.owner)
        else:
            rows += [_window(claim.id, chunk, result) for chunk in result.chunks]
        insert_all(connection, chunks, rows)
        if state == JobState.FINISHING:
            return Onward(finish=True)
        job = job_store.lock(connection, claim.id)
        stretches = admit_stretches(connection, job) if result.stretches else Onward()
        return replace(admit_windows(connection, job, window), embed=stretches.embed)


def _planned_before(connection: Connection, job_id: str, result: Prepared, length: float) -> bool:
    """Is what the job has a plan of the same recording, nothing left to read that is longer than in today's plan?"""
    windows = (chunks.c.job_id == job_id, chunks.c.kind == ChunkKind.WINDOW)
    unread = chunks.c.state.not_in(SETTLED_CHUNKS)
    channels = set(connection.execute(select(chunks.c.channel).where(*windows).distinct()).scalars())
    number, longest = connection.execute(
        select(func.count(), func.max(case((unread, chunks.c.end - chunks.c.start), else_=0.0))).where(*windows)
    ).one()
    if not number or channels != set(map(attrgetter("channel"), result.chunks)):
        return False
    return abs(length - result.duration) < SAME and longest <= max(map(attrgetter("duration"), result.chunks)) + SAME


def _unread(connection: Connection, job_id: str) -> Sequence[str]:
    windows = (chunks.c.job_id == job_id, chunks.c.kind == ChunkKind.WINDOW)
    return (
        connection.execute(select(chunks.c.id).where(*windows, chunks.c.state.not_in(SETTLED_CHUNKS))).scalars().all()
    )


def _window(job_id: str, chunk: Chunk, result: Prepared) -> dict[str, Any]:
    speech = result.speech_of_channels[chunk.channel] if result.speech_of_channels else result.speech
    return _row(chunk_ids.chunk_id(job_id, str(chunk.index)), job_id, chunk, within(speech, chunk.start, chunk.end))


def _stretch(job_id: str, number: int, span: Span, speech: Sequence[Span]) -> dict[str, Any]:
    chunk, spoken = Chunk(number, span.start, span.end, span), within(speech, span.start, span.end)
    return _row(chunk_ids.chunk_id(job_id, f"e{number}"), job_id, chunk, spoken) | {"kind": ChunkKind.EMBED}


def within(speech: Sequence[Span], start: float, end: float) -> tuple[Span, ...]:
    """The spans of speech, in order and apart, that reach into the time from `start` to `end`, whole."""
    first = bisect_right(speech, start, key=attrgetter("end"))
    return tuple(speech[first : bisect_left(speech, end, key=attrgetter("start"))])


def _row(chunk_id: str, job_id: str, chunk: Chunk, speech: Sequence[Span]) -> dict[str, Any]:
    return {
        "id": chunk_id,
        "job_id": job_id,
        "position": chunk.index,
        "kind": ChunkKind.WINDOW,
        "depth": 0,
        "channel": chunk.channel,
        "start": chunk.start,
        "end": chunk.end,
        "keep_from": chunk.keep.start,
        "keep_to": chunk.keep.end,
        "speech": speech,
        "state": ChunkState.HELD,
        "attempt": 0,
        "lost": 0,
        "failures": 0,
        "not_before": 0.0,
        "progress": 0.0,
        "reasons": [],
        "missing": [],
        "timings": {},
        "prompt_tokens": 0,
        "output_tokens": 0,
    }


def admit(connection: Connection, job: Any, window: int) -> Onward:
    """Admit chunks of the backlog to their queues, the earliest first, until enough of the job wait or run.

    Enough are `window` windows, and `EMBEDDED_AT_ONCE` stretches. `job` is its row, which the caller has locked.
    """
    return replace(admit_windows(connection, job, window), embed=admit_stretches(connection, job).embed)


def admit_windows(connection: Connection, job: Any, window: int) -> Onward:
    """The same for windows alone: a stretch makes no room for one."""
    return Onward(transcribe=transitions.admit(connection, _WINDOWS, waiting_line.place(job) | {"most": window}))


def admit_stretches(connection: Connection, job: Any) -> Onward:
    """The same for stretches alone, which stand in no line."""
    return Onward(embed=transitions.admit(connection, _STRETCHES, {"job": job.id, "most": EMBEDDED_AT_ONCE}))


def _of_kind(kind: ChunkKind, *states: ChunkState) -> tuple[ColumnElement[bool], ...]:
    """The conditions on a job's chunks of a kind, in one of these states."""
    return (chunks.c.job_id == bindparam("job"), among(chunks.c.kind, [kind]), among(chunks.c.state, states))


def _first_held(kind: ChunkKind) -> ColumnElement[bool]:
    """The condition that there is room for a chunk of the backlog: one statement looks for it and admits it."""
    busy, most = func.count(), bindparam("most", type_=Integer)
    under_way = _of_kind(kind, ChunkState.QUEUED, ChunkState.RUNNING)
    room = select(case((busy < most, most - busy), else_=0)).where(*under_way).scalar_subquery()
    held = select(chunks.c.id).where(*_of_kind(kind, ChunkState.HELD)).order_by(chunks.c.start)
    return chunks.c.id.in_(held.limit(room))


_OF_JOB_HELD = select(func.min(chunks.c.start)).where(*_of_kind(ChunkKind.WINDOW, ChunkState.HELD)).scalar_subquery()
_WINDOWS = transitions.admitting(_first_held(ChunkKind.WINDOW), **waiting_line.placed_behind(_OF_JOB_HELD))
_STRETCHES = transitions.admitting(_first_held(ChunkKind.EMBED))
_HALVES = transitions.admitting(
    chunks.c.id.in_(bindparam("ids", expanding=True)), **waiting_line.placed_behind(bindparam("first"))
)


@dataclass(frozen=True, slots=True)
class Admitted:
    """What is to be sent for a job, and how: its priority, and the queue of its windows."""

    onward: Onward
    priority: str
    model_queue: str


def widen(database: Database, window: Callable[[str], int]) -> list[Admitted]:
    """Admit chunks of the backlog after the fleet has grown, until `window` of each job wait or run.

    `window` is a function of the job's queue.
    """
    with_backlog = select(chunks.c.job_id).where(chunks.c.state == ChunkState.HELD).distinct()
    with database.read() as connection:
        ids = list(connection.execute(with_backlog).scalars())
    admitted: list[Admitted] = []
    for job_id in ids:
        with database.begin() as connection:
            job = job_store.lock(connection, job_id)
            if job.state == JobState.TRANSCRIBING:
                onward = admit(connection, job, window(job.model_queue))
                if onward != Onward():
                    admitted.append(Admitted(onward, job.priority, job.model_queue))
    return admitted


def halve(connection: Connection, claim: ChunkClaim, job: Any, halves: Sequence[Chunk]) -> tuple[str, ...]:
    """Plan two halves to be read instead of the claimed chunk, whose `job` is locked; returns their ids."""
    whole = connection.execute(select(chunks.c.depth, chunks.c.speech).where(chunks.c.id == claim.id)).one()
    ids = [chunk_ids.chunk_id(claim.id, str(number)) for number in range(len(halves))]
    rows = [
        _row(new, claim.job_id, half, whole.speech and within(whole.speech, half.start, half.end))
        | {"depth": whole.depth + 1}
        for new, half in zip(ids, halves, strict=True)
    ]
    insert_all(connection, chunks, rows)
    return transitions.admit(connection, _HALVES, waiting_line.place(job) | {"ids": ids, "first": halves[0].start})
