"""The thread that keeps leases alive and tells tasks to stop."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import update

from dropscribe.core.errors import LeaseLostError, StoreUnavailableError
from dropscribe.store import commands, jobs, leases, queries, recovery, tables
from dropscribe.store.events import events_of
from dropscribe.store.jobs import NewJob
from dropscribe.store.leases import ChunkClaim, JobClaim
from dropscribe.store.session import Database
from dropscribe.worker.runtime.lease import LeaseKeeper, StoppedError
from tests.e2e.harness import PATIENCE, wait_until

LEASE, RENEW, STALL = 60.0, 0.05, 10.0  # seconds by a clock that moves when it is told to


class Clock:
    """Moves when it is told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def claim(database: Database) -> JobClaim:
    (job_id,) = jobs.admit(database, [NewJob("/root", "a.wav", 1, 1, "d", "normal")])
    taken = jobs.claim_prepare(database, job_id, "worker", LEASE)
    assert taken
    return taken


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def beats() -> list[float]:
    return []


@pytest.fixture
def hung() -> list[JobClaim]:
    return []


@pytest.fixture
def keeper(database: Database, clock: Clock, beats: list[float], hung: list[JobClaim | ChunkClaim]) -> LeaseKeeper:
    """Without its threads: its rounds are called by hand."""
    beat = lambda: beats.append(clock.now)  # noqa: E731
    return LeaseKeeper(database, lease=LEASE, renew=RENEW, beat=beat, stall=STALL, hung=hung.append, monotonic=clock)


@pytest.fixture
def started(keeper: LeaseKeeper) -> Iterator[LeaseKeeper]:
    """With its threads."""
    keeper.start()
    yield keeper
    keeper.end()


def run_out(database: Database, claim: JobClaim) -> None:
    """Let a claim's lease have ended a second ago."""
    assert leases.renew(database, claim, -1.0) is leases.Renewal.HELD


def test_a_held_claim_outlives_its_first_lease(
    database: Database, claim: JobClaim, keeper: LeaseKeeper, clock: Clock
) -> None:
    with keeper.holding(claim) as held:
        run_out(database, claim)
        clock.now += RENEW
        keeper.tend()
        assert recovery.expire(database, 3) == 0
        held.check()
    run_out(database, claim)
    clock.now += RENEW
    keeper.tend()
    assert recovery.expire(database, 3) == 1, "what is held no more runs out"


def test_a_claim_is_not_renewed_before_it_is_due(
    database: Database, claim: JobClaim, keeper: LeaseKeeper, clock: Clock
) -> None:
    with keeper.holding(claim):
        run_out(database, claim)
        clock.now += RENEW / 2
        keeper.tend()
        assert recovery.expire(database, 3) == 1


def test_a_lost_lease_stops_the_task(database: Database, claim: JobClaim, keeper: LeaseKeeper, clock: Clock) -> None:
    with keeper.holding(claim) as held:
        recovery.expire_of(database, "worker", 3)
        clock.now += RENEW
        keeper.tend()
        assert held.stop.is_set()
        with pytest.raises(LeaseLostError):
            held.check()


def test_a_cancelled_job_stops_the_task(
    database: Database, claim: JobClaim, started: LeaseKeeper, clock: Clock
) -> None:
    with started.holding(claim) as held:
        commands.cancel(database, claim.id)
        clock.now += RENEW
        assert held.stop.wait(PATIENCE)
        with pytest.raises(StoppedError):
            held.check()
    jobs.release(database, claim)
    assert queries.job(database, claim.id).state == "cancelled"


def test_leases_renewed_together_are_told_apart(database: Database) -> None:
    found = [NewJob("/root", f"{name}.wav", 1, 1, "d", "normal") for name in "abc"]
    claims = [jobs.claim_prepare(database, job_id, "worker", 9.0) for job_id in jobs.admit(database, found)]
    held, cancelled, lost = [claim for claim in claims if claim]
    commands.cancel(database, cancelled.id)
    jobs.release(database, lost)
    renewed = leases.renew_all(database, [(claim, None) for claim in (lost, held, cancelled)], 9.0)
    assert renewed == [leases.Renewal.LOST, leases.Renewal.HELD, leases.Renewal.CANCEL]


