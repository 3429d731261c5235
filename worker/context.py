"""What the tasks of one worker process work with; put together once, in `worker.service`."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from core.errors import BrokerError
from core.queue import Doorbell
from core.settings import Settings
from models.base import Transcriber
from store import queries
from store.queries import Capacity
from store.session import Database
from worker.lease import LeaseKeeper
from worker.tally import Tally

log = logging.getLogger(__name__)


@dataclass
class FleetView:
    """What the fleet can do, asked for as often as workers tell: every chunk's commit needs it."""

    database: Database
    settings: Settings
    _seen: Capacity = field(default_factory=Capacity)
    _asked: float = -math.inf
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def capacity(self) -> Capacity:
        """At most a heartbeat old."""
        with self._lock:
            if time.monotonic() - self._asked >= self.settings.renew_seconds:
                self._seen = queries.capacity(self.database, self.settings.lease_seconds)
                self._asked = time.monotonic()
            return self._seen


@dataclass
class Fitness:
    """Whether the fault is in the recordings or in this worker: how many different jobs failed on it in a row."""

    limit: int
    _failed: set[str] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def succeeded(self) -> None:
        """Something worked, so the failures before were the recordings' own."""
        with self._lock:
            self._failed.clear()

    def failed(self, job_id: str) -> bool:
        """Count a failure; True when it is one too many."""
        with self._lock:
            self._failed.add(job_id)
            return len(self._failed) >= self.limit


@dataclass(frozen=True)
class WorkerContext:
    """The parts of a worker. `owner` is its name in the store; `model` only where the role has one."""

    settings: Settings
    database: Database
    doorbell: Doorbell
    keeper: LeaseKeeper
    owner: str
    model: Transcriber | None
    tally: Tally
    fitness: Fitness
    die: Callable[[int], None]

    def spooled(self, job_id: str) -> Path:
        """Where the decoded audio of a job is."""
        return self.settings.spool_dir / f"{job_id}.flac"

    @cached_property
    def fleet(self) -> FleetView:
        """The fleet as this process sees it."""
        return FleetView(self.database, self.settings)

    def ring(self, task: str, rows: Iterable[str]) -> None:
        """Send messages; a Redis that is out of reach is left to the reconciler."""
        waiting = list(rows)
        urgency = queries.priorities(self.database, {row.partition(".")[0] for row in waiting})
        for row in waiting:
            try:
                self.doorbell.ring(task, row, urgency[row.partition(".")[0]])
            except BrokerError as error:
                log.warning("message not sent, the reconciler will: %s", error)
                return
