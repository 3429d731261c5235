"""The CPU time of `dropscribe status`, `jobs`, `show`, `--version` and completion, with 100,000 jobs in SQLite.

Run `python -m bench.status [JOBS]`. Beside them stands what no program in Python goes below: an interpreter that does
nothing, and one that imports SQLAlchemy. Of the jobs 2 % are unfinished; `--busy` has a third of them wait.
"""

from __future__ import annotations

import argparse
import os
import random
import resource
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import insert

from dropscribe.core.types import ChunkState, EngineInfo, JobState, Media, Span
from dropscribe.store import ended, fleet
from dropscribe.store.file_names import path_key
from dropscribe.store.json_columns import stored_media
from dropscribe.store.roots import RootReport, report_roots
from dropscribe.store.session import open_database
from dropscribe.store.tables import chunks, jobs, now

QUIET = {  # nearly all is over
    JobState.DONE: 93.0,
    JobState.DUPLICATE: 3.0,
    JobState.SUSPECT: 1.5,
    JobState.FAILED: 0.5,
    JobState.QUEUED: 1.2,
    JobState.TRANSCRIBING: 0.8,
}
BUSY = {  # most is done, a third waits
    JobState.DONE: 60.0,
    JobState.QUEUED: 20.0,
    JobState.TRANSCRIBING: 14.0,
    JobState.DUPLICATE: 3.0,
    JobState.SUSPECT: 1.5,
    JobState.FAILED: 1.0,
    JobState.PARKED: 0.1,
    JobState.PREPARING: 0.005,
    JobState.FINISHING: 0.005,
}
CHUNK = 1800.0  # seconds
PLANNED = {JobState.DONE, JobState.SUSPECT, JobState.TRANSCRIBING, JobState.FINISHING}


def job_row(index: int, state: JobState) -> dict[str, Any]:
    """One job; `now` is left to the caller, since it is an expression of the database."""
    path = f"interviews/{index % 1000:03d}/recording-{index:06d}.mp3"
    return {
        "id": f"{index:08d}", "root": "/data", "path": path, "path_key": path_key(f"/data/{path}"),
        "identity": f"{index:064d}", "size": 40_000_000, "mtime_ns": 1, "settings_digest": "d" * 16,
        "context": "", "priority": "normal", "state": state, "reason": "", "notes": [], "missing": [],
        "cancel_requested": False, "attempt": 1, "lost": 0, "failures": 0, "not_before": 0.0,
        "owner": f"worker-{index % 8}" if state in {JobState.PREPARING, JobState.FINISHING} else None,
        "duration": 2700.0, "speech_detector": "silero", "timings": {"decode": 4.0},
        "media": stored_media(
            Media("mp3", "mp3", 2, 44_100), [Span(3.0 * number, 3.0 * number + 2) for number in range(100)]
        ),
        "created_at": float(index),
    }  # fmt: skip


def chunk_rows(job: dict[str, Any]) -> list[dict[str, Any]]:
    """The two chunks of a job that was prepared."""
    if job["state"] not in PLANNED:
        return []
    state = ChunkState.QUEUED if job["state"] == JobState.TRANSCRIBING else ChunkState.DONE
    spans = [(0.0, CHUNK), (CHUNK, job["duration"])]
    return [
        {
            "id": f"{job['id']}.{index}",
            "job_id": job["id"],
            "position": index,
            "start": start,
            "end": end,
            "state": state,
            "attempt": 1,
            "lost": 0,
            "failures": 0,
            "not_before": 0.0,
            "sent_at": 1.0,
            "progress": 0.0 if state == ChunkState.QUEUED else end - start,
            "reasons": [],
            "timings": {},
            "prompt_tokens": 0,
            "output_tokens": 0,
        }
        for index, (start, end) in enumerate(spans)
    ]


