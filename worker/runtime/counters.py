"""What a worker process has done since it started, and does now: counted for its heartbeat and its metrics."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from dropscribe.core.errors import LeaseLostError
from dropscribe.worker.runtime.lease import StoppedError

DONE, FAILED, STOPPED = "done", "failed", "stopped"
RESULTS = (DONE, FAILED, STOPPED)


@dataclass
class Counters:
    """Seconds of audio read and of work on it, tokens, tasks under way, and tasks that ended by name and result."""

    audio: float = 0.0
    busy: float = 0.0
    prompt_tokens: int = 0
    output_tokens: int = 0
    under_way: int = 0
    ended: Counter[tuple[str, str]] = field(default_factory=Counter)
    _told: tuple[float, float] = (0.0, 0.0)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def read(self, audio: float, busy: float, *, prompt: int = 0, output: int = 0) -> None:
        """Count one chunk that the model answered."""
        with self._lock:
            self.audio += audio
            self.busy += busy
            self.prompt_tokens += prompt
            self.output_tokens += output

    def take(self) -> tuple[float, float]:
        """Seconds of audio and of work since the last call."""
        with self._lock:
            before, self._told = self._told, (self.audio, self.busy)
            return self.audio - before[0], self.busy - before[1]

    @contextmanager
    def doing(self, task: str) -> Iterator[None]:
        """Count a task while it runs, and how it ends: done, failed, or stopped (on request, or its lease was lost)."""
        with self._lock:
            self.under_way += 1
        result = FAILED
        try:
            yield
            result = DONE
        except (StoppedError, LeaseLostError):
            result = STOPPED
            raise
        finally:
            with self._lock:
                self.under_way -= 1
                self.ended[task, result] += 1
