"""A page in the watched folder for people who have only the share: what waits, runs and failed there, and why.

One file that a double click opens anywhere: no script, no server, nothing loaded from elsewhere.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape

from dropscribe.core.safe_text import printable
from dropscribe.core.types import JobState
from dropscribe.scheduler.scanning.roots import RootOfflineError
from dropscribe.scheduler.watching.root_watch import RootWatch
from dropscribe.store import queries
from dropscribe.store.queries import Job
from dropscribe.store.roots import RootReport
from dropscribe.store.session import Database

log = logging.getLogger(__name__)

NAME = "_status.html"
MARK = "dropscribe, which replaces this page"  # what a file must hold to be taken for ours
EVERY = 15.0  # s between two looks at what is to be shown, and between two reloads in a browser
MOST = 50  # recordings in one list

WORKED_ON = (JobState.PREPARING, JobState.TRANSCRIBING, JobState.FINISHING)
TROUBLED = (JobState.FAILED, JobState.PARKED, JobState.SUSPECT)
THROUGH = (JobState.DONE, JobState.DUPLICATE)
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

STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem;
  color: CanvasText; background: Canvas; color-scheme: light dark; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.1rem; margin-top: 2rem; }
table { border-collapse: collapse; width: 100%; table-layout: fixed; } td:first-child { width: 40%; }
td { padding: .3rem .6rem .3rem 0; border-top: 1px solid color-mix(in srgb, CanvasText 20%, Canvas);
  vertical-align: top; overflow-wrap: break-word; }
td + td { color: color-mix(in srgb, CanvasText 70%, Canvas); }
.trouble td + td { color: light-dark(#a40000, #ff9d9d); }
footer { margin-top: 3rem; font-size: .85rem; color: color-mix(in srgb, CanvasText 70%, Canvas); }
"""


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

    counts = queries.count_by_state_in_root(database, root, TROUBLED)
    lists = (newest(*WORKED_ON), newest(JobState.QUEUED), newest(*TROUBLED), newest(*THROUGH))
    return View(report, counts, *lists)


def body(view: View) -> str:
    """What the page says, as long as nothing changes."""
    waiting = [(f"{one.folder}", f"{one.files} wait: {one.reason}") for one in view.report.waiting]
    return "\n".join(
        [
            f"<p>{_summary(view)}</p>",
            _section("Folders whose settings have to be mended", waiting, len(waiting), trouble=True),
            _section("In work", map(_progress, view.worked_on), _sum(view, WORKED_ON)),
            _section("Need a look", map(_reason, view.troubled), _sum(view, TROUBLED), trouble=True),
            _section("Waiting", ((job.path, job.reason) for job in view.queued), _sum(view, [JobState.QUEUED])),
            _section("Through", map(_end, view.through), _sum(view, THROUGH)),
        ]
    )


def page(content: str, root_name: str, moment: float) -> str:
    """The whole document; `moment` is when its content changed, in seconds since the epoch."""
    name = escape(printable(root_name))
    at = escape(time.strftime("%Y-%m-%d %H:%M %Z", time.localtime(moment)))
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta http-equiv="refresh" content="{EVERY:.0f}">
<meta name="generator" content="{MARK}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Transcripts of {name}</title>
<style>{STYLE}</style>
</head>
<body>
<h1>Transcripts of {name}</h1>
{content}
<footer>Written by dropscribe. Last change {at}. The page looks again by itself.</footer>
</body>
</html>
"""


def _summary(view: View) -> str:
    parts = [
        (view.report.pending, "still being copied here"),
        (_sum(view, [JobState.QUEUED]), "waiting"),
        (_sum(view, WORKED_ON), "in work"),
        (_sum(view, THROUGH), "done"),
        (_sum(view, TROUBLED), "in need of a look"),
    ]
    said = ", ".join(f"{number:,} {what}" for number, what in parts if number)
    return f"Recordings: {said}." if said else "No recordings yet."


def _sum(view: View, states: Iterable[JobState]) -> int:
    return sum(view.counts.get(state, 0) for state in states)


def _section(title: str, rows: Iterable[tuple[str, str]], number: int, *, trouble: bool = False) -> str:
    shown = [f"<tr><td>{_text(name)}</td><td>{_text(said)}</td></tr>" for name, said in rows]
    if not shown:
        return ""
    more = f"<p>and {number - len(shown):,} more</p>" if number > len(shown) else ""
    kind = ' class="trouble"' if trouble else ""
    return f"<section{kind}><h2>{escape(title)}</h2>\n<table>{''.join(shown)}</table>{more}</section>"


def _text(outside: str) -> str:
    return escape(printable(outside))


def _progress(job: Job) -> tuple[str, str]:
    share = f", {job.progress:.0%}" if job.state is JobState.TRANSCRIBING else ""
    return job.path, IN_WORDS[job.state] + share


def _reason(job: Job) -> tuple[str, str]:
    return job.path, f"{IN_WORDS[job.state]}: {job.reason}"


def _end(job: Job) -> tuple[str, str]:
    at = time.strftime("%Y-%m-%d %H:%M", time.localtime(job.finished_at or job.created_at))
    return job.path, f"{IN_WORDS[job.state]}, {at}"
