"""What `dropscribe up` tells while it runs, each thing once: what ended, what is put off, what cannot be read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from dropscribe.admin.state import fleet_status
from dropscribe.admin.state.report import Report
from dropscribe.scheduler.scanning.scanner import FolderState
from dropscribe.scheduler.watching.root_watch import UNSEEN
from dropscribe.store import queries
from dropscribe.store.queries import WatchedRoot
from dropscribe.store.session import Database


class News:
    """Follows the store from now on, and reports what is new in it. Methods raise StoreError."""

    def __init__(self, database: Database, report: Report) -> None:
        """What was before is not told."""
        self._database, self._report = database, report
        self._ended_until = database.clock()
        self._last_event, _ = queries.postponed_since(database, None)
        self._put_off: set[tuple[str, str]] = set()  # job and reason
        self._greeted: set[str] = set()  # folders whose trouble was told at the start, until they are online
        self._troubles: dict[str, str] = {}  # of folders, as told last

    def greet(self, place: FolderState, where: str) -> None:
        """Tell of a folder at the start, and why it cannot be watched yet; transcripts appear `where`."""
        self._report.say(f"watching {place.path}; transcripts appear {where}")
        if trouble := _trouble(place):
            self._report.say(f"warning: {place.path} {trouble}")
            self._greeted.add(str(place.path))

    def tell(self, roots: Sequence[WatchedRoot]) -> None:
        """Report what has come since the last time; `roots` are the folders as they were seen last."""
        self._tell_put_off()
        for root in roots:
            self._tell_trouble(root)
        self._tell_ended()

    def _tell_put_off(self) -> None:
        self._last_event, news = queries.postponed_since(self._database, self._last_event)
        for job_id, source, reason in news:
            if (job_id, reason) not in self._put_off:
                self._put_off.add((job_id, reason))
                self._report.say(f"warning: {source} is put off, to be tried again: {reason}")

    def _tell_trouble(self, root: WatchedRoot) -> None:
        """Say why a folder, or a place in it, cannot be read, each time that the reason is another one."""
        if root.online:
            self._greeted.discard(root.path)
        if root.reason == UNSEEN or root.path in self._greeted:
            return
        trouble = fleet_status.folder_trouble(root)
        if trouble and trouble != self._troubles.get(root.path):
            self._report.say(f"warning: {trouble}")
        self._troubles[root.path] = trouble

    def _tell_ended(self) -> None:
        for job in queries.ended_since(self._database, self._ended_until):
            self._report.ended(job)
            self._ended_until = max(self._ended_until, job.finished_at or 0.0)


def where(results: Path | None) -> str:
    """Where transcripts appear, in words."""
    return f"under {results}" if results else "beside the recordings"


def _trouble(place: FolderState) -> str:
    """Why it cannot be watched yet, for a person who starts it; empty when it can."""
    if not place.answers:
        return "does not answer; waiting for it. Is its server up?"
    if place.is_denied:
        return f"is offline: {place.reason}; waiting for it. Let this user read it"
    if not place.exists:
        return "does not exist; waiting for it. Is the name right, the share mounted?"
    return f"is offline: {place.reason}; waiting for it" if place.reason else ""
