"""CPU workers and their decoders, hit while they prepare a recording."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path

import psutil

from dropscribe.core.types import JobState
from dropscribe.store import commands, recovery
from tests.faults import aftermath
from tests.faults.decoders import decoders
from tests.faults.fleet import Fleet
from tests.faults.postgres import Gate, Server
from tests.faults.recordings import Recordings
from tests.faults.shares import Share
from tests.media_files import long_silence

MakeFleet = Callable[..., Fleet]
SLOW = 0.5  # seconds for 128 KiB: a block of the copy takes 4 s, all of BIG 230 s, which is more than any patience
BIG = 0.35  # hours: 60 MB


def test_a_decoder_that_is_killed_is_tried_again_and_in_the_end_that_is_the_reason(
    make_fleet: MakeFleet, recordings: Recordings
) -> None:
    fleet = make_fleet(CPU_SLOTS="1")
    fleet.start("scheduler", "cpu", "model")
    (name,) = recordings.put(fleet.inbox, 4)
    for attempt in range(1, 4):
        fleet.wait_until("a decoder runs", lambda: kill_decoder(fleet))
        fleet.wait_until("its worker has noticed", lambda told=attempt: failures(fleet, name) == told)
        fleet.hurry()
    job = fleet.job(name)
    assert job.state is JobState.FAILED
    assert "the decoder was killed (SIGKILL), perhaps because this machine ran out of memory" in job.reason
    assert fleet.kinds(name).count("retry") == 2
    assert fleet.members["cpu"].generation == 1
    commands.retry(fleet.database, job.id)
    fleet.wait_for_all([name])
    aftermath.assert_whole(fleet, recordings, [name])


def kill_decoder(fleet: Fleet) -> bool:
    """True when there was one."""
    for decoder in decoders(fleet.members["cpu"].pid):
        with contextlib.suppress(psutil.NoSuchProcess):
            decoder.kill()
            return True
    return False


def failures(fleet: Fleet, name: str) -> int:
    return sum(kind in {"retry", "failed"} for kind in fleet.kinds(name))


def copying(fleet: Fleet) -> bool:
    return any((fleet.home / "scratch").glob("*/source-*"))


def with_a_slow_share(make_fleet: MakeFleet, share: Share, results: Path) -> Fleet:
    """A fleet that is copying a big recording from a slow share."""
    quick = {"STABLE_SECONDS_NETWORK": "0.3", "SCAN_SECONDS_NETWORK": "1"}
    fleet = make_fleet(CPU_SLOTS="1", RESULTS=str(results), **quick)
    share.path = fleet.inbox
    share.mount()
    share.tell(slow=SLOW)
    long_silence(share.server / "big.wav", BIG)
    fleet.start("scheduler", "cpu", "model")
    fleet.wait_until("it is copied", lambda: copying(fleet))
    return fleet


def test_a_worker_that_is_told_to_stop_while_it_copies_gives_the_recording_back(
    make_fleet: MakeFleet, unmounted: Share, tmp_path: Path
) -> None:
    fleet = with_a_slow_share(make_fleet, unmounted, tmp_path / "results")
    assert fleet.stop("cpu") == 0
    assert fleet.job("big.wav").state is JobState.QUEUED
    assert fleet.kinds("big.wav")[-1] == "released"
    assert list((fleet.home / "scratch").iterdir()) == []
    unmounted.tell(heal=True)
    fleet.members["cpu"].restarts = True
    fleet.wait_for_all(["big.wav"])
    assert "lost" not in fleet.kinds("big.wav")
    fleet.close()


def test_a_recording_that_is_cancelled_is_not_copied_to_its_end(
    make_fleet: MakeFleet, unmounted: Share, tmp_path: Path
) -> None:
    fleet = with_a_slow_share(make_fleet, unmounted, tmp_path / "results")
    commands.cancel(fleet.database, fleet.job("big.wav").id)
    fleet.wait_for_all(["big.wav"], JobState.CANCELLED)
    fleet.wait_until("scratch is empty", lambda: not list((fleet.home / "scratch").iterdir()))
    assert fleet.members["cpu"].generation == 1
    fleet.close()


def test_scratch_of_a_worker_that_was_killed_is_removed_at_once(
    make_fleet: MakeFleet, server: Server, recordings: Recordings
) -> None:
    fleet = make_fleet(server, LEASE_SECONDS="60")
    fleet.start("scheduler", "cpu", "model")
    scratch = fleet.home / "scratch"
    with Gate(server, "BEFORE UPDATE ON jobs", "NEW.sha256 <> '' AND OLD.sha256 IS NULL") as gate:
        (name,) = recordings.put(fleet.inbox, 2)
        fleet.wait_until("it is copied", gate.holds)
        (left,) = scratch.iterdir()
        owner = fleet.kill("cpu")
        assert left.exists()
        fleet.wait_until("the next worker has swept", lambda: not left.exists())
        assert fleet.job(name).owner == owner, "long before its lease ends"
    recovery.expire_of(fleet.database, owner, 3)
    fleet.wait_for_all([name])
    aftermath.assert_whole(fleet, recordings, [name])
