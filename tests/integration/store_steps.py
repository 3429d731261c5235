"""The steps of a job as tests of the store take them, without a worker."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from sqlalchemy import event, update

from dropscribe.core.types import Chunk, EngineInfo, JobState, Media, RawTranscript, Segment, Span
from dropscribe.store import chunk_plans, chunks, jobs, queries, tables, transcripts
from dropscribe.store.chunk_plans import Onward, Prepared
from dropscribe.store.jobs import NewJob
from dropscribe.store.session import Database

ENGINE = EngineInfo("scripted", "script", "none")
LEASE = 60.0  # seconds
LIMIT = 3  # losses


def new_job(path: str = "talk.wav", *, digest: str = "d", size: int = 10) -> NewJob:
    return NewJob("/root", path, size, 1, digest, "normal")


def admit(database: Database, path: str = "talk.wav", **options: object) -> str:
    (job_id,) = jobs.admit(database, [new_job(path, **options)])
    return job_id


def windows_of(count: int) -> list[Chunk]:
    return [Chunk(n, n * 10.0, n * 10.0 + 10.0, Span(n * 10.0, n * 10.0 + 10.0)) for n in range(count)]


def prepare(database: Database, job_id: str, *, windows: int = 1, at_once: int = 100) -> list[str]:
    """Plan windows of 10 s; returns those that wait for a model."""
    return list(plan(database, job_id, windows=windows, at_once=at_once).transcribe)


def plan(
    database: Database, job_id: str, *, windows: int = 1, at_once: int = 100, stretches: Sequence[Span] = ()
) -> Onward:
    """Plan windows of 10 s, and stretches whose voices are to be embedded."""
    claim = jobs.claim_prepare(database, job_id, "cpu", LEASE)
    assert claim
    assert jobs.lead_or_follow(database, claim, f"hash of {job_id}") == (None, [])
    speech = [Span(0.0, windows * 10.0)]
    result = Prepared(windows * 10.0, Media("wav"), "energy", windows_of(windows), speech, stretches=stretches)
    return chunk_plans.prepared(database, claim, result, window=at_once)


def follow(database: Database, path: str, sha256: str) -> tuple[str, str | None, list[str]]:
    job_id = admit(database, path)
    claim = jobs.claim_prepare(database, job_id, "cpu", LEASE)
    assert claim
    leader, woken = jobs.lead_or_follow(database, claim, sha256)
    return job_id, leader, woken


def read(database: Database, chunk_id: str, *, reasons: tuple[str, ...] = (), at_once: int = 100) -> Onward:
    work = chunks.claim(database, chunk_id, "model", LEASE)
    assert work
    result = RawTranscript((Segment(work.chunk.start, work.chunk.end, f"words of {chunk_id}", 0),))
    return chunks.commit(database, work.claim, result, engine=ENGINE, reasons=reasons, window=at_once)


@contextmanager
def listening(database: Database, name: str, call: Callable[..., object]) -> Iterator[None]:
    """Have the engine call for each of its events of this name."""
    event.listen(database.engine, name, call)
    try:
        yield
    finally:
        event.remove(database.engine, name, call)


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
