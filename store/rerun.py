"""What becomes of recordings that were read before, when somebody wants their folder's settings of now to hold."""

from __future__ import annotations

from sqlalchemy import update

from dropscribe.core import reserved_names
from dropscribe.core.types import JobState
from dropscribe.store import jobs as job_store
from dropscribe.store import leases, recovery
from dropscribe.store.jobs import NewJob
from dropscribe.store.session import Database
from dropscribe.store.speakers import WRITTEN
from dropscribe.store.tables import jobs, now


def renew(database: Database, job_id: str, wanted: NewJob) -> JobState:
    """Let those settings hold that shape no reading: have the transcript written again, or try again what has none.

    Returns the state it starts from. Raises DropscribeError for a job that is under way.
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
            leases.note(connection, job_id, "rerun", f"from {job.state}", where=database.where)
    return JobState.FINISHING if written else recovery.retry(database, job_id)
