"""Redis, the database, the network and the clock fail under a fleet at work: each job ends done, none is lost."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import count, islice
from pathlib import Path

import psutil
import pytest
import redis

from dropscribe.admin.check.checks import ask_redis
from dropscribe.admin.state.fleet_status import gather
from dropscribe.core.errors import BrokerError
from dropscribe.core.queue import redis_url
from dropscribe.core.redis_refusals import REFUSALS as REFUSALS_IN_WORDS
from dropscribe.core.settings_loading import load
from dropscribe.core.types import JobState
from dropscribe.store import queries
from dropscribe.store.broker_trouble import broker_trouble
from dropscribe.store.fleet import list_workers
from dropscribe.store.lock_holder import holder
from tests.faults import aftermath, postgres
from tests.faults.clock import Clock
from tests.faults.conftest import postgresql_programs
from tests.faults.fleet import REDIS, Fleet
from tests.faults.postgres import Server
from tests.faults.recordings import Recordings

MakeFleet = Callable[..., Fleet]
EVERYBODY = ("scheduler", "cpu", "model-1", "model-2")
READS = {"SCRIPTED_SCRIPT": json.dumps({"hears": True, "seconds": 0.4}), "LEASE_SECONDS": "5"}
HOUR = 3600


def done(fleet: Fleet) -> int:
    return queries.count_by_state(fleet.database).get(JobState.DONE, 0)


def is_read(fleet: Fleet) -> bool:
    """True while a model worker has a chunk."""
    return any(worker.doing for worker in list_workers(fleet.database) if worker.role == "model")


def goes_on(fleet: Fleet, enough: int) -> bool:
    return done(fleet) >= enough and is_read(fleet)


def rest(fleet: Fleet, leases: float) -> None:
    """Let a fault last for so many leases, while what dies is started again."""
    until = time.monotonic() + leases * fleet.lease
    while time.monotonic() < until:
        fleet.tend()
        time.sleep(0.05)


def test_redis_may_die_be_empty_hang_and_stay_away_for_many_leases(
    make_fleet: MakeFleet, recordings: Recordings
) -> None:
    fleet = make_fleet(**READS)
    fleet.start(*EVERYBODY)
    names = recordings.put(fleet.inbox, *range(8))
    fleet.wait_until("the model reads", lambda: is_read(fleet))
    fleet.kill(REDIS)  # the next one begins empty
    fleet.wait_until("work goes on", lambda: done(fleet) >= 4)
    fleet.send(REDIS, signal.SIGSTOP)
    rest(fleet, 1.5)
    fleet.send(REDIS, signal.SIGCONT)
    fleet.wait_for_all(names)
    fleet.members[REDIS].restarts = False
    fleet.kill(REDIS)
    names += recordings.put(fleet.inbox, *range(8, 14))
    rest(fleet, 2)
    assert {fleet.job(name).state for name in names[8:]} == {JobState.QUEUED}  # found, and not begun
    for place in ("model-1", "cpu"):
        assert fleet.stop(place) == 0
        fleet.members[place].restarts = True
    fleet.members[REDIS].restarts = True
    fleet.wait_for_all(names)
    aftermath.assert_whole(fleet, recordings, names)


REFUSALS = {  # Redis's answer to a write, and what brings it about
    "READONLY": ["replicaof 127.0.0.1 1"],
    "MASTERDOWN": [
        "config set replica-read-only no",
        "config set replica-serve-stale-data no",
        "replicaof 127.0.0.1 1",
    ],
    "MISCONF": ["replicaof no one", "config set save '1 1'", "set x 1"],
    "OOM": ["config set save ''", "config set maxmemory 1"],
}


def test_a_redis_that_answers_and_takes_no_work_is_waited_for_and_told_in_words(
    make_fleet: MakeFleet, recordings: Recordings
) -> None:
    fleet = make_fleet(**READS)
    fleet.start(*EVERYBODY)
    settings = load(fleet.environment)
    names = recordings.put(fleet.inbox, *range(4))
    fleet.wait_until("the model reads", lambda: is_read(fleet))
    client = redis.Redis.from_url(redis_url(settings))
    (settings.home / "dump.rdb").mkdir()  # so that no snapshot can be written
    for code, commands in REFUSALS.items():
        for command in commands:
            client.execute_command(*shlex.split(command))
        trouble = partial(broker_trouble, fleet.database)
        fleet.wait_until(code, lambda code=code, trouble=trouble: (found := trouble()) and found.code == code)
        (told,) = [line for line in gather(fleet.database, settings).warnings if line.startswith("Redis")]
        assert REFUSALS_IN_WORDS[code].problem in told
        with pytest.raises(BrokerError, match=code):  # for doctor and health
            ask_redis(settings)
    names += recordings.put(fleet.inbox, *range(4, 8))
    rest(fleet, 1)
    client.config_set("maxmemory", 0)
    fleet.wait_for_all(names)
    assert {member.generation for member in fleet.members.values()} == {1}  # nobody ended
    assert broker_trouble(fleet.database) is None
    aftermath.assert_whole(fleet, recordings, names)


def test_a_database_may_crash_and_hang_for_many_leases(
    make_fleet: MakeFleet, server: Server, recordings: Recordings
) -> None:
    fleet = make_fleet(server, **READS)
    fleet.start(*EVERYBODY)
    names = recordings.put(fleet.inbox, *range(14))
    for enough, fault in ((2, "crash"), (6, "hang"), (10, "restart")):
        fleet.wait_until("work goes on", partial(goes_on, fleet, enough))
        if fault == "hang":
            server.freeze()
            time.sleep(2.5 * fleet.lease)
            server.thaw()
        else:
            server.stop("immediate" if fault == "crash" else "fast")
            time.sleep(1.5 * fleet.lease)
            server.start()
    fleet.wait_for_all(names)
    aftermath.assert_whole(fleet, recordings, names)


def test_a_worker_that_is_told_to_stop_while_the_database_is_away_stops_in_order(
    make_fleet: MakeFleet, server: Server, recordings: Recordings
) -> None:
    fleet = make_fleet(server, **READS)
    fleet.start("scheduler", "cpu", "model")
    (name,) = recordings.put(fleet.inbox, 15)
    fleet.wait_until("the model reads", lambda: is_read(fleet))
    server.stop()
    assert [fleet.stop(place) for place in ("model", "cpu", "scheduler")] == [0, 0, 0]
    server.start()
    fleet.start("scheduler", "cpu", "model")
    fleet.wait_for_all([name])
    aftermath.assert_whole(fleet, recordings, [name])


def test_a_locked_database_stops_everything_and_loses_nothing(make_fleet: MakeFleet, recordings: Recordings) -> None:
    fleet = make_fleet(**READS)
    fleet.start(*EVERYBODY)
    names = recordings.put(fleet.inbox, *range(8))
    fleet.wait_until("the model reads", lambda: is_read(fleet))
    lock = sqlite3.connect(fleet.home / "dropscribe.db", isolation_level=None)
    lock.execute("BEGIN IMMEDIATE")
    time.sleep(18)  # longer than anybody waits for a lock
    lock.execute("ROLLBACK")
    lock.close()
    fleet.wait_for_all(names)
    aftermath.assert_whole(fleet, recordings, names)


LONG_WRITES = (  # every claim of a chunk counts to half a million before it is committed
    "CREATE VIEW long AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 500000) SELECT i FROM n",
    "CREATE TRIGGER long_claim UPDATE OF owner ON chunks WHEN NEW.owner > '' BEGIN SELECT count(*) FROM long; END",
)


def freeze_a_writer(fleet: Fleet) -> str:
    """Stop a model worker that holds SQLite's write lock; returns its place, or nothing where none does."""
    for place in ("model-1", "model-2"):
        process = psutil.Process(fleet.members[place].pid)
        if not writes(fleet, process):
            continue
        fleet.send(place, signal.SIGSTOP)
        while process.status() != psutil.STATUS_STOPPED:
            time.sleep(0.001)
        if writes(fleet, process):
            return place
        fleet.send(place, signal.SIGCONT)
    return ""


