"""Nothing is lost: what crashed, failed or was deferred is tried again, and parked or failed at its limit."""

from __future__ import annotations

from sqlalchemy import update

from dropscribe.core.types import JobState
from dropscribe.store import chunks, commands, jobs, queries, recovery, tables
from dropscribe.store.event_cursor import EventCursor
from dropscribe.store.events import postponed_since
from dropscribe.store.session import Database
from tests.integration.store_steps import LEASE, LIMIT, admit, follow, prepare, read, state


def test_what_kills_three_workers_is_parked_and_says_so(database: Database) -> None:
    job_id = admit(database)
    (chunk_id,) = prepare(database, job_id)
    for _ in range(3):
        assert chunks.claim(database, chunk_id, "victim", LEASE)
        assert recovery.expire_of(database, "victim", LIMIT) == 1
    assert chunks.claim(database, chunk_id, "victim", LEASE) is None
    job = queries.job(database, job_id)
    assert job.state is JobState.PARKED
    assert "3 workers did not survive it" in job.reason
    assert commands.retry(database, job_id) is JobState.TRANSCRIBING
    assert read(database, chunk_id)


def test_work_given_back_in_order_counts_as_no_loss(database: Database) -> None:
    job_id = admit(database)
    (chunk_id,) = prepare(database, job_id)
    for _ in range(5):
        work = chunks.claim(database, chunk_id, "model", LEASE)
        assert work
        chunks.release(database, work.claim)
    for _ in range(5):
        assert chunks.claim(database, chunk_id, "model", LEASE)
        assert recovery.release_all(database, "model") == 1
    assert state(database, job_id) is JobState.TRANSCRIBING


def test_a_step_that_fails_waits_and_fails_for_good_at_the_limit(database: Database) -> None:
    job_id = admit(database)
    for attempt in range(2):
        claim = jobs.claim_prepare(database, job_id, "cpu", LEASE)
        assert claim, f"attempt {attempt}"
        jobs.retry_later(database, claim, "the share hangs", delay=3600, limit=3)
        assert jobs.claim_prepare(database, job_id, "cpu", LEASE) is None, "it is not due yet"
        with database.begin() as connection:
            connection.execute(update(tables.jobs).values(not_before=0.0))
    claim = jobs.claim_prepare(database, job_id, "cpu", LEASE)
    assert claim
    jobs.retry_later(database, claim, "the share hangs", delay=3600, limit=3)
    job = queries.job(database, job_id)
    assert (job.state, job.reason) == (JobState.FAILED, "the share hangs")


def test_a_chunk_that_always_fails_fails_its_job(database: Database) -> None:
    job_id = admit(database)
    first, second = prepare(database, job_id, windows=2)
    for _ in range(3):
        work = chunks.claim(database, first, "model", LEASE)
        assert work
        chunks.retry_later(database, work.claim, "out of memory", delay=0, limit=3)
    assert queries.job(database, job_id).reason == "out of memory"
    assert state(database, job_id) is JobState.FAILED
    assert chunks.claim(database, second, "model", LEASE) is None


def test_a_follower_that_nobody_woke_is_found(database: Database) -> None:
    leader, _, _ = follow(database, "a.wav", "same")
    follower, _, _ = follow(database, "b.wav", "same")
    with database.begin() as connection:
        connection.execute(update(tables.jobs).where(tables.jobs.c.id == leader).values(state="failed"))
    assert recovery.reunite_followers(database) == 1
    assert state(database, follower) is JobState.FINISHING


def test_messages_are_due_for_rows_never_sent_and_for_those_that_waited_longest(database: Database) -> None:
    ids = [admit(database, f"{n}.wav") for n in range(4)]
    assert recovery.waiting(database, "prepare", 15.0) == 0
    with database.begin() as connection:
        for age, job_id in enumerate(ids):
            sent = None if age == 0 else tables.jobs.c.sent_at - 100 * age
            connection.execute(update(tables.jobs).where(tables.jobs.c.id == job_id).values(sent_at=sent))
    assert recovery.waiting(database, "prepare", 15.0) == 3
    assert [row.id for row in recovery.unsent(database, "prepare", 15.0, 1)] == [ids[0], ids[3]]
    assert recovery.waiting(database, "prepare", 15.0) == 2


def test_what_is_put_off_is_known_by_reason_until_it_is_taken_again(database: Database) -> None:
    assert queries.deferred(database) == []
    for name in ("a.wav", "b.wav"):
        claim = jobs.claim_prepare(database, admit(database, name), "one", 90)
        assert claim
        jobs.postpone(database, claim, "/scratch is full", delay=60)
    (found,) = queries.deferred(database)
    assert found == ("/scratch is full", "a.wav", 2)


def test_each_time_that_work_is_put_off_is_told_once(database: Database) -> None:
    claim = jobs.claim_prepare(database, admit(database, "a.wav"), "one", 90)
    assert claim
    cursor = EventCursor.at_end(database)
    assert postponed_since(cursor) == []
    jobs.postpone(database, claim, "/scratch is full", delay=60)
    ((job, source, reason),) = postponed_since(cursor)
    assert (job, source, reason) == (claim.id, "/root/a.wav", "/scratch is full")
    assert postponed_since(cursor) == []
