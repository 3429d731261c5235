"""What `dropscribe up` reports while it runs, each thing once: ended and deferred jobs, folders in trouble."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from dropscribe.admin.state import fleet_status
from dropscribe.admin.state.report import Report
from dropscribe.core.bucket_names import as_stored
from dropscribe.scheduler.scanning.scanner import FolderState
from dropscribe.scheduler.watching.outages import UNSEEN
from dropscribe.store import queries, written_files
from dropscribe.store.event_cursor import EventCursor
from dropscribe.store.events import postponed_since
from dropscribe.store.roots import WatchedRoot
from dropscribe.store.session import Database


class ActivityReporter:
    """Follows the store, and reports what is new since the last time. Methods raise StoreError."""

    def __init__(self, database: Database, report: Report) -> None:
        """Begin at this moment: what happened before is not reported."""
        self._database, self._report = database, report
        self._ended_until = database.clock()
        self._events = EventCursor.at_end(database)
        self._deferred: set[tuple[str, str]] = set()  # job and reason, as reported
        self._offline_at_start: set[str] = set()  # folders whose trouble was reported at the start
        self._troubles: dict[str, str] = {}  # the last reported trouble of each folder

    def begin(self, place: FolderState, transcripts: str) -> None:
        """Report a folder at the start, why it cannot be watched yet, and where its `transcripts` appear."""
        name = as_stored(place.path)
        self._report.say(f"watching {name}; transcripts appear {transcripts}")
        if trouble := _trouble(place):
            self._report.say(f"warning: {name} {trouble}")
            self._offline_at_start.add(name)

    def report(self, roots: Sequence[WatchedRoot]) -> None:
        """Report what is new; `roots` are the folders as the scheduler last saw them."""
        self._report_deferred()
        for root in roots:
            self._report_trouble(root)
        self._report_ended()

    def _report_deferred(self) -> None:
        """Say each reason for which a job is tried again later, once."""
        for job_id, source, reason in postponed_since(self._events):
            if (job_id, reason) not in self._deferred:
                self._deferred.add((job_id, reason))
                self._report.say(f"warning: {source} is deferred, to be tried again: {reason}")

    def _report_trouble(self, root: WatchedRoot) -> None:
        """Say why a folder, or a place in it, cannot be read. Says it again only if the reason changes."""
        if root.online:
            self._offline_at_start.discard(root.path)
        if root.reason == UNSEEN or root.path in self._offline_at_start:
            return
        trouble = fleet_status.folder_trouble(root)
        if trouble and trouble != self._troubles.get(root.path):
            self._report.say(f"warning: {trouble}")
        self._troubles[root.path] = trouble

    def _report_ended(self) -> None:
        """Report the jobs that ended since the last look, with the files that they have."""
        for job in queries.ended_since(self._database, self._ended_until):
            self._report.ended(job, written_files.files_of(self._database, job.id))
            self._ended_until = max(self._ended_until, job.finished_at or 0.0)


def transcripts_folder(results: Path | str | None) -> str:
    """Where transcripts appear, in words.

    >>> transcripts_folder(Path("/srv/texts")), transcripts_folder(None)
    ('under /srv/texts', 'beside the recordings')
    """
    return f"under {results}" if results else "beside the recordings"


def _trouble(place: FolderState) -> str:
    """Why a folder cannot be watched yet, and what to do; empty if it can."""
    troubles = (
        (not place.answers, "does not answer; waiting for it. Is its server up?"),
        (place.is_denied, f"is offline: {place.reason}; waiting for it. Let this user read it"),
        (not place.exists, "does not exist; waiting for it. Is the name right, the share mounted?"),
        (place.reason, f"is offline: {place.reason}; waiting for it"),
    )
    return next((said for applies, said in troubles if applies), "")
