"""Keeps a process's leases and its heartbeat fresh, and tells tasks when to stop.

A task stops for one of three reasons: its job was cancelled; its lease was lost, or the store was unreachable for as
long as the lease lasts; or the worker shuts down. One thread asks the store, which may hang; another one only looks at
the clock. Work that ended because the store was away is given back when the store is there again.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from dropscribe.core import logs
from dropscribe.core.errors import DropscribeError, LeaseLostError, StoreError, StoreUnavailableError
from dropscribe.store import leases, recovery
from dropscribe.store.leases import ChunkClaim, JobClaim, Renewal
from dropscribe.store.session import Database

log = logging.getLogger(__name__)

TICK_SECONDS = 1.0  # how soon progress is shown and a cancellation noticed
SAFETY = 0.9  # of the lease: without a renewal for that long, the work is given up before another may claim it


class StoppedError(DropscribeError):
    """The worker shuts down or the job was cancelled; the work is to be given back."""


@dataclass
class Held:
    """A claim that is kept alive. Tasks poll `stop`, or hand it to whatever works for them."""

    claim: JobClaim | ChunkClaim
    renewed: float  # when, by the keeper's clock
    moved: float  # when progress was seen last,
    reached: float = 0.0  # and how much
    stop: threading.Event = field(default_factory=threading.Event)
    lost: bool = False
    progress: float = 0.0
    shown: float = 0.0

    def hangs(self, now: float, patience: float) -> bool:
        """True when there was no progress for so many seconds; to be asked now and then."""
        if self.progress != self.reached:
            self.reached, self.moved = self.progress, now
        return isinstance(self.claim, ChunkClaim) and now - self.moved > patience

    @property
    def visible_progress(self) -> float | None:
        """What is shown of a chunk's progress; a job has none of its own."""
        return self.progress if isinstance(self.claim, ChunkClaim) else None

    def take(self, renewal: Renewal, asked: float, shown: float) -> None:
        """What the store said to a renewal that was asked for then, with that progress."""
        self.renewed, self.shown = asked, shown
        if renewal is Renewal.LOST:
            self.lose()
        if renewal is Renewal.CANCEL:
            self.stop.set()

    def lose(self) -> None:
        """Another may have the work by now."""
        self.lost = True
        self.stop.set()

    def check(self) -> None:
        """Raise LeaseLostError or StoppedError when the task is to stop."""
        if self.lost:
            raise LeaseLostError(f"{self.claim.id}: the lease ran out")
        if self.stop.is_set():
            raise StoppedError(f"{self.claim.id}: stopped")


class LeaseKeeper:
    """Renews what this process holds. `beat` is called every `renew` seconds for the worker's heartbeat.

    `hung` is called when a chunk shows no progress for `stall` seconds.
    """

    def __init__(
        self,
        database: Database,
        *,
        lease: float,
        renew: float,
        beat: Callable[[], None],
        stall: float = float("inf"),
        hung: Callable[[JobClaim | ChunkClaim], None] = lambda _: None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Times in seconds. `start` begins the threads; without it, `tend` and `watch` are called by hand."""
        self._database = database
        self._lease = lease
        self._renew = renew
        self._beat = beat
        self._stall = stall
        self._hung = hung
        self._monotonic = monotonic
        self._last_beat = float("-inf")
        self._held: dict[int, Held] = {}
        self._left: list[JobClaim | ChunkClaim] = []
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._ended = threading.Event()
        self._threads = [
            threading.Thread(target=self._repeat, args=(one_round,), name=name, daemon=True)
            for name, one_round in (("leases", self.tend), ("deadlines", self.watch))
        ]

    def start(self) -> None:
        """Begin to renew."""
        for thread in self._threads:
            thread.start()

    def shut_down(self) -> None:
        """Tell every task to stop and give its work back; leases are renewed until `end`."""
        self._stopping.set()
        with self._lock:
            for held in self._held.values():
                held.stop.set()

    def end(self) -> None:
        """Stop renewing."""
        self._ended.set()
        for thread in self._threads:
            thread.join()

    @contextmanager
    def holding(self, claim: JobClaim | ChunkClaim) -> Iterator[Held]:
        """Keep the claim alive for the duration of the block."""
        now = self._monotonic()
        held = Held(claim, renewed=now, moved=now)
        with self._lock:
            self._held[id(held)] = held
        if self._stopping.is_set():
            held.stop.set()
        try:
            with logs.about(attempt=claim.attempt):
                yield held
        except (StoreUnavailableError, LeaseLostError):  # perhaps only because the store was away
            with self._lock:
                self._left.append(claim)
            raise
        finally:
            with self._lock:
                del self._held[id(held)]

    def tend(self) -> None:
        """One round: renew what is due, give back what was left, beat."""
        with self._lock:
            current = list(self._held.values())
        self._renew_all([*filter(self._is_due, current)])
        self._give_back()
        if self._monotonic() - self._last_beat >= self._renew:
            self._last_beat = self._monotonic()
            self._say_alive()

    def watch(self) -> None:
        """One round: give up what could not be renewed in time, though the store is silent; say what hangs."""
        with self._lock:
            current = list(self._held.values())
        for held in current:
            if self._monotonic() - held.renewed > self._lease * SAFETY:
                held.lose()
            if held.hangs(self._monotonic(), self._stall):
                self._hung(held.claim)

    def _repeat(self, one_round: Callable[[], None]) -> None:
        """Do one round after the other until the end."""
        while not self._ended.wait(min(TICK_SECONDS, self._renew)):
            one_round()

    def _give_back(self) -> None:
        """Return what a store that was away kept from being finished; no loss is counted for that."""
        with self._lock:
            left, self._left = self._left, []
        for claim in left:
            try:
                recovery.give_back(self._database, claim)
            except LeaseLostError:
                continue  # somebody else has it
            except StoreError as error:
                log.warning("cannot release %s: %s", claim.id, error)
                with self._lock:
                    self._left.append(claim)

    def _say_alive(self) -> None:
        """Beat once; the worker does not stop because the store is away."""
        try:
            self._beat()
        except (StoreError, OSError) as error:  # OSError: what else the beat looks after may be on a share
            log.warning("no heartbeat: %s", error)

    def _is_due(self, held: Held) -> bool:
        """Is the claim to be renewed: has it made progress that is not shown yet, or is its time near?"""
        return held.progress != held.shown or self._monotonic() - held.renewed >= self._renew

    def _renew_all(self, due: list[Held]) -> None:
        """Renew the claims that are due at once; one that was lost or cancelled stops its work."""
        if not due:
            return
        asked = self._monotonic()
        claims = [(held.claim, held.visible_progress) for held in due]
        try:
            renewals = leases.renew_all(self._database, claims, self._lease)
        except StoreError as error:
            log.warning("cannot renew the leases of %s: %s", ", ".join(held.claim.id for held in due), error)
            return
        for held, (_, reached), renewal in zip(due, claims, renewals, strict=True):
            held.take(renewal, asked, reached or 0.0)
