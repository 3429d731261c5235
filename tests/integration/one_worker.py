"""One worker of both roles whose tasks a test calls by hand, and what it needs to get through a recording."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from sqlalchemy import select, update

from dropscribe.core.job_overrides import JobOverrides
from dropscribe.core.types import ChunkKind, ChunkState, JobState
from dropscribe.store import jobs, queries, tables
from dropscribe.store.jobs import NewJob
from dropscribe.worker import cpu_tasks, model_tasks
from dropscribe.worker.runtime.context import WorkerContext


class Died(BaseException):
    """The process was killed here."""


def die(_status: int) -> None:
    raise Died


MakeContext = Callable[..., WorkerContext]


def admit(context: WorkerContext, path: Path, **overrides: object) -> str:
    """A job for the recording; `overrides` are the settings of its folder."""
    stat = path.stat()
    own = JobOverrides.read(overrides)
    new = NewJob(str(path.parent), path.name, stat.st_size, stat.st_mtime_ns, "digest", "normal", overrides=own)
    (job_id,) = jobs.admit(context.database, [new])
    return job_id


def carry_through(context: WorkerContext, job_id: str) -> queries.Job:
    """Run the tasks as the messages would; each takes what has waited longest, which may be of another job."""
    for _ in queries.list_jobs(context.database, states=[JobState.QUEUED]):
        if queries.job(context.database, job_id).state is JobState.QUEUED:
            cpu_tasks.prepare_job(context, job_id)
    while waiting := [*queued(context, job_id), *queued_stretches(context, job_id)]:
        for chunk_id in waiting:
            model_tasks.transcribe_chunk(context, chunk_id)
            if context.encoder is not None:
                cpu_tasks.embed_stretch(context, chunk_id)
        cpu_tasks.finish_job(context, job_id)
    cpu_tasks.finish_job(context, job_id)
    return queries.job(context.database, job_id)


def queued(context: WorkerContext, job_id: str) -> list[str]:
    """The chunks that wait for a model and are due."""
    return _queued(context, job_id, ChunkKind.WINDOW)


def queued_stretches(context: WorkerContext, job_id: str) -> list[str]:
    """The stretches whose voices wait to be embedded and are due."""
    return _queued(context, job_id, ChunkKind.EMBED)


def _queued(context: WorkerContext, job_id: str, kind: ChunkKind) -> list[str]:
    query = select(tables.chunks.c.id).where(
        tables.chunks.c.job_id == job_id,
        tables.chunks.c.kind == kind,
        tables.chunks.c.state == ChunkState.QUEUED,
        tables.chunks.c.not_before <= tables.now(),
    )
    with context.database.read() as connection:
        return list(connection.execute(query.order_by(tables.chunks.c.start)).scalars())


def make_due(context: WorkerContext) -> None:
    with context.database.begin() as connection:
        for table in (tables.jobs, tables.chunks):
            connection.execute(update(table).values(not_before=0.0))
