"""A real fleet in child processes, whose members a test kills, stops and freezes; what dies is started again."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy import select, update

from dropscribe.admin.local import private_redis
from dropscribe.admin.local.server_child import ADDRESS, SERVER
from dropscribe.core.settings_loading import load
from dropscribe.core.store_settings import PREFIX
from dropscribe.core.types import JobState
from dropscribe.store import queries
from dropscribe.store.events import events_of
from dropscribe.store.fleet import list_workers
from dropscribe.store.queries import Job
from dropscribe.store.session import Database, open_database
from dropscribe.store.tables import chunks, jobs
from tests.e2e.harness import PATIENCE, pause
from tests.faults.nursery import Forked, Nursery

REPOSITORY = Path(__file__).parents[2]
RESTART = 0.3  # seconds until what died is started again
HEARS = json.dumps({"hears": True})
SHORT = {
    "ENGINE": "scripted",
    "SCRIPTED_SCRIPT": HEARS,
    "SPEECH_DETECTOR": "energy",
    "SPEAKER_ENCODER": "none",
    "STABLE_SECONDS": "0.3",
    "SCAN_SECONDS": "3",
    "LEASE_SECONDS": "6",
    "RENEW_SECONDS": "1",
    "RECONCILE_SECONDS": "0.5",
    "RESEND_SECONDS": "2",
    "MISSING_SECONDS": "3",
    "CHUNK_SECONDS": "8",
    "CHUNK_TARGET_SECONDS": "8",
    "OVERLAP_SECONDS": "2",
    "MIN_CHUNK_SECONDS": "4",
    "CPU_SLOTS": "2",
    "LOG_FORMAT": "text",
}
REDIS = "redis"


@dataclass
class Member:
    """One place in the fleet; each process that takes it has a name of its own."""

    place: str
    role: str
    wrapper: Sequence[str] = ()
    memory: int = 0
    generation: int = 0
    process: subprocess.Popen[bytes] | Forked | None = None
    died: float = 0.0
    restarts: bool = True
    frozen: bool = False

    @property
    def name(self) -> str:
        """What the process that is there now is called in the store."""
        return f"{self.place}.{self.generation}"

    @property
    def pid(self) -> int:
        """Of that process."""
        assert self.process
        return self.process.pid


@dataclass
class Fleet:
    """Members on one store, one Redis and one inbox. Must be used by one thread: members end with it.

    With a `nursery`, members are forked there, but for those that need a program of their own.
    """

    folder: Path
    environment: dict[str, str]
    nursery: Nursery | None = None
    members: dict[str, Member] = field(default_factory=dict)
    said: Callable[[str], object] = lambda _: None
    killed: dict[str, float] = field(default_factory=dict)  # when, by the database's clock, a process was killed
    _database: Database | None = None

    @property
    def home(self) -> Path:
        """The state directory of all members."""
        return Path(self.environment[PREFIX + "HOME"])

    @property
    def inbox(self) -> Path:
        """The watched folder."""
        return self.folder / "inbox"

    @property
    def lease(self) -> float:
        """In seconds."""
        return float(self.environment[PREFIX + "LEASE_SECONDS"])

    @property
    def database(self) -> Database:
        """The store, seen from outside."""
        if self._database is None:
            self._database = open_database(load(self.environment).database, where="test")
        return self._database

    def start(self, *places: str) -> None:
        """Start Redis and a member for each place, `ROLE` or `ROLE-NUMBER`, and wait until all are at work."""
        if REDIS not in self.members:
            self.add(REDIS)
            private_redis.wait_until_up(load(self.environment))
        assert self.database
        for place in places:
            self.add(place)
        self.wait_until("all are ready", lambda: self.ready() >= {self.members[place].name for place in places})

    def add(self, place: str, *, wrapper: Sequence[str] = (), memory: int = 0) -> Member:
        """A further member; `wrapper` is a command that runs it, `memory` limits its address space, in bytes."""
        member = self.members[place] = Member(place, place.partition("-")[0], wrapper, memory)
        self._spawn(member)
        return member

    def ready(self) -> set[str]:
        """The names of the processes that are at work."""
        listening = {self.members[SERVER].name} if SERVER in self.members and (self.home / ADDRESS).exists() else set()
        return listening | {worker.id for worker in list_workers(self.database) if worker.state == "ready"}

    def _spawn(self, member: Member) -> None:
        if member.role == SERVER:
            (self.home / ADDRESS).unlink(missing_ok=True)
        member.generation += 1
        member.process = self._started(member)
        if member.memory:
            resource.prlimit(member.pid, resource.RLIMIT_AS, (member.memory, member.memory))

    def _started(self, member: Member) -> subprocess.Popen[bytes] | Forked:
        arguments = [member.role, member.name]
        if member.role == REDIS:
            arguments = ["exec", *private_redis.server_command(load(self.environment))]
        if member.role == "scheduler":
            arguments.append(str(self.inbox))
        if member.role == SERVER:  # which is in the store by no name
            arguments = [SERVER, str(self.home / ADDRESS)]
        needs_exec = member.wrapper or member.role == REDIS or "LD_PRELOAD" in self.environment
        if self.nursery and not needs_exec:
            return self.nursery.fork(arguments, self.environment, self.log_of(member))
        with self.log_of(member).open("ab") as log:
            return subprocess.Popen(
                [*member.wrapper, sys.executable, "-P", "-m", "dropscribe.admin.local.child", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self.environment,
                start_new_session=True,
            )

    def log_of(self, member: Member) -> Path:
        """Where a member's processes write."""
        return self.home / "logs" / f"{member.place}.log"

    def tend(self) -> None:
        """Start again what died."""
        for member in self.members.values():
            if member.process and member.process.poll() is not None:
                self.said(f"{member.name} ended with status {member.process.returncode}")
                member.process, member.died = None, time.monotonic()
            if member.process is None and member.restarts and time.monotonic() - member.died > RESTART:
                self._spawn(member)

    def wait_until(
        self, what: str, condition: Callable[[], object], patience: float = PATIENCE, *, every: float = 0.02
    ) -> None:
        """Poll until it holds, at first `every` so many seconds, and keep the fleet running meanwhile."""
        began = time.monotonic()
        while not condition():
            waited = time.monotonic() - began
            assert waited < patience, f"waited {patience:.0f} s in vain: {what}; {self.summary()}"
            self.tend()
            time.sleep(pause(every, waited))

    def summary(self) -> str:
        """What a failing test should show."""
        counts = {str(state): count for state, count in queries.count_by_state(self.database).items()}
        return f"jobs {counts}, logs in {self.home / 'logs'}"

    def send(self, place: str, number: int) -> str:
        """Send a signal to the process at a place; returns its name."""
        member = self.members[place]
        os.kill(member.pid, number)
        member.frozen = number == signal.SIGSTOP
        return member.name

    def kill(self, place: str) -> str:
        """kill -9, and wait until it is gone; returns its name. `tend` starts another."""
        member = self.members[place]
        name = self.send(place, signal.SIGKILL)
        assert member.process
        member.process.wait()
        return name

    def stop(self, place: str) -> int:
        """SIGTERM; returns the exit status. It stays down."""
        member = self.members[place]
        member.restarts = False
        assert member.process
        member.process.terminate()
        status = member.process.wait(PATIENCE)
        member.process = None
        return status

    def place_of(self, owner: str | None) -> str:
        """Where the process of that name is."""
        return next(member.place for member in self.members.values() if member.name == owner)

    def close(self) -> None:
        """Leave nothing running, nothing open."""
        for member in reversed(self.members.values()):
            if member.process:
                member.process.kill()
                member.process.wait()
        if self._database:
            self._database.close()

    def job(self, name: str) -> Job:
        """The one job of that recording."""
        (found,) = [job for job in queries.list_jobs(self.database) if job.path == name]
        return found

    def is_in(self, name: str, *states: JobState) -> bool:
        """True when the recording has a job in one of the states."""
        with self.database.read() as connection:
            found = set(connection.execute(select(jobs.c.state).where(jobs.c.path == name)).scalars())
        return bool(found & set(states))

    def wait_for_all(self, names: Sequence[str], *states: JobState, patience: float = PATIENCE) -> None:
        """Wait until each recording has a job in one of the states (`done`)."""
        wanted = set(states or (JobState.DONE,))
        self.wait_until(
            f"{len(names)} jobs are {' or '.join(wanted)}",
            lambda: {job.path for job in queries.list_jobs(self.database) if job.state in wanted} >= set(names),
            patience,
            every=0.2,  # such a state lasts; to ask fifty times a second takes a tenth of a core
        )

    def hurry(self) -> None:
        """Let all that waits to be tried again be due now."""
        with self.database.begin() as connection:
            for table in (jobs, chunks):
                connection.execute(update(table).values(not_before=0.0))

    def kinds(self, name: str) -> list[str]:
        """The kinds of events of a recording's job, in order."""
        return [event.kind for event in events_of(self.database, self.job(name).id)]


def make(
    folder: Path,
    *,
    database_url: str = "",
    settings: Mapping[str, str] | None = None,
    nursery: Nursery | None = None,
) -> Fleet:
    """A fleet with nothing running; on SQLite unless there is a URL. `settings` without the prefix."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
    own = {"HOME": str(folder / "state"), "DATABASE_URL": database_url} | SHORT | dict(settings or {})
    (folder / "inbox").mkdir(parents=True)
    (folder / "state" / "logs").mkdir(parents=True, mode=0o700)
    return Fleet(folder, inherited | {f"{PREFIX}{name}": value for name, value in own.items()}, nursery)
