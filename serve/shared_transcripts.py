"""Transcripts as people made them by now, parsed once for several requests: those of ten hours take a second."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass, field

from dropscribe.admin.state.transcript_documents import current
from dropscribe.core import start_up
from dropscribe.core.types import Transcript
from dropscribe.store.queries import Job
from dropscribe.store.session import Database

MAX_KEPT = 4  # transcripts; of ten hours, one takes about 60 MB

Made = tuple[str, int, int, str, float | None, float | None]  # without a change in one of these it stays as it is


@dataclass
class SharedTranscripts:
    """Safe to share between threads."""

    database: Database
    _kept: OrderedDict[Made, Transcript] = field(default_factory=OrderedDict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def of(self, job: Job) -> Transcript:
        """The transcript of a job. Raises DropscribeError where there is none."""
        made = (job.id, job.revision, job.attempt, str(job.state), job.finished_at, job.text_removed_at)
        with self._lock:
            if made in self._kept:
                self._kept.move_to_end(made)
                return self._kept[made]
        with start_up.collecting_later():
            found = current(self.database, job)
        with self._lock:
            self._kept[made] = found
            while len(self._kept) > MAX_KEPT:
                self._kept.popitem(last=False)
        return found
