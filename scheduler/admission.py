"""A complete file becomes a job row, then a message. A crash between the two is mended by the reconciler."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Mapping, Sequence

from core.errors import BrokerError
from core.hotwords import context_of
from core.queue import PREPARE, Doorbell
from core.settings import Settings
from scheduler.scan import Observation
from store import jobs
from store.jobs import NewJob
from store.session import Database

log = logging.getLogger(__name__)


def admit(
    database: Database,
    doorbell: Doorbell,
    settings: Settings,
    root: str,
    complete: Mapping[str, Observation],
    gone: Collection[str] = (),
) -> list[str]:
    """Make jobs of complete files; returns the ids of those that are new.

    `gone` are files seen before that are there no more: a queued job of one of them whose size and time are those of a
    complete file follows the file to its new name, instead of a second job. Raises SettingsError when the hotwords
    cannot be read: without them the files are not what they should be, so they wait.
    """
    context = context_of(settings)
    digest = settings.digest(context)
    found = [
        NewJob(root, path, seen.size, seen.mtime_ns, digest, settings.priority, context)
        for path, seen in complete.items()
    ]
    fresh = [job for job in found if not (gone and jobs.adopt_renamed(database, job, gone))]
    admitted = jobs.admit(database, fresh)
    log.info("%s: admitted %d of %d complete files", root, len(admitted), len(complete))
    ring(doorbell, PREPARE, admitted, settings.priority)
    return admitted


def ring(doorbell: Doorbell, task: str, rows: Iterable[str] | Sequence[str], priority: str) -> None:
    """Send messages; a Redis that is out of reach is left to the reconciler."""
    try:
        for row in rows:
            doorbell.ring(task, row, priority)
    except BrokerError as error:
        log.warning("messages not sent, they will be: %s", error)
