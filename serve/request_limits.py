"""How much each caller may ask for: requests by a bucket that fills up again, and what is open at once."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum

from dropscribe.core.errors import TooManyError
from dropscribe.serve.callers import Caller

MINUTE = 60.0  # seconds


class AtOnce(StrEnum):
    """What a caller may have only so many of at once."""

    STREAM = "streams"
    UPLOAD = "uploads"
    REQUEST = "requests that wait for a transcript"


MAX_AT_ONCE: Mapping[AtOnce, int] = {AtOnce.STREAM: 8, AtOnce.UPLOAD: 4, AtOnce.REQUEST: 64}


@dataclass
class RequestLimits:
    """Buckets of `per_minute` requests, one for each token; the operator has none. Safe to share between threads."""

    per_minute: int
    clock: Callable[[], float] = time.monotonic
    _left: dict[str, tuple[float, float]] = field(default_factory=dict)  # requests, and when that was
    _held: Counter[tuple[AtOnce, str]] = field(default_factory=Counter)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def take(self, caller: Caller) -> None:
        """Count one request. Raises TooManyError where a token has made too many."""
        if caller.is_operator:
            return
        with self._lock:
            now = self.clock()
            left, seen = self._left.get(caller.name, (float(self.per_minute), now))
            left = min(float(self.per_minute), left + (now - seen) * self.per_minute / MINUTE)
            self._left[caller.name] = (max(left - 1, 0.0), now)
        if left < 1:
            raise TooManyError(
                f"{caller.name} made more than {self.per_minute} requests in a minute",
                remedy="send fewer requests, or ask the operator to raise DROPSCRIBE_SERVE_REQUESTS",
            )

    def enter(self, what: AtOnce, caller: Caller) -> None:
        """Count one of these, until `leave`. Raises TooManyError where the caller has too many."""
        with self._lock:
            if self._held[what, caller.name] >= MAX_AT_ONCE[what]:
                raise TooManyError(f"{MAX_AT_ONCE[what]} {what} are open already", remedy="end one, or try again later")
            self._held[what, caller.name] += 1

    def leave(self, what: AtOnce, caller: Caller) -> None:
        """Count one less."""
        with self._lock:
            self._held[what, caller.name] -= 1

    @contextmanager
    def holding(self, what: AtOnce, caller: Caller) -> Iterator[None]:
        """Count one of these for a while. Raises TooManyError."""
        self.enter(what, caller)
        try:
            yield
        finally:
            self.leave(what, caller)
