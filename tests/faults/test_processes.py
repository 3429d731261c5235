"""Every process, ended in every way at every stage of a job: each job ends done, its transcript as ever.

A gate in the database holds a worker exactly at the stage where it is to be hit.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from dropscribe.core import reserved_names
from dropscribe.store.fleet import list_workers
from tests.faults import aftermath
from tests.faults.fleet import Fleet
from tests.faults.postgres import Gate, Server
from tests.faults.recordings import Recordings

MakeFleet = Callable[..., Fleet]
EXEMPLARY = {"staged", "decoded", "result half committed", "outputs half written", "renamed"}
BEAT = 0.5  # seconds between two heartbeats where a test waits for them


@dataclass(frozen=True)
class Stage:
    """Where a process is held, by the statement that it comes to next."""

    name: str
    role: str
    moment: str
    when: str = "true"


STAGES = (
    Stage("claimed", "cpu", "BEFORE INSERT ON events", "NEW.kind = 'preparing'"),
    Stage("staged", "cpu", "BEFORE UPDATE ON jobs", "NEW.sha256 <> '' AND OLD.sha256 IS NULL"),
    Stage("decoded", "cpu", "BEFORE INSERT ON chunks"),
    Stage("planned", "cpu", "BEFORE INSERT ON events", "NEW.kind = 'prepared'"),
    Stage("chunk claimed", "model", "BEFORE INSERT ON events", "NEW.kind = 'transcribing'"),
    Stage("result half committed", "model", "BEFORE INSERT ON segments"),
    Stage("result committed", "model", "BEFORE INSERT ON events", "NEW.kind = 'transcribed'"),
    Stage("transcript saved", "cpu", "BEFORE INSERT ON transcripts"),
    Stage("first output written", "cpu", "BEFORE INSERT ON outputs", "NEW.format = 'json'"),
    Stage("outputs half written", "cpu", "BEFORE INSERT ON outputs", "NEW.format = 'srt'"),
    Stage("renamed", "cpu", "BEFORE UPDATE ON outputs", "NEW.written_at > 0 AND NEW.format = 'vtt'"),
    Stage("done", "cpu", "BEFORE UPDATE ON jobs", "NEW.state = 'done'"),
)


CLAIMS = ("claimed", "chunk claimed")  # what is not committed is not lost either


def test_kill_9_at_every_stage_of_a_job_loses_nothing(
    make_fleet: MakeFleet, server: Server, recordings: Recordings
) -> None:
    fleet = make_fleet(server)
    fleet.start("scheduler", "cpu", "model")
    names = [f"{number:03}.wav" for number in range(len(STAGES))]
    for number, (name, stage) in enumerate(zip(names, STAGES, strict=True)):
        with Gate(server, stage.moment, stage.when, of=name) as gate:
            recordings.put(fleet.inbox, number)
            fleet.wait_until(f"a worker is held at: {stage.name}", gate.holds)
            fleet.kill(stage.role)
    fleet.wait_for_all(names)
    aftermath.assert_whole(fleet, recordings, names)
    lost = {stage.name for name, stage in zip(names, STAGES, strict=True) if "lost" in fleet.kinds(name)}
    assert lost >= {stage.name for stage in STAGES} - {*CLAIMS}


def test_a_member_that_is_told_to_stop_at_any_stage_ends_in_order_and_counts_no_loss(
    make_fleet: MakeFleet, server: Server, recordings: Recordings
) -> None:
    fleet = make_fleet(server, LEASE_SECONDS="60")  # so that no lease which ends helps out
    fleet.start("scheduler", "cpu", "model")
    stages = [stage for stage in STAGES if stage.name in {*EXEMPLARY, *CLAIMS}]
    names = [f"{number:03}.wav" for number in range(len(stages))]
    for number, (name, stage) in enumerate(zip(names, stages, strict=True)):
        with Gate(server, stage.moment, stage.when, of=name) as gate:
            recordings.put(fleet.inbox, number)
            fleet.wait_until(f"a worker is held at: {stage.name}", gate.holds)
            fleet.send(stage.role, signal.SIGTERM)
            gate.open()
            assert fleet.stop(stage.role) == 0, stage.name
        fleet.members[stage.role].restarts = True
    fleet.wait_for_all(names)
    aftermath.assert_whole(fleet, recordings, names)
    assert not [name for name in names if "lost" in fleet.kinds(name)]


def test_an_owner_that_slept_through_its_lease_writes_nothing_when_it_wakes(
    make_fleet: MakeFleet, server: Server, recordings: Recordings
) -> None:
    impatient = f"{server.url}&options=-c%20idle_in_transaction_session_timeout%3D1500"
    fleet = make_fleet(server, DATABASE_URL=impatient, LEASE_SECONDS="3", RENEW_SECONDS="0.5", CPU_SLOTS="1")
    fleet.start("scheduler", "cpu-1", "cpu-2", "model-1", "model-2")
    stages = [stage for stage in STAGES if stage.name in EXEMPLARY]
    names = [f"{number:03}.wav" for number in range(len(stages))]
    for number, (name, stage) in enumerate(zip(names, stages, strict=True)):
        with Gate(server, stage.moment, stage.when, of=name) as gate:
            recordings.put(fleet.inbox, number)
            fleet.wait_until(f"a worker is held at: {stage.name}", gate.holds)
            sleeper = fleet.place_of(gate.held())
            fleet.send(sleeper, signal.SIGSTOP)
        fleet.wait_for_all([name])
        before = seen(fleet.inbox)
        fleet.send(sleeper, signal.SIGCONT)
        time.sleep(2 * BEAT)  # in which it would write if it did
        fleet.wait_until("the sleeper is at work again", partial(beats, fleet, sleeper))
        assert seen(fleet.inbox) == before, stage.name
    aftermath.assert_whole(fleet, recordings, names)


def beats(fleet: Fleet, place: str) -> bool:
    """True when the process at that place was heard of lately."""
    name = fleet.members[place].name
    return any(worker.id == name and worker.silent < 2 * BEAT for worker in list_workers(fleet.database))


def seen(folder: Path) -> dict[str, tuple[int, int]]:
    """Every file but the mark, by its inode and time of change."""
    found = {path.name: (path.stat().st_ino, path.stat().st_mtime_ns) for path in folder.iterdir()}
    found.pop(reserved_names.OWNER, None)
    return found
