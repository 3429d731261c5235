"""What people ask for: cancel a job, retry it, or run it again with the current settings."""

from __future__ import annotations

from operator import attrgetter
from typing import Any

from sqlalchemy import ColumnElement, Connection, Text, and_, cast, exists, or_, select, update

from dropscribe.core import reserved_names
from dropscribe.core.errors import DropscribeError
from dropscribe.core.event_kinds import EventKind
from dropscribe.core.routing import is_bound, wish_of
from dropscribe.core.types import SETTLED_CHUNKS, ChunkState, JobState
from dropscribe.store import chunk_plans, queries, revisions, transitions, waiting_line
from dropscribe.store import jobs as job_store
from dropscribe.store.events import note
from dropscribe.store.jobs import NewJob
from dropscribe.store.session import Database
from dropscribe.store.tables import chunks, jobs
from dropscribe.store.transitions import JOBS, ChunkEvent, JobEvent

RETRY_WINDOW = 2  # chunks of a retried job that wait for a model at once; the reconciler admits the others


def cancel(database: Database, job_id: str) -> tuple[JobState, list[str]]:
    """Cancel a job: at once if nobody works on it, otherwise as soon as its worker notices.

    Returns the state that the job is in now, and the followers to send `finish` for. Raises DropscribeError for a
    job that has ended.
    """
    with database.begin() as connection:
        job = job_store.lock(connection, job_id, whole=True)
        if JobState(job.state).is_final:
            raise DropscribeError(f"{job_id} is {job.state} already", remedy="there is nothing to cancel")
        followers = job_store.request_cancel(connection, job_id, where=database.where)
        return (JobState(job.state), []) if followers is None else (JobState.CANCELLED, followers)


def set_priority(database: Database, job_id: str, priority: str) -> JobState:
    """Let a job that is under way, and its chunks, go before or after others from now on.

    Returns its state. Raises DropscribeError for a job that has ended.
    """
    with database.begin() as connection:
        job = job_store.lock(connection, job_id)
        state = JobState(job.state)
        if state.is_final:
            remedy = (
                f"`dropscribe retry {job_id}` tries it again"
                if state in RETRYABLE
                else "there is nothing to prioritize"
            )
            raise DropscribeError(f"{job_id} is {state} already", remedy=remedy)
        if job.priority != priority:
            connection.execute(update(jobs).where(jobs.c.id == job_id).values(priority=priority))
            note(connection, job_id, EventKind.PRIORITY, f"from {job.priority} to {priority}", where=database.where)
            waiting_line.join(connection, [job_id])
            waiting_line.move_windows(connection, job, priority)
        return state


def begin_anew(database: Database, job_id: str) -> bool:
    """Let any model that it may go to transcribe a job that waits for a certain one; what that did is thrown away.

    False where the job waits for none by now.
    """
    with database.begin() as connection:
        job = job_store.lock(connection, job_id, whole=True)
        if not is_bound(job.model_queue) or job.state != JobState.TRANSCRIBING or job.cancel_requested:
            return False
        _forget_model(connection, job_id)
        the_job, lost = jobs.c.id == job_id, wish_of(job.model_queue)
        transitions.apply(connection, JobEvent.ANOTHER_MODEL, the_job, where=database.where, detail=lost)
        return True


def change_model(database: Database, job_id: str) -> JobState:
    """Begin a job again with any model that it may go to, or retry one that ended without a transcript.

    Returns the state that the job starts from. Raises DropscribeError where no model has begun it, or it is written.
    """
    if begin_anew(database, job_id):
        return JobState.QUEUED
    with database.begin() as connection:
        job = job_store.lock(connection, job_id, whole=True)
        state = JobState(job.state)
        if not is_bound(job.model_queue) or state not in CHANGEABLE or job.cancel_requested:
            raise DropscribeError(f"{job_id} does not wait for a certain model", remedy="there is nothing to change")
        _forget_model(connection, job_id)
    return retry(database, job_id) if state.is_final else JobState.QUEUED


CHANGEABLE = (JobState.QUEUED, JobState.PREPARING, JobState.FAILED, JobState.PARKED, JobState.CANCELLED)


def _forget_model(connection: Connection, job_id: str) -> None:
    """Forget which model began the job, and all that it has transcribed."""
    connection.execute(chunks.delete().where(chunks.c.job_id == job_id))
    free = {"model_queue": jobs.c.wanted_queue, "diarization": None}
    connection.execute(update(jobs).where(jobs.c.id == job_id).values(**free))


RETRYABLE = tuple(JOBS[JobEvent.RETRIED].moves)


def retry(database: Database, job_id: str, *, replaces_by: str | None = None) -> JobState:
    """Try an ended job again. Transcribed chunks are kept, but a suspect job transcribes its doubtful chunks again.

    `replaces_by` is who lets that take the place of what people corrected in it. Returns the state that the job starts
    from. Raises DropscribeError for a job that is under way or done, and for one that was corrected and is to be
    transcribed again.
    """
    with database.begin() as connection:
        return _retry(connection, job_id, replaces_by, where=database.where)


