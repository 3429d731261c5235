"""Tells receivers of final states: what the store holds to be sent is sent, tried again, and given up in the end.

Several schedulers share the work: each notification is taken by one, for as long as sending may take. One that dies in
between leaves it to be sent again, so that it arrives at least once.
"""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import asdict
from itertools import chain, filterfalse
from operator import attrgetter
from typing import Any

from dropscribe.core import old_names
from dropscribe.core.clock import iso
from dropscribe.core.errors import JobNotFoundError, SettingsError, StoreError
from dropscribe.core.passwords import redact
from dropscribe.core.settings import Settings
from dropscribe.scheduler.duties import channel
from dropscribe.scheduler.duties.channel import CutShortError, DeliveryError, NotificationChannel, UndeliverableError
from dropscribe.scheduler.duties.done_command import DoneCommand
from dropscribe.scheduler.duties.mail import MailChannel
from dropscribe.scheduler.duties.webhook import Webhook
from dropscribe.store import notifications, queries, written_files
from dropscribe.store.notifications import Notification
from dropscribe.store.queries import Job
from dropscribe.store.session import Database

log = logging.getLogger(__name__)

POLL_SECONDS = 2.0
SENDERS = 4  # receivers that hang keep so many busy
SPARE_SECONDS = 30.0  # for which a scheduler has a notification to itself beyond the time that sending may take


def channels(settings: Settings) -> list[NotificationChannel]:
    """All ways of telling. Raises SettingsError for a webhook's secret that is not valid."""
    return [Webhook(settings), DoneCommand(settings), MailChannel(settings)]


def begin(database: Database, ways: Iterable[NotificationChannel]) -> None:
    """From now on the fleet writes down what is to be sent by these channels, and nothing else. Raises StoreError."""
    notifications.want(database, set(chain.from_iterable(way.switches() for way in ways)))


class Notifier:
    """Sends by one channel until it is stopped."""

    def __init__(
        self, database: Database, channel: NotificationChannel, *, delay: Callable[[int, float], float] = channel.delay
    ) -> None:
        """`delay` gives seconds by tries and chance."""
        self._database = database
        self._channel = channel
        self._delay = delay
        self._under_way: set[Future[None]] = set()
        self._stop = threading.Event()

    def run(self, stop: threading.Event) -> None:
        """Look for what is due until stopped; does nothing for a channel that the settings do not use."""
        if not self._channel.switches():
            return
        self._stop = stop
        with ThreadPoolExecutor(SENDERS, thread_name_prefix=self._channel.name) as senders:
            while not stop.is_set():
                if self.look(senders):  # there may be more: go on as soon as a sender is free
                    wait(self._under_way, timeout=POLL_SECONDS, return_when=FIRST_COMPLETED)
                else:
                    stop.wait(POLL_SECONDS)

    def look(self, senders: ThreadPoolExecutor) -> bool:
        """Hand what is due to those senders that are free; False when there was nothing, or nobody."""
        self._under_way = set(filterfalse(Future.done, self._under_way))
        free, held = SENDERS - len(self._under_way), self._channel.seconds + SPARE_SECONDS
        try:
            due = notifications.take(self._database, self._channel.name, free, held)
        except StoreError as error:
            log.warning("no notifications: %s", error)
            return False
        self._under_way |= {senders.submit(self._send, one) for one in due}
        return bool(due)

    def _send(self, one: Notification) -> None:
        """Send one notification; where the store is away, its claim runs out and it is sent again."""
        try:
            self._try(one)
        except StoreError as error:
            log.warning("notification %s is sent again: %s", one.id, error)

    def _try(self, one: Notification) -> None:
        """Send one notification, if it is wanted, and note in the store what came of it. Raises StoreError."""
        try:
            job = queries.job(self._database, one.job_id)
            if not self._channel.wants(job, one):
                notifications.drop(self._database, one)
                return
            remark = self._channel.send(one, payload(self._database, one, job), self._stop)
        except JobNotFoundError:
            return  # it was forgotten meanwhile, and its notifications with it
        except CutShortError:
            notifications.give_back(self._database, one)
        except DeliveryError as error:
            self._failed(one, str(error))
        except (UndeliverableError, SettingsError) as error:
            log.warning("notification %s is not sent: %s", one.id, error)
            notifications.failed(self._database, one, str(error), None)
        except StoreError:
            raise
        except Exception as error:  # a defect of ours must not end the scheduler: what it concerns is given up at last
            log.exception("notification %s", one.id)
            self._failed(one, redact(f"internal error: {type(error).__name__}: {error}"))
        else:
            notifications.delivered(self._database, one, redact(remark))  # the words of a server

    def _failed(self, one: Notification, error: str) -> None:
        """Note that it could not be delivered, and when it is tried again, if at all."""
        log.warning("notification %s by %s, try %d: %s", one.id, self._channel.name, one.tries, error)
        last = one.tries >= self._channel.tries
        notifications.failed(self._database, one, error, None if last else self._delay(one.tries, random.random()))


def payload(database: Database, one: Notification, job: Job) -> dict[str, Any]:
    """What is sent of a job: state and reason as of then, the rest as it is now. docs/notifications.md lists it."""
    files = filter(attrgetter("written"), written_files.files_of(database, one.job_id))
    told = {
        "id": one.id,
        "at": iso(one.at),
        "job": one.job_id,
        "state": one.state,
        "reason": one.reason,
        "source": job.source,
        "size": job.size,
        "sha256": job.sha256,
        "duration": job.duration,
        "notes": job.notes,
        "uncovered_speech": [*map(asdict, job.missing)],
        "files": [{"path": file.path, "format": file.format, "sha256": file.sha256} for file in files],
    }
    return old_names.with_old(told, old_names.NOTIFICATION)
