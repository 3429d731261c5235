"""dropscribe from Python: submit recordings to a fleet, wait for them, and take their transcripts.

    from dropscribe import Client

    with Client() as client:
        job = client.submit("talk.wav")
        job = client.wait(job, timeout=3600)
        for segment in client.transcript(job).segments:
            print(segment.start, segment.speaker, segment.text)

Settings are those of every other process: environment and `dropscribe.toml`. Workers must run somewhere, and see the
recording at the same path. Methods may be called from many threads; asyncio waits by
`await asyncio.to_thread(client.wait, job)`.
"""

from __future__ import annotations

import time
import warnings
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from dropscribe.admin.state.job_lookup import find
from dropscribe.admin.state.transcript_documents import document_of
from dropscribe.core.errors import UsageError
from dropscribe.core.routing import PREPARE
from dropscribe.core.settings import Settings
from dropscribe.core.settings_loading import load
from dropscribe.core.types import Priority, Transcript
from dropscribe.scheduler.watching import submission
from dropscribe.store import queries
from dropscribe.store.queries import Job
from dropscribe.store.session import open_database
from dropscribe.worker.outputs import json_

if TYPE_CHECKING:
    from dropscribe.core.queue import Doorbell

POLL_SECONDS = 0.5


class Client:
    """A connection to the store and to Redis; close it, or use it in a `with` block."""

    def __init__(self, settings: Settings | str | None = None) -> None:
        """Takes settings, the URL of the database (all else from the environment), or everything from there.

        Raises SettingsError, or StoreError where no `dropscribe up`, `watch` or `worker` has made the tables.
        """
        if not isinstance(settings, Settings):
            settings = load(overrides={"database_url": settings})
            for remark in settings.remarks:
                warnings.warn(remark, FutureWarning, stacklevel=2)
        self._settings = settings
        self._database = open_database(settings.database, where="client", migrate=False)

    @cached_property
    def _doorbell(self) -> Doorbell:
        """The way to Redis, which only a submission takes: whoever asks need not wait for Celery to be imported."""
        from dropscribe.core.queue import Doorbell

        return Doorbell(self._settings)

    def submit(
        self,
        path: str | Path,
        *,
        priority: Priority | str | None = None,
        context: str | None = None,
        hotwords: str | Path | None = None,
    ) -> Job:
        """Admit a recording; `context` are names and topics, `hotwords` a file of terms. Returns its job.

        One that was admitted before with the same settings has its job already. A Redis that is away only delays.
        Raises UsageError for what is no recording, and for a priority that there is not.
        """
        if priority is not None and priority not in [*Priority]:
            raise UsageError(f"there is no priority {priority!r}", remedy=f"take one of {', '.join(Priority)}")
        terms = Path(hotwords) if hotwords is not None else None
        (wanted,) = submission.recordings(
            self._database,
            self._settings,
            [Path(path)],
            priority=Priority(priority) if priority else None,
            topic=context,
            hotwords=terms,
        )
        job_id, is_new = submission.enter(self._database, wanted)
        if is_new:
            with self._doorbell.best_effort():
                self._doorbell.ring(PREPARE, job_id, wanted.priority)
        return queries.job(self._database, job_id)

    def job(self, name: str | Path) -> Job:
        """The job as it is now, by its id, the start of one, or its recording's path (the newest of that file).

        Raises JobNotFoundError or AmbiguousJobError.
        """
        return queries.job(self._database, find(self._database, str(name)))

    def wait(self, job: Job | str, timeout: float | None = None) -> Job:
        """Wait until the job is in a final state, for at most `timeout` seconds; returns it as it is then.

        Look at its `state`: a job that failed raises nothing. Raises TimeoutError; the job goes on nevertheless.
        """
        job_id = job if isinstance(job, str) else job.id
        deadline = None if timeout is None else time.monotonic() + timeout
        while not (now := queries.job(self._database, job_id)).state.is_final:
            if deadline is not None and time.monotonic() >= deadline:
                raise TimeoutError(f"{job_id} is still {now.state} after {timeout:.0f} s; it goes on, wait again")
            time.sleep(POLL_SECONDS)
        return now

    def transcript(self, job: Job | str) -> Transcript:
        """The finished transcript. Raises DropscribeError where the job has none."""
        job_id = job if isinstance(job, str) else job.id
        return json_.from_json(document_of(self._database, queries.job(self._database, job_id)))

    def close(self) -> None:
        """Close all connections."""
        if "_doorbell" in self.__dict__:
            self._doorbell.close()
        self._database.close()

    def __enter__(self) -> Self:
        """For `with`."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """See `close`."""
        self.close()
