"""Which chunks a job has: planned, admitted to the queue a few at a time, halved if they failed their checks, and the
line-up of the job's speakers.

Most chunks of a long recording stay in its backlog (the state `held`), so that a short recording that comes later
waits for one chunk and not for all. The transaction that ends a chunk admits the next one; the reconciler admits more
after the fleet has grown.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import ColumnElement, Connection, func, select, update

from dropscribe.core.types import Chunk, ChunkKind, ChunkState, JobState, Span
from dropscribe.store import jobs as job_store
from dropscribe.store import leases
from dropscribe.store.events import note
from dropscribe.store.leases import Claim
from dropscribe.store.session import Database, insert_all
from dropscribe.store.tables import chunks, jobs, now

SETTLED = (ChunkState.DONE, ChunkState.SPLIT)
SAME = 0.001  # seconds; two preparations of the same file agree better than this


@dataclass(frozen=True, slots=True)
class Prepared:
    """What preparing a recording found out; `media` is format, codec, channels and sample_rate.

    Where the file breaks off, it is also `claimed_duration`: the seconds that the whole has, 0 where nothing tells.
    """

    duration: float
    media: dict[str, Any]
    speech_detector: str
    chunks: Sequence[Chunk]
    speech: Sequence[Span]
    notes: tuple[str, ...] = ()
    timings: dict[str, float] = field(default_factory=dict)


def prepared(database: Database, claim: Claim, result: Prepared, *, window: int) -> list[str]:
    """Record the chunk plan and let the job go on; returns the chunks to send `transcribe` for.

    Up to `window` of them wait for a model at once, the others stay in the backlog. Chunks that were transcribed
    before are kept if the plan is still the same: then the job was prepared again only because its audio was gone
    from the spool.
    """
    with database.begin() as connection:
        length = connection.execute(select(jobs.c.duration).where(jobs.c.id == claim.id)).scalar_one()
        planned = _planned_before(connection, claim.id, result, length)
        state = JobState.TRANSCRIBING if result.chunks else JobState.FINISHING
        leases.let_go(
            connection,
            claim,
            state=state,
            reason="",  # why preparing was deferred before is over
            lost=0,
            failures=0,
            duration=result.duration,
            media=result.media | {"speech": [[span.start, span.end] for span in result.speech]},
            speech_detector=result.speech_detector,
            notes=list(result.notes),
            timings=result.timings,
        )
        if planned:
            unread = update(chunks).where(chunks.c.job_id == claim.id, chunks.c.state.not_in(SETTLED))
            connection.execute(unread.values(**leases.FREE, state=ChunkState.HELD))
        else:
            connection.execute(chunks.delete().where(chunks.c.job_id == claim.id))
            rows = [_row(f"{claim.id}.{chunk.index}", claim.id, chunk) for chunk in result.chunks]
            insert_all(connection, chunks, rows)
        note(connection, claim.id, "prepared", f"chunks: {len(result.chunks)}", where=claim.owner)
        return admit_backlog(connection, claim.id, window)


def _planned_before(connection: Connection, job_id: str, result: Prepared, length: float | None) -> bool:
    """Is what the job has a plan of the same recording, no chunk longer than those of today's plan?"""
    query = select(func.max(chunks.c.end - chunks.c.start)).where(
        chunks.c.job_id == job_id, chunks.c.kind == ChunkKind.WINDOW, chunks.c.state.not_in(SETTLED)
    )
    longest = connection.execute(query).scalar()
    if longest is None or length is None:
        return False
    return abs(length - result.duration) < SAME and longest <= max(c.duration for c in result.chunks) + SAME


