"""What people ask for: cancel, retry, pause, and names of speakers."""

from __future__ import annotations

import pytest
from sqlalchemy import text

from dropscribe.core.errors import DropscribeError
from dropscribe.core.types import JobState, SpeakerNames
from dropscribe.store import chunk_plans, chunks, commands, jobs, leases, queries, recovery, speakers, switches
from dropscribe.store.leases import Renewal
from dropscribe.store.session import Database
from tests.integration.store_steps import LEASE, LIMIT, admit, finish, prepare, read, state


def test_cancelling_a_waiting_job_ends_it_at_once(database: Database) -> None:
    waiting, planned = admit(database, "a.wav"), admit(database, "b.wav")
    prepare(database, planned, windows=2)
    for job_id in (waiting, planned):
        assert commands.cancel(database, job_id)[0] is JobState.CANCELLED
        with pytest.raises(DropscribeError, match="nothing to cancel"):
            commands.cancel(database, job_id)


def test_cancelling_a_running_job_ends_it_when_its_worker_lets_go(database: Database) -> None:
    preparing, reading = admit(database, "a.wav"), admit(database, "b.wav")
    claim = jobs.claim_prepare(database, preparing, "cpu", LEASE)
    first, second = prepare(database, reading, windows=2)
    work = chunks.claim(database, first, "model", LEASE)
    assert claim
    assert work
    assert commands.cancel(database, preparing)[0] is JobState.PREPARING
    assert commands.cancel(database, reading)[0] is JobState.TRANSCRIBING
    assert chunks.claim(database, second, "model", LEASE) is None, "what waits does not start any more"
    assert leases.renew(database, claim, LEASE) is Renewal.CANCEL
    assert leases.renew(database, work.claim, LEASE, progress=1.0) is Renewal.CANCEL
    jobs.release(database, claim)
    chunks.release(database, work.claim)
    assert state(database, preparing) is JobState.CANCELLED
    assert state(database, reading) is JobState.CANCELLED


def test_a_cancelled_job_whose_worker_died_is_cancelled_by_the_reconciler(database: Database) -> None:
    preparing, reading = admit(database, "a.wav"), admit(database, "b.wav")
    jobs.claim_prepare(database, preparing, "cpu", LEASE)
    (chunk_id,) = prepare(database, reading)
    chunks.claim(database, chunk_id, "model", LEASE)
    commands.cancel(database, preparing)
    commands.cancel(database, reading)
    assert recovery.expire_all(database, LIMIT) == 2
    assert state(database, preparing) is JobState.CANCELLED
    assert state(database, reading) is JobState.CANCELLED


def test_held_chunks_end_with_their_job(database: Database) -> None:
    cancelled, failed = admit(database, "a.wav"), admit(database, "b.wav")
    prepare(database, cancelled, windows=3, at_once=1)
    (first,) = prepare(database, failed, windows=3, at_once=1)
    commands.cancel(database, cancelled)
    work = chunks.claim(database, first, "model", LEASE)
    assert work
    chunks.retry_later(database, work.claim, "no", delay=0, limit=1)
    assert chunk_plans.widen(database, lambda _: 9) == []
    for job_id in (cancelled, failed):
        assert commands.retry(database, job_id) is JobState.TRANSCRIBING
        waiting = recovery.unsent(database, "transcribe", 60, 0, queries.job(database, job_id).model_queue)
        assert sorted(row.id for row in waiting) == [f"{job_id}.0", f"{job_id}.1"], "the reconciler sends for these"


def test_a_retried_job_keeps_the_chunks_that_were_read(database: Database) -> None:
    job_id = admit(database)
    first, second = prepare(database, job_id, windows=2)
    read(database, first)
    commands.cancel(database, job_id)
    assert commands.retry(database, job_id) is JobState.TRANSCRIBING
    assert chunks.claim(database, first, "model", LEASE) is None
    assert read(database, second).finish
    with pytest.raises(DropscribeError, match="only failed"):
        commands.retry(database, job_id)


def test_retrying_a_suspect_job_reads_its_doubtful_chunks_again(database: Database) -> None:
    job_id = admit(database)
    first, second = prepare(database, job_id, windows=2)
    read(database, first)
    read(database, second, reasons=("it loops",))
    finish(database, job_id, JobState.SUSPECT)
    # Its chunk is done, so only its reasons tell that it is to be read again.
    with database.begin() as connection:
        assert connection.execute(text("SELECT count(*) FROM chunks WHERE state = 'done'")).scalar() == 2
    assert commands.retry(database, job_id) is JobState.TRANSCRIBING
    assert chunks.claim(database, first, "model", LEASE) is None
    assert read(database, second).finish


def test_a_paused_fleet_starts_nothing_and_goes_on_where_it_was(database: Database) -> None:
    job_id = admit(database)
    switches.pause(database)
    switches.pause(database)
    assert switches.paused_since(database)
    assert jobs.claim_prepare(database, job_id, "cpu", LEASE) is None
    switches.resume(database)
    assert [row.id for row in recovery.unsent(database, "prepare", 15.0, 0)] == [job_id]
    assert jobs.claim_prepare(database, job_id, "cpu", LEASE)


def test_what_is_said_of_speakers_is_kept_and_has_the_files_written_again(database: Database) -> None:
    job_id = admit(database)
    with pytest.raises(DropscribeError, match="is queued"):
        speakers.say(database, job_id, SpeakerNames({0: "Ada"}))
    (chunk_id,) = prepare(database, job_id)
    read(database, chunk_id)
    finish(database, job_id)
    said = SpeakerNames({0: "Ada"}, {3: 0})
    speakers.say(database, job_id, SpeakerNames({0: "Eve"}))
    speakers.say(database, job_id, said)
    assert state(database, job_id) is JobState.FINISHING
    assert queries.job(database, job_id).speakers == said
    finish(database, job_id)
