"""How `up` and `submit --wait` report: a live view on a terminal, plain lines in a log, or JSON lines."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import Protocol, Self

from rich.console import Group
from rich.live import Live
from rich.text import Text

from dropscribe.admin.state import status_view
from dropscribe.admin.state.fleet_status import Status
from dropscribe.admin.state.job_view import as_document, jobs_table
from dropscribe.admin.terminal import render
from dropscribe.admin.terminal.progress import ByteLines, byte_bar
from dropscribe.admin.terminal.render import write_json_line
from dropscribe.store.queries import Job
from dropscribe.store.written_files import WrittenFile


class Report(Protocol):
    """Where a run reports its progress."""

    def __enter__(self) -> Self:
        """Begin to show."""
        ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop showing."""
        ...

    def say(self, message: str) -> None:
        """A remark for a person."""
        ...

    def ended(self, job: Job, files: Sequence[WrittenFile]) -> None:
        """A job came to its final state; `files` are those of its transcript."""
        ...

    def update(self, now: Status) -> None:
        """The current state of the fleet; called twice a second."""
        ...

    def fetching(self, step: str, done: int, total: int) -> None:
        """A checkpoint is on its way: the step, bytes done and in all (0 if not known); called before `update`."""
        ...

    def summary(self, jobs: Sequence[Job]) -> None:
        """All jobs at the end, those too that ended before this run."""
        ...


def line(job: Job) -> Text:
    """One ended job in one line."""
    took = f", {render.duration(job.finished_at - job.created_at)} after it was found" if job.finished_at else ""
    state = (f"{job.state.value:9}", render.PHASE_STYLES[job.phase])
    text = Text.assemble(state, " ", render.safe(job.path), f"  ({job.id}{took})  ", render.safe(job.reason))
    text.rstrip()
    return text


class TextReport:
    """Lines on standard output, and on a terminal the live state below them."""

    def __init__(self) -> None:
        """Shows nothing yet."""
        self._console = render.console()
        self._live = Live(console=self._console, auto_refresh=False, transient=True)
        self._stack = ExitStack()
        self._lines = ByteLines(self.say)
        self._bar: Group | None = None

    def __enter__(self) -> Self:
        """See `Report`."""
        if self._console.is_terminal:
            self._stack.enter_context(self._live)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """See `Report`."""
        self._stack.close()

    def say(self, message: str) -> None:
        """See `Report`."""
        self._console.print(render.safe(message), soft_wrap=True)

    def ended(self, job: Job, files: Sequence[WrittenFile]) -> None:  # noqa: ARG002 (they lie where people look)
        """See `Report`."""
        self._console.print(line(job), soft_wrap=True)

    def update(self, now: Status) -> None:
        """See `Report`."""
        if self._live.is_started:
            shown = status_view.draw(now, self._console.height)
            self._live.update(Group(shown, self._bar) if self._bar else shown, refresh=True)
            self._bar = None

    def fetching(self, step: str, done: int, total: int) -> None:
        """See `Report`."""
        if self._live.is_started:
            self._bar = byte_bar(step, done, total)
        else:
            self._lines(step, done, total)

    def summary(self, jobs: Sequence[Job]) -> None:
        """See `Report`."""
        self._console.print(jobs_table(jobs))


class JsonReport:
    """One JSON object a line: `{"event": "ended", "job": ...}` for each job, `{"event": "summary", ...}` last.

    Each job is printed once.
    """

    def __init__(self) -> None:
        """Nothing is printed yet."""
        self._lines = ByteLines(self.say)
        self._told: set[str] = set()

    def __enter__(self) -> Self:
        """See `Report`."""
        return self

    def __exit__(self, *_: object) -> None:
        """See `Report`."""

    def say(self, message: str) -> None:
        """See `Report`."""
        write_json_line({"event": "note", "message": message})

    def ended(self, job: Job, files: Sequence[WrittenFile]) -> None:
        """See `Report`."""
        self._told.add(job.id)
        there = [{"path": file.path, "format": file.format} for file in files if file.written]
        write_json_line({"event": "ended", "job": as_document(job), "files": there})

    def update(self, now: Status) -> None:
        """Programs ask `dropscribe status --json`."""

    def fetching(self, step: str, done: int, total: int) -> None:
        """See `Report`."""
        self._lines(step, done, total)

    def summary(self, jobs: Sequence[Job]) -> None:
        """See `Report`."""
        untold = [as_document(job) for job in jobs if job.id not in self._told]
        states = Counter(job.state.value for job in jobs)
        write_json_line({"event": "summary", "states": states, "jobs": untold})


def make(*, as_json: bool) -> Report:
    """The report that fits."""
    return JsonReport() if as_json else TextReport()
