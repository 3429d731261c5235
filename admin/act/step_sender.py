"""Sends the next steps of jobs that somebody retried, cancelled or ran again to the workers."""

from __future__ import annotations

from dropscribe.admin.context import Context
from dropscribe.core.types import JobState
from dropscribe.store import queries
from dropscribe.store.session import Database


class StepSender:
    """Sends messages until Redis turns out to be unreachable; the reconciler sends the rest."""

    def __init__(self, context: Context) -> None:
        """Send nothing yet."""
        self._context = context
        self._unreachable = False

    @property
    def database(self) -> Database:
        """The store that the jobs are in."""
        return self._context.database

    def send(self, state: JobState, job_id: str) -> None:
        """Send the job's next step. The reconciler sends the chunks of a job that is being transcribed."""
        if self._unreachable or state not in {JobState.QUEUED, JobState.FINISHING}:
            return
        from dropscribe.core.routing import FINISH, PREPARE

        priority = queries.job(self.database, job_id).priority
        task = PREPARE if state == JobState.QUEUED else FINISH
        self._unreachable = not self._context.ring(task, job_id, priority)
