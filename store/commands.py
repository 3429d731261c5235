"""What people ask for: cancel a job, retry it, or run it again with the current settings."""

from __future__ import annotations

from sqlalchemy import Connection, Text, and_, cast, exists, literal, or_, select, update

from dropscribe.core import reserved_names
from dropscribe.core.errors import DropscribeError
from dropscribe.core.types import ChunkState, JobState
from dropscribe.store import chunk_plans, leases
from dropscribe.store import jobs as job_store
from dropscribe.store.events import RETRIED, note
from dropscribe.store.jobs import NewJob
from dropscribe.store.session import Database
from dropscribe.store.speakers import WRITTEN
from dropscribe.store.tables import chunks, jobs, now

RETRY_WINDOW = 2  # chunks of a retried job that wait for a model at once; the reconciler admits the others


def cancel(database: Database, job_id: str) -> tuple[JobState, list[str]]:
    """Cancel a job: at once if nobody works on it, otherwise as soon as its worker notices.

    Returns the state that the job is in now, and the followers to send `finish` for. Raises DropscribeError for a
    job that has ended.
    """
    with database.begin() as connection:
        job = job_store.lock(connection, job_id)
        if JobState(job.state).is_final:
            raise DropscribeError(f"{job_id} is {job.state} already; there is nothing to cancel")
        connection.execute(update(jobs).where(jobs.c.id == job_id).values(cancel_requested=True))
        connection.execute(
            update(chunks)
            .where(chunks.c.job_id == job_id, chunks.c.state.in_([ChunkState.HELD, ChunkState.QUEUED]))
            .values(state=ChunkState.CANCELLED)
        )
        note(connection, job_id, "cancel_requested", where=database.where)
        running = exists().where(chunks.c.job_id == job_id, chunks.c.state == ChunkState.RUNNING)
        if job.owner or connection.execute(select(literal(1)).where(running)).first():
            return JobState(job.state), []
        woken = job_store.close(connection, job_id, JobState.CANCELLED, "cancelled on request", where=database.where)
        return JobState.CANCELLED, woken


RETRYABLE = (JobState.FAILED, JobState.PARKED, JobState.CANCELLED, JobState.SUSPECT)


def retry(database: Database, job_id: str) -> JobState:
    """Try an ended job again. Transcribed chunks are kept, but a suspect job transcribes its doubtful chunks again.

    Returns the state that the job starts from. Raises DropscribeError for a job that is under way or done.
    """
    with database.begin() as connection:
        job = job_store.lock(connection, job_id)
        if job.state not in RETRYABLE:
            raise DropscribeError(
                f"{job_id} is {job.state}; only failed, parked, cancelled or suspect jobs are retried"
            )
        of_job = update(chunks).where(chunks.c.job_id == job_id)
        again = chunks.c.state == ChunkState.CANCELLED
        if job.state == JobState.SUSPECT:
            doubtful = and_(chunks.c.state == ChunkState.DONE, cast(chunks.c.reasons, Text) != "[]")
            again = or_(again, doubtful)
        requeued = connection.execute(
            of_job.where(again).values(
                **leases.FREE, state=ChunkState.HELD, lost=0, failures=0, not_before=0.0, progress=0.0
            )
        )
        admitted = chunk_plans.admit(connection, job_id, RETRY_WINDOW)
        unsent = chunks.c.id.in_([*admitted.transcribe, *admitted.embed])
        connection.execute(update(chunks).where(unsent).values(sent_at=None))
        state = _restart_state(connection, job_id)
        connection.execute(
            update(jobs)
            .where(jobs.c.id == job_id)
            .values(
                **leases.FREE,
                state=state,
                reason="",
                lost=0,
                failures=0,
                not_before=0.0,
                finished_at=None,
                cancel_requested=False,
                duplicate_of=None,
                diarization=None if requeued.rowcount else job.diarization,  # the old chunks' does not fit the new ones
                moves=job.overrides.get("when_done") == "move",
            )
        )
        note(connection, job_id, RETRIED, f"from {job.state}", where=database.where)
        return state


def _restart_state(connection: Connection, job_id: str) -> JobState:
    states = set(connection.execute(select(chunks.c.state).where(chunks.c.job_id == job_id)).scalars())
    if not states:
        return JobState.QUEUED
    return JobState.FINISHING if states <= {*chunk_plans.SETTLED} else JobState.TRANSCRIBING


def rerun(database: Database, job_id: str, wanted: NewJob) -> JobState:
    """Re-apply the settings that need no model: write the transcript again, or retry a job that has none.

    Returns the state that the job starts from. Raises DropscribeError for a job that is under way.
    """
    with database.begin() as connection:
        job = job_store.lock(connection, job_id)
        values = {
            "overrides": wanted.overrides,
            "priority": wanted.priority,
            "model_queue": wanted.model_queue,
            "moves": wanted.moves and reserved_names.shelf_of(job.path) != reserved_names.DONE,
        }
        if written := job.state in WRITTEN:
            values |= leases.FREE | {"state": JobState.FINISHING, "sent_at": now(), "lost": 0, "failures": 0}
        if JobState(job.state).is_final:
            connection.execute(update(jobs).where(jobs.c.id == job_id).values(**values))
            note(connection, job_id, "rerun", f"from {job.state}", where=database.where)
    return JobState.FINISHING if written else retry(database, job_id)
