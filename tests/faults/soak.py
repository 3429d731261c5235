"""A long attack: random faults on a fleet at work, each printed with its moment, and in the end what held.

`python -m tests.faults.soak --jobs 1000 --seed 1 --database postgresql --minutes 60`; the same seed draws the same
faults. The exit status is 1 where anything did not hold.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import random
import shutil
import signal
import sqlite3
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from dropscribe.admin.local.server_child import SERVER
from dropscribe.core.types import ACTIVE_STATES, JobState
from dropscribe.store import commands, queries
from dropscribe.store.events import events_of
from dropscribe.store.roots import list_roots
from tests.faults import aftermath, fleet, postgres
from tests.faults.fleet import REDIS, Fleet, Member
from tests.faults.postgres import Server
from tests.faults.recordings import Recordings
from tests.faults.visitors import Visitors
from tests.servers import find_postgresql, free_port

PLACES = ("scheduler-1", "scheduler-2", "cpu-1", "cpu-2", "model-1", "model-2", SERVER)
SENT = 4  # recordings of ten that are sent to the server; the others are laid into the folder
OUTSTANDING = 60  # recordings that wait at most; more are laid down as these are read
GRACE = 20.0  # seconds a member gets to stop, as `up` gives its workers
CALM = 300.0  # seconds without faults in which what is left must end
SETTINGS = {"SCRIPTED_SCRIPT": json.dumps({"hears": True, "seconds": 0.5}), "LEASE_SECONDS": "10", "CPU_SLOTS": "1"}
# How often each act is drawn, relative to the others.
ACTS = {"kill": 10, "terminate": 4, "freeze": 3, "kill_redis": 2, "freeze_redis": 1, "stop_database": 1}


@dataclass
class Soak:
    """One attack. Moments in seconds since its beginning, and by the database's clock where waits are measured."""

    fleet: Fleet
    recordings: Recordings
    draw: random.Random
    server: Server | None
    visitors: Visitors
    began: float = field(default_factory=time.monotonic)
    done: Counter[str] = field(default_factory=Counter)
    struck: dict[str, float] = field(default_factory=dict)  # processes that were killed or frozen, and when
    outages: list[float] = field(default_factory=list)  # when Redis or the database was there again
    asleep: list[tuple[float, str, str]] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    retried: int = 0
    epoch: float = field(init=False)  # when it began, by the database's clock

    def __post_init__(self) -> None:
        self.epoch = self.fleet.database.clock()

    def say(self, what: str) -> None:
        print(f"[{time.monotonic() - self.began:7.1f} s] {what}", flush=True)

    def run(self, jobs: int, seconds: float, every: float) -> list[str]:
        """Attack until all recordings are read or the time is up; returns their names."""
        names: list[str] = []
        deadline = time.monotonic() + seconds
        strike = time.monotonic() + every
        while time.monotonic() < deadline and (len(names) < jobs or self.waiting(names)):
            if len(names) < jobs and self.waiting(names) < OUTSTANDING:
                names += self.bring(*range(len(names), min(jobs, len(names) + 10)))
            self.fleet.tend()
            self.wake()
            if time.monotonic() > strike:
                self.strike()
                strike = time.monotonic() + self.draw.uniform(0.4, 1.6) * every
            time.sleep(0.05)
        return names

    def bring(self, *numbers: int) -> list[str]:
        """Have some sent, and lay the others down; returns the names of all."""
        sent = [self.visitors.send(self.recordings.made(number)) for number in numbers[:SENT]]
        return sent + self.recordings.put(self.fleet.inbox, *numbers[SENT:])

    def waiting(self, names: Sequence[str]) -> int:
        """How many recordings have no job that is over."""
        counts = queries.count_by_state(self.fleet.database)
        return len(names) - sum(count for state, count in counts.items() if state.is_final)

    def strike(self) -> None:
        act = self.draw.choices([*ACTS], [*ACTS.values()])[0]
        self.done[act.replace("_", " ")] += 1
        getattr(self, act)()

    def awake(self) -> list[str]:
        return [p for p in PLACES if self.fleet.members[p].process and not self.fleet.members[p].frozen]

    def kill(self) -> None:
        if places := self.awake():
            place = self.draw.choice(places)
            self.struck[self.fleet.members[place].name] = self.fleet.database.clock()
            self.say(f"kill -9 {self.fleet.kill(place)}")

    def terminate(self) -> None:
        ready = self.fleet.ready()  # what only just starts has nothing to put in order
        if places := [place for place in self.awake() if self.fleet.members[place].name in ready]:
            member = self.fleet.members[self.draw.choice(places)]
            self.say(f"SIGTERM {self.fleet.send(member.place, signal.SIGTERM)}")
            status = self.end_of(member)
            if status != 0:
                self.wrong.append(f"{member.name} ended with status {status} on SIGTERM")

    def end_of(self, member: Member) -> int:
        """Its exit status. Its grace begins when nobody sleeps: one who does may have locked SQLite."""
        assert member.process
        until = time.monotonic() + GRACE
        while (status := member.process.poll()) is None and time.monotonic() < until:
            self.wake()
            until = time.monotonic() + GRACE if self.asleep else until
            time.sleep(0.05)
        member.process.kill()
        return member.process.wait() if status is None else status

    def freeze(self) -> None:
        if len(places := self.awake()) > 3:
            place = self.draw.choice(places)
            length = self.draw.uniform(0.5, 2) * self.fleet.lease
            self.struck[self.fleet.members[place].name] = self.fleet.database.clock()
            name = self.fleet.send(place, signal.SIGSTOP)
            self.asleep.append((time.monotonic() + length, place, name))
            self.say(f"SIGSTOP {name} for {length:.0f} s")

    def wake(self, *, all_of_them: bool = False) -> None:
        for entry in list(self.asleep):
            moment, place, name = entry
            if all_of_them or time.monotonic() > moment:
                self.asleep.remove(entry)
                self.fleet.send(place, signal.SIGCONT)
                self.fleet.members[place].frozen = False
                self.say(f"SIGCONT {name}")

    def kill_redis(self) -> None:
        if self.fleet.members[REDIS].process:
            self.fleet.kill(REDIS)
            self.outage("Redis killed and emptied", 0)

    def freeze_redis(self) -> None:
        if self.fleet.members[REDIS].process:
            self.fleet.send(REDIS, signal.SIGSTOP)
            self.outage("Redis hung", self.draw.uniform(0.3, 1))
            self.fleet.send(REDIS, signal.SIGCONT)
            self.fleet.members[REDIS].frozen = False

    def stop_database(self) -> None:
        """PostgreSQL crashes, hangs, or is restarted; SQLite is locked."""
        length = self.draw.uniform(0.2, 1.2)
        if self.server is None:
            lock = sqlite3.connect(self.fleet.home / "dropscribe.db", isolation_level=None, timeout=1)
            self.take(lock)
            self.outage("SQLite locked", length)
            lock.close()
        elif self.draw.random() < 0.4:
            self.server.freeze()
            self.outage("PostgreSQL hung", length, self.server.thaw)
        else:
            self.server.stop(mode := self.draw.choice(("immediate", "fast")))
            self.outage(f"PostgreSQL stopped ({mode})", length, self.server.start)

    def take(self, lock: sqlite3.Connection) -> None:
        """A sleeper may hold the lock, so all are woken in their time."""
        until = time.monotonic() + CALM
        while True:
            self.wake()
            try:
                lock.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError:
                if time.monotonic() > until:
                    raise
            else:
                return

    def outage(self, what: str, leases: float, mend: object = None) -> None:
        self.say(f"{what} for {leases * self.fleet.lease:.0f} s")
        until = time.monotonic() + leases * self.fleet.lease
        while time.monotonic() < until:
            time.sleep(0.05)
        if callable(mend):
            mend()
        with contextlib.suppress(sqlite3.Error):
            self.outages.append(self.fleet.database.clock())

    def calm(self, names: Sequence[str]) -> None:
        """Let everything end; parked jobs get another chance."""
        self.say("calm")
        self.wake(all_of_them=True)
        self.fleet.wait_until("every job is in a final state", lambda: not self.waiting(names), CALM)
        self.wrong += self.visitors.end(self.fleet)
        for job in queries.list_jobs(self.fleet.database, states=[JobState.PARKED]):
            self.say(f"retry {job.path}: {job.reason}")
            commands.retry(self.fleet.database, job.id)
            self.retried += 1
        self.fleet.wait_until("every job is in a final state", lambda: not self.waiting(names), CALM)


