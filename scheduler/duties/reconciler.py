"""Repairs what crashed: leases that ran out, messages that were lost, followers whose leader is gone.

A queue that holds fewer messages than rows have waited for a while has lost some. As nobody knows which, as many of
the longest waiting are sent again as are missing: the queue can grow no longer than there is work, and a message too
many does no harm.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from dropscribe.core.errors import BrokerError
from dropscribe.core.queue import Doorbell
from dropscribe.core.redis_refusals import refusal
from dropscribe.core.routing import CPU_QUEUE, EMBED, FINISH, MODEL_QUEUE, PREPARE, TRANSCRIBE
from dropscribe.core.settings import Settings
from dropscribe.store import broker_trouble, chunk_plans, ended, fleet, queries, recovery
from dropscribe.store.session import Database

log = logging.getLogger(__name__)

ROLE = "reconciler"
# What waits in a queue, what is sent first first.
TASKS_IN = {CPU_QUEUE: (FINISH, EMBED, PREPARE)}
MODEL_TASKS = (TRANSCRIBE,)
MAX_DELAY = 300.0  # seconds; a step that failed waits for 10, 30, 90, 270 s


@dataclass
class ClockGuard:
    """Whether leases that ran out may be believed; times in seconds.

    They may not when the database was away or locked, its clock was stepped or the machine slept: then live workers
    get `grace` to renew what they have.
    """

    grace: float
    monotonic: Callable[[], float] = field(default=time.monotonic)
    _offset: float | None = None  # of the database's clock from ours
    _patient_until: float = 0.0

    def believes(self, read_clock: Callable[[], float]) -> bool:
        """To be asked in every round, with a way to read the database's clock. Raises what that raises."""
        began = self.monotonic()
        before, self._offset = self._offset, None
        clock, here = read_clock(), self.monotonic()
        self._offset = clock - here
        stepped = before is None or abs(self._offset - before) > self.grace / 2
        if stepped or here - began > self.grace / 2:
            log.info(
                "expired leases are ignored for %.0f s: a start, a clock jump or a pause of the database", self.grace
            )
            self._patient_until = here + self.grace
        return here >= self._patient_until


def reconcile(
    database: Database, doorbell: Doorbell, settings: Settings, owner: str, vigil: ClockGuard | None = None
) -> bool:
    """One round, if this process has the reconciler's role; False when another has it."""
    believes = vigil is None or vigil.believes(lambda: database.clock(writing=True))
    # Shorter than a lease: where worker and reconciler die together, their work waits for both.
    if not fleet.hold_role(database, ROLE, owner, settings.silence_seconds):
        return False
    delay = max(MAX_DELAY, settings.missing_seconds, settings.scan_seconds_network)
    if clamped := recovery.clamp_future_moments(database, lease=settings.lease_seconds, delay=delay):
        log.warning("the database's clock was set back: pulled back %d timestamps that lay in the future", clamped)
    if believes and (mended := recovery.expire(database, settings.lost_attempts)):
        log.warning("took back %d pieces of work from workers that are gone", mended)
    recovery.reunite_followers(database)
    recovery.unbind(database)
    ended.fold(database)
    look_at_broker(database, doorbell)
    widen(database, doorbell, settings)
    for queue in {CPU_QUEUE, MODEL_QUEUE, *queries.model_queues(database)}:
        resend(database, doorbell, settings, queue)
    return True


def look_at_broker(database: Database, doorbell: Doorbell) -> None:
    """Let everybody who asks the store know whether Redis takes work."""
    code = None
    try:
        doorbell.probe()
    except BrokerError as error:
        known = refusal(error)
        code = known.code if known else broker_trouble.AWAY
    broker_trouble.report(database, code)


def widen(database: Database, doorbell: Doorbell, settings: Settings) -> None:
    """Let more chunks of long recordings in where workers have joined."""
    workers = fleet.model_workers(database, settings.silence_seconds)
    with doorbell.best_effort():
        for one in chunk_plans.widen(database, lambda queue: fleet.capacity_of(workers, queue).window):
            doorbell.ring_all(TRANSCRIBE, one.onward.transcribe, one.priority, one.model_queue)
            doorbell.ring_all(EMBED, one.onward.embed, one.priority, one.model_queue)


def resend(database: Database, doorbell: Doorbell, settings: Settings, queue: str) -> int:
    """Send what waits without a message; returns how many messages were sent."""
    age = settings.resend_seconds
    waiting = {task: recovery.waiting(database, task, age, queue) for task in TASKS_IN.get(queue, MODEL_TASKS)}
    sent = 0
    with doorbell.best_effort():
        missing = max(0, sum(waiting.values()) - doorbell.depth(queue))
        for task, count in waiting.items():
            share = min(missing, count)
            missing -= share
            for row in recovery.unsent(database, task, age, share, queue):
                doorbell.ring(task, row.id, row.priority, queue)
                sent += 1
    if sent:
        log.info("sent %d messages to %s again", sent, queue)
    return sent
