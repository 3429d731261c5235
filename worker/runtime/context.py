"""What the tasks of one worker process work with; put together once, in `dropscribe.worker.service`."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from dropscribe.core import chunk_ids
from dropscribe.core.queue import Doorbell
from dropscribe.core.routing import EMBED, FINISH, PREPARE, TRANSCRIBE, ResidentModel
from dropscribe.core.settings import Settings
from dropscribe.core.zygote import Zygote
from dropscribe.store import chunks, fleet, queries
from dropscribe.store.chunk_plans import Onward
from dropscribe.store.chunks import Claimant
from dropscribe.store.fleet import Capacity, ModelWorker
from dropscribe.store.leases import ChunkClaim
from dropscribe.store.session import Database
from dropscribe.worker.runtime.counters import Counters
from dropscribe.worker.runtime.encoder_loader import EncoderLoader
from dropscribe.worker.runtime.lease import LeaseKeeper

if TYPE_CHECKING:
    from dropscribe.models.base import Transcriber  # numpy comes with it

log = logging.getLogger(__name__)


@dataclass
class FleetView:
    """What the fleet can do, asked for as often as workers tell: every chunk's commit needs it."""

    database: Database
    settings: Settings
    _seen: list[ModelWorker] = field(default_factory=list)
    _asked: float = -math.inf
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def capacity(self, queue: str) -> Capacity:
        """Of the workers that serve the queue; at most a heartbeat old."""
        with self._lock:
            if time.monotonic() - self._asked >= self.settings.renew_seconds:
                self._seen = fleet.model_workers(self.database, self.settings.silence_seconds)
                self._asked = time.monotonic()
            return fleet.capacity_of(self._seen, queue)


@dataclass
class CircuitBreaker:
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
    """The parts of a worker.

    `owner` is its name in the store; `model` and `encoder` only where the role has one; `called` is what settings call
    the model's checkpoint. `zygote` forks decoders, where the system has that. While `goes_on` is set, a task goes on
    with the next chunk.
    """

    settings: Settings
    database: Database
    doorbell: Doorbell
    keeper: LeaseKeeper
    owner: str
    model: Transcriber | None
    tally: Counters
    fitness: CircuitBreaker
    die: Callable[[int], None]
    encoder: EncoderLoader | None = None
    called: str = ""
    zygote: Zygote | None = None
    goes_on: threading.Event = field(default_factory=threading.Event)

    def spooled(self, job_id: str) -> Path:
        """Where the decoded audio of a job is."""
        return self.settings.spool_dir / f"{job_id}.flac"

    def embeddings(self, chunk_id: str) -> Path:
        """Where the speaker embeddings of a stretch are."""
        return self.settings.spool_dir / f"{chunk_id}.npz"

    def clear_spool(self, job_id: str) -> None:
        """Remove what the spool holds of a job that is over; what cannot be removed now is left to `spool.sweep`."""
        try:
            for path in self.settings.spool_dir.glob(f"{job_id}.*"):
                path.unlink(missing_ok=True)
        except OSError as error:
            log.warning("the spool still holds %s, which has ended: %s", job_id, error)

    @cached_property
    def resident(self) -> ResidentModel:
        """What this worker's model is. Raises TypeError for a worker without one."""
        if self.model is None:
            raise TypeError("a worker without a model got a chunk to transcribe")
        return ResidentModel.of(self.model.info, self.called)

    @cached_property
    def claimant(self) -> Claimant:
        """What claims windows."""
        return Claimant(self.owner, self.settings.lease_seconds, self.resident)

    @cached_property
    def fleet(self) -> FleetView:
        """The fleet as this process sees it."""
        return FleetView(self.database, self.settings)

    def go_on(self, job_id: str, onward: Onward) -> None:
        """Send what comes next for a job."""
        self.ring(EMBED, onward.embed)
        self.ring(TRANSCRIBE, onward.transcribe)
        self.ring(FINISH, [job_id] if onward.finish else [])

    def prepare_again(self, claim: ChunkClaim, reason: str) -> None:
        """Have the job of a chunk prepared again, whose audio is gone from the spool."""
        self.ring(PREPARE, chunks.prepare_again(self.database, claim, reason))

    def pass_on(self, chunk_id: str, served: Collection[str]) -> None:
        """Send a message for a chunk again whose message was spent here, if it waits in none of the `served` queues."""
        queue = chunks.waits_in(self.database, chunk_id)
        if queue and queue not in served:
            self.ring(TRANSCRIBE, [chunk_id])

    def ring(self, task: str, rows: Iterable[str]) -> None:
        """Send messages as far as Redis takes them."""
        waiting = list(rows)
        found = queries.addresses(self.database, set(map(chunk_ids.job_of, waiting)))
        with self.doorbell.best_effort():
            for row in waiting:
                self.doorbell.ring(task, row, *found[chunk_ids.job_of(row)])