def test_a_shutdown_stops_tasks_that_run_and_tasks_that_come(claim: JobClaim, keeper: LeaseKeeper) -> None:
    with keeper.holding(claim) as running:
        keeper.shut_down()
        assert running.stop.is_set()
    with keeper.holding(claim) as late, pytest.raises(StoppedError):
        late.check()


def test_a_store_out_of_reach_for_a_lease_stops_the_task(
    database: Database, claim: JobClaim, keeper: LeaseKeeper, clock: Clock
) -> None:
    with keeper.holding(claim) as held:
        with database.begin() as connection:
            tables.jobs.drop(connection, checkfirst=False) if database.is_sqlite else connection.exec_driver_sql(
                "ALTER TABLE jobs RENAME TO away"
            )
        clock.now += LEASE / 2
        keeper.tend()
        keeper.watch()
        held.check()
        clock.now += LEASE / 2
        keeper.tend()
        keeper.watch()
        assert held.stop.is_set()
        with pytest.raises(LeaseLostError):
            held.check()


def test_the_heart_beats(started: LeaseKeeper, clock: Clock, beats: list[float]) -> None:
    for count in (1, 2, 3):
        wait_until("the next beat", lambda count=count: len(beats) == count)
        clock.now += RENEW
    assert beats[:3] == [0.0, RENEW, 2 * RENEW]


def test_the_heart_beats_no_sooner_than_it_is_told_to(keeper: LeaseKeeper, clock: Clock, beats: list[float]) -> None:
    for _ in range(4):
        keeper.tend()
        clock.now += RENEW / 2
    assert beats == [0.0, RENEW]


def test_progress_reaches_the_store(database: Database, keeper: LeaseKeeper, claim: JobClaim) -> None:
    with database.begin() as connection:
        connection.execute(
            tables.chunks.insert().values(
                id=f"{claim.id}.0", job_id=claim.id, position=0, start=0.0, end=9.0, state="running", attempt=1,
                lost=0, failures=0, owner="worker", not_before=0.0, progress=0.0, reasons=[], timings={},
                prompt_tokens=0, output_tokens=0,
            )
        )  # fmt: skip
        connection.execute(update(tables.jobs).values(state="transcribing", owner=None))
    chunk = ChunkClaim(f"{claim.id}.0", "running", 1, "worker")
    with keeper.holding(chunk) as held:
        held.progress = 4.5
        keeper.tend()
    assert queries.job(database, claim.id).progress == 0.5
    assert leases.renew(database, chunk, 1.0) is leases.Renewal.HELD


def test_a_store_that_hangs_does_not_keep_a_task_from_giving_up_in_time(
    database: Database, claim: JobClaim, started: LeaseKeeper, clock: Clock
) -> None:
    with started.holding(claim) as held:
        with database.begin() as connection:  # nobody else can write to the row, for longer than a lease
            connection.execute(update(tables.jobs).values(reason="locked"))
            clock.now += LEASE
            assert held.stop.wait(PATIENCE)
        with pytest.raises(LeaseLostError):
            held.check()


def test_what_a_store_that_was_away_kept_from_being_finished_is_given_back_without_a_loss(
    database: Database, claim: JobClaim, keeper: LeaseKeeper
) -> None:
    with pytest.raises(StoreUnavailableError), keeper.holding(claim):
        raise StoreUnavailableError("the network is cut")
    keeper.tend()
    job = queries.job(database, claim.id)
    assert (job.state, job.lost) == ("queued", 0)
    assert [event.kind for event in events_of(database, claim.id)][-1] == "released"


def test_a_chunk_without_progress_is_told_of_and_one_that_moves_is_not(
    keeper: LeaseKeeper, clock: Clock, hung: list[JobClaim | ChunkClaim]
) -> None:
    still = ChunkClaim("still.0", "running", 1, "worker")
    moving = ChunkClaim("moving.0", "running", 1, "worker")
    with keeper.holding(still), keeper.holding(moving) as held:
        for _ in range(3):
            held.progress += 1
            clock.now += STALL / 2
            keeper.watch()
    assert hung == [still]