def fill(home: Path, number: int, shares: Mapping[JobState, float]) -> None:
    """Make a store with so many jobs, as many in each state as its share says, 8 workers and 3 folders."""
    draw = random.Random(1)
    rows = [job_row(index, draw.choices(list(shares), list(shares.values()))[0]) for index in range(number)]
    parts = [chunk for row in rows for chunk in chunk_rows(row)]
    waiting = [part for part in parts if part["state"] == ChunkState.QUEUED]
    for running in draw.sample(waiting, min(8, len(waiting))):
        running |= {"state": ChunkState.RUNNING, "owner": f"worker-{draw.randrange(8)}", "progress": 60.0}
    owners = [{"owner": None} | part for part in parts]
    database = open_database(f"sqlite:///{home / 'dropscribe.db'}")
    with database.begin() as connection:
        connection.execute(insert(jobs), rows)
        connection.execute(insert(chunks).values(finished_at=now()), owners)
    for index in range(8):
        role = "model" if index < 4 else "cpu"
        fleet.register(database, f"worker-{index}", host="bench", pid=index, role=role, state="ready")
        engine = EngineInfo("whisper", "base", "int8") if role == "model" else None
        fleet.heartbeat(database, f"worker-{index}", engine=engine, audio=500.0, busy=10.0)
    report_roots(database, [RootReport(f"/data{n}", "bench", "ext4", online=True, files=9) for n in range(3)])
    ended.fold(database)  # as the reconciler does every few seconds
    database.close()


def completion(line: str) -> dict[str, str]:
    """The environment in which bash asks what may follow."""
    words = line.split(" ")
    return {"_DROPSCRIBE_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1)}


def least_cpu(command: list[str], environment: dict[str, str], runs: int) -> float:
    """Least CPU time of the command as a process, user and system, after one run that warms the caches."""
    spent = []
    for _ in range(runs + 1):
        before = _cpu_of_children()
        subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)
        spent.append(_cpu_of_children() - before)
    return min(spent[1:])


def _cpu_of_children() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def main(argv: Sequence[str] | None = None) -> int:
    """Fill, measure, print; the ratios are to an interpreter that does nothing."""
    options = _parse(argv)
    with tempfile.TemporaryDirectory() as home:
        fill(Path(home), options.jobs, BUSY if options.busy else QUIET)
        environment = {key: value for key, value in os.environ.items() if not key.startswith("DROPSCRIBE_")}
        environment["DROPSCRIBE_HOME"] = home
        ours = ["-c", "from dropscribe.admin.cli.main import run; run()"]
        commands = {
            "python -c pass": ["-c", "pass"],
            "python -c 'import sqlalchemy'": ["-c", "import sqlalchemy"],
            "dropscribe --version": [*ours, "--version"],
            f"dropscribe status, {options.jobs:,} jobs": [*ours, "status"],
            f"dropscribe jobs, {options.jobs:,} jobs": [*ours, "jobs"],
            f"dropscribe show, {options.jobs:,} jobs": [*ours, "show", f"{0:08d}"],
        }
        spent = {
            label: least_cpu([sys.executable, *arguments], environment, options.runs)
            for label, arguments in commands.items()
        }
        for line in ("dropscribe sta", "dropscribe status --", "dropscribe show 0000"):
            asked = environment | completion(line)
            spent[f"completion of {line}"] = least_cpu([sys.executable, *ours], asked, options.runs)
    least = next(iter(spent.values()))
    print(f"{'':36}{'CPU, s':>9}{'ratio':>8}")
    for label, seconds in spent.items():
        print(f"{label:36}{seconds:9.3f}{seconds / least:7.1f}x")
    return 0


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench.status", description=__doc__.splitlines()[0] if __doc__ else ""
    )
    parser.add_argument("jobs", type=int, nargs="?", default=100_000, help="jobs in the store")
    parser.add_argument("--runs", type=int, default=5, help="of each command, of which the quickest counts")
    parser.add_argument("--busy", action="store_true", help="a third of the jobs waits")
    return parser.parse_args(argv)


if __name__ == "__main__":
    raise SystemExit(main())
