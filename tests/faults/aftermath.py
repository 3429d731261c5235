"""What has to hold after a fleet was disturbed, however it was disturbed."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import func, or_, select

from dropscribe.core import reserved_names
from dropscribe.core.types import ChunkState, JobState
from dropscribe.store import queries
from dropscribe.store.events import events_of
from dropscribe.store.tables import chunks, events, jobs
from tests.faults.fleet import Fleet
from tests.faults.recordings import FORMATS, Recordings, told

DAY = 86_400.0  # seconds
LOST = re.compile(r"attempt \d+ of (?P<owner>\S+) was lost")
CLAIMS = {"preparing", "finishing", "transcribing"}


@dataclass(frozen=True)
class Wait:
    """How long, in seconds, a row waited from the moment its owner was struck until somebody claimed it again."""

    row: str
    owner: str
    seconds: float


def assert_whole(fleet: Fleet, recordings: Recordings, names: Sequence[str]) -> None:
    """Every job is done, its transcripts are those of an undisturbed run, written once, and nothing is left over."""
    assert breaches(fleet, recordings, names) == []


def breaches(fleet: Fleet, recordings: Recordings, names: Sequence[str]) -> list[str]:
    """What does not hold, in words."""
    return [
        *_unfinished(fleet, names),
        *_other_files(fleet, names),
        *_other_words(fleet, recordings, names),
        *_owned(fleet),
        *_left_over(fleet),
    ]


def _unfinished(fleet: Fleet, names: Sequence[str]) -> list[str]:
    found = {job.path: job for job in queries.list_jobs(fleet.database)}
    wrong = [f"{name} has no job" for name in names if name not in found]
    ours = [found[name] for name in names if name in found]
    wrong += [f"{job.path} is {job.state}: {job.reason}" for job in ours if job.state != JobState.DONE]
    ended = select(jobs.c.path, func.count()).join(events, events.c.job_id == jobs.c.id)
    with fleet.database.read() as connection:
        counts = dict(connection.execute(ended.where(events.c.kind == "done").group_by(jobs.c.path)).all())
    return wrong + [f"{name} was done {count} times" for name, count in counts.items() if count > 1]


def _other_files(fleet: Fleet, names: Sequence[str]) -> list[str]:
    expected = set(names) | {f"{Path(name).stem}.{fmt}" for name in names for fmt in FORMATS}
    found = {path.name for path in fleet.inbox.iterdir()} - {reserved_names.OWNER}
    return [f"missing: {name}" for name in sorted(expected - found)] + [
        f"too much: {name}" for name in sorted(found - expected)
    ]


def _other_words(fleet: Fleet, recordings: Recordings, names: Sequence[str]) -> list[str]:
    wrong = []
    for name in names:
        if not all((fleet.inbox / name).with_suffix(f".{fmt}").exists() for fmt in FORMATS):
            continue  # told above
        found, expected = told(fleet.inbox / name), recordings.expected(name)
        found["json"]["source"].pop("path")
        expected = expected | {"json": expected["json"] | {"source": dict(expected["json"]["source"])}}
        expected["json"]["source"].pop("path")
        wrong += [f"{name}: {fmt} differs" for fmt in FORMATS if found[fmt] != expected[fmt]]
    return wrong


def _owned(fleet: Fleet) -> list[str]:
    with fleet.database.read() as connection:
        owned = [
            row
            for table in (jobs, chunks)
            for row in connection.execute(select(table.c.id).where(table.c.owner.is_not(None))).scalars()
        ]
        unread = or_(chunks.c.state == ChunkState.RUNNING, chunks.c.state == ChunkState.QUEUED)
        left = list(connection.execute(select(chunks.c.id).where(unread)).scalars())
    return [f"{row} is still owned" for row in owned] + [f"chunk {row} is left" for row in left]


def _left_over(fleet: Fleet) -> list[str]:
    """What is in scratch and spool once the workers had a chance to sweep; of the spool they sweep what is old."""
    spool, scratch = fleet.home / "spool", fleet.home / "scratch"

    def left() -> list[Path]:
        return [path for folder in (spool, scratch) if folder.is_dir() for path in folder.iterdir()]

    for path in spool.glob("*"):
        moment = path.stat().st_mtime - 2 * DAY
        os.utime(path, (moment, moment))
    if any(member.role == "cpu" and member.process for member in fleet.members.values()):
        fleet.wait_until("what is left is swept", lambda: not left())
    return [f"left over: {path}" for path in left()]


def waits(fleet: Fleet, struck: Mapping[str, float], outages: Sequence[float] = ()) -> list[Wait]:
    """For each loss of a process in `struck` (name, moment by the database's clock) the time to the next claim.

    `outages` are moments when Redis or the database came back, without which nothing can be claimed; from the last of
    those before the claim the time counts again.
    """
    found = []
    for job in queries.list_jobs(fleet.database):
        trail = events_of(fleet.database, job.id)
        for index, event in enumerate(trail):
            if event.kind != "lost" or not (match := LOST.match(event.detail)):
                continue
            claims = (later for later in trail[index:] if later.kind in CLAIMS and later.chunk == event.chunk)
            again = next(claims, None)
            if again and match["owner"] in struck:
                since = max([struck[match["owner"]], *(moment for moment in outages if moment < again.at)])
                row = f"{job.id}.{event.chunk}" if event.chunk else job.id
                found.append(Wait(row, match["owner"], again.at - since))
    return found
