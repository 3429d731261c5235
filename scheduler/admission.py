"""A complete file becomes a job row, then a message. A crash between the two is mended by the reconciler."""

from __future__ import annotations

import logging
import threading
from collections.abc import Collection, Iterable, Mapping, Sequence

from core.errors import BrokerError
from core.hotwords import context_of
from core.queue import PREPARE, Doorbell
from core.settings import Settings
from scheduler.scan import Observation
from store import jobs
from store.jobs import NewJob
from store.session import Database

AT_ONCE = 400  # recordings

log = logging.getLogger(__name__)


def admit(
    database: Database,
    doorbell: Doorbell,
    settings: Settings,
    root: str,
    complete: Mapping[str, Observation],
    gone: Collection[str] = (),
    *,
    stop: threading.Event | None = None,
) -> list[str]:
    """Make jobs of complete files; returns the ids of those that are new.

    A few hundred at a time, so that work on the first begins while the others are admitted; none once `stop` is set.
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
    admitted: list[str] = []
    for first in range(0, len(fresh), AT_ONCE):
        if stop and stop.is_set():
            break
        batch = jobs.admit(database, fresh[first : first + AT_ONCE])
        ring(doorbell, PREPARE, batch, settings.priority)
        admitted += batch
    log.info("%s: admitted %d of %d complete files", root, len(admitted), len(complete))
    return admitted


def ring(doorbell: Doorbell, task: str, rows: Iterable[str] | Sequence[str], priority: str) -> None:
    """Send messages; a Redis that is out of reach is left to the reconciler."""
    try:
        for row in rows:
            doorbell.ring(task, row, priority)
    except BrokerError as error:
        log.warning("messages not sent, they will be: %s", error)