def _row(chunk_id: str, job_id: str, chunk: Chunk) -> dict[str, Any]:
    return {
        "id": chunk_id,
        "job_id": job_id,
        "position": chunk.index,
        "kind": ChunkKind.WINDOW,
        "depth": 0,
        "start": chunk.start,
        "end": chunk.end,
        "keep_from": chunk.keep.start,
        "keep_to": chunk.keep.end,
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


def admit_backlog(connection: Connection, job_id: str, window: int) -> list[str]:
    """Admit chunks of the backlog to the queue, the earliest first, until `window` of the job wait or run.

    Returns the ids of the admitted chunks.
    """
    room = window - _count(connection, job_id, [ChunkState.QUEUED, ChunkState.RUNNING])
    if room <= 0:
        return []
    backlog = select(chunks.c.id).where(chunks.c.job_id == job_id, chunks.c.state == ChunkState.HELD)
    ids = list(connection.execute(backlog.order_by(chunks.c.start).limit(room)).scalars())
    return _queue(connection, chunks.c.id.in_(ids)) if ids else []


def _count(connection: Connection, job_id: str, states: Iterable[ChunkState]) -> int:
    query = select(func.count()).where(chunks.c.job_id == job_id, chunks.c.state.in_(list(states)))
    return connection.execute(query).scalar_one()


def _queue(connection: Connection, which: ColumnElement[bool]) -> list[str]:
    """Have these chunks wait for a model; returns their ids in order."""
    connection.execute(update(chunks).where(which).values(**leases.FREE | {"sent_at": now()}, state=ChunkState.QUEUED))
    return list(connection.execute(select(chunks.c.id).where(which).order_by(chunks.c.start)).scalars())


def widen(database: Database, window: Callable[[str], int]) -> list[tuple[str, str, str]]:
    """Admit chunks of the backlog after the fleet has grown, until `window` of each job wait or run.

    `window` is a function of the job's queue. Returns the chunks to send `transcribe` for, each with its priority and
    its queue.
    """
    with_backlog = select(chunks.c.job_id).where(chunks.c.state == ChunkState.HELD).distinct()
    with database.read() as connection:
        ids = list(connection.execute(with_backlog).scalars())
    admitted: list[tuple[str, str, str]] = []
    for job_id in ids:
        with database.begin() as connection:
            job = job_store.lock(connection, job_id)
            if job.state == JobState.TRANSCRIBING:
                chunk_ids = admit_backlog(connection, job_id, window(job.model_queue))
                admitted += [(chunk, job.priority, job.model_queue) for chunk in chunk_ids]
    return admitted


def halve(connection: Connection, claim: Claim, halves: Sequence[Chunk]) -> list[str]:
    """Plan two halves to be read instead of the claimed chunk; returns their ids."""
    depth = connection.execute(select(chunks.c.depth).where(chunks.c.id == claim.id)).scalar_one()
    ids = [f"{claim.id}.{number}" for number in range(len(halves))]
    rows = [_row(new, claim.job_id, half) | {"depth": depth + 1} for new, half in zip(ids, halves, strict=True)]
    insert_all(connection, chunks, rows)
    return _queue(connection, chunks.c.id.in_(ids))


def line_up(database: Database, claim: Claim, line_ups: Sequence[tuple[dict[str, Any], float]]) -> list[str]:
    """Have models read clips of the job's speakers before it is finished; returns the chunks to send for.

    Each line-up is what `ChunkWork.clips` will be, and its length in seconds.
    """
    rows = []
    for number, (clips, seconds) in enumerate(line_ups):
        chunk = Chunk(number, 0.0, seconds, Span(0.0, seconds))
        row = _row(f"{claim.job_id}.lineup{number}", claim.job_id, chunk)
        rows.append(row | {"kind": ChunkKind.LINEUP, "clips": clips})
    with database.begin() as connection:
        leases.let_go(connection, claim, state=JobState.TRANSCRIBING)
        insert_all(connection, chunks, rows)
        seconds = sum(length for _, length in line_ups)
        note(connection, claim.job_id, "line_up", f"{seconds:.0f} s of clips", where=claim.owner)
        return _queue(connection, chunks.c.id.in_([row["id"] for row in rows]))
