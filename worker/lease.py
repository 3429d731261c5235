"""One thread a process that keeps its leases and its heartbeat fresh, and tells tasks when to stop.

A task stops for one of three reasons: its job was cancelled, its lease was lost (also when the store could not be
reached for as long as the lease lasts), or the worker shuts down.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from core.errors import DropscribeError, LeaseLostError, StoreError
from store import leases
from store.leases import Claim, Renewal
from store.session import Database

log = logging.getLogger(__name__)

TICK_SECONDS = 1.0  # how soon progress is shown and a cancellation noticed
SAFETY = 0.9  # of the lease: without a renewal for that long, the work is given up before another may claim it


class StoppedError(DropscribeError):
    """The worker shuts down or the job was cancelled; the work is to be given back."""


@dataclass
class Held:
    """A claim that is kept alive. Tasks poll `stop`, or hand it to whatever works for them."""

    claim: Claim
    stop: threading.Event = field(default_factory=threading.Event)
    lost: bool = False
    progress: float = 0.0
    renewed: float = field(default_factory=time.monotonic)
    shown: float = 0.0

    def check(self) -> None:
        """Raise LeaseLostError or StoppedError when the task is to stop."""
        if self.lost:
            raise LeaseLostError(f"{self.claim.id}: the lease ran out")
        if self.stop.is_set():
            raise StoppedError(f"{self.claim.id}: told to stop")


class LeaseKeeper:
    """Renews what this process holds. `beat` is called every `renew` seconds for the worker's heartbeat."""

    def __init__(self, database: Database, *, lease: float, renew: float, beat: Callable[[], None]) -> None:
        """Times in seconds. `start` begins the thread."""
        self._database = database
        self._lease = lease
        self._renew = renew
        self._beat = beat
        self._held: dict[int, Held] = {}
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="leases", daemon=True)

    def start(self) -> None:
        """Begin to renew."""
        self._thread.start()

    def shut_down(self) -> None:
        """Tell every task to stop and give its work back; leases are renewed until `end`."""
        self._stopping.set()
        with self._lock:
            for held in self._held.values():
                held.stop.set()

    def end(self) -> None:
        """Stop renewing."""
        self._ended.set()
        self._thread.join()

    @contextmanager
    def holding(self, claim: Claim) -> Iterator[Held]:
        """Keep the claim alive for the duration of the block."""
        held = Held(claim)
        with self._lock:
            self._held[id(held)] = held
        if self._stopping.is_set():
            held.stop.set()
        try:
            yield held
        finally:
            with self._lock:
                del self._held[id(held)]

    def _run(self) -> None:
        last_beat = 0.0
        while not self._ended.wait(min(TICK_SECONDS, self._renew)):
            with self._lock:
                current = list(self._held.values())
            for held in current:
                self._tend(held)
            if time.monotonic() - last_beat >= self._renew:
                last_beat = time.monotonic()
                self._say_alive()

    def _say_alive(self) -> None:
        try:
            self._beat()
        except (StoreError, OSError) as error:  # OSError: what else the beat looks after may be on a share
            log.warning("no heartbeat: %s", error)

    def _tend(self, held: Held) -> None:
        moved = held.progress != held.shown
        if not moved and time.monotonic() - held.renewed < self._renew:
            return
        asked = time.monotonic()
        is_chunk = held.claim.table == "chunks"
        progress = held.progress
        try:
            renewal = leases.renew(self._database, held.claim, self._lease, progress=progress if is_chunk else None)
        except StoreError as error:
            log.warning("cannot renew the lease of %s: %s", held.claim.id, error)
            if asked - held.renewed > self._lease * SAFETY:
                held.lost = True
                held.stop.set()
            return
        held.renewed, held.shown = asked, progress
        held.lost = renewal is Renewal.LOST
        if renewal is not Renewal.HELD:
            held.stop.set()
