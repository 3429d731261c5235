"""One model transcribes all of a recording: an engine, a checkpoint and a precision, those of its first claim."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import select

from dropscribe.core.errors import DropscribeError
from dropscribe.core.event_kinds import EventKind
from dropscribe.core.job_overrides import JobOverrides
from dropscribe.core.routing import ResidentModel, model_queue, wish_of
from dropscribe.core.types import EngineInfo, JobState, RawTranscript
from dropscribe.store import chunks, commands, events, fleet, jobs, queries, recovery, tables
from dropscribe.store.chunk_work import ChunkWork
from dropscribe.store.jobs import NewJob
from dropscribe.store.session import Database
from dropscribe.worker import cpu_tasks, model_tasks
from tests.integration import one_worker
from tests.integration.console import Cli
from tests.integration.one_worker import MakeContext
from tests.integration.store_steps import LEASE, LIMIT, admit, expire_leases, prepare, state

WHISPER = EngineInfo("whisper", "Systran/faster-whisper-base", "int8")
VIBEVOICE = EngineInfo("vibevoice", "microsoft/VibeVoice-ASR-HF", "nf4")


def claim(database: Database, chunk_id: str, info: EngineInfo) -> ChunkWork | None:
    return chunks.claim(database, chunk_id, info.engine, LEASE, ResidentModel.of(info))


def commit(database: Database, work: ChunkWork, info: EngineInfo, *, window: int = 100) -> tuple[str, ...]:
    return chunks.commit(database, work.claim, RawTranscript(()), engine=info, window=window).transcribe


def engines_of(database: Database, job_id: str) -> set[str]:
    """The engines that transcribed a chunk of the job."""
    query = select(tables.chunks.c.engine).where(tables.chunks.c.job_id == job_id)
    with database.read() as connection:
        return {info.engine for info in connection.execute(query).scalars() if info}


def test_two_workers_of_different_engines_never_share_the_twenty_chunks_of_a_recording(database: Database) -> None:
    job_id = admit(database)
    waiting = prepare(database, job_id, windows=20)
    together = threading.Barrier(2)
    done: list[str] = []

    def work(info: EngineInfo) -> None:
        together.wait()
        for chunk_id in waiting:
            if taken := claim(database, chunk_id, info):
                commit(database, taken, info)
                done.append(info.engine)

    threads = [threading.Thread(target=work, args=(info,)) for info in (WHISPER, VIBEVOICE)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(done) == 20
    assert engines_of(database, job_id) == set(done)
    assert len(set(done)) == 1
    assert state(database, job_id) is JobState.FINISHING


@pytest.mark.parametrize("other", [replace(WHISPER, model="small"), replace(WHISPER, precision="fp16"), VIBEVOICE])
def test_another_checkpoint_or_precision_is_another_model(database: Database, other: EngineInfo) -> None:
    first, second = prepare(database, admit(database), windows=2)
    assert claim(database, first, WHISPER)
    assert claim(database, second, other) is None
    assert claim(database, second, replace(WHISPER, slots=4, load_seconds=9.0))


def test_a_job_of_which_its_model_left_nothing_is_free_for_any_that_its_folder_wants(database: Database) -> None:
    first, second = prepare(database, admit(database), windows=2)
    job_id = queries.list_jobs(database)[0].id
    assert claim(database, first, WHISPER)
    assert recovery.unbind(database) == 0, "it is being transcribed"
    expire_leases(database)
    recovery.expire(database, LIMIT)
    assert claim(database, first, VIBEVOICE) is None
    assert recovery.unbind(database) == 1
    assert queries.job(database, job_id).model_queue == "model"
    taken = claim(database, first, VIBEVOICE)
    assert taken
    commit(database, taken, VIBEVOICE)
    assert recovery.unbind(database) == 0, "a chunk of it is transcribed"
    assert claim(database, second, WHISPER) is None


def test_a_job_stays_with_its_model_when_a_doubtful_chunk_is_retried(database: Database) -> None:
    first, second = prepare(database, admit(database), windows=2)
    job_id = queries.list_jobs(database)[0].id
    for chunk_id, reasons in ((first, ()), (second, ("it looped",))):
        taken = claim(database, chunk_id, WHISPER)
        assert taken
        chunks.commit(database, taken.claim, RawTranscript(()), engine=WHISPER, reasons=reasons)
    finishing = jobs.claim_finish(database, job_id, "cpu", LEASE)
    assert finishing
    jobs.complete(database, finishing, JobState.SUSPECT)
    assert commands.retry(database, job_id) is JobState.TRANSCRIBING
    assert recovery.unbind(database) == 0
    assert claim(database, second, VIBEVOICE) is None
    assert claim(database, second, WHISPER)


def test_somebody_may_have_another_model_begin_anew(database: Database) -> None:
    first = prepare(database, admit(database), windows=2)[0]
    job_id = queries.list_jobs(database)[0].id
    taken = claim(database, first, WHISPER)
    assert taken
    commit(database, taken, WHISPER)
    assert commands.change_model(database, job_id) is JobState.QUEUED
    assert engines_of(database, job_id) == set(), "what was transcribed is thrown away"
    for chunk_id in prepare(database, job_id, windows=2):
        taken = claim(database, chunk_id, VIBEVOICE)
        assert taken
        commit(database, taken, VIBEVOICE)
    assert state(database, job_id) is JobState.FINISHING
    (event,) = [one for one in events.events_of(database, job_id) if one.kind == EventKind.ANOTHER_MODEL]
    assert event.detail == "the model faster-whisper-base in int8 (whisper)"


def test_what_was_transcribed_is_kept_where_no_model_is_needed_any_more(database: Database) -> None:
    (chunk_id,) = prepare(database, admit(database))
    job_id = queries.list_jobs(database)[0].id
    taken = claim(database, chunk_id, WHISPER)
    assert taken
    assert queries.model_queues(database) == {ResidentModel.of(WHISPER).own_queue: 1}
    commit(database, taken, WHISPER)
    assert state(database, job_id) is JobState.FINISHING
    assert queries.model_queues(database) == {}
    with pytest.raises(DropscribeError, match="does not wait for a certain model"):
        commands.change_model(database, job_id)
    assert engines_of(database, job_id) == {"whisper"}


def test_a_job_that_is_to_be_cancelled_is_not_begun_anew(database: Database) -> None:
    (chunk_id,) = prepare(database, admit(database))
    job_id = queries.list_jobs(database)[0].id
    assert claim(database, chunk_id, WHISPER)
    assert queries.bound_to_others(database, []) == queries.list_jobs(database)
    commands.cancel(database, job_id)
    assert not commands.begin_anew(database, job_id)
    assert queries.job(database, job_id).cancel_requested


@pytest.mark.parametrize("precision", ["int8", "torchao", "bitsandbytes", "compressed-tensors"])
def test_the_queue_of_a_model_with_long_names_fits_the_store(database: Database, precision: str) -> None:
    long = EngineInfo("vibevoice", "somebody/VibeVoice-ASR-HF-quantized-by-somebody-else", precision)
    (chunk_id,) = prepare(database, admit(database))
    assert claim(database, chunk_id, long)
    queue = queries.list_jobs(database)[0].model_queue
    assert queue == ResidentModel.of(long).own_queue
    assert len(queue) <= 48
    assert wish_of(queue).startswith("the model")


def test_a_folder_that_wants_something_else_does_not_free_a_job_that_is_begun(database: Database) -> None:
    job_id = admit(database)
    (chunk_id,) = prepare(database, job_id)
    taken = claim(database, chunk_id, WHISPER)
    assert taken
    chunks.commit(database, taken.claim, RawTranscript(()), engine=WHISPER, reasons=("doubtful",))
    finishing = jobs.claim_finish(database, job_id, "cpu", LEASE)
    assert finishing
    jobs.complete(database, finishing, JobState.SUSPECT)
    wanted = NewJob("/root", "talk.wav", 10, 1, "d", "normal", overrides=JobOverrides(engine="vibevoice"))
    commands.rerun(database, job_id, wanted)
    assert queries.job(database, job_id).model_queue == ResidentModel.of(WHISPER).own_queue


@contextmanager
def long_recording(context: one_worker.WorkerContext, recording: Path) -> Iterator[str]:
    """A recording that is prepared as several chunks, which wait in the queue of every model worker."""
    job_id = one_worker.admit(context, recording, chunk_seconds=3.0)
    cpu_tasks.prepare_job(context, job_id)
    assert len(one_worker.queued(context, job_id)) > 1
    yield job_id


def test_a_chunk_that_comes_to_another_models_worker_is_passed_on_to_its_own(
    make_context: MakeContext, recording: Path
) -> None:
    first, second = make_context(min_chunk_seconds=1.0), make_context(min_chunk_seconds=1.0)
    assert second.model
    second.model.info = VIBEVOICE
    with long_recording(first, recording) as job_id:
        before, *others = one_worker.queued(first, job_id)
        model_tasks.transcribe_chunk(first, before)
        own, common = first.resident.own_queue, first.doorbell.depth(model_queue())
        sent = first.doorbell.depth(own)
        for chunk_id in others:
            model_tasks.transcribe_chunk(second, chunk_id)
        assert first.doorbell.depth(own) == sent + len(others)
        assert first.doorbell.depth(model_queue()) == common, "nothing comes back to where it was taken from"
        for chunk_id in one_worker.queued(first, job_id):
            model_tasks.transcribe_chunk(first, chunk_id)
        model_tasks.transcribe_chunk(second, before)  # a late message: the chunk is done
        assert engines_of(first.database, job_id) == {"scripted"}


def test_what_waits_for_a_model_that_no_worker_has_says_so(
    store: Database, cli: Cli, make_context: MakeContext, recording: Path
) -> None:
    context = make_context(min_chunk_seconds=1.0)
    assert context.model
    with long_recording(context, recording) as job_id:
        model_tasks.transcribe_chunk(context, one_worker.queued(context, job_id)[0])
        join(store, "other", VIBEVOICE)
        said = "the model scripted in none (scripted), which began and which no worker has now"
        assert said in cli("show", job_id).out
        assert any(f"1 job waiting for {said}" in warning for warning in cli("status", "--json").json["warnings"])
        join(store, "same", context.model.info)
        assert "which began" not in cli("show", job_id).out
        assert not any("waiting for" in warning for warning in cli("status", "--json").json["warnings"])


def join(store: Database, name: str, info: EngineInfo) -> None:
    """A worker with that model joins the fleet."""
    fleet.register(store, name, host="h", pid=1, role="model", state="ready")
    fleet.heartbeat(store, name, engine=info)
