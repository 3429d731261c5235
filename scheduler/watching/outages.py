"""A watched place that is out of reach: what is reported and logged of it, and when it is looked for again."""

from __future__ import annotations

import logging
import socket

from dropscribe.store.roots import RootReport

log = logging.getLogger(__name__)

UNSEEN = "not scanned yet"
RETRY_SECONDS = 10.0  # how soon a place that is out of reach is looked for again
MAX_DOUBLINGS = 5  # of that, where it fails one time after the other: 320 s at most


def retry_seconds(failures: int) -> float:
    """Seconds until a place that failed so many times in a row is looked for again: a busy server is not asked more.

    >>> [retry_seconds(failures) for failures in (0, 1, 2, 9)]
    [10.0, 10.0, 20.0, 320.0]
    """
    return RETRY_SECONDS * 2.0 ** min(max(0, failures - 1), MAX_DOUBLINGS)


def offline(path: object, filesystem: str, reason: str) -> RootReport:
    """The report on a place that is out of reach."""
    return RootReport(str(path), socket.gethostname(), filesystem, online=False, reason=reason)


def log_change(before: RootReport, now: RootReport) -> None:
    """Log that a place went out of reach, why where the reason is a new one, and that it is there again."""
    if now.online:
        if not before.online and before.reason != UNSEEN:
            log.info("%s is online again", now.path)
    elif (before.online, before.reason) != (False, now.reason):
        log.warning("%s", now.reason)
