"""Runs the real thing in child processes: `dropscribe up` over a folder, with short leases, watched from outside."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import soundfile
from numpy.typing import NDArray

from dropscribe.core.queue import socket_path
from dropscribe.core.settings_loading import load
from dropscribe.core.types import JobState
from dropscribe.store import queries
from dropscribe.store.events import events_of
from dropscribe.store.queries import Job
from dropscribe.store.roots import list_roots
from dropscribe.store.session import Database

PATIENCE = 120.0  # seconds for anything that ought to happen; only a failing test waits so long
SHORT = {
    "STABLE_SECONDS": "0.3",
    "SCAN_SECONDS": "5",
    "LEASE_SECONDS": "6",
    "RENEW_SECONDS": "1",
    "RECONCILE_SECONDS": "0.5",
    "RESEND_SECONDS": "2",
    "MISSING_SECONDS": "3",
}
SPEECH_RATE = 16_000  # Hz
DOUBLES = {"ENGINE": "scripted", "SPEECH_DETECTOR": "energy"}  # they take buzzing tones for speech


def speech(path: Path, seconds: float = 6.0, *, seed: int = 1) -> Path:
    """Write a buzz in syllables, different for each seed: speech to the detector `energy`, only in part to Silero."""
    soundfile.write(path, _syllables(seconds, seed), SPEECH_RATE)
    return path


@lru_cache(16)  # most tests ask for the same
def _syllables(seconds: float, seed: int) -> NDArray[np.float32]:
    generator = np.random.default_rng(seed)
    time_line = np.arange(int(seconds * SPEECH_RATE)) / SPEECH_RATE
    pitch = 110 + 20 * np.sin(2 * np.pi * 0.7 * time_line) + seed
    phase = 2 * np.pi * np.cumsum(pitch) / SPEECH_RATE
    buzz = sum(np.sin(phase * n) / n for n in range(1, 20))
    syllables = np.clip(np.sin(2 * np.pi * 3.3 * time_line + seed), 0, 1)
    noise = generator.normal(0, 0.002, time_line.size)
    return np.asarray(0.2 * buzz * syllables + noise, np.float32)


def wait_until(what: str, condition: Callable[[], object], patience: float = PATIENCE) -> None:
    """Poll until the condition holds; fails the test with `what` when it does not."""
    began = time.monotonic()
    while not condition():
        waited = time.monotonic() - began
        assert waited < patience, f"waited {patience:.0f} s in vain: {what}"
        time.sleep(pause(0.05, waited))


def pause(shortest: float, waited: float) -> float:
    """Seconds until the next poll: longer the longer it took so far, as each poll takes CPU time from what it polls."""
    return min(max(shortest, waited / 20), 4 * shortest)


def without_powers() -> list[str]:
    """What runs a command so that permissions hold, for the superuser too."""
    if os.geteuid():
        return []
    lost = "-dac_override,-dac_read_search"
    return ["setpriv", f"--bounding-set={lost}", f"--inh-caps={lost}"]


class Machine:
    """One machine with its own state and inbox."""

    def __init__(self, folder: Path, **settings: str) -> None:
        self.inbox = folder / "inbox"
        self.home = folder / "state"
        self.inbox.mkdir(parents=True)
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("DROPSCRIBE_")}
        doubles = DOUBLES if settings.get("ENGINE", "scripted") == "scripted" else {}
        # Tests of speakers switch them on: the encoder would take a second of every CPU worker's start.
        # Likewise the server, which takes half a second of CPU time.
        own = {"HOME": str(self.home), "SPEAKER_ENCODER": "none", "SERVE": "false"} | doubles | SHORT | settings
        self.environment = inherited | {f"DROPSCRIBE_{name}": value for name, value in own.items()}
        self.prefix: list[str] = []
        self.process: subprocess.Popen[str] | None = None
        self._database: Database | None = None

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run one command to its end."""
        command = [*self.prefix, sys.executable, "-m", "dropscribe", *arguments]
        return subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=500)

    def up(self, *options: str) -> None:
        """Start `dropscribe up` and wait until its scheduler has looked at the inbox."""
        began = time.time()
        command = [*self.prefix, sys.executable, "-m", "dropscribe", "up", str(self.inbox), *options]
        self.process = subprocess.Popen(
            command, env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        wait_until("the store", (self.home / "dropscribe.db").exists)
        wait_until("the scheduler's first scan", lambda: self._scanned(began))

    def _scanned(self, began: float) -> bool:
        roots = list_roots(self.database) if self.database.version() else []
        return any(root.online and time.time() - root.age > began for root in roots)

    def stop(self, number: int = signal.SIGINT) -> tuple[int, str]:
        """Stop it as Ctrl-C does; returns the exit status and everything it said."""
        assert self.process
        self.process.send_signal(number)
        return self.end()

    def end(self) -> tuple[int, str]:
        """Wait for its end."""
        assert self.process
        output, _ = self.process.communicate(timeout=PATIENCE)
        status = self.process.returncode
        self.process = None
        return status, output

    def close(self) -> None:
        """Leave nothing running."""
        if self.process:
            self.process.kill()
            self.process.communicate()
        if self._database:
            self._database.close()
        wait_until("no process of the test is left", lambda: not self.processes())

    def processes(self, part: str = "") -> list[psutil.Process]:
        """Running processes of this machine with `part` in their command line.

        They are known by its home in their environment; Redis, which writes its title over that, by its socket.
        """
        socket = str(socket_path(load(self.environment)))
        found = []
        for process in psutil.process_iter():
            try:
                command = " ".join(process.cmdline())
                mine = socket in command or process.environ().get("DROPSCRIBE_HOME") == str(self.home)
                if mine and part in command and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
            except (psutil.NoSuchProcess, psutil.AccessDenied):
                continue
        return found

    def kill(self, part: str) -> None:
        """kill -9 the one process with `part` in its command line, and wait until it is gone."""
        (victim,) = self.processes(part)
        victim.kill()
        wait_until(f"{part} is gone", lambda: victim.pid not in {p.pid for p in self.processes(part)})

    @property
    def database(self) -> Database:
        """The store, read from outside."""
        if self._database is None:
            url = self.environment.get("DROPSCRIBE_DATABASE_URL") or f"sqlite:///{self.home / 'dropscribe.db'}"
            self._database = Database(url, where="test")
        return self._database

    def jobs(self, name: str) -> list[Job]:
        """The jobs of the recording with that name."""
        if not self.database.version():
            return []
        return [job for job in queries.list_jobs(self.database) if job.path == name]

    def job(self, name: str) -> Job:
        """The one job of the recording with that name."""
        (job,) = self.jobs(name)
        return job

    def is_in(self, name: str, *states: JobState) -> bool:
        """True when the recording has a job in one of the states."""
        return any(job.state in states for job in self.jobs(name))

    def wait_for(self, name: str, *states: JobState) -> Job:
        """Wait until the recording's job is in one of the states."""
        wait_until(f"{name} is {' or '.join(states)}", lambda: self.is_in(name, *states))
        return self.job(name)

    def transcript(self, stem: str) -> dict[str, Any]:
        """The JSON transcript beside a recording."""
        document: dict[str, Any] = json.loads((self.inbox / f"{stem}.json").read_text(encoding="utf-8"))
        return document

    def assert_whole(self, *names: str) -> None:
        """Each recording is done, its transcripts are there, written once, and soon nothing is left over."""
        for name in names:
            job = self.job(name)
            assert job.state is JobState.DONE, (name, job.state, job.reason)
            for kind in ("json", "txt", "srt", "vtt", "tsv"):
                assert (self.inbox / f"{Path(name).stem}.{kind}").exists()
            done = [event for event in events_of(self.database, job.id) if event.kind == "done"]
            assert len(done) == 1
            wait_until("the spool is empty", lambda one=job.id: not list((self.home / "spool").glob(f"{one}*")))
        assert not list(self.inbox.glob(".dropscribe-*"))
        wait_until("scratch is empty", lambda: not list((self.home / "scratch").glob("*")))