def verdict(soak: Soak, names: Sequence[str]) -> bool:
    """Print what was done and what held; True when everything did."""
    fleet = soak.fleet
    broken = [*aftermath.breaches(fleet, soak.recordings, names), *soak.wrong]
    waits = aftermath.waits(fleet, soak.struck, soak.outages)
    longest = max((wait.seconds for wait in waits), default=0.0)
    bound = 2 * fleet.lease
    late = [wait for wait in waits if wait.seconds > bound]
    broken += [f"{wait.row} waited {wait.seconds:.1f} s for its next claim" for wait in late]
    for job_id in sorted({wait.row.partition(".")[0] for wait in late}):
        print(f"\n{job_id}:")
        for event in events_of(fleet.database, job_id):
            print(f"[{event.at - soak.epoch:7.1f} s] {event.kind} {event.where} {event.detail}")
    states = Counter(str(job.state) for job in queries.list_jobs(fleet.database))
    print(f"\n{len(names)} recordings in {time.monotonic() - soak.began:.0f} s: {dict(states)}")
    print("faults:", ", ".join(f"{count} x {act}" for act, count in soak.done.most_common()))
    print(f"work lost to faults: {len(waits)} pieces; parked and retried: {soak.retried} jobs")
    print("answers of the server:", ", ".join(f"{n} x {what}" for what, n in soak.visitors.answers.most_common()))
    print(f"{len(soak.visitors.heard)} events were streamed")
    print(f"longest wait of lost work for its next claim: {longest:.1f} s (bound: {bound:.0f} s, two leases)")
    for line in broken:
        print(f"BREACH: {line}")
    final = sum(states[str(state)] for state in ACTIVE_STATES) == 0
    print("held: everything" if final and not broken else f"held: not everything ({len(broken)} breaches)")
    return final and not broken