def writes(fleet: Fleet, process: psutil.Process) -> bool:
    return holder(fleet.home / "dropscribe.db").startswith(f"process {process.pid} ")


def test_a_worker_that_freezes_while_it_writes_to_sqlite_is_named_and_nothing_is_lost(
    make_fleet: MakeFleet, recordings: Recordings
) -> None:
    fleet = make_fleet(**READS)
    fleet.start(*EVERYBODY)
    with fleet.database.begin() as connection:
        for statement in LONG_WRITES:
            connection.exec_driver_sql(statement)
    names = recordings.put(fleet.inbox, *range(8))
    frozen: list[str] = []
    fleet.wait_until("one is frozen as it writes", lambda: frozen.append(freeze_a_writer(fleet)) or frozen[-1])
    member = fleet.members[frozen[-1]]
    blame = f"database is locked by process {member.pid} "
    logs = [fleet.log_of(fleet.members[place]) for place in EVERYBODY if place != member.place]
    fleet.wait_until("all others name it", lambda: all(blame in log.read_text() for log in logs))
    assert all(f"which is stopped (`kill -CONT {member.pid}` wakes it)" in log.read_text() for log in logs)
    fleet.send(member.place, signal.SIGCONT)
    fleet.wait_until("work goes on", lambda: done(fleet) >= 2)
    fleet.wait_until("one is frozen again", lambda: frozen.append(freeze_a_writer(fleet)) or frozen[-1])
    fleet.kill(frozen[-1])
    fleet.wait_for_all(names)
    aftermath.assert_whole(fleet, recordings, names)


