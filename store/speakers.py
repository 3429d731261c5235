"""What people say about a job's speakers: names, and which of them are one person."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, exists, select

from dropscribe.core.errors import DropscribeError
from dropscribe.core.types import JobState, SpeakerNames
from dropscribe.store import jobs as job_store
from dropscribe.store import transitions
from dropscribe.store.session import Database
from dropscribe.store.tables import jobs, transcripts
from dropscribe.store.transitions import JobEvent


def say(database: Database, job_id: str, said: SpeakerNames) -> None:
    """Replace what was said of the job's speakers, and have its outputs written again (send `finish`).

    Raises DropscribeError for a job that has no transcript.
    """
    with database.begin() as connection:
        job = job_store.lock(connection, job_id)
        if not (JobState(job.state).has_transcript or _waits_to_be_written(connection, job)):
            raise DropscribeError(
                f"{job_id} is {job.state}", remedy="speakers are named once its transcript is written"
            )
        why, the_job = "named or merged; its files are written again", jobs.c.id == job_id
        transitions.apply(connection, JobEvent.SPEAKERS, the_job, where=database.where, detail=why, speakers=said)


def _waits_to_be_written(connection: Connection, job: Any) -> bool:
    """True where a transcript waits to be written again, and no worker has begun with what was said before."""
    if job.state != JobState.FINISHING or job.owner is not None:
        return False
    return bool(connection.execute(select(exists().where(transcripts.c.job_id == job.id))).scalar())
