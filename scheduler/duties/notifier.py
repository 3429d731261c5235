"""Tells receivers of final states: what the store holds to be sent is sent, tried again, and given up in the end.

Several schedulers share the work: each notification is taken by one, for a minute. One that dies in between leaves it
to be sent again, so that it arrives at least once.
"""

from __future__ import annotations

import json
import logging
import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import asdict
from itertools import filterfalse
from operator import attrgetter
from typing import Any

from dropscribe.core import old_names
from dropscribe.core.errors import StoreError
from dropscribe.core.settings import Settings
from dropscribe.scheduler.duties import webhook
from dropscribe.scheduler.duties.webhook import DeliveryError
from dropscribe.store import notifications, queries, transcripts
from dropscribe.store.notifications import Notification
from dropscribe.store.session import Database

log = logging.getLogger(__name__)

POLL_SECONDS = 2.0
SENDERS = 4  # receivers that hang keep so many busy
TAKEN_SECONDS = 60.0  # for which one scheduler has a notification to itself


class Notifier:
    """Sends until it is told to stop."""

    def __init__(
        self, settings: Settings, database: Database, *, delay: Callable[[int, float], float] = webhook.delay
    ) -> None:
        """`delay` gives seconds by tries and chance. Raises SettingsError for a secret that is none."""
        self._settings = settings
        self._database = database
        self._delay = delay
        self._key = webhook.key(settings.webhook_secret)
        self._under_way: set[Future[None]] = set()

    def begin(self) -> None:
        """From now on the fleet writes down whom to tell of what ends, or nothing. Raises StoreError."""
        of_all, of_folders = bool(self._settings.webhook_url), bool(self._settings.webhook_hosts)
        notifications.want(self._database, of_all=of_all, of_folders=of_folders)

    def run(self, stop: threading.Event) -> None:
        """Look for what is due until told to stop."""
        if not self._settings.webhook_url and not self._settings.webhook_hosts:
            return
        with ThreadPoolExecutor(SENDERS, thread_name_prefix="notify") as senders:
            while not stop.is_set():
                if self.look(senders):  # there may be more: go on as soon as a sender is free
                    wait(self._under_way, timeout=POLL_SECONDS, return_when=FIRST_COMPLETED)
                else:
                    stop.wait(POLL_SECONDS)

    def look(self, senders: ThreadPoolExecutor) -> bool:
        """Hand what is due to those senders that are free; False when there was nothing, or nobody."""
        self._under_way = set(filterfalse(Future.done, self._under_way))
        try:
            due = notifications.take(self._database, SENDERS - len(self._under_way), TAKEN_SECONDS)
        except StoreError as error:
            log.warning("no notifications: %s", error)
            return False
        self._under_way |= {senders.submit(self._send, one) for one in due}
        return bool(due)

    def _send(self, one: Notification) -> None:
        try:
            self._try(one)
        except StoreError as error:
            log.warning("notification %s is sent again: %s", one.id, error)

    def _try(self, one: Notification) -> None:
        url = one.url or self._settings.webhook_url
        if reason := webhook.refusal(url, self._settings):
            log.warning("notification %s is not sent: %s", one.id, reason)
            notifications.failed(self._database, one, reason, None)
            return
        try:
            self._post(one, url)
        except DeliveryError as error:
            self._failed(one, str(error))
        except StoreError:
            raise
        except Exception as error:  # a defect of ours must not end the scheduler: what it concerns is given up at last
            log.exception("notification %s", one.id)
            self._failed(one, f"internal error: {type(error).__name__}: {error}")
        else:
            notifications.delivered(self._database, one)

    def _post(self, one: Notification, url: str) -> None:
        body = json.dumps(payload(self._database, one)).encode()
        webhook.post(url, body, webhook.headers(self._key, one.id, int(time.time()), body))

    def _failed(self, one: Notification, error: str) -> None:
        log.warning("notification %s, try %d: %s", one.id, one.tries, error)
        last = one.tries >= self._settings.webhook_tries
        notifications.failed(self._database, one, error, None if last else self._delay(one.tries, random.random()))


def payload(database: Database, one: Notification) -> dict[str, Any]:
    """What is told of a job: state and reason as of then, the rest as it is now. docs/notifications.md lists it."""
    job = queries.job(database, one.job_id)
    files = filter(attrgetter("written"), transcripts.files_of(database, one.job_id))
    told = {
        "id": one.id,
        "at": one.at,
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
