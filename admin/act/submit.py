"""`dropscribe submit`: single files, with a priority or a context of their own, and waiting for the result."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from pathlib import Path
from typing import Any

from dropscribe.admin.context import Context
from dropscribe.admin.state import exit_status, fleet_status, report
from dropscribe.admin.state.job_view import as_document
from dropscribe.admin.terminal.progress import track
from dropscribe.core.errors import StoreUnavailableError, UsageError
from dropscribe.core.routing import PREPARE
from dropscribe.core.types import Priority
from dropscribe.scheduler.watching.submission import enter, recordings
from dropscribe.store import queries, written_files
from dropscribe.store.jobs import NewJob
from dropscribe.store.queries import Job

POLL_SECONDS = 0.5


def submit(
    context: Context,
    files: Sequence[Path],
    *,
    priority: Priority | None,
    topic: str | None,
    hotwords: Path | None,
    own: Mapping[str, Any],
    wait: bool,
    as_json: bool,
) -> int:
    """Admit the files, with settings of their own; with `wait`, return when all jobs ended, with `drain`'s status."""
    for file in files:
        if file.exists() and not os.access(file, os.R_OK):  # it would be read on behalf of who may not read it
            remedy = "make it readable (chmod u+r), or ask its owner"
            raise UsageError(f"you may not read {file}", remedy=remedy)
    database = context.database
    wanted = recordings(database, context.settings, files, priority=priority, topic=topic, hotwords=hotwords, own=own)
    ids = [admit(context, job, priority) for job in track(context.err, "submitting", wanted)]
    if wait:
        return await_all(context, ids, as_json=as_json)
    found = [queries.job(database, job_id) for job_id in ids]
    context.answer(lambda: {"jobs": [*map(as_document, found)]}, lambda: _show(context, found), as_json=as_json)
    return 0


def _show(context: Context, found: Sequence[Job]) -> None:
    """Report each job that has ended, once."""
    for job in found:
        context.say(f"{job.id}  {job.state.value}  {job.source}")


def admit(context: Context, wanted: NewJob, priority: Priority | None = None) -> str:
    """Insert the job and send it on its way, or find the one that is there already; returns its id.

    One that waits already gets the `priority` that was asked for.
    """
    job_id, is_new = enter(context.database, wanted, priority)
    if not is_new:
        job = queries.job(context.database, job_id)
        urgency = f" with priority {job.priority}" if priority and not job.state.is_final else ""
        context.note(f"{wanted.path} is known already as {job.id}, {job.state.value}{urgency}")
        return job_id
    context.ring(PREPARE, job_id, wanted.priority)
    return job_id


def await_all(context: Context, ids: Sequence[str], *, as_json: bool) -> int:
    """Show progress until every job is in a final state; returns the exit status. Ctrl-C ends the waiting alone."""
    waiting = Waiting(context, ids, report.make(as_json=as_json))
    try:
        waiting.until_over()
    except KeyboardInterrupt:
        context.note(f"no longer waiting, but the jobs go on: {', '.join(waiting.left)}")
        return exit_status.INTERRUPTED_EXIT
    found = queries.list_jobs(context.database, ids=ids)
    if as_json:
        waiting.shown.summary(found)
    return exit_status.of_jobs(map(attrgetter("state"), found))


@dataclass
class Waiting:
    """Jobs that are waited for: `ended` are those whose end was shown; `is_away` says that the store is unreachable."""

    context: Context
    ids: Sequence[str]
    shown: report.Report
    ended: set[str] = field(default_factory=set)
    is_away: bool = False

    @property
    def left(self) -> list[str]:
        """The jobs whose end was not shown."""
        return [one for one in dict.fromkeys(self.ids) if one not in self.ended]

    def until_over(self) -> None:
        """Show progress until every job has ended."""
        with self.shown:
            while not self.is_over():
                time.sleep(POLL_SECONDS)

    def is_over(self) -> bool:
        """Show the current state; True if every job has ended. Waits for a store that is unreachable."""
        database = self.context.database
        try:
            self._show(queries.list_jobs(database, ids=self.ids))
            self.shown.update(fleet_status.gather(database, self.context.settings))
            self.is_away = False
        except StoreUnavailableError as error:
            if not self.is_away:
                self.context.warn(f"{error}; waiting for it")
            self.is_away = True
        return self.ended.issuperset(self.ids)

    def _show(self, found: Sequence[Job]) -> None:
        """Report each job that has ended, once."""
        for job in found:
            if job.state.is_final and job.id not in self.ended:
                self.ended.add(job.id)
                self.shown.ended(job, written_files.files_of(self.context.database, job.id))
