"""Moments in the store when the database's clock is stepped, and when leases may be believed to have run out."""

from __future__ import annotations

import pytest
from sqlalchemy import text, update

from dropscribe.core.errors import StoreUnavailableError
from dropscribe.core.queue import Doorbell
from dropscribe.core.settings import Settings
from dropscribe.scheduler.duties import reconciler
from dropscribe.scheduler.duties.reconciler import ClockGuard
from dropscribe.store import fleet, jobs, queries, recovery
from dropscribe.store.jobs import NewJob
from dropscribe.store.session import Database
from dropscribe.store.tables import jobs as table
from dropscribe.store.tables import locks, now

LEASE = 90.0
HOUR = 3600.0


def admitted(database: Database, name: str = "a.wav", priority: str = "normal") -> str:
    (job_id,) = jobs.admit(database, [NewJob("/root", name, 1, 1, "d", priority)])
    return job_id


def test_a_dead_workers_lease_ends_soon_although_the_clock_was_set_back_by_an_hour(database: Database) -> None:
    job_id = admitted(database)
    assert jobs.claim_prepare(database, job_id, "worker", LEASE + HOUR)
    assert recovery.clamp_future_moments(database, lease=LEASE, delay=300) == 1
    with database.begin() as connection:
        connection.execute(update(table).values(lease_until=table.c.lease_until - LEASE - 1))
    assert recovery.expire(database, 3) == 1


def test_waits_and_messages_of_a_clock_that_was_set_back_are_pulled_in(database: Database) -> None:
    job_id = admitted(database)
    with database.begin() as connection:
        connection.execute(update(table).values(not_before=now() + HOUR, sent_at=now() + HOUR))
    assert recovery.clamp_future_moments(database, lease=LEASE, delay=300) == 2
    assert jobs.claim_prepare(database, job_id, "worker", LEASE)


def test_moments_as_they_should_be_are_left_alone(database: Database) -> None:
    job_id = admitted(database)
    claim = jobs.claim_prepare(database, job_id, "worker", LEASE)
    assert claim
    jobs.retry_later(database, claim, "try again", delay=90, limit=3)
    fleet.register(database, "worker", host="h", pid=1, role="cpu", state="ready")
    assert recovery.clamp_future_moments(database, lease=LEASE, delay=300) == 0


def test_a_role_that_was_held_before_the_clock_was_set_back_is_free(database: Database) -> None:
    assert fleet.hold_role(database, "role", "one", LEASE)
    assert not fleet.hold_role(database, "role", "two", LEASE)
    with database.begin() as connection:
        connection.execute(update(locks).values(lease_until=now() + HOUR))
    assert fleet.hold_role(database, "role", "two", LEASE)


def test_leases_are_not_believed_right_after_a_step_in_either_direction_nor_after_the_store_was_away() -> None:
    here, step = 1000.0, 0.0
    vigil = ClockGuard(grace=40.0, monotonic=lambda: here)

    def look() -> bool:
        return vigil.believes(lambda: here + step)

    def pass_by(seconds: float) -> bool:
        nonlocal here
        here += seconds
        return look()

    assert [look(), pass_by(39), pass_by(1)] == [False, False, True]  # a new one waits as well
    for seconds in (HOUR, 0.0):
        step = seconds
        assert [pass_by(20), pass_by(20), pass_by(20)] == [False, False, True]

    def away() -> float:
        raise StoreUnavailableError("away")

    with pytest.raises(StoreUnavailableError):
        vigil.believes(away)
    assert [pass_by(20), pass_by(40)] == [False, True]


def test_live_workers_may_renew_before_the_reconciler_takes_work_back(database: Database, settings: Settings) -> None:
    admitted(database)
    assert jobs.claim_prepare(database, queries.list_jobs(database)[0].id, "worker", -1.0)
    vigil, doorbell = ClockGuard(grace=0.0), Doorbell(settings)
    patient = ClockGuard(grace=HOUR)
    reconciler.reconcile(database, doorbell, settings, "test", patient)
    assert queries.list_jobs(database)[0].lost == 0
    reconciler.reconcile(database, doorbell, settings, "test", vigil)
    assert queries.list_jobs(database)[0].lost == 1
    doorbell.close()


@pytest.mark.parametrize(("priority", "urgency"), [("low", "normal"), ("normal", "high"), ("high", "high")])
def test_what_was_lost_goes_ahead_of_its_equals(database: Database, priority: str, urgency: str) -> None:
    lost, other = admitted(database, "lost.wav", priority), admitted(database, "other.wav", priority)
    assert jobs.claim_prepare(database, lost, "worker", LEASE)
    recovery.expire_of(database, "worker", 3)
    with database.begin() as connection:
        connection.execute(update(table).values(sent_at=None))
    found = {row.id: row.priority for row in recovery.unsent(database, "prepare", 10, 10)}
    assert found == {lost: urgency, other: priority}


def test_nobody_claims_anything_in_tables_of_another_version(database: Database) -> None:
    job_id = admitted(database)
    with database.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    assert jobs.claim_prepare(database, job_id, "worker", LEASE) is None
    assert not database.is_current()
