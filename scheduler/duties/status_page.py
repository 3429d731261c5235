"""A page in the watched folder for people who have only the share: what waits, runs and failed there, and why.

One file that a double click opens anywhere: no script, no server, nothing loaded from elsewhere. It names only
recordings in folders that all its readers may list, and counts the others.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from operator import attrgetter
from urllib.parse import quote

from dropscribe.core import pages, reserved_names
from dropscribe.core.clock import about
from dropscribe.core.safe_text import printable
from dropscribe.core.types import ACTIVE_STATES, ATTENTION_STATES, TRANSCRIPT_STATES, JobPhase, JobState
from dropscribe.scheduler.scanning.roots import RootOfflineError
from dropscribe.scheduler.watching.root_watch import RootWatch
from dropscribe.store import queries, unfinished, written_files
from dropscribe.store.queries import Job
from dropscribe.store.roots import RootReport, WaitingPart
from dropscribe.store.session import Database
from dropscribe.store.unfinished import Outlook
from dropscribe.store.written_files import WrittenFile

log = logging.getLogger(__name__)

NAME = reserved_names.STATUS_PAGE
MARK = "dropscribe, which replaces this page"  # what a file must hold to be taken for ours
EVERY = 15.0  # s between two looks at what is to be shown, and between two reloads in a browser
MOST = 50  # recordings in one list
ASKED = 4 * MOST  # of each list, as some may lie in folders that must not be named
QUEUED = 2_000  # recordings in the queue of the fleet of which the place is known

THROUGH = tuple(state for state in TRANSCRIPT_STATES if not state.needs_attention)
IN_WORDS = {
    JobPhase.WAITING: "waiting",
    JobPhase.PREPARING: "being prepared",
    JobPhase.TRANSCRIBING: "being transcribed",
    JobPhase.FINISHING: "being written",
    JobPhase.FAILED: "failed",
    JobPhase.PARKED: "given up for now",
    JobPhase.SUSPECT: "transcribed, please check",
    JobPhase.DONE: "done",
    JobPhase.DUPLICATE: "done (same content as another)",
}

LINKS = {"html": "page"}  # formats that are called something else, and stand first

_PACKAGE = "dropscribe.scheduler.duties"


@dataclass(frozen=True, slots=True)
class View:
    """What there is to show of one root; lists hold the newest, `counts` the truth.

    `root` is its path, without links. `queue` is what waits or is worked on, in the order of the queue; `files` are
    those of jobs that are over.
    """

    report: RootReport
    root: str
    counts: Mapping[JobState, int]
    queue: Sequence[Outlook] = ()
    troubled: Sequence[Job] = ()
    through: Sequence[Job] = ()
    files: Mapping[str, Sequence[WrittenFile]] = field(default_factory=dict)

    @property
    def worked_on(self) -> list[Outlook]:
        """What somebody works on now."""
        return [one for one in self.queue if one.recording.phase is not JobPhase.WAITING]

    @property
    def waiting(self) -> list[Outlook]:
        """What waits to be prepared, or for a model."""
        return [one for one in self.queue if one.recording.phase is JobPhase.WAITING]

    @property
    def number_waiting(self) -> int:
        """How many recordings wait, also those that are not in the lists."""
        return self.number(ACTIVE_STATES) - len(self.worked_on)

    @property
    def folders(self) -> set[str]:
        """The folders of all that is shown, by their path below the root."""
        recordings = [
            *map(attrgetter("recording.path"), self.queue),
            *map(attrgetter("path"), chain(self.troubled, self.through, self.report.parts)),
        ]
        files = map(self.below, chain.from_iterable(self.files.values()))
        complaints = map(attrgetter("folder"), self.report.waiting)
        return {*map(_folder_of, chain(recordings, files, complaints))}

    def number(self, states: Iterable[JobState]) -> int:
        """How many recordings are in these states."""
        return sum(self.counts.get(state, 0) for state in states)

    def below(self, file: WrittenFile) -> str:
        """The path of a file below the root; the whole path if it lies elsewhere."""
        return file.path.removeprefix(f"{self.root.rstrip('/')}/")


@dataclass
class StatusPage:
    """The page of one root over time. Written when it changed, at most every `EVERY` seconds of any clock.

    A worker that was not heard of for `silence` seconds does not count for the time left.
    """

    database: Database
    silence: float
    said: str = ""
    due: float = 0.0

    def update(self, watch: RootWatch, now: float) -> None:
        """Write it, or take it away where it is wanted no more. Raises StoreError, ScannerStoppedError."""
        if now < self.due or not watch.report.online:
            return
        self.due = now + EVERY
        try:
            self._write(watch)
        except RootOfflineError as error:  # the next look will tell
            log.info("%s was not written: %s", NAME, error)

    def _write(self, watch: RootWatch) -> None:
        """Write the page if it says something else than before; remove it where the folder wants none."""
        content = ""
        if watch.folders.status_page:
            view = gather(self.database, watch.report, str(watch.place), self.silence)
            content = body(view, watch.scanner.listed(watch.place, NAME, sorted(view.folders)))
        if content != self.said:
            text = page(content, watch.place.name, time.time()) if content else None
            watch.put({NAME: text}, MARK)
            self.said = content


def gather(database: Database, report: RootReport, root: str, silence: float) -> View:
    """Ask the store. Raises StoreError."""
    newest = partial(queries.latest_of_each_file, database, root)
    troubled, through = newest(ATTENTION_STATES, ASKED), newest(THROUGH, ASKED)
    return View(
        report=report,
        root=root,
        counts=queries.count_by_state_in_root(database, root, ATTENTION_STATES),
        queue=_queue(database, root, silence),
        troubled=troubled,
        through=through,
        files=written_files.written_of(database, [*map(attrgetter("id"), chain(troubled, through))]),
    )


def _queue(database: Database, root: str, silence: float) -> list[Outlook]:
    """What is near the head of the fleet's queue, with its place, and then the first that stand behind, without one."""
    fleet = unfinished.expected(database, silence, QUEUED)
    near = [one for one in fleet if one.recording.root == root]
    if len(fleet) < QUEUED:
        return near
    known = {one.recording.id for one in near}
    behind = [one for one in unfinished.unfinished(database, ASKED, root) if one.id not in known]
    return [*near, *(Outlook(one, place=None, seconds_left=None) for one in behind)]


