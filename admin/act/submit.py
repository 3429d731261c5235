"""`dropscribe submit`: single files, with a priority or a context of their own, and waiting for the result."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from dropscribe.admin.context import Context
from dropscribe.admin.state import exit_status, fleet_status, report
from dropscribe.admin.state.job_view import as_document
from dropscribe.admin.terminal.progress import track
from dropscribe.admin.terminal.render import safe, write_json
from dropscribe.core.errors import StoreUnavailableError, UsageError
from dropscribe.core.folder_settings import Given
from dropscribe.core.hotwords import read_file
from dropscribe.core.queue import PREPARE
from dropscribe.core.settings import Settings
from dropscribe.core.types import Priority
from dropscribe.scheduler.scanning.ignore import NameKind, classify
from dropscribe.scheduler.scanning.scan import Observation
from dropscribe.scheduler.watching import admission
from dropscribe.store import jobs, queries
from dropscribe.store.jobs import NewJob
from dropscribe.store.queries import Job
from dropscribe.store.session import Database

POLL_SECONDS = 0.5


def submit(
    context: Context,
    files: Sequence[Path],
    *,
    priority: Priority | None,
    topic: str | None,
    hotwords: Path | None,
    wait: bool,
    as_json: bool,
) -> int:
    """Admit the files; with `wait`, return when all are through, with `drain`'s exit status."""
    for file in files:
        _require_readable(file)
    database = context.database
    wanted = recordings(database, context.settings, files, priority=priority, topic=topic, hotwords=hotwords)
    ids = [admit(context, job) for job in track(context.err, "submitting", wanted)]
    if wait:
        return await_all(context, ids, as_json=as_json)
    found = [queries.job(database, job_id) for job_id in ids]
    if as_json:
        write_json({"jobs": [as_document(job) for job in found]})
    else:
        for job in found:
            context.out.print(f"{job.id}  {job.state.value}  {safe(job.source)}", soft_wrap=True)
    return 0


def _require_readable(file: Path) -> None:
    if file.exists() and not os.access(file, os.R_OK):
        raise UsageError(f"you may not read {file}; make it readable (chmod u+r), or ask whom it belongs to")


def recordings(
    database: Database,
    settings: Settings,
    files: Sequence[Path],
    *,
    priority: Priority | None,
    topic: str | None,
    hotwords: Path | None,
) -> list[NewJob]:
    """The files as jobs; what is given wins over the settings. Raises UsageError."""
    over = {
        "priority": priority,
        "context": topic,
        "hotwords": read_file(hotwords) if hotwords else None,
    }
    given = {key: value for key, value in over.items() if value is not None}
    general = settings.model_copy(update={"hotwords": None}) if hotwords else settings
    return [recording(database, general, file, given) for file in files]


def recording(database: Database, settings: Settings, file: Path, given: Given) -> NewJob:
    """The file as a job, under the watched folder that it lies in, else under its own; `given` wins over settings.

    Raises UsageError.
    """
    path = file.expanduser().parent.resolve() / file.name
    try:
        stat = path.lstat()
    except OSError as error:
        raise UsageError(f"{file}: {error.strerror}; name an existing recording") from error
    if not path.is_file() or path.is_symlink():
        raise UsageError(f"{file} is not a regular file; name the recording itself")
    if classify(path.name) is not NameKind.ADMIT:
        raise UsageError(f"{file} has not the name of a recording (such as .wav, .mp3, .mp4); rename or convert it")
    watched = [Path(root.path) for root in queries.list_roots(database)]
    root = next((folder for folder in watched if path.is_relative_to(folder)), path.parent)
    if root not in watched:  # nobody is there to put it away
        given = {**given, "when_done": "keep"}
    below = str(path.relative_to(root))
    seen = Observation(stat.st_size, stat.st_mtime_ns)
    return admission.new_job(str(root), below, seen, admission.orders_above(settings, root, below, given))


def enter(database: Database, wanted: NewJob) -> tuple[str, bool]:
    """Insert the job, or find the one that is there already; returns its id, and whether it is a new one."""
    if admitted := jobs.admit(database, [wanted], again=True):
        return admitted[0], True
    job_id = jobs.find_admitted(database, wanted)
    if job_id is None:
        raise UsageError(f"{wanted.source} could not be admitted just now; try again")
    return job_id, False


def admit(context: Context, wanted: NewJob) -> str:
    """Insert the job and send it on its way, or find the one that is there already; returns its id."""
    job_id, is_new = enter(context.database, wanted)
    if not is_new:
        job = queries.job(context.database, job_id)
        context.remark("note", f"{wanted.path} is known already as {job.id}, {job.state.value}", "yellow")
        return job_id
    context.ring(PREPARE, job_id, wanted.priority)
    return job_id


def await_all(context: Context, ids: Sequence[str], *, as_json: bool) -> int:
    """Show progress until every job is in a final state; returns the exit status. Ctrl-C ends the waiting alone."""
    waiting = Waiting(context, ids, report.make(as_json=as_json))
    try:
        with waiting.shown:
            while not waiting.is_over():
                time.sleep(POLL_SECONDS)
    except KeyboardInterrupt:
        left = [job_id for job_id in dict.fromkeys(ids) if job_id not in waiting.told]
        context.remark("note", f"no longer waiting, but the jobs go on: {', '.join(left)}", "yellow")
        return exit_status.INTERRUPTED_EXIT
    found = queries.list_jobs(context.database, ids=ids)
    if as_json:
        waiting.shown.summary(found)
    return exit_status.of_jobs(job.state for job in found)


@dataclass
class Waiting:
    """What is shown of jobs until all have ended: `told` are those that have; `is_away` says that the store is."""

    context: Context
    ids: Sequence[str]
    shown: report.Report
    told: set[str] = field(default_factory=set)
    is_away: bool = False

    def is_over(self) -> bool:
        """Show how things are; True when every job has ended. A store that is away is waited for."""
        database = self.context.database
        try:
            self._tell(queries.list_jobs(database, ids=self.ids))
            self.shown.update(fleet_status.gather(database, self.context.settings))
            self.is_away = False
        except StoreUnavailableError as error:
            if not self.is_away:
                self.context.remark("warning", f"{error}; waiting for it", "yellow")
            self.is_away = True
        return self.told.issuperset(self.ids)

    def _tell(self, found: Sequence[Job]) -> None:
        for job in found:
            if job.state.is_final and job.id not in self.told:
                self.told.add(job.id)
                self.shown.ended(job)
