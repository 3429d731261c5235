"""Mends what crashed: leases that ran out, messages that were lost, followers whose leader is gone.

A queue that holds fewer messages than rows have waited for a while has lost some. As nobody knows which, as many of
the longest waiting are sent again as are missing: the queue can grow no longer than there is work, and a message too
many does no harm.
"""

from __future__ import annotations

import logging

from core.errors import BrokerError
from core.queue import CPU_QUEUE, FINISH, MODEL_QUEUE, PREPARE, TRANSCRIBE, Doorbell
from core.settings import Settings
from store import fleet, plans, queries, recovery
from store.session import Database

log = logging.getLogger(__name__)

ROLE = "reconciler"
TASKS_OF = {CPU_QUEUE: (FINISH, PREPARE), MODEL_QUEUE: (TRANSCRIBE,)}


def reconcile(database: Database, doorbell: Doorbell, settings: Settings, owner: str) -> bool:
    """One round, if this process has the reconciler's role; False when another has it."""
    if not fleet.hold(database, ROLE, owner, settings.lease_seconds):
        return False
    if mended := recovery.expire(database, settings.lost_attempts):
        log.warning("took back %d pieces of work from workers that vanished", mended)
    recovery.reunite_followers(database)
    widen(database, doorbell, settings)
    for queue in TASKS_OF:
        resend(database, doorbell, settings, queue)
    return True


def widen(database: Database, doorbell: Doorbell, settings: Settings) -> None:
    """Let more chunks of long recordings in where workers have joined."""
    window = queries.capacity(database, settings.lease_seconds).window
    try:
        for row, priority in plans.widen(database, window):
            doorbell.ring(TRANSCRIBE, row, priority)
    except BrokerError as error:
        log.warning("cannot send messages: %s", error)


def resend(database: Database, doorbell: Doorbell, settings: Settings, queue: str) -> int:
    """Send what waits without a message; returns how many messages were sent."""
    age = settings.resend_seconds
    waiting = {task: recovery.waiting(database, task, age) for task in TASKS_OF[queue]}
    sent = 0
    try:
        missing = max(0, sum(waiting.values()) - doorbell.depth(queue))
        for task, count in waiting.items():
            share = min(missing, count)
            missing -= share
            for row in recovery.unsent(database, task, age, share):
                doorbell.ring(task, row.id, row.priority)
                sent += 1
    except BrokerError as error:
        log.warning("cannot send messages: %s", error)
    if sent:
        log.info("sent %d messages to %s again", sent, queue)
    return sent