@dataclass(frozen=True, slots=True)
class PageRow:
    """A line of a list: what is said of the recording or folder at `path`, and what leads where (address by word).

    It is for those who may list the `folder`.
    """

    path: str
    said: str
    folder: str
    links: Mapping[str, str] = field(default_factory=dict)
    address: str = ""

    @classmethod
    def of(cls, path: str, said: str, links: Mapping[str, str] | None = None) -> PageRow:
        """That of a recording."""
        return cls(path, said, _folder_of(path), links or {}, _address(path))

    @property
    def name(self) -> str:
        """The path as the page shows it."""
        return printable(self.path)

    @property
    def words(self) -> str:
        """What is said, as the page shows it."""
        return printable(self.said)


@dataclass(frozen=True, slots=True)
class Section:
    """A list in the page; `more` are not shown, and `hidden` lie where not all readers of the page may look."""

    title: str
    rows: Sequence[PageRow]
    more: int = 0
    hidden: int = 0
    is_trouble: bool = False


def body(view: View, listed: Collection[str]) -> str:
    """What the page says, as long as nothing changes; of recordings only those in the folders that are `listed`."""
    made = partial(_section, listed=listed)
    folders = [
        PageRow(one.folder, f"{one.files} wait: {one.reason}", _folder_of(one.folder)) for one in view.report.waiting
    ]
    rows = partial(_ended, view=view, listed=listed)
    sections = [
        made("Folders with wrong settings", folders, len(folders), is_trouble=True),
        made("Being worked on", map(_progress, view.worked_on), len(view.worked_on)),
        made("Need a look", map(rows, view.troubled), view.number(ATTENTION_STATES), is_trouble=True),
        made("Waiting", map(_place, view.waiting), view.number_waiting),
        made("Waiting for further parts", map(_waits, view.report.parts), len(view.report.parts)),
        made("Done", map(rows, view.through), view.number(THROUGH)),
    ]
    return pages.template(_PACKAGE, "page/body.html").render(summary=_summary(view), sections=sections)


def _waits(part: WaitingPart) -> PageRow:
    """A file that waits for further parts of its recording."""
    until = "" if part.until is None else f", until {_moment(part.until)} at most"
    return PageRow.of(part.path, f"waits for {part.waits_for}{until}")