def _retry(connection: Connection, job_id: str, replaces_by: str | None, *, where: str) -> JobState:
    """`retry` in the caller's transaction."""
    job = job_store.lock(connection, job_id, whole=True)
    if job.state not in RETRYABLE:
        raise DropscribeError(
            f"{job_id} is {job.state}", remedy="only failed, parked, cancelled or suspect jobs are retried"
        )
    again = (chunks.c.job_id == job_id, _to_be_read_again(job))
    held = transitions.apply(connection, ChunkEvent.RETRIED, *again, where=where)
    admitted = chunk_plans.admit(connection, job, RETRY_WINDOW)
    unsent = chunks.c.id.in_([*admitted.transcribe, *admitted.embed])
    connection.execute(update(chunks).where(unsent).values(sent_at=None))
    state = _restart_state(connection, job)
    if held.ids or state is JobState.QUEUED:
        _replace_corrections(connection, job, replaces_by, where=where)
    transitions.apply(
        connection,
        JobEvent.RETRIED,
        jobs.c.id == job_id,
        where=where,
        to=state,
        detail=f"from {job.state}",
        diarization=None if held.ids else job.diarization,  # the old chunks' does not fit the new ones
        moves=job.overrides.archives and _is_newest(connection, job),
    )
    return state


def _replace_corrections(connection: Connection, job: Any, who: str | None, *, where: str) -> None:
    """Set aside what people corrected in a transcript that is made again. Raises DropscribeError without `who`."""
    if not any(map(attrgetter("edits"), revisions.live(connection, job.id))):
        return
    if who is None:
        raise DropscribeError(
            f"{job.id} was corrected, and the parts that failed a check would be transcribed again",
            remedy="correct that too, or replace the corrected transcript with --replace-corrections",
        )
    revisions.set_aside(connection, job, who, where=where)


def _is_newest(connection: Connection, job: Any) -> bool:
    """False where another recording took the place of the job's own: that one's job archives what lies there."""
    newer = (jobs.c.path_key == job.path_key, jobs.c.created_at > job.created_at)
    return not connection.execute(select(exists().where(*newer))).scalar()


def _to_be_read_again(job: Any) -> ColumnElement[bool]:
    """The condition on chunks of a job that is retried."""
    given_up = chunks.c.state == ChunkState.CANCELLED
    doubtful = and_(chunks.c.state == ChunkState.DONE, cast(chunks.c.reasons, Text) != "[]")
    return or_(given_up, doubtful) if job.state == JobState.SUSPECT else given_up


def _restart_state(connection: Connection, job: Any) -> JobState:
    """Where a job goes on that is begun again: what its chunks have done is kept, unless its text was removed."""
    if job.text_removed_at is not None:
        return JobState.QUEUED
    states = set(connection.execute(select(chunks.c.state).where(chunks.c.job_id == job.id)).scalars())
    if not states:  # what an earlier store had made is only to be written, unless it is doubted
        is_made = queries.is_taken_over(job) and job.diarization is not None and job.state != JobState.SUSPECT
        return JobState.FINISHING if is_made else JobState.QUEUED
    return JobState.FINISHING if states <= {*SETTLED_CHUNKS} else JobState.TRANSCRIBING


def rerun(database: Database, job_id: str, wanted: NewJob) -> JobState:
    """Re-apply the settings that need no model: write the transcript again, or retry a job that has none.

    Where what was said is gone from the store, the recording is transcribed again.

    Returns the state that the job starts from. Raises DropscribeError for a job that is under way.
    """
    with database.begin() as connection:
        return _rerun(connection, job_id, wanted, where=database.where)


def _rerun(connection: Connection, job_id: str, wanted: NewJob, *, where: str) -> JobState:
    """`rerun` in the caller's transaction."""
    job = job_store.lock(connection, job_id, whole=True)
    is_left = reserved_names.shelf_of(job.path) != reserved_names.DONE
    values: dict[str, Any] = job_store.wishes(wanted) | {
        "overrides": wanted.overrides,
        "priority": wanted.priority,
        "moves": wanted.moves and is_left and _is_newest(connection, job),
    }
    the_job, before = jobs.c.id == job_id, f"from {job.state}"
    is_there = job.text_removed_at is None and not queries.is_taken_over(job)
    start = JobState.FINISHING if is_there else JobState.QUEUED
    changes: dict[str, Any] = {"where": where, "detail": before, "to": start}
    written = transitions.apply(connection, JobEvent.RERUN, the_job, **changes, **values)
    if not written.ids and JobState(job.state).is_final:
        connection.execute(update(jobs).where(the_job).values(**values))
        note(connection, job_id, EventKind.RERUN, before, where=where)
    return start if written.ids else _retry(connection, job_id, None, where=where)


def transcribe_again(
    database: Database, job_id: str, wanted: NewJob, replaces_by: str | None
) -> list[tuple[JobState, str]] | None:
    """Have a recording transcribed by a new job, or by that which had these very settings before; what runs of it ends.

    `replaces_by` is who lets that take the place of what people corrected in any transcript of it. Returns from which
    states to send which jobs; None where something was corrected and nobody replaces it.
    """
    with database.begin() as connection:
        if not revisions.make_way(connection, wanted.source, replaces_by, where=database.where):
            return None
        woken: list[str] = []
        if not JobState(job_store.lock(connection, job_id).state).is_final:
            woken += job_store.request_cancel(connection, job_id, where=database.where) or []
        new, followers = job_store.admit_batch(connection, [wanted], where=database.where)
        before = job_store.job_of(connection, wanted) or job_id
        state = JobState.QUEUED if new else _rerun(connection, before, wanted, where=database.where)
        return [(state, before), *((JobState.FINISHING, one) for one in (*woken, *followers))]
