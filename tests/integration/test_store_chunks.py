"""A job's chunks: planned, admitted a few at a time, read in halves, and the job moves on with the last."""

from __future__ import annotations

import threading
from functools import partial

import pytest

from dropscribe.core.routing import ANY_MODEL
from dropscribe.core.types import Chunk, JobState, Media, RawTranscript, Segment, Span, Word
from dropscribe.store import chunk_plans, chunks, commands, jobs, queries, recovery, transcripts
from dropscribe.store.chunk_plans import Admitted, Onward, Prepared
from dropscribe.store.chunks import Claimant
from dropscribe.store.events import events_of
from dropscribe.store.leases import Claim
from dropscribe.store.session import Database
from tests.integration.store_steps import (
    ENGINE,
    LEASE,
    admit,
    finish,
    listening,
    plan,
    prepare,
    read,
    state,
    windows_of,
)


def test_a_recording_goes_from_queued_to_done(database: Database) -> None:
    job_id = admit(database)
    first, second = prepare(database, job_id, windows=2)
    assert state(database, job_id) is JobState.TRANSCRIBING
    assert read(database, second) == Onward()
    assert read(database, first) == Onward(finish=True), "the last chunk's commit says that it was the last"
    assert state(database, job_id) is JobState.FINISHING
    assert [part.segments[0].text for part in transcripts.transcribed(database, job_id).chunks] == [
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
    [part] = transcripts.transcribed(database, job_id).chunks
    assert (part.segments, part.language) == ((said,), "de")


def test_a_recording_without_speech_goes_straight_to_finishing(database: Database) -> None:
    job_id = admit(database)
    assert prepare(database, job_id, windows=0) == []
    assert state(database, job_id) is JobState.FINISHING


def test_a_chunk_runs_the_same_few_statements_however_many_its_job_has_and_none_is_built_for_it(
    database: Database,
) -> None:
    built: list[list[object]] = []
    segment, then = Segment(0, 10, "words", 0), Claimant("model", LEASE, ANY_MODEL)
    for windows in (8, 80):
        job_id = admit(database, f"{windows}.wav")
        ready = prepare(database, job_id, windows=windows, at_once=2)
        ready += [*read(database, ready[0], at_once=2).transcribe, *read(database, ready[1], at_once=2).transcribe]
        work = chunks.claim(database, ready[2], "model", LEASE)
        assert work
        built.append([])
        with listening(database, "before_execute", lambda _connection, clause, *_: built[-1].append(clause)):
            commit = partial(chunks.commit, database, work.claim, RawTranscript((segment,)), engine=ENGINE)
            assert commit(window=2, then=then).following, "the commit claims the next"
        commands.cancel(database, job_id)
    few, many = built
    assert [*map(id, few)] == [*map(id, many)]
    assert len(few) == 9


def test_a_job_that_was_cancelled_when_it_was_prepared_ends_with_the_chunk_under_way(database: Database) -> None:
    job_id = admit(database)
    claim = jobs.claim_prepare(database, job_id, "cpu", LEASE)
    assert claim
    commands.cancel(database, job_id)  # its worker had no time to notice
    plan = Prepared(40.0, Media("wav"), "energy", windows_of(4), [Span(0.0, 40.0)])
    ready = chunk_plans.prepared(database, claim, plan, window=2).transcribe
    first, second = (chunks.claim(database, one, "model", LEASE) for one in ready)
    assert first
    assert second
    then = Claimant("model", LEASE, ANY_MODEL)
    for work, left in ((first, JobState.TRANSCRIBING), (second, JobState.CANCELLED)):
        onward = chunks.commit(database, work.claim, RawTranscript(()), engine=ENGINE, window=2, then=then)
        assert onward == Onward(), "neither is another admitted nor claimed"
        assert state(database, job_id) is left


def test_the_next_window_is_claimed_with_the_commit_if_it_is_of_the_same_recording(database: Database) -> None:
    then = Claimant("model", LEASE, ANY_MODEL)
    ready = prepare(database, admit(database, "a/long.wav"), windows=4, at_once=2)
    work = chunks.claim(database, ready[0], "model", LEASE)
    assert work
    onward = chunks.commit(database, work.claim, RawTranscript(()), engine=ENGINE, window=2, then=then)
    assert onward.following
    assert onward.following.claim.id == ready[1]
    assert onward.transcribe == (), "the third waits, and the message of the second is there for it"
    assert chunks.first_to_transcribe(database, ANY_MODEL.queues, 9) == [f"{work.claim.job_id}.2"]
    prepare(database, admit(database, "b/short.wav"))
    onward = chunks.commit(database, onward.following.claim, RawTranscript(()), engine=ENGINE, window=2, then=then)
    assert onward.following is None, "it is the turn of another folder"
    assert onward.transcribe == (f"{work.claim.job_id}.3",)


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
    assert read(database, first, at_once=2) == Onward(transcribe=(f"{job_id}.2",))
    assert chunk_plans.widen(database, lambda _: 2) == []
    joined = Admitted(Onward(transcribe=(f"{job_id}.3",)), "normal", queries.job(database, job_id).model_queue)
    assert chunk_plans.widen(database, lambda _: 9) == [joined], "workers have joined"
    for chunk_id in (second, f"{job_id}.2"):
        assert read(database, chunk_id, at_once=9) == Onward()
    assert read(database, f"{job_id}.3").finish


def test_a_chunk_that_failed_its_checks_is_read_in_halves(database: Database) -> None:
    job_id = admit(database)
    first, second = prepare(database, job_id, windows=2)
    read(database, second)
    work = chunks.claim(database, first, "model", LEASE)
    assert work
    halves = (Chunk(0, 0.0, 6.0, Span(0.0, 5.0)), Chunk(0, 4.0, 10.0, Span(5.0, 10.0)))
    assert chunks.split(database, work.claim, halves, ("it loops",)) == Onward(transcribe=(f"{first}.0", f"{first}.1"))
    assert queries.job(database, job_id).progress == pytest.approx(10 / 22), "the halves count, not what they replace"
    work = chunks.claim(database, f"{first}.1", "model", LEASE)
    assert work
    assert (work.chunk, work.depth) == (halves[1], 1)
    chunks.release(database, work.claim)
    assert not read(database, f"{first}.0").finish
    assert read(database, f"{first}.1").finish
    spans = [(part.window, part.keep) for part in transcripts.transcribed(database, job_id).chunks]
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
    assert chunks.split(database, work.claim, windows_of(2), ("it loops",)) == Onward()
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
    whole = Prepared(20.0, Media(), "energy", [Chunk(0, 0.0, 20.0, Span(0.0, 20.0))], [Span(0.0, 20.0)])
    jobs.lead_or_follow(database, claim, "hash")
    (chunk_id,) = chunk_plans.prepared(database, claim, whole, window=1).transcribe
    work = chunks.claim(database, chunk_id, "model", LEASE)
    assert work
    chunks.prepare_again(database, work.claim, "gone")
    assert len(prepare(database, job_id, windows=2)) == 2, "no worker left can read 20 s in one go"


HALVES = (Span(0.0, 12.0), Span(12.0, 20.0))


def test_voices_are_embedded_while_models_read_and_the_last_of_both_lets_the_job_be_finished(
    database: Database,
) -> None:
    job_id = admit(database)
    onward = plan(database, job_id, windows=2, stretches=HALVES)
    assert (onward.transcribe, onward.embed) == ((f"{job_id}.0", f"{job_id}.1"), (f"{job_id}.e0", f"{job_id}.e1"))
    work = chunks.claim_stretch(database, onward.embed[1], "cpu", LEASE)
    assert work
    assert (work.span, work.speech) == (HALVES[1], (Span(0.0, 20.0),))
    assert chunks.embedded(database, work.claim, 1.5) == Onward()
    for chunk_id in onward.transcribe:
        assert not read(database, chunk_id).finish
    assert queries.job(database, job_id).progress == 1.0, "embedding is no part of what is to be read"
    assert state(database, job_id) is JobState.TRANSCRIBING
    work = chunks.claim_stretch(database, onward.embed[0], "cpu", LEASE)
    assert work
    assert chunks.embedded(database, work.claim, 0.5).finish
    found = transcripts.transcribed(database, job_id).stretches
    assert [(one.span, one.reason, one.timings) for one in found] == [
        (HALVES[0], "", {"speaker_embedding": 0.5}),
        (HALVES[1], "", {"speaker_embedding": 1.5}),
    ]
    assert len(transcripts.transcribed(database, job_id).chunks) == 2
    finish(database, job_id)


def test_models_claim_no_stretch_and_cpu_workers_no_window(database: Database) -> None:
    job_id = admit(database)
    onward = plan(database, job_id, stretches=HALVES)
    assert chunks.claim(database, onward.embed[0], "model", LEASE) is None
    assert chunks.claim_stretch(database, onward.transcribe[0], "cpu", LEASE) is None


def test_a_few_stretches_of_a_long_recording_wait_at_once_and_the_next_follows_each(database: Database) -> None:
    job_id = admit(database)
    onward = plan(database, job_id, windows=9, at_once=1, stretches=[Span(n * 10.0, n * 10.0 + 10) for n in range(9)])
    assert onward.embed == tuple(f"{job_id}.e{n}" for n in range(chunk_plans.EMBEDDED_AT_ONCE))
    work = chunks.claim_stretch(database, onward.embed[0], "cpu", LEASE)
    assert work
    assert chunks.embedded(database, work.claim, 0.1).embed == (f"{job_id}.e{chunk_plans.EMBEDDED_AT_ONCE}",)


@pytest.mark.parametrize("fate", ["fails", "is lost", "has no encoder"])
def test_a_stretch_that_comes_to_nothing_does_not_keep_the_transcript(database: Database, fate: str) -> None:
    job_id = admit(database)
    onward = plan(database, job_id, stretches=HALVES[:1])
    read(database, onward.transcribe[0])
    work = chunks.claim_stretch(database, onward.embed[0], "cpu", LEASE)
    assert work
    if fate == "fails":
        assert chunks.retry_later(database, work.claim, "no", delay=0, limit=2) == [], "it is tried again first"
        work = chunks.claim_stretch(database, onward.embed[0], "cpu", LEASE)
        assert work
        assert chunks.retry_later(database, work.claim, "no", delay=0, limit=2) == [job_id]
    elif fate == "is lost":
        assert recovery.expire_of(database, "cpu", 1) == 1
    else:
        assert chunks.skip(database, work.claim, "no").finish
    assert state(database, job_id) is JobState.FINISHING
    (found,) = transcripts.transcribed(database, job_id).stretches
    assert found.reason


def test_a_stretch_whose_worker_died_is_embedded_by_the_next(database: Database) -> None:
    job_id = admit(database)
    onward = plan(database, job_id, stretches=HALVES[:1])
    assert chunks.claim_stretch(database, onward.embed[0], "cpu", LEASE)
    assert recovery.expire_of(database, "cpu", 3) == 1
    assert [one.id for one in recovery.unsent(database, "embed", 0.0, 9)] == list(onward.embed)
    assert recovery.unsent(database, "transcribe", -1.0, 9) == [recovery.Unsent("transcribe", f"{job_id}.0", "normal")]
    assert chunks.claim_stretch(database, onward.embed[0], "another", LEASE)


def test_where_only_the_audio_for_embedding_is_gone_what_was_read_stays_read(database: Database) -> None:
    job_id = admit(database)
    onward = plan(database, job_id, stretches=HALVES)
    read(database, onward.transcribe[0])
    work = chunks.claim_stretch(database, onward.embed[0], "cpu", LEASE)
    assert work
    assert chunks.prepare_again(database, work.claim, "gone") == [job_id]
    again = plan(database, job_id, stretches=HALVES)
    assert (again.transcribe, len(again.embed)) == ((), 2)
    assert len(transcripts.transcribed(database, job_id).chunks) == 1
    assert plan_again_without_stretches(database, job_id).finish


def plan_again_without_stretches(database: Database, job_id: str) -> Onward:
    (first, *_) = queries.queued_stretches(database)
    work = chunks.claim_stretch(database, first, "cpu", LEASE)
    assert work
    chunks.prepare_again(database, work.claim, "gone")
    return plan(database, job_id)
