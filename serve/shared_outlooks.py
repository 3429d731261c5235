"""The place in the queue and the time left, worked out once for all requests of a moment.

To know the place of one recording takes the whole queue: of a thousand, more time than all else of a request.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from dropscribe.store import unfinished
from dropscribe.store.queries import Job
from dropscribe.store.session import Database
from dropscribe.store.unfinished import Outlook

FRESH_SECONDS = 2.0


@dataclass
class SharedOutlooks:
    """Those of all unfinished jobs, by id, at most `FRESH_SECONDS` old. Safe to share between threads.

    A worker is silent that was not heard of for `silence` seconds.
    """

    database: Database
    silence: float
    clock: Callable[[], float] = time.monotonic
    _known: Mapping[str, Outlook] = field(default_factory=dict)
    _until: float = float("-inf")
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def of(self, jobs: Sequence[Job]) -> Mapping[str, Outlook]:
        """Those of the jobs that are unfinished, and of others. Raises StoreError."""
        if all(job.state.is_final for job in jobs):
            return {}
        with self._lock:  # the first one asks, and the others wait for what it finds
            if self.clock() >= self._until:
                found = unfinished.expected(self.database, self.silence)
                self._known = {one.recording.id: one for one in found}
                self._until = self.clock() + FRESH_SECONDS
            return self._known