@pytest.mark.parametrize("first", [HOUR, -HOUR], ids=["forwards", "backwards"])
def test_a_clock_that_is_stepped_by_an_hour_delays_and_loses_nothing(
    make_fleet: MakeFleet, recordings: Recordings, tmp_path: Path, first: int
) -> None:
    clock = Clock(tmp_path)
    fleet = make_fleet(**READS)
    fleet.environment |= clock.environment
    fleet.start(*EVERYBODY)
    names = recordings.put(fleet.inbox, *range(8))
    fleet.wait_until("the model reads", lambda: is_read(fleet))
    clock.set(first)
    fleet.wait_until("work goes on", lambda: done(fleet) >= 4)
    names += recordings.put(fleet.inbox, *range(8, 14))
    fleet.wait_until("the model reads", lambda: is_read(fleet))
    owner = next(w.id for w in list_workers(fleet.database) if w.role == "model" and w.doing)
    fleet.kill(fleet.place_of(owner))
    clock.set(0)
    fleet.wait_for_all(names)  # within patience, which is far less than an hour
    aftermath.assert_whole(fleet, recordings, names)


NETWORK = "10.213.77"


@pytest.fixture
def elsewhere() -> Iterator[str]:
    """Another host: a network namespace whose only link is to this one, at NETWORK.1."""
    if os.geteuid() != 0 or not shutil.which("ip"):
        pytest.skip("a network namespace needs root and iproute2")
    name = f"dropscribe{os.getpid()}"
    here, there = f"ds{os.getpid()}a", f"ds{os.getpid()}b"
    if subprocess.run(["ip", "netns", "add", name], capture_output=True).returncode:
        pytest.skip("network namespaces are not allowed here")
    try:
        for command in (
            f"ip link add {here} type veth peer name {there} netns {name}",
            f"ip address add {NETWORK}.1/24 dev {here}",
            f"ip link set {here} up",
            f"ip -n {name} address add {NETWORK}.2/24 dev {there}",
            f"ip -n {name} link set {there} up",
            f"ip -n {name} link set lo up",
        ):
            subprocess.run(command.split(), check=True)
        yield name
    finally:
        subprocess.run(["ip", "netns", "delete", name], check=True)


def test_workers_that_are_cut_off_from_the_database_give_up_in_time_and_come_back(
    make_fleet: MakeFleet, recordings: Recordings, elsewhere: str
) -> None:
    link = f"ds{os.getpid()}a"
    with postgres.server(postgresql_programs(), address=f"{NETWORK}.1") as server:
        fleet = make_fleet(server, **READS)
        fleet.start("scheduler", "cpu-1", "model-1")
        fleet.environment["DROPSCRIBE_DATABASE_URL"] = f"postgresql+psycopg://test@{NETWORK}.1/postgres"
        for place in ("cpu-2", "model-2"):
            fleet.add(place, wrapper=("ip", "netns", "exec", elsewhere))
        fleet.wait_until("all work", lambda: {w.state for w in list_workers(fleet.database)} == {"ready"})
        names = recordings.put(fleet.inbox, *range(10))
        fleet.wait_until("the far worker reads", lambda: reads(fleet, "model-2"))
        subprocess.run(["ip", "link", "set", link, "down"], check=True)
        names += recordings.put(fleet.inbox, *range(10, 14))
        fleet.wait_for_all(names)  # by those that are here
        subprocess.run(["ip", "link", "set", link, "up"], check=True)
        more = count(14)

        def reads_again() -> bool:
            """There is always something to read: the near worker may be quicker than the far one is back."""
            if {job.path for job in queries.list_jobs(fleet.database) if job.state.is_final} >= set(names):
                names.extend(recordings.put(fleet.inbox, *islice(more, 6)))
            return reads(fleet, "model-2")

        fleet.wait_until("the far worker reads again", reads_again)
        fleet.wait_for_all(names)
        aftermath.assert_whole(fleet, recordings, names)
        fleet.close()


def reads(fleet: Fleet, place: str) -> bool:
    name = fleet.members[place].name
    return any(worker.doing for worker in list_workers(fleet.database) if worker.id == name)
