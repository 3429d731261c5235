"""What the speakers of recordings are called, asked once for all requests: ten hours have 20,000 lines."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from dropscribe.store import search
from dropscribe.store.queries import Job
from dropscribe.store.session import Database

MAX_KNOWN = 5_000  # recordings

Written = tuple[str, float | None]  # a job, and when it came to its end: its files are written again with new names


@dataclass
class SharedSpeakers:
    """Those of finished transcripts. Safe to share between threads."""

    database: Database
    _known: dict[Written, Sequence[str]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def of(self, jobs: Sequence[Job]) -> Mapping[str, Sequence[str]]:
        """What the speakers of those that have a transcript are called, by job. Raises StoreError."""
        wanted = {(job.id, job.finished_at) for job in jobs if job.state.has_transcript and job.text_removed_at is None}
        with self._lock:
            fresh = wanted - self._known.keys()
        found = search.speakers_of(self.database, [job_id for job_id, _ in fresh]) if fresh else {}
        with self._lock:
            self._known.update({key: found.get(key[0], ()) for key in fresh})
            told = {key[0]: self._known.get(key, ()) for key in wanted}
            for key in [*self._known][:-MAX_KNOWN]:
                del self._known[key]
        return told
