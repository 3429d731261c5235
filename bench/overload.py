"""What happens when 50,000 recordings are dropped at once: admission, memory, running work, `status`, priorities.

Run as `python -m bench.overload`; takes about three minutes. Scheduler, workers, SQLite and Redis are the real ones,
each in its process; the model is scripted. A recording is being read when the flood comes, and an urgent one is
submitted when all are admitted.
"""

from __future__ import annotations

import argparse
import io
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import psutil
import soundfile

from bench.machine import Machine, private
from dropscribe.core.types import JobState
from dropscribe.store import queries
from dropscribe.store.queries import Job
from tests.e2e.harness import speech

SETTINGS = {
    "engine": "scripted",
    "speech_detector": "energy",
    "stable_seconds": "1",
    "scan_seconds": "5",
    "chunk_seconds": "10",
    "cpu_slots": "2",
}
SCRIPT = '{"seconds": 0.5}'  # for each chunk of the recording that is being read
LONG_SECONDS = 3600.0
RATE = 8000
SHORT_SECONDS = 0.5
FILES_PER_DIRECTORY = 1000
PATIENCE = 300.0
MEGABYTE = 1e6


@dataclass
class Seen:
    """What was measured while the flood was admitted; memory in bytes by role, `status` in seconds."""

    memory: dict[str, int] = field(default_factory=dict)
    status: list[float] = field(default_factory=list)


def main(argv: Sequence[str] | None = None) -> int:
    """Flood, watch, print."""
    options = _parse(argv)
    with (
        tempfile.TemporaryDirectory(prefix="dropscribe-overload-", dir=options.directory) as name,
        private(Path(name), scripted_script=SCRIPT, **SETTINGS) as machine,
    ):
        inbox = Path(name) / "inbox"
        inbox.mkdir()
        speech(inbox / "long.wav", LONG_SECONDS)
        machine.start_workers()
        machine.start("scheduler", "scheduler", "scheduler", str(inbox))
        machine.wait_until(lambda: _state(machine, "long.wav") == JobState.TRANSCRIBING)
        _report(machine, inbox, options.files)
    return 0


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench.overload", description=__doc__.splitlines()[0] if __doc__ else ""
    )
    parser.add_argument("--files", type=int, default=50_000, help="recordings dropped at once")
    parser.add_argument("--directory", type=Path, help="where to work")
    return parser.parse_args(argv)


def _report(machine: Machine, inbox: Path, files: int) -> None:
    _flood(inbox, files)
    read_before, dropped = _long(machine).read, time.monotonic()
    seen = Seen()
    while _admitted(machine) <= files:
        _look(machine, seen)
        if time.monotonic() - dropped > PATIENCE:
            raise SystemExit(f"only {_admitted(machine)} recordings were admitted in {PATIENCE:.0f} s")
    seconds = time.monotonic() - dropped
    read = _long(machine).read - read_before
    print(f"{files:,} recordings admitted in {seconds:.1f} s, {files / seconds:,.0f} a second")
    print(f"meanwhile {read:.0f} s of the recording that was being read, {read / seconds:.1f} times real time")
    for role, most in sorted(seen.memory.items()):
        print(f"most memory of {role}: {most / MEGABYTE:.0f} MB")
    took = statistics.quantiles(seen.status, n=20)
    print(f"`dropscribe status`: {took[9]:.2f} s (median), {took[18]:.2f} s (95th percentile of {len(seen.status)})")
    print(f"an urgent recording, submitted then, was done after {_urgent(machine, inbox):.1f} s")


def _flood(inbox: Path, files: int) -> None:
    """Distinct recordings, written aside and moved in at once."""
    aside = inbox.with_name("aside")
    generator = np.random.default_rng(1)
    for number in range(files):
        folder = aside / f"{number // FILES_PER_DIRECTORY:03}"
        if number % FILES_PER_DIRECTORY == 0:
            folder.mkdir(parents=True)
        data = io.BytesIO()
        samples = generator.normal(0, 0.1, round(SHORT_SECONDS * RATE))
        soundfile.write(data, samples, RATE, format="WAV", subtype="PCM_U8")
        (folder / f"{number:06}.wav").write_bytes(data.getvalue())
    aside.rename(inbox / "flood")


def _long(machine: Machine) -> Job:
    return queries.job(machine.database, queries.find(machine.database, "", str(_inbox(machine) / "long.wav")))


def _inbox(machine: Machine) -> Path:
    return machine.settings.home.parent / "inbox"


def _state(machine: Machine, name: str) -> JobState | None:
    jobs = [job for job in queries.list_jobs(machine.database, limit=5) if job.path == name]
    return jobs[0].state if jobs else None


def _admitted(machine: Machine) -> int:
    return sum(queries.count_by_state(machine.database).values())


def _look(machine: Machine, seen: Seen) -> None:
    for child in machine.supervisor.children:
        if child.process:
            process = psutil.Process(child.process.pid)
            resident = process.memory_info().rss
            if child.name == "scheduler":
                resident += sum(one.memory_info().rss for one in process.children(recursive=True))
            seen.memory[child.name] = max(seen.memory.get(child.name, 0), resident)
    began = time.monotonic()
    command = [sys.executable, "-m", "dropscribe", "status"]
    subprocess.run(command, env=machine.supervisor.environment, check=True, capture_output=True)
    seen.status.append(time.monotonic() - began)


def _urgent(machine: Machine, inbox: Path) -> float:
    recording = speech(inbox.with_name("urgent.wav"), 5, seed=99)
    command = [sys.executable, "-m", "dropscribe", "submit", str(recording), "--priority", "high", "--wait"]
    began = time.monotonic()
    subprocess.run(command, env=machine.supervisor.environment, check=True, capture_output=True)
    return time.monotonic() - began


if __name__ == "__main__":
    raise SystemExit(main())
