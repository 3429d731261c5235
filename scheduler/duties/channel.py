"""What the ways of telling final states have in common: webhooks, commands, e-mail."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any, Protocol

from dropscribe.core.errors import DropscribeError
from dropscribe.store.notifications import Notification
from dropscribe.store.queries import Job

FIRST_DELAY = 10.0  # seconds before a second try; doubles with each
MAX_DELAY = 3600.0


class DeliveryError(DropscribeError):
    """The receiver did not take it; it is tried again."""


class UndeliverableError(DropscribeError):
    """It must not, or cannot ever, be sent."""


class CutShortError(DropscribeError):
    """The scheduler stops in the middle of it: it is sent again, and no try is counted."""


class NotificationChannel(Protocol):
    """One way of telling. `tries` after which one is given up; `seconds` that a try takes at most."""

    @property
    def name(self) -> str: ...
    @property
    def tries(self) -> int: ...
    @property
    def seconds(self) -> float: ...

    def switches(self) -> set[str]:
        """The switches of `store.notifications` to be thrown for it; none where the settings do not use it."""
        ...

    def wants(self, job: Job, one: Notification, /) -> bool:
        """Does somebody get it by this channel?"""
        ...

    def send(self, one: Notification, document: Mapping[str, Any], stop: threading.Event, /) -> str:
        """Send it; returns what was not right although it was sent. `stop` ends what takes long.

        Raises DeliveryError, UndeliverableError or CutShortError with the reason.
        """
        ...


def delay(tries: int, chance: float) -> float:
    """Seconds until the next try after so many; `chance` from 0 to 1 keeps many from coming back at once.

    >>> [delay(tries, 1.0) for tries in (1, 2, 3, 12)]
    [10.0, 20.0, 40.0, 3600.0]
    """
    return min(MAX_DELAY, FIRST_DELAY * 2.0 ** (tries - 1)) * (0.5 + chance / 2)