@contextlib.contextmanager
def a_fleet(folder: Path, database: str, port: int) -> Iterator[tuple[Fleet, Server | None]]:
    """Everybody at work, and the server at that port."""
    with contextlib.ExitStack() as closing:
        server = None
        if database == "postgresql":
            programs = find_postgresql()
            if programs is None:
                raise SystemExit("PostgreSQL is not installed; take --database sqlite")
            server = closing.enter_context(postgres.server(programs))
        url = f"{server.url}&options=-c%20idle_in_transaction_session_timeout%3D2500" if server else ""
        made = fleet.make(folder / "fleet", database_url=url, settings=SETTINGS | {"SERVE_PORT": str(port)})
        closing.callback(made.close)
        made.start(*PLACES)
        yield made, server


def main() -> int:
    """Returns the exit status."""
    parser = argparse.ArgumentParser(description="attack a fleet at random")
    parser.add_argument("--jobs", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--database", choices=("sqlite", "postgresql"), default="sqlite")
    parser.add_argument("--minutes", type=float, default=60.0, help="of attacks at most")
    parser.add_argument("--every", type=float, default=4.0, help="seconds between two faults, on average")
    parser.add_argument("--keep", action="store_true", help="leave the folder there")
    chosen = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="soak-"))
    print(f"{chosen.jobs} recordings, seed {chosen.seed}, {chosen.database}, in {folder}")
    recordings = Recordings(folder / "recordings", settings=SETTINGS)
    recordings.folder.mkdir()
    port = free_port()
    with a_fleet(folder, chosen.database, port) as (attacked, server):
        visitors = Visitors(port, attacked.inbox)
        attacked.wait_until("the folder is watched", lambda: list_roots(attacked.database))
        visitors.begin()
        soak = Soak(attacked, recordings, random.Random(chosen.seed), server, visitors)
        names = soak.run(chosen.jobs, chosen.minutes * 60, chosen.every)
        soak.calm(names)
        held = verdict(soak, names)
    recordings.close()
    if held and not chosen.keep:
        shutil.rmtree(folder)
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
