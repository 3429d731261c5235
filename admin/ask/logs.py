"""`dropscribe logs`: what the processes of this machine logged about a job, between the job's events."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from rich.text import Text

from dropscribe.admin.context import Context
from dropscribe.admin.state.job_lookup import find
from dropscribe.admin.terminal import render
from dropscribe.store import queries
from dropscribe.store.events import events_of
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
        events = (
            LogLine(one.at, EVENT, one.where, f"{one.kind} {one.text}".strip(), one.chunk, one.attempt) for one in fresh
        )
        return sorted([*events, *self._logged()], key=lambda line: line.at)

    def _logged(self) -> Iterator[LogLine]:
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
        if self.job.encode() not in raw:
            return
        try:
            entry = json.loads(raw)
            if entry["job"] == self.job:
                yield LogLine(
                    datetime.fromisoformat(entry["at"]).timestamp(),
                    entry["level"],
                    entry.get("worker", ""),
                    entry["message"],
                    entry.get("chunk", ""),
                    entry.get("attempt"),
                    entry.get("traceback", ""),
                )
        except (ValueError, KeyError, TypeError):  # text for people, or what another program wrote
            return


def logs(context: Context, name: str, *, follow: bool, as_json: bool) -> None:
    """Print them; with `follow`, go on until the job is over or Ctrl-C."""
    job_id = find(context.database, name)
    folder = context.settings.home / "logs"
    log = JobLog(folder, job_id, context.database)
    if not folder.is_dir():
        context.remark(
            "note",
            f"no logs in {folder}: these are the job's events. What a fleet's processes log is in their journals",
            "yellow",
        )
    if as_json and not follow:
        render.write_json({"job": job_id, "lines": [asdict(line) for line in log.new_lines()]})
        return
    try:
        for line in _follow(context, log) if follow else log.new_lines():
            _write(asdict(line)) if as_json else _print(context, line)
    except KeyboardInterrupt:  # the way to end it
        return


def _follow(context: Context, log: JobLog) -> Iterator[LogLine]:
    while True:
        over = queries.job(context.database, log.job).state.is_final  # asked first, so that no line is missed
        yield from log.new_lines()
        if over:
            return
        time.sleep(POLL_SECONDS)


def _write(document: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(document, ensure_ascii=True) + "\n")
    sys.stdout.flush()


def _print(context: Context, line: LogLine) -> None:
    about = [f"chunk {line.chunk}"] if line.chunk else []
    about += [f"attempt {line.attempt}"] if line.attempt else []
    text = Text.assemble(
        f"{render.moment(line.at)}  ",
        (f"{line.level:8}", STYLES.get(line.level, "")),
        f" {render.safe(line.worker)}  {render.safe(line.message)}",
        (f"  ({render.safe(', '.join(about))})" if about else "", "dim"),
    )
    for shown in (text, *_lines(line.traceback)):
        context.out.print(shown, soft_wrap=True)


def _lines(traceback: str) -> Iterable[str]:
    return (f"    {render.safe(one)}" for one in traceback.splitlines())
