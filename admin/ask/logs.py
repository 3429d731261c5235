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
from dropscribe.store.session import Database

POLL_SECONDS = 0.5
EVENT = "event"  # the level of a line that comes from the store
STYLES = {EVENT: "cyan", "warning": "yellow", "error": "red", "critical": "bold red", "debug": "dim"}


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a log, or an event; `at` in seconds since the epoch, `attempt` None where it is about none."""

    at: float
    level: str
    worker: str
    message: str
    chunk: str = ""
    attempt: int | None = None
    traceback: str = ""


@dataclass
class Story:
    """What is new about a job since it was last asked for: in log files, by how far each was read, and in the store."""

    folder: Path
    job: str
    database: Database
    read: dict[int, int] = field(default_factory=dict)  # bytes, by inode: a file that is set aside stays the same
    events: int = 0

    def news(self) -> list[Line]:
        """In order of time."""
        told = queries.events_of(self.database, self.job)
        fresh, self.events = told[self.events :], len(told)
        events = (Line(one.at, EVENT, one.where, f"{one.kind} {one.detail}".strip()) for one in fresh)
        return sorted([*events, *self._logged()], key=lambda line: line.at)

    def _logged(self) -> Iterator[Line]:
        for path in sorted(self.folder.glob("*.log*")):
            with path.open("rb") as file:
                inode = path.stat().st_ino
                file.seek(self.read.get(inode, 0))
                for raw in file:
                    if not raw.endswith(b"\n"):  # being written
                        break
                    self.read[inode] = self.read.get(inode, 0) + len(raw)
                    yield from self._line(raw)

    def _line(self, raw: bytes) -> Iterator[Line]:
        if self.job.encode() not in raw:
            return
        try:
            told = json.loads(raw)
            if told["job"] == self.job:
                yield Line(
                    datetime.fromisoformat(told["at"]).timestamp(),
                    told["level"],
                    told.get("worker", ""),
                    told["message"],
                    told.get("chunk", ""),
                    told.get("attempt"),
                    told.get("traceback", ""),
                )
        except (ValueError, KeyError, TypeError):  # text for people, or what another program wrote
            return


def logs(context: Context, name: str, *, follow: bool, as_json: bool) -> None:
    """Print them; with `follow`, go on until the job is over or Ctrl-C."""
    job_id = find(context.database, name)
    folder = context.settings.home / "logs"
    story = Story(folder, job_id, context.database)
    if not folder.is_dir():
        context.remark(
            "note",
            f"no logs in {folder}: these are the job's events. What a fleet's processes log is in their journals",
            "yellow",
        )
    if as_json and not follow:
        render.write_json({"job": job_id, "lines": [asdict(line) for line in story.news()]})
        return
    try:
        for line in _follow(context, story) if follow else story.news():
            _write(asdict(line)) if as_json else _print(context, line)
    except KeyboardInterrupt:  # the way to end it
        return


def _follow(context: Context, story: Story) -> Iterator[Line]:
    while True:
        over = queries.job(context.database, story.job).state.is_final  # before the news, so that none comes after it
        yield from story.news()
        if over:
            return
        time.sleep(POLL_SECONDS)


def _write(document: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(document, ensure_ascii=True) + "\n")
    sys.stdout.flush()


def _print(context: Context, line: Line) -> None:
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
