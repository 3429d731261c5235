"""A page in the watched folder for people who have only the share: what waits, runs and failed there, and why.

One file that a double click opens anywhere: no script, no server, nothing loaded from elsewhere.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from dropscribe.core import pages, reserved_names
from dropscribe.core.safe_text import printable
from dropscribe.core.types import ATTENTION_STATES, TRANSCRIPT_STATES, JobState
from dropscribe.scheduler.scanning.roots import RootOfflineError
from dropscribe.scheduler.watching.root_watch import RootWatch
from dropscribe.store import queries
from dropscribe.store.queries import Job
from dropscribe.store.roots import RootReport
from dropscribe.store.session import Database

log = logging.getLogger(__name__)

NAME = reserved_names.STATUS_PAGE
MARK = "dropscribe, which replaces this page"  # what a file must hold to be taken for ours
EVERY = 15.0  # s between two looks at what is to be shown, and between two reloads in a browser
MOST = 50  # recordings in one list

WORKED_ON = (JobState.PREPARING, JobState.TRANSCRIBING, JobState.FINISHING)
THROUGH = tuple(state for state in TRANSCRIPT_STATES if not state.needs_attention)
IN_WORDS = {
    JobState.PREPARING: "being prepared",
    JobState.TRANSCRIBING: "being read",
    JobState.FINISHING: "being written",
    JobState.FAILED: "failed",
    JobState.PARKED: "given up for now",
    JobState.SUSPECT: "read, but to be checked",
    JobState.DONE: "done",
    JobState.DUPLICATE: "done (same content as another)",
}

_PACKAGE = "dropscribe.scheduler.duties"


@dataclass(frozen=True, slots=True)
class View:
    """What there is to show of one root; lists hold the newest, `counts` the truth."""

    report: RootReport
    counts: Mapping[JobState, int]
    worked_on: Sequence[Job]
    queued: Sequence[Job]
    troubled: Sequence[Job]
    through: Sequence[Job]


@dataclass
class StatusPage:
    """The page of one root over time. Written when it changed, at most every `EVERY` seconds of any clock."""

    database: Database
    said: str = ""
    due: float = 0.0

    def update(self, watch: RootWatch, now: float) -> None:
        """Write it, or take it away where it is wanted no more. Raises StoreError, ScannerStoppedError."""
        if now < self.due or not watch.report.online:
            return
        self.due = now + EVERY
        root = str(watch.place)
        content = body(gather(self.database, watch.report, root)) if watch.folders.status_page else ""
        if content == self.said:
            return
        text = page(content, watch.place.name, time.time()) if content else None
        try:
            watch.put({NAME: text}, MARK)
        except RootOfflineError as error:  # the next look will tell
            log.info("%s was not written: %s", NAME, error)
            return
        self.said = content


def gather(database: Database, report: RootReport, root: str) -> View:
    """Ask the store. Raises StoreError."""

    def newest(*states: JobState) -> list[Job]:
        return queries.latest_of_each_file(database, root, states, MOST)

    counts = queries.count_by_state_in_root(database, root, ATTENTION_STATES)
    lists = (newest(*WORKED_ON), newest(JobState.QUEUED), newest(*ATTENTION_STATES), newest(*THROUGH))
    return View(report, counts, *lists)


@dataclass(frozen=True, slots=True)
class Section:
    """A list in the page: a name and what is said of it in each row; `more` are not shown."""

    title: str
    rows: Sequence[tuple[str, str]]
    more: int = 0
    is_trouble: bool = False


def body(view: View) -> str:
    """What the page says, as long as nothing changes."""
    waiting = [(one.folder, f"{one.files} wait: {one.reason}") for one in view.report.waiting]
    sections = [
        _section("Folders whose settings have to be mended", waiting, len(waiting), is_trouble=True),
        _section("In work", map(_progress, view.worked_on), _sum(view, WORKED_ON)),
        _section("Need a look", map(_reason, view.troubled), _sum(view, ATTENTION_STATES), is_trouble=True),
        _section("Waiting", ((job.path, job.reason) for job in view.queued), _sum(view, [JobState.QUEUED])),
        _section("Through", map(_end, view.through), _sum(view, THROUGH)),
    ]
    return pages.template(_PACKAGE, "page/body.html").render(summary=_summary(view), sections=sections)


def page(content: str, root_name: str, moment: float) -> str:
    """The whole document; `moment` is when its content, a `body`, changed, in seconds since the epoch."""
    changed = time.strftime("%Y-%m-%d %H:%M %Z", time.localtime(moment))
    return pages.template(_PACKAGE, "page/page.html").render(
        content=content, name=printable(root_name), changed=changed, mark=MARK, every=EVERY
    )


def _summary(view: View) -> str:
    parts = [
        (view.report.pending, "still being copied here"),
        (_sum(view, [JobState.QUEUED]), "waiting"),
        (_sum(view, WORKED_ON), "in work"),
        (_sum(view, THROUGH), "done"),
        (_sum(view, ATTENTION_STATES), "in need of a look"),
    ]
    said = ", ".join(f"{number:,} {what}" for number, what in parts if number)
    return f"Recordings: {said}." if said else "No recordings yet."


def _sum(view: View, states: Iterable[JobState]) -> int:
    return sum(view.counts.get(state, 0) for state in states)


def _section(title: str, rows: Iterable[tuple[str, str]], number: int, *, is_trouble: bool = False) -> Section:
    shown = [(printable(name), printable(said)) for name, said in rows]
    return Section(title, shown, number - len(shown), is_trouble)


def _progress(job: Job) -> tuple[str, str]:
    share = f", {job.progress:.0%}" if job.state is JobState.TRANSCRIBING else ""
    return job.path, IN_WORDS[job.state] + share


def _reason(job: Job) -> tuple[str, str]:
    return job.path, f"{IN_WORDS[job.state]}: {job.reason}"


def _end(job: Job) -> tuple[str, str]:
    at = time.strftime("%Y-%m-%d %H:%M", time.localtime(job.finished_at or job.created_at))
    return job.path, f"{IN_WORDS[job.state]}, {at}"
