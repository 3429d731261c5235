"""The store's promises, on both databases: one owner at a time, nothing written without ownership, nothing lost."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import exc, text, update

from dropscribe.core.errors import AmbiguousJobError, DropscribeError, JobNotFoundError, LeaseLostError, StoreError
from dropscribe.core.types import Chunk, ChunkState, EngineInfo, JobState, RawTranscript, Segment, Span, Word
from dropscribe.store import (
    chunk_plans,
    chunks,
    commands,
    fleet,
    jobs,
    leases,
    queries,
    recording_moves,
    recovery,
    speakers,
    switches,
    tables,
    transcripts,
)
from dropscribe.store.chunk_plans import Prepared
from dropscribe.store.chunks import Onward
from dropscribe.store.events import events_of, postponed_since
from dropscribe.store.fleet import Capacity, list_workers
from dropscribe.store.jobs import NewJob
from dropscribe.store.leases import Claim, Renewal
from dropscribe.store.roots import RootReport, list_roots, report_roots
from dropscribe.store.session import Database
from dropscribe.store.speakers import Said
from dropscribe.store.tables import FileName, Prose

ENGINE = EngineInfo("scripted", "script", "none")
LEASE = 60.0
LIMIT = 3


def new_job(path: str = "talk.wav", *, digest: str = "d", size: int = 10) -> NewJob:
    return NewJob("/root", path, size, 1, digest, "normal")


def admit(database: Database, path: str = "talk.wav", **options: object) -> str:
    (job_id,) = jobs.admit(database, [new_job(path, **options)])
    return job_id


def windows_of(count: int) -> list[Chunk]:
    return [Chunk(n, n * 10.0, n * 10.0 + 10.0, Span(n * 10.0, n * 10.0 + 10.0)) for n in range(count)]


def prepare(database: Database, job_id: str, *, windows: int = 1, at_once: int = 100) -> list[str]:
    claim = jobs.claim_prepare(database, job_id, "cpu", LEASE)
    assert claim
    assert jobs.lead_or_follow(database, claim, f"hash of {job_id}") == (None, [])
    speech = [Span(0.0, windows * 10.0)]
    result = Prepared(windows * 10.0, {"format": "wav"}, "energy", windows_of(windows), speech)
    return chunk_plans.prepared(database, claim, result, window=at_once)


def read(database: Database, chunk_id: str, *, reasons: tuple[str, ...] = (), at_once: int = 100) -> Onward:
    work = chunks.claim(database, chunk_id, "model", LEASE)
    assert work
    result = RawTranscript((Segment(work.chunk.start, work.chunk.end, f"words of {chunk_id}", 0),))
    return chunks.commit(database, work.claim, result, engine=ENGINE, reasons=reasons, window=at_once)


def finish(database: Database, job_id: str, state: JobState = JobState.DONE) -> list[str]:
    claim = jobs.claim_finish(database, job_id, "cpu", LEASE)
    assert claim
    transcripts.save(database, claim, "{}")
    return jobs.complete(database, claim, state)


def state(database: Database, job_id: str) -> JobState:
    return queries.job(database, job_id).state


def expire_leases(database: Database) -> None:
    """Let an hour pass for every lease."""
    with database.begin() as connection:
        for table in (tables.jobs, tables.chunks):
            connection.execute(update(table).values(lease_until=table.c.lease_until - 3600))


def test_a_recording_goes_from_queued_to_done(database: Database) -> None:
    job_id = admit(database)
    first, second = prepare(database, job_id, windows=2)
    assert state(database, job_id) is JobState.TRANSCRIBING
    assert read(database, second) == Onward([])
    assert read(database, first) == Onward([], finish=True), "the last chunk's commit says that it was the last"
    assert state(database, job_id) is JobState.FINISHING
    assert [part.segments[0].text for part in transcripts.read_chunks(database, job_id)] == [
        f"words of {first}",
        f"words of {second}",
    ]
    finish(database, job_id)
    assert state(database, job_id) is JobState.DONE
    kinds = [event.kind for event in events_of(database, job_id)]
    assert kinds == [
        "admitted",
        "preparing",
        "prepared",
        "transcribing",
        "transcribed",
        "transcribing",
        "transcribed",
        "finishing",
        "done",
    ]


def test_times_of_words_and_the_language_are_kept(database: Database) -> None:
    job_id = admit(database)
    [chunk_id] = prepare(database, job_id)
    work = chunks.claim(database, chunk_id, "model", LEASE)
    assert work
    said = Segment(1, 3, "guten Tag", words=(Word(1, 1.5, "guten"), Word(2, 3, "Tag")))
    chunks.commit(database, work.claim, RawTranscript((said,), language="de"), engine=ENGINE)
    [part] = transcripts.read_chunks(database, job_id)
    assert (part.segments, part.language) == ((said,), "de")


def test_a_recording_without_speech_goes_straight_to_finishing(database: Database) -> None:
    job_id = admit(database)
    assert prepare(database, job_id, windows=0) == []
    assert state(database, job_id) is JobState.FINISHING


def test_the_same_recording_is_admitted_once(database: Database) -> None:
    job_id = admit(database)
    assert jobs.admit(database, [new_job()]) == []
    assert jobs.admit(database, [new_job(digest="other settings")]) == [], "new settings re-run nothing by themselves"
    (again,) = jobs.admit(database, [new_job(digest="other settings")], again=True)
    assert again != job_id
    assert jobs.admit(database, [new_job(size=11)]) != [], "a changed file is another recording"
    assert jobs.find_admitted(database, new_job()) == job_id


def test_of_many_claims_at_once_exactly_one_wins(database: Database) -> None:
    job_id = admit(database)
    won: list[Claim] = []
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


def test_of_two_last_chunks_at_once_exactly_one_is_the_last(database: Database) -> None:
    for attempt in range(5):
        job_id = admit(database, f"{attempt}.wav")
        works = [chunks.claim(database, chunk, "model", LEASE) for chunk in prepare(database, job_id, windows=4)]
        last: list[bool] = []
        barrier = threading.Barrier(4)

        def commit(claim: Claim, last: list[bool] = last, barrier: threading.Barrier = barrier) -> None:
            barrier.wait()
            last.append(chunks.commit(database, claim, RawTranscript(()), engine=ENGINE).finish)

        threads = [threading.Thread(target=commit, args=(work.claim,)) for work in works if work]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(last) == [False, False, False, True]


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
        lambda: chunk_plans.prepared(database, old, Prepared(1.0, {}, "energy", (), ()), window=1),
        lambda: jobs.fail(database, old, "no"),
        lambda: jobs.retry_later(database, old, "no", delay=0, limit=1),
        lambda: jobs.complete(database, old, JobState.DONE),
        lambda: jobs.release(database, old),
        lambda: transcripts.save(database, old, "{}"),
        lambda: transcripts.reserve(database, old, "/root/talk.txt", "txt", "00", replaces=None),
    ):
        with pytest.raises(LeaseLostError):
            write()
    assert state(database, job_id) is JobState.QUEUED


def test_a_renewed_lease_does_not_expire(database: Database) -> None:
    job_id = admit(database)
    claim = jobs.claim_prepare(database, job_id, "cpu", -1.0)
    assert claim
    assert leases.renew(database, claim, LEASE) is Renewal.HELD
    assert recovery.expire(database, LIMIT) == 0


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


def test_a_chunk_whose_audio_is_gone_sends_its_job_back_to_be_prepared(database: Database) -> None:
    job_id = admit(database)
    first, _ = prepare(database, job_id, windows=2)
    work = chunks.claim(database, first, "model", LEASE)
    assert work
    assert chunks.prepare_again(database, work.claim, "gone") == [job_id]
    for chunk_id in prepare(database, job_id, windows=2):
        read(database, chunk_id)
    finish(database, job_id)


def test_a_long_recording_lets_a_few_chunks_in_at_a_time(database: Database) -> None:
    job_id = admit(database)
    first, second = prepare(database, job_id, windows=4, at_once=2)
    assert chunks.claim(database, f"{job_id}.2", "model", LEASE) is None, "it is held"
    assert read(database, first, at_once=2) == Onward([f"{job_id}.2"])
    assert chunk_plans.widen(database, lambda _: 2) == []
    assert chunk_plans.widen(database, lambda _: 9) == [(f"{job_id}.3", "normal", "model")], "workers have joined"
    for chunk_id in (second, f"{job_id}.2"):
        assert read(database, chunk_id, at_once=9) == Onward([])
    assert read(database, f"{job_id}.3").finish


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
        waiting = recovery.unsent(database, "transcribe", 60, 0)
        assert sorted(row.id for row in waiting) == [f"{job_id}.0", f"{job_id}.1"], "the reconciler sends for these"


def test_a_chunk_that_failed_its_checks_is_read_in_halves(database: Database) -> None:
    job_id = admit(database)
    first, second = prepare(database, job_id, windows=2)
    read(database, second)
    work = chunks.claim(database, first, "model", LEASE)
    assert work
    halves = (Chunk(0, 0.0, 6.0, Span(0.0, 5.0)), Chunk(0, 4.0, 10.0, Span(5.0, 10.0)))
    assert chunks.split(database, work.claim, halves, ("it loops",)) == Onward([f"{first}.0", f"{first}.1"])
    assert queries.job(database, job_id).progress == pytest.approx(10 / 22), "the halves count, not what they replace"
    work = chunks.claim(database, f"{first}.1", "model", LEASE)
    assert work
    assert (work.chunk, work.depth) == (halves[1], 1)
    chunks.release(database, work.claim)
    assert not read(database, f"{first}.0").finish
    assert read(database, f"{first}.1").finish
    spans = [(part.window, part.keep) for part in transcripts.read_chunks(database, job_id)]
    assert spans == [
        (Span(0.0, 6.0), Span(0.0, 5.0)),
        (Span(4.0, 10.0), Span(5.0, 10.0)),
        (Span(10.0, 20.0), Span(10.0, 20.0)),
    ]


def test_a_cancelled_job_is_not_read_in_halves(database: Database) -> None:
    job_id = admit(database)
    (chunk_id,) = prepare(database, job_id)
    work = chunks.claim(database, chunk_id, "model", LEASE)
    assert work
    commands.cancel(database, job_id)
    assert chunks.split(database, work.claim, windows_of(2), ("it loops",)) == Onward([])
    assert state(database, job_id) is JobState.CANCELLED


def test_what_was_read_stays_read_when_the_audio_is_prepared_again(database: Database) -> None:
    job_id = admit(database)
    first, second = prepare(database, job_id, windows=2)
    read(database, first)
    work = chunks.claim(database, second, "model", LEASE)
    assert work
    chunks.prepare_again(database, work.claim, "gone")
    assert prepare(database, job_id, windows=2) == [second]
    assert read(database, second).finish


def test_a_recording_that_is_planned_shorter_is_read_anew(database: Database) -> None:
    job_id = admit(database)
    claim = jobs.claim_prepare(database, job_id, "cpu", LEASE)
    assert claim
    whole = Prepared(20.0, {}, "energy", [Chunk(0, 0.0, 20.0, Span(0.0, 20.0))], [Span(0.0, 20.0)])
    jobs.lead_or_follow(database, claim, "hash")
    (chunk_id,) = chunk_plans.prepared(database, claim, whole, window=1)
    work = chunks.claim(database, chunk_id, "model", LEASE)
    assert work
    chunks.prepare_again(database, work.claim, "gone")
    assert len(prepare(database, job_id, windows=2)) == 2, "no worker left can read 20 s in one go"


def test_a_line_up_is_read_before_the_job_is_finished(database: Database) -> None:
    job_id = admit(database)
    (chunk_id,) = prepare(database, job_id)
    read(database, chunk_id)
    claim = jobs.claim_finish(database, job_id, "cpu", LEASE)
    assert claim
    assert transcripts.read_line_ups(database, job_id) == []
    line_ups = [f"{job_id}.lineup0", f"{job_id}.lineup1"]
    assert chunk_plans.line_up(database, claim, [({"clips": [1]}, 12.0), ({"clips": [2]}, 9.0)]) == line_ups
    assert state(database, job_id) is JobState.TRANSCRIBING
    assert not read(database, line_ups[1]).finish
    work = chunks.claim(database, line_ups[0], "model", LEASE)
    assert work
    assert (work.clips, work.chunk.end) == ({"clips": [1]}, 12.0)
    said = Segment(1.0, 4.0, "who is this", 0)
    assert chunks.commit(database, work.claim, RawTranscript((said,)), engine=ENGINE).finish
    found = transcripts.read_line_ups(database, job_id)
    assert [one.clips for one in found] == [{"clips": [1]}, {"clips": [2]}]
    assert found[0].segments == (said,)
    assert len(transcripts.read_chunks(database, job_id)) == 1, "it is no part of the recording"
    finish(database, job_id)


@pytest.mark.parametrize("fate", ["fails", "is lost", "has no audio"])
def test_a_line_up_that_comes_to_nothing_does_not_keep_the_transcript(database: Database, fate: str) -> None:
    job_id = admit(database)
    (chunk_id,) = prepare(database, job_id)
    read(database, chunk_id)
    claim = jobs.claim_finish(database, job_id, "cpu", LEASE)
    assert claim
    (line_up,) = chunk_plans.line_up(database, claim, [({"clips": []}, 12.0)])
    work = chunks.claim(database, line_up, "model", LEASE)
    assert work
    if fate == "fails":
        assert chunks.retry_later(database, work.claim, "out of memory", delay=0, limit=1) == [job_id]
    elif fate == "is lost":
        assert recovery.expire_of(database, "model", 1) == 1
    else:
        assert chunks.skip(database, work.claim, "gone").finish
    assert state(database, job_id) is JobState.FINISHING
    (found,) = transcripts.read_line_ups(database, job_id)
    assert found.segments == ()


def test_what_is_said_of_speakers_is_kept_and_has_the_files_written_again(database: Database) -> None:
    job_id = admit(database)
    with pytest.raises(DropscribeError, match="is queued"):
        speakers.say(database, job_id, Said({0: "Ada"}))
    (chunk_id,) = prepare(database, job_id)
    read(database, chunk_id)
    finish(database, job_id)
    said = Said({0: "Ada"}, {3: 0})
    speakers.say(database, job_id, Said({0: "Eve"}))
    speakers.say(database, job_id, said)
    assert state(database, job_id) is JobState.FINISHING
    assert speakers.read(queries.job(database, job_id).speakers) == said
    finish(database, job_id)


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


def follow(database: Database, path: str, sha256: str) -> tuple[str, str | None, list[str]]:
    job_id = admit(database, path)
    claim = jobs.claim_prepare(database, job_id, "cpu", LEASE)
    assert claim
    leader, woken = jobs.lead_or_follow(database, claim, sha256)
    return job_id, leader, woken


def test_the_same_content_follows_the_job_that_transcribes_it(database: Database) -> None:
    leader, nobody, _ = follow(database, "a.wav", "same")
    follower, followed, woken = follow(database, "b.wav", "same")
    assert (nobody, followed, woken) == (None, leader, [])
    assert state(database, follower) is JobState.TRANSCRIBING
    recovery.expire_all(database, LIMIT)  # the leader is prepared again
    claim = jobs.claim_prepare(database, leader, "cpu", LEASE)
    assert claim
    assert jobs.lead_or_follow(database, claim, "same") == (None, [])
    chunk_plans.prepared(database, claim, Prepared(1.0, {}, "energy", (), ()), window=1)
    assert finish(database, leader) == [follower], "the leader's end wakes its followers"
    assert state(database, follower) is JobState.FINISHING
    late, followed, woken = follow(database, "c.wav", "same")
    assert (followed, woken) == (leader, [late]), "who comes late need not wait"


def test_a_follower_of_a_failed_job_transcribes_by_itself(database: Database) -> None:
    job_id = admit(database, "a.wav")
    claim = jobs.claim_prepare(database, job_id, "cpu", LEASE)
    assert claim
    jobs.lead_or_follow(database, claim, "same")
    follower, _, _ = follow(database, "b.wav", "same")
    assert jobs.fail(database, claim, "broken") == [follower]
    finishing = jobs.claim_finish(database, follower, "cpu", LEASE)
    assert finishing
    assert jobs.start_over(database, finishing, "no transcript") == [follower]
    again = jobs.claim_prepare(database, follower, "cpu", LEASE)
    assert again
    assert jobs.lead_or_follow(database, again, "same") == (None, [])


def test_a_follower_that_nobody_woke_is_found(database: Database) -> None:
    leader, _, _ = follow(database, "a.wav", "same")
    follower, _, _ = follow(database, "b.wav", "same")
    with database.begin() as connection:
        connection.execute(update(tables.jobs).where(tables.jobs.c.id == leader).values(state="failed"))
    assert recovery.reunite_followers(database) == 1
    assert state(database, follower) is JobState.FINISHING


def test_a_renamed_file_keeps_its_place_in_the_queue(database: Database) -> None:
    job_id = admit(database, "old.wav")
    assert recording_moves.adopt_renamed(database, new_job("new.wav"), {"other.wav"}) is None
    assert recording_moves.adopt_renamed(database, new_job("new.wav", size=99), {"old.wav"}) is None
    assert recording_moves.adopt_renamed(database, new_job("new.wav"), {"old.wav"}) == job_id
    assert queries.job(database, job_id).source == "/root/new.wav"
    assert jobs.admit(database, [new_job("new.wav")]) == []


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


def test_a_paused_fleet_starts_nothing_and_goes_on_where_it_was(database: Database) -> None:
    job_id = admit(database)
    switches.pause(database)
    switches.pause(database)
    assert switches.paused_since(database)
    assert jobs.claim_prepare(database, job_id, "cpu", LEASE) is None
    switches.resume(database)
    assert [row.id for row in recovery.unsent(database, "prepare", 15.0, 0)] == [job_id]
    assert jobs.claim_prepare(database, job_id, "cpu", LEASE)


def test_one_process_holds_a_role_at_a_time(database: Database) -> None:
    assert fleet.hold_role(database, "reconciler", "a", LEASE)
    assert not fleet.hold_role(database, "reconciler", "b", LEASE)
    assert fleet.hold_role(database, "reconciler", "a", -1.0)
    assert fleet.hold_role(database, "reconciler", "b", LEASE)


def test_workers_are_listed_with_what_they_do(database: Database) -> None:
    fleet.register(database, "model", host="h", pid=1, role="model", state="loading")
    fleet.heartbeat(database, "model", state="ready", engine=ENGINE, audio=100.0, busy=4.0)
    (chunk_id,) = prepare(database, admit(database))
    work = chunks.claim(database, chunk_id, "model", LEASE)
    assert work
    leases.renew(database, work.claim, LEASE, progress=5.0)
    (worker,) = list_workers(database)
    assert (worker.state, worker.rtfx) == ("ready", 25.0)
    assert worker.doing == ("talk.wav 0-10 s, 50%",)
    assert queries.backlog(database).audio_seconds == 5.0
    fleet.leave(database, "model")
    assert list_workers(database) == []


def test_a_job_is_found_by_id_prefix_and_path(database: Database) -> None:
    job_id = admit(database)
    assert queries.find(database, job_id, "/elsewhere") == job_id
    assert queries.find(database, job_id[:5], "/elsewhere") == job_id
    assert queries.find(database, "talk.wav", "/root/talk.wav") == job_id
    with pytest.raises(JobNotFoundError, match="nothing%like_it"):
        queries.find(database, "nothing%like_it", "/elsewhere")
    with database.begin() as connection:
        for n in range(2):
            twin = {"id": f"twin{n}", "identity": f"twin{n}", "path_key": f"twin{n}"}
            columns = [c for c in tables.jobs.c if c.name not in twin]
            row = connection.execute(tables.jobs.select().where(tables.jobs.c.id == job_id)).one()
            values = {c.name: row._mapping[c.name] for c in columns if row._mapping[c.name] is not None}
            connection.execute(tables.jobs.insert().values(**values, **twin))
    with pytest.raises(AmbiguousJobError, match="twin0, twin1"):
        queries.find(database, "twin", "/elsewhere")


def test_a_file_belongs_to_the_job_that_reserved_its_path(database: Database) -> None:
    claims: list[Claim] = []
    for path in ("a.wav", "b.wav"):
        job_id = admit(database, path)
        prepare(database, job_id, windows=0)
        claim = jobs.claim_finish(database, job_id, "cpu", LEASE)
        assert claim
        claims.append(claim)
    one, other = claims
    assert transcripts.file_at(database, "/root/a.txt") is None
    assert transcripts.reserve(database, one, "/root/a.txt", "txt", "11", replaces=None)
    assert not transcripts.reserve(database, other, "/root/a.txt", "txt", "22", replaces=None)
    transcripts.written(database, one, ["/root/a.txt"])
    with pytest.raises(LeaseLostError):
        transcripts.written(database, other, ["/root/a.txt"])
    (file,) = transcripts.files_of(database, one.id)
    assert (file.path, file.sha256, file.written) == ("/root/a.txt", "11", True)
    transcripts.give_up(database, one, "/root/a.txt")
    assert transcripts.reserve(database, other, "/root/a.txt", "txt", "22", replaces=None)


def test_names_that_are_no_text_come_back_as_they_were(database: Database) -> None:
    name = b"caf\xe9 \xff.wav".decode("utf-8", "surrogateescape")
    job_id = admit(database, name)
    assert queries.job(database, job_id).path == name
    assert jobs.known(database, "/root") == {name: (10, 1)}
    claim = jobs.claim_prepare(database, job_id, "cpu", LEASE)
    assert claim
    jobs.fail(database, claim, f"{name}: \0 broken")
    assert "\ufffd" in queries.job(database, job_id).reason


@given(st.binary(max_size=60))
def test_any_bytes_make_a_file_name_that_survives_the_store(raw: bytes) -> None:
    name = raw.decode("utf-8", "surrogateescape")
    bind: Callable[..., str | None] = FileName().process_bind_param
    stored = bind(name, None)
    assert stored is not None
    stored.encode("utf-8", "strict")  # as a database does
    assert FileName().process_result_value(stored, None) == name


@given(st.text(st.characters(codec=None), max_size=60))
def test_any_text_becomes_prose_that_a_database_takes(raw: str) -> None:
    stored = Prose().process_bind_param(raw, None)
    assert stored is not None
    assert "\0" not in stored
    stored.encode("utf-8", "strict")  # as a database does


def test_chunks_that_are_cancelled_with_their_job_are_not_claimed(database: Database) -> None:
    job_id = admit(database)
    (chunk_id,) = prepare(database, job_id)
    with database.begin() as connection:
        jobs.close(connection, job_id, JobState.FAILED, "test", where="test")
        states = connection.execute(text("SELECT state FROM chunks")).scalars().all()
    assert states == [ChunkState.CANCELLED]
    assert chunks.claim(database, chunk_id, "model", LEASE) is None


def test_the_fleet_can_do_what_its_living_model_workers_can(database: Database) -> None:
    assert fleet.capacity(database, 60.0) == Capacity()
    for name, longest, slots in (("large", 1800.0, 4), ("small", 300.0, 1)):
        fleet.register(database, name, host="h", pid=1, role="model", state="loading")
        info = EngineInfo("scripted", "script", "none", slots, longest)
        fleet.heartbeat(database, name, engine=info)
    fleet.register(database, "starting", host="h", pid=1, role="model", state="loading")
    assert fleet.capacity(database, 60.0) == Capacity(workers=2, slots=5, longest_chunk=300.0)
    fleet.leave(database, "small")
    assert fleet.capacity(database, 60.0).longest_chunk == 1800.0
    assert fleet.capacity(database, -1.0) == Capacity()


def test_schedulers_that_report_one_folder_at_the_same_time_do_no_harm(database: Database) -> None:
    errors: list[Exception] = []
    report = RootReport("/rec", "here", "ext4", online=True)

    def tell() -> None:
        try:
            for _ in range(30):
                report_roots(database, [report])
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=tell) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert [root.path for root in list_roots(database)] == ["/rec"]


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
    latest, before = postponed_since(database, None)
    assert before == []
    jobs.postpone(database, claim, "/scratch is full", delay=60)
    later, ((job, source, reason),) = postponed_since(database, latest)
    assert (job, source, reason) == (claim.id, "/root/a.wav", "/scratch is full")
    assert postponed_since(database, later) == (later, [])


def test_an_interrupt_stays_one_whatever_the_driver_says_about_it(database: Database) -> None:
    def interrupted() -> None:
        try:
            raise KeyboardInterrupt
        finally:
            raise exc.ProgrammingError("", {}, Exception("can't change 'autocommit' now"))

    with pytest.raises(KeyboardInterrupt), database.read():
        interrupted()
    with pytest.raises(StoreError, match="autocommit"), database.read():
        raise exc.ProgrammingError("", {}, Exception("can't change 'autocommit' now"))
