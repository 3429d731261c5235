"""One owner at a time, and nothing written without ownership."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest
from sqlalchemy import text

from dropscribe.core.errors import LeaseLostError
from dropscribe.core.types import ChunkState, JobState, Media, RawTranscript
from dropscribe.store import chunk_plans, chunks, jobs, leases, recovery, transcripts, written_files
from dropscribe.store.chunk_plans import Prepared
from dropscribe.store.leases import JobClaim, Renewal
from dropscribe.store.session import Database
from dropscribe.store.transcripts import Reservation
from dropscribe.store.transitions import JobEvent
from tests.integration.store_steps import ENGINE, LEASE, LIMIT, admit, expire_leases, prepare, state, windows_of


def test_of_many_claims_at_once_exactly_one_wins(database: Database) -> None:
    job_id = admit(database)
    won: list[JobClaim] = []
    barrier = threading.Barrier(8)

    def claim(name: str) -> None:
        barrier.wait()
        if taken := jobs.claim_prepare(database, job_id, name, LEASE):
            won.append(taken)

    threads = [threading.Thread(target=claim, args=(f"worker {n}",)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
    assert won[0].attempt == 1


def test_a_worker_that_lost_its_lease_can_write_nothing(database: Database) -> None:
    job_id = admit(database)
    (chunk_id,) = prepare(database, job_id)
    old = chunks.claim(database, chunk_id, "sleeper", LEASE)
    assert old
    expire_leases(database)
    assert recovery.expire(database, LIMIT) == 1
    new = chunks.claim(database, chunk_id, "model", LEASE)
    assert new
    assert new.claim.attempt == 2
    assert leases.renew(database, old.claim, LEASE) is Renewal.LOST
    for write in (
        lambda: chunks.commit(database, old.claim, RawTranscript(()), engine=ENGINE),
        lambda: chunks.split(database, old.claim, windows_of(2), ("no",)),
        lambda: chunks.skip(database, old.claim, "no"),
        lambda: chunks.release(database, old.claim),
        lambda: chunks.retry_later(database, old.claim, "no", delay=0, limit=3),
        lambda: chunks.prepare_again(database, old.claim, "no"),
    ):
        with pytest.raises(LeaseLostError):
            write()
    assert leases.renew(database, new.claim, LEASE) is Renewal.HELD
    chunks.commit(database, new.claim, RawTranscript(()), engine=ENGINE)
    assert state(database, job_id) is JobState.FINISHING


def test_a_job_that_lost_its_lease_can_write_nothing(database: Database) -> None:
    job_id = admit(database)
    old = jobs.claim_prepare(database, job_id, "sleeper", LEASE)
    assert old
    expire_leases(database)
    recovery.expire(database, LIMIT)
    for write in (
        lambda: jobs.lead_or_follow(database, old, "hash"),
        lambda: chunk_plans.prepared(database, old, Prepared(1.0, Media(), "energy", (), ()), window=1),
        lambda: jobs.fail(database, old, "no"),
        lambda: jobs.retry_later(database, old, "no", delay=0, limit=1),
        lambda: jobs.release(database, old),
        lambda: transcripts.save(database, old, "{}"),
        lambda: transcripts.reserve(database, old, [Reservation("/root/talk.txt", "txt", "00")]),
    ):
        with pytest.raises(LeaseLostError):
            write()
    assert state(database, job_id) is JobState.QUEUED


def test_a_job_that_lost_its_lease_while_it_was_finished_does_not_end(database: Database) -> None:
    job_id = admit(database)
    prepare(database, job_id, windows=0)
    old = jobs.claim_finish(database, job_id, "sleeper", LEASE)
    assert old
    expire_leases(database)
    recovery.expire(database, LIMIT)
    with pytest.raises(LeaseLostError):
        jobs.complete(database, old, JobState.DONE)
    assert state(database, job_id) is JobState.FINISHING


def test_a_renewed_lease_does_not_expire(database: Database) -> None:
    job_id = admit(database)
    claim = jobs.claim_prepare(database, job_id, "cpu", -1.0)
    assert claim
    assert leases.renew(database, claim, LEASE) is Renewal.HELD
    assert recovery.expire(database, LIMIT) == 0


def test_chunks_that_are_cancelled_with_their_job_are_not_claimed(database: Database) -> None:
    job_id = admit(database)
    (chunk_id,) = prepare(database, job_id)
    with database.begin() as connection:
        jobs.close(connection, job_id, JobEvent.FAILED, "test", where="test")
        states = connection.execute(text("SELECT state FROM chunks")).scalars().all()
    assert states == [ChunkState.CANCELLED]
    assert chunks.claim(database, chunk_id, "model", LEASE) is None


def _finishing(database: Database, path: str) -> JobClaim:
    job_id = admit(database, path)
    prepare(database, job_id, windows=0)
    claim = jobs.claim_finish(database, job_id, "cpu", LEASE)
    assert claim
    return claim


def test_a_file_belongs_to_the_job_that_reserved_its_path(database: Database) -> None:
    one, other = (_finishing(database, name) for name in ("a.wav", "b.wav"))
    assert written_files.file_at(database, "/root/a.txt") is None
    path = "/root/a.txt"
    theirs, later = [Reservation(path, "txt", "22"), Reservation("/root/b.txt", "txt", "33")], "/root/c.txt"
    assert transcripts.save(database, one, "{}", files=[Reservation(path, "txt", "11")]) == {path}
    assert transcripts.reserve(database, other, theirs) == {"/root/b.txt"}
    assert transcripts.reserve(database, other, [Reservation(later, "txt", "44")]) == {later}
    jobs.complete(database, one, JobState.DONE, files=[path])
    with pytest.raises(LeaseLostError):
        jobs.complete(database, other, JobState.DONE, files=[path])
    assert state(database, other.id) is JobState.FINISHING
    (file,) = written_files.files_of(database, one.id)
    assert (file.path, file.sha256, file.written) == ("/root/a.txt", "11", True)
    transcripts.give_up(database, one, path)
    assert transcripts.reserve(database, other, theirs[:1]) == {path}


def test_a_file_that_gives_way_does_so_for_the_job_that_it_was_of_alone(database: Database) -> None:
    one, other = (_finishing(database, name) for name in ("a.wav", "b.wav"))
    path = "/root/a.txt"
    assert transcripts.reserve(database, one, [Reservation(path, "txt", "11")])
    wrong = Reservation(path, "txt", "22", replaces=other.id, replaced="11")
    assert not transcripts.reserve(database, other, [wrong])
    right = replace(wrong, replaces=one.id)
    assert transcripts.reserve(database, other, [right, Reservation("/root/b.txt", "txt", "33")]) == {
        path,
        "/root/b.txt",
    }
    (kept,) = written_files.files_at(database, [path, "/root/nothing.txt"]).values()
    assert (kept.job_id, kept.sha256, kept.replaced, kept.written) == (other.id, "22", "11", False)