def page(content: str, root_name: str, moment: float) -> str:
    """The whole document; `moment` is when its content, a `body`, changed, in seconds since the epoch."""
    return pages.template(_PACKAGE, "page/page.html").render(
        content=content,
        name=printable(root_name),
        changed=_moment(moment),
        offset=time.strftime("%z", time.localtime(moment)),
        mark=MARK,
        every=EVERY,
    )


def _moment(epoch: float) -> str:
    """With the zone, as readers may be in another."""
    return time.strftime("%Y-%m-%d %H:%M %Z", time.localtime(epoch))


def _summary(view: View) -> str:
    """How many recordings are where, as one sentence."""
    worked_on = [one.recording.phase for one in view.worked_on]
    transcribed = worked_on.count(JobPhase.TRANSCRIBING)
    parts = [
        (view.report.pending - len(view.report.parts), "still being copied here"),
        (len(view.report.parts), "waiting for further parts"),
        (view.number_waiting, "waiting"),
        (transcribed, "being transcribed"),
        (len(worked_on) - transcribed, "being prepared or written"),
        (view.number(THROUGH), "done"),
        (view.number(ATTENTION_STATES), "to be checked"),
    ]
    said = ", ".join(f"{number:,} {what}" for number, what in parts if number)
    return f"Recordings: {said}." if said else "No recordings yet."


def _section(
    title: str, found: Iterable[PageRow], number: int, *, listed: Collection[str], is_trouble: bool = False
) -> Section:
    """The rows that all readers may see, as far as they are shown; the others are only counted."""
    rows = [*found]
    open_to_all = [row for row in rows if row.folder in listed]
    shown, hidden = open_to_all[:MOST], len(rows) - len(open_to_all)
    return Section(
        title=title,
        rows=shown,
        more=number - len(shown) - hidden,
        hidden=hidden,
        is_trouble=is_trouble,
    )


def _folder_of(path: str) -> str:
    """The folder of a path below the root; empty for the root itself.

    >>> _folder_of("talks/2026/a.wav"), _folder_of("a.wav")
    ('talks/2026', '')
    """
    return path.rpartition("/")[0]


def _progress(outlook: Outlook) -> PageRow:
    """A recording that is worked on: what is done, how far it is, and the time left."""
    one = outlook.recording
    share = f", {one.progress:.0%}" if one.phase is JobPhase.TRANSCRIBING else ""
    return PageRow.of(one.path, IN_WORDS[one.phase] + share + _time_left(outlook))


def _place(outlook: Outlook) -> PageRow:
    """A recording that waits: its place in the queue, the time left, and why it waits."""
    one = outlook.recording
    behind = "its content is being transcribed" if one.duplicate_of else f"after {QUEUED:,} others"
    place = f"place {outlook.place}" if outlook.place else behind
    why = f": {one.reason}" if one.reason else ""
    return PageRow.of(one.path, place + _time_left(outlook) + why)


def _time_left(outlook: Outlook) -> str:
    """How long it takes until a recording is transcribed; empty where that is not known."""
    return "" if outlook.seconds_left is None else f", {about(outlook.seconds_left)} left"


def _ended(job: Job, *, view: View, listed: Collection[str]) -> PageRow:
    """A recording whose job ended: what became of it, and its files."""
    notes = [] if job.duplicate_of else job.notes  # which name the other, that may lie where not all may look
    return PageRow.of(job.path, "; ".join([_outcome(job), *notes]), dict(_links(view, job, listed)))


def _outcome(job: Job) -> str:
    """What became of a recording and when, or why it needs a person."""
    if job.state.needs_attention:
        return f"{IN_WORDS[job.phase]}: {job.reason}"
    return f"{IN_WORDS[job.phase]}, {_moment(job.finished_at or job.created_at)}"


def _links(view: View, job: Job, listed: Collection[str]) -> Iterator[tuple[str, str]]:
    """The page of the transcript first, then its other files, those that all may find."""
    for file in sorted(view.files.get(job.id, ()), key=lambda file: (file.format not in LINKS, file.format)):
        if _folder_of(view.below(file)) in listed:
            yield LINKS.get(file.format, file.format), _address(view.below(file))


def _address(path: str) -> str:
    """A relative address: without the signs that would make it lead elsewhere.

    >>> _address("talks/50% off?.html")
    'talks/50%25%20off%3F.html'
    """
    return quote(os.fsencode(path))
