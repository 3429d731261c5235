"""`dropscribe logs`: what the processes of this machine logged about a job, between the job's events."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import datetime
from operator import attrgetter
from pathlib import Path
from typing import Any

from rich.text import Text

from dropscribe.admin.context import Context
from dropscribe.admin.state.job_lookup import find
from dropscribe.admin.terminal import render
from dropscribe.core.clock import with_moments
from dropscribe.store import queries
from dropscribe.store.events import Event, events_of
from dropscribe.store.session import Database

POLL_SECONDS = 0.5
EVENT = "event"  # the level of a line that comes from the store
STYLES = {EVENT: "cyan", "warning": "yellow", "error": "red", "critical": "bold red", "debug": "dim"}


@dataclass(frozen=True, slots=True)
class LogLine:
    """A line of a log, or an event; `at` in seconds since the epoch, `attempt` None where it is about none."""

    at: float
    level: str
    worker: str
    message: str
    chunk: str = ""
    attempt: int | None = None
    traceback: str = ""


@dataclass
class JobLog:
    """The lines about a job in log files and its events in the store; each line is read once."""

    folder: Path
    job: str
    database: Database
    read: dict[int, int] = field(default_factory=dict)  # bytes, by inode: a file that is set aside stays the same
    events: int = 0

    def new_lines(self) -> list[LogLine]:
        """The lines since the last call, in order of time."""
        all_events = events_of(self.database, self.job)
        fresh, self.events = all_events[self.events :], len(all_events)
        return sorted([*map(_of_event, fresh), *self._logged()], key=attrgetter("at"))

    def _logged(self) -> Iterator[LogLine]:
        """What the processes of this machine have logged of the job since the last look, file by file."""
        for path in sorted(self.folder.glob("*.log*")):
            with path.open("rb") as file:
                inode = path.stat().st_ino
                file.seek(self.read.get(inode, 0))
                for raw in file:
                    if not raw.endswith(b"\n"):  # being written
                        break
                    self.read[inode] = self.read.get(inode, 0) + len(raw)
                    yield from self._line(raw)

    def _line(self, raw: bytes) -> Iterator[LogLine]:
        """The line, if it is about the job; nothing for text, which no program wrote in JSON."""
        if self.job.encode() not in raw:
            return
        with suppress(ValueError, KeyError, TypeError):  # text for people, or what another program wrote
            entry = json.loads(raw)
            line = _of_entry(entry)
            if entry["job"] == self.job:
                yield line


def _of_event(event: Event) -> LogLine:
    """An event as a line of the log."""
    return LogLine(
        at=event.at,
        level=EVENT,
        worker=event.where,
        message=f"{event.kind} {event.text}".strip(),
        chunk=event.chunk,
        attempt=event.attempt,
    )


def _of_entry(entry: Mapping[str, Any]) -> LogLine:
    """Raises ValueError, KeyError and TypeError if it is not an entry of a log."""
    return LogLine(
        at=datetime.fromisoformat(entry["at"]).timestamp(),
        level=entry["level"],
        worker=entry.get("worker", ""),
        message=entry["message"],
        chunk=entry.get("chunk", ""),
        attempt=entry.get("attempt"),
        traceback=entry.get("traceback", ""),
    )


def logs(context: Context, name: str, *, follow: bool, as_json: bool) -> None:
    """Print them; with `follow`, go on until the job is over or Ctrl-C."""
    job_id = find(context.database, name)
    folder = context.settings.home / "logs"
    log = JobLog(folder, job_id, context.database)
    if not folder.is_dir():
        context.note(
            f"no logs in {folder}: these are the job's events. What a fleet's processes log is in their journals"
        )
    if follow:
        with suppress(KeyboardInterrupt):  # the way to end it
            for line in _follow(context, log):
                render.write_json_line(_document(line)) if as_json else _print(context, line)
        return
    lines = log.new_lines()
    context.answer(
        lambda: {"job": job_id, "lines": [*map(_document, lines)]}, lambda: _print(context, *lines), as_json=as_json
    )


def _follow(context: Context, log: JobLog) -> Iterator[LogLine]:
    """The lines as they come, until the job is over."""
    while True:
        over = queries.job(context.database, log.job).state.is_final  # asked first, so that no line is missed
        yield from log.new_lines()
        if over:
            return
        time.sleep(POLL_SECONDS)


def _document(line: LogLine) -> dict[str, Any]:
    """A line as docs/cli.md describes it."""
    return with_moments(asdict(line), "at")


def _print(context: Context, *lines: LogLine) -> None:
    """Print lines for people, each followed by its traceback if it has one."""
    for line in lines:
        context.out.print(_text(line), soft_wrap=True)
        for one in line.traceback.splitlines():
            context.out.print(f"    {render.safe(one)}", soft_wrap=True)


def _text(line: LogLine) -> Text:
    """One line in colours: when, how grave, by whom, what, and of which chunk and attempt."""
    chunk = f"chunk {line.chunk}" if line.chunk else ""
    attempt = f"attempt {line.attempt}" if line.attempt else ""
    about = ", ".join(filter(None, (chunk, attempt)))
    return Text.assemble(
        f"{render.moment(line.at)}  ",
        (f"{line.level:8}", STYLES.get(line.level, "")),
        f" {render.safe(line.worker)}  {render.safe(line.message)}",
        (f"  ({render.safe(about)})" if about else "", "dim"),
    )
