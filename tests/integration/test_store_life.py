"""Whatever happens to jobs in whatever order, the store keeps to its table of transitions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, TypeVar

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import func, select, text

from dropscribe.core.errors import DropscribeError
from dropscribe.core.routing import ResidentModel
from dropscribe.core.types import (
    PENDING_CHUNKS,
    Chunk,
    EngineInfo,
    JobState,
    Media,
    RawTranscript,
    Segment,
    Span,
    SpeakerNames,
)
from dropscribe.store import (
    chunk_plans,
    chunks,
    commands,
    ended,
    jobs,
    notifications,
    recording_moves,
    recovery,
    speakers,
)
from dropscribe.store import transcripts as documents
from dropscribe.store.chunk_plans import Prepared
from dropscribe.store.jobs import NewJob
from dropscribe.store.leases import ChunkClaim, JobClaim
from dropscribe.store.session import Database
from dropscribe.store.tables import chunks as chunk_rows
from dropscribe.store.tables import events as event_rows
from dropscribe.store.tables import jobs as job_rows
from dropscribe.store.tables import notifications as announced
from dropscribe.store.tables import transcripts as transcript_rows
from dropscribe.store.transitions import CHUNKS, JOBS, Transition
from tests.integration.store_steps import LEASE, expire_leases, windows_of

MODELS = (EngineInfo("whisper", "base", "int8"), EngineInfo("vibevoice", "v", "nf4"))
NAMES = ("a.wav", "b.wav", "c.wav")
T = TypeVar("T")
CONTENT = {"a.wav": "same", "b.wav": "same", "c.wav": "another"}

# The database itself writes down each change of a state.
RECORD = {
    "sqlite": (
        "CREATE TABLE moves (at integer primary key, what text, id text, old text, new text)",
        *(
            f"CREATE TRIGGER {table}_moved AFTER UPDATE OF state ON {table} BEGIN"
            f" INSERT INTO moves (what, id, old, new) VALUES ('{table}', old.id, old.state, new.state); END"
            for table in ("jobs", "chunks")
        ),
    ),
    "postgresql": (
        "CREATE TABLE moves (at serial primary key, what text, id text, old text, new text)",
        (
            "CREATE FUNCTION moved() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
            " INSERT INTO moves (what, id, old, new) VALUES (TG_TABLE_NAME, OLD.id, OLD.state, NEW.state); RETURN NULL;"
            " END $$"
        ),
        *(
            f"CREATE TRIGGER {table}_moved AFTER UPDATE OF state ON {table} FOR EACH ROW EXECUTE FUNCTION moved()"
            for table in ("jobs", "chunks")
        ),
    ),
}


@dataclass
class Walk:
    """Some jobs, and the claims that workers hold, of which some may be lost."""

    database: Database
    jobs: list[str] = field(default_factory=list)
    preparing: list[tuple[JobClaim, str]] = field(default_factory=list)
    finishing: list[JobClaim] = field(default_factory=list)
    chunks: list[ChunkClaim] = field(default_factory=list)

    def admit(self, pick: int) -> None:
        name = NAMES[pick % len(NAMES)]
        self.jobs += jobs.admit(self.database, [NewJob("/root", name, 10, pick, "d", "normal")])

    def job(self, pick: int) -> str:
        return self.jobs[pick % len(self.jobs)]

    def path(self, job_id: str) -> str:
        with self.database.read() as connection:
            return connection.execute(select(job_rows.c.path).where(job_rows.c.id == job_id)).scalar_one()


def recent(claims: Sequence[T], pick: int) -> T:
    """One of the latest, which is seldom lost. Raises ZeroDivisionError where there is none."""
    return claims[-1 - pick % min(3, len(claims))]


def claim_job(walk: Walk, pick: int) -> None:
    job_id = walk.job(pick)
    if claim := jobs.claim_prepare(walk.database, job_id, f"cpu-{pick % 2}", LEASE):
        walk.preparing.append((claim, CONTENT[walk.path(job_id)]))
    if claim := jobs.claim_finish(walk.database, job_id, f"cpu-{pick % 2}", LEASE):
        walk.finishing.append(claim)


def prepare(walk: Walk, pick: int) -> None:
    claim, content = recent(walk.preparing, pick)
    leader, _ = jobs.lead_or_follow(walk.database, claim, content)
    if leader is None:
        windows = pick % 4
        stretches = [Span(0.0, 5.0)] if pick % 3 else []
        speech = [Span(0.0, windows * 10.0)]
        plan = Prepared(windows * 10.0, Media("wav"), "energy", windows_of(windows), speech, stretches=stretches)
        chunk_plans.prepared(walk.database, claim, plan, window=2)


def claim_chunk(walk: Walk, pick: int) -> None:
    with walk.database.read() as connection:
        waits = select(chunk_rows.c.id).where(chunk_rows.c.state == "queued").order_by(chunk_rows.c.id)
        ids = list(connection.execute(waits).scalars())
    chunk = ids[pick % len(ids)]
    model = MODELS[pick // 3 % 4 == 0]
    work = chunks.claim(walk.database, chunk, model.engine, LEASE, ResidentModel.of(model))
    work = work or chunks.claim_stretch(walk.database, chunk, "cpu-0", LEASE)
    if work:  # else its job is bound to the other model
        walk.chunks.append(work.claim)


def of_chunk(act: Callable[[Database, ChunkClaim], object]) -> Callable[[Walk, int], None]:
    return lambda walk, pick: act(walk.database, recent(walk.chunks, pick)) and None


def transcribe(database: Database, claim: ChunkClaim) -> None:
    if claim.chunk.startswith("e"):
        chunks.embedded(database, claim, 0.1)
    else:
        said = RawTranscript((Segment(0.0, 1.0, "words", 0),))
        engine = next(model for model in MODELS if model.engine == claim.owner)
        chunks.commit(database, claim, said, engine=engine, reasons=("doubtful",), rules=("loop",), window=2)


def split(database: Database, claim: ChunkClaim) -> None:
    halves = [Chunk(0, 0.0, 5.0, Span(0.0, 5.0)), Chunk(1, 5.0, 10.0, Span(5.0, 10.0))]
    chunks.split(database, claim, halves, ["it looped"], ["loop"])


def of_job(act: Callable[[Database, JobClaim], object]) -> Callable[[Walk, int], None]:
    def either(walk: Walk, pick: int) -> None:
        prepared = [claim for claim, _ in walk.preparing]
        act(walk.database, recent(walk.finishing if pick % 2 and walk.finishing else prepared, pick))

    return either


def finish(walk: Walk, pick: int) -> None:
    claim = recent(walk.finishing, pick)
    documents.save(walk.database, claim, '{"segments": []}')
    jobs.complete(walk.database, claim, (JobState.DONE, JobState.SUSPECT, JobState.DUPLICATE)[pick // 3 % 3])


def go_on(walk: Walk, pick: int) -> None:
    """Do what comes next for jobs, so that walks lead far."""
    claim_job(walk, pick)
    for act in (prepare, claim_chunk, of_chunk(transcribe), finish):
        with suppress(DropscribeError, ZeroDivisionError):
            act(walk, 3 * pick)


def start_over(walk: Walk, pick: int) -> None:
    jobs.start_over(walk.database, recent(walk.finishing, pick), "nothing there")


def lose(walk: Walk, pick: int) -> None:
    expire_leases(walk.database)
    recovery.expire(walk.database, 1 + pick % 2)


def rename(walk: Walk, pick: int) -> None:
    old = walk.path(walk.job(pick))
    with walk.database.read() as connection:
        row = connection.execute(select(job_rows).where(job_rows.c.id == walk.job(pick))).one()
    found = NewJob("/root", old, row.size, row.mtime_ns, "other", "normal")
    recording_moves.adopt_renamed(walk.database, found, {old})


def rerun(walk: Walk, pick: int) -> None:
    wanted = NewJob("/root", "a.wav", 10, 1, "d", "high")
    commands.rerun(walk.database, walk.job(pick), wanted)


ACTS: dict[str, Callable[[Walk, int], object]] = {
    "admit": Walk.admit,
    "claim a job": claim_job,
    "prepare": prepare,
    "claim a chunk": claim_chunk,
    "transcribe": of_chunk(transcribe),
    "split": of_chunk(split),
    "fail a chunk": of_chunk(lambda db, claim: chunks.retry_later(db, claim, "broke", delay=0, limit=2)),
    "fail a chunk for good": of_chunk(lambda db, claim: chunks.retry_later(db, claim, "broke", delay=0, limit=1)),
    "release a chunk": of_chunk(chunks.release),
    "lose the audio": of_chunk(lambda db, claim: chunks.prepare_again(db, claim, "gone")),
    "finish": finish,
    "go on": go_on,
    "start over": start_over,
    "fail a job": of_job(lambda db, claim: jobs.retry_later(db, claim, "broke", delay=0, limit=2)),
    "refuse a job": of_job(lambda db, claim: jobs.fail(db, claim, "no audio")),
    "defer a job": of_job(lambda db, claim: jobs.postpone(db, claim, "full", delay=0)),
    "release a job": of_job(jobs.release),
    "lose workers": lose,
    "stop a worker": lambda walk, pick: recovery.release_all(
        walk.database, ("cpu-0", "cpu-1", "whisper", "vibevoice")[pick % 4]
    ),
    "fold the counts": lambda walk, _: ended.fold(walk.database, 2),
    "unbind": lambda walk, _: recovery.unbind(walk.database),
    "change the model": lambda walk, pick: commands.change_model(walk.database, walk.job(pick)),
    "reunite": lambda walk, _: recovery.reunite_followers(walk.database),
    "widen": lambda walk, pick: chunk_plans.widen(walk.database, lambda _: 1 + pick % 3),
    "cancel": lambda walk, pick: commands.cancel(walk.database, walk.job(pick)),
    "retry": lambda walk, pick: commands.retry(walk.database, walk.job(pick)),
    "rerun": rerun,
    "name speakers": lambda walk, pick: speakers.say(walk.database, walk.job(pick), SpeakerNames({0: "Ann"})),
    "rename": rename,
}
# What leads far comes often.
COMMON = ["claim a job", "prepare", "claim a chunk", "go on", "go on"]


@contextmanager
def recorded(database: Database) -> Iterator[None]:
    """Have the database write down every change of a state; from scratch."""
    with database.begin() as connection:
        present = "SELECT count(*) FROM information_schema.tables WHERE table_name = 'moves'"
        if database.is_sqlite:
            present = "SELECT count(*) FROM sqlite_master WHERE name = 'moves'"
        if not connection.execute(text(present)).scalar():
            for statement in RECORD["sqlite" if database.is_sqlite else "postgresql"]:
                connection.execute(text(statement))
        for table in (transcript_rows, announced, event_rows, chunk_rows, job_rows):
            connection.execute(table.delete())
        connection.execute(text("DELETE FROM moves"))
    yield


def moves_of(database: Database, what: str) -> list[tuple[str, str, str]]:
    with database.read() as connection:
        query = text("SELECT id, old, new FROM moves WHERE what = :what ORDER BY at")
        return [(row.id, row.old, row.new) for row in connection.execute(query, {"what": what})]


def allows(table: dict[str, Transition], old: str, new: str) -> bool:
    return any(new in made.moves.get(old, ()) for made in table.values())


def models_of(job_id: str, rows: Sequence[Any]) -> set[str]:
    """The engines that transcribed a window of the job, or do so now."""
    windows = [chunk for chunk in rows if chunk.job_id == job_id and chunk.kind == "window"]
    done = {chunk.engine.engine for chunk in windows if chunk.state == "done"}
    return done | {chunk.owner for chunk in windows if chunk.state == "running"}


def holds(database: Database) -> None:
    """What has to be true after every transaction."""
    with database.read() as connection:
        all_jobs = connection.execute(select(job_rows)).all()
        all_chunks = connection.execute(select(chunk_rows)).all()
        told = dict(connection.execute(select(announced.c.job_id, func.count()).group_by(announced.c.job_id)).all())
    for job in all_jobs:
        final = JobState(job.state).is_final
        assert not job.owner or job.state in {"preparing", "finishing"}
        assert (job.finished_at is not None) == final, job.state
        waits = [chunk.state for chunk in all_chunks if chunk.job_id == job.id and chunk.state in PENDING_CHUNKS]
        assert not (final and waits), (job.state, waits)
        assert len(models_of(job.id, all_chunks)) <= 1, "two models share its chunks"
    for chunk in all_chunks:
        assert bool(chunk.owner) == (chunk.state == "running")
    assert ended.count_by_state(database) == Counter(job.state for job in all_jobs if JobState(job.state).is_final)
    ends: dict[str, int] = {}
    for job_id, old, new in moves_of(database, "jobs"):
        assert allows(JOBS, old, new), (old, new)
        ends[job_id] = ends.get(job_id, 0) + JobState(new).is_final
        assert not (JobState(old).is_final and JobState(new).is_final), "it ended twice"
    assert told == {job_id: count for job_id, count in ends.items() if count}
    for _, old, new in moves_of(database, "chunks"):
        assert allows(CHUNKS, old, new), (old, new)


@given(
    st.lists(
        st.tuples(st.sampled_from([*ACTS, *COMMON, *COMMON, *COMMON]), st.integers(0, 11)), min_size=30, max_size=60
    )
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_sequence_of_events_leaves_the_table_or_an_end_that_is_not_announced_once(
    database: Database, acts: list[tuple[str, int]]
) -> None:
    notifications.want(database, {notifications.OF_ALL})
    with recorded(database):
        walk = Walk(database)
        walk.admit(0)
        walk.admit(1)
        claim_job(walk, 0)
        prepare(walk, 3)  # three windows, of which one waits in the backlog
        for name, pick in acts:
            with suppress(DropscribeError, ZeroDivisionError):  # what the store refuses, and where there is nothing yet
                ACTS[name](walk, pick)
            holds(database)
