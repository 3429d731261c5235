"""Runs commands of the command line, and fills a store for them without any worker."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dropscribe.core.types import (
    Chunk,
    EngineInfo,
    JobState,
    Media,
    RawTranscript,
    Segment,
    Source,
    Span,
    Speaker,
    Transcript,
    Word,
)
from dropscribe.store import chunk_plans, chunks, jobs, queries, transcripts
from dropscribe.store.chunk_plans import Prepared
from dropscribe.store.jobs import NewJob
from dropscribe.store.session import Database
from dropscribe.store.transcripts import Reservation
from dropscribe.worker.outputs import render

SECONDS = 1.8  # of a segment of a long recording
ENGINE = EngineInfo("scripted", "none", "fp32", notice="for tests only")


@dataclass(frozen=True)
class Ended:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        assert self.out.isascii()
        return json.loads(self.out)


Cli = Callable[..., Ended]


def process(*arguments: str, code: str = "from dropscribe.admin.cli.main import run; run()") -> Ended:
    """Run a command as a process of its own."""
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=60)
    return Ended(done.returncode, done.stdout, done.stderr)


def admit(store: Database, path: str, root: str = "/rec") -> str:
    (job_id,) = jobs.admit(store, [NewJob(root, path, 1234, hash(path) % 10**9, "digest", "normal", "budget")])
    return job_id


def prepare(store: Database, job_id: str, *spans: tuple[float, float]) -> None:
    claim = jobs.claim_prepare(store, job_id, "cpu-1", 90)
    assert claim
    assert jobs.lead_or_follow(store, claim, job_id) == (None, [])
    plan = [Chunk(index, start, end, Span(start, end)) for index, (start, end) in enumerate(spans)]
    media = Media("wav", "pcm_s16le", 1, 16_000)
    speech = [Span(start, end) for start, end in spans]
    chunk_plans.prepared(
        store, claim, Prepared(spans[-1][1] if spans else 3.0, media, "silero", plan, speech), window=9
    )


def fail(store: Database, path: str, reason: str = "it is not audio") -> str:
    job_id = admit(store, path)
    claim = jobs.claim_prepare(store, job_id, "cpu-1", 90)
    assert claim
    jobs.fail(store, claim, reason)
    return job_id


def give_up(store: Database, job_id: str, reason: str = "the share is away") -> str:
    """Fail for a reason that may pass."""
    claim = jobs.claim_prepare(store, job_id, "cpu-1", 90)
    assert claim
    jobs.retry_later(store, claim, reason, delay=0, limit=1)
    return job_id


def read(store: Database, job_id: str, index: int = 0, *, text: str = "hello there") -> None:
    work = chunks.claim(store, f"{job_id}.{index}", "model-1", 90)
    assert work
    said = RawTranscript((Segment(work.chunk.start, work.chunk.end, text, 0),))
    chunks.commit(store, work.claim, said, engine=ENGINE)


def document(job_id: str, *, text: str = "hello there") -> str:
    source = Source("/rec/a.wav", 1234, "ab" * 32, 60.0, "wav", "pcm_s16le", 1, 16_000)
    said = (Segment(0.0, 2.0, text, 0), Segment(2.0, 3.0, "hello", 1), Segment(3.0, 4.0, "you there", 2))
    people = (Speaker(0, "", 2.0, (2,), (0.52,)), Speaker(1, "Bob", 1.0), Speaker(2, "", 1.0, (0,), (0.52,)))
    return render(Transcript(job_id, source, ENGINE, said, people), "json").decode()


def finish(
    store: Database,
    job_id: str,
    state: JobState = JobState.DONE,
    *,
    text: str = "hello there",
    file: Path | None = None,
    sha256: str = "cd" * 32,
) -> str:
    claim = jobs.claim_finish(store, job_id, "cpu-1", 90)
    assert claim
    told = document(job_id, text=text)
    transcripts.save(store, claim, told)
    path = str(file or f"/rec/{job_id}.txt")
    assert transcripts.reserve(store, claim, [Reservation(path, "txt", sha256)])
    reason = "speech is missing" if state == JobState.SUSPECT else ""
    gaps = [Span(10.0, 70.0)] if reason else []
    jobs.complete(store, claim, state, files=[path], reason=reason, missing=gaps, timings={"stitch": 0.1})
    return told


def finish_again(store: Database, job_id: str, *, revision: int | None = None) -> None:
    claim = jobs.claim_finish(store, job_id, "cpu-1", 90)
    assert claim
    jobs.complete(store, claim, JobState.DONE, revision=revision)


def done(store: Database, path: str, state: JobState = JobState.DONE, *, text: str = "hello there") -> str:
    job_id = admit(store, path)
    prepare(store, job_id, (0.0, 60.0))
    read(store, job_id, text=text)
    finish(store, job_id, state, text=text)
    return job_id


def long(store: Database, segments: int) -> str:
    """A job that is done, with so many segments of 1.8 s: 20,000 are ten hours. Four speakers take turns of five."""
    job_id = admit(store, f"{segments}.wav")
    prepare(store, job_id, (0.0, 60.0))
    read(store, job_id)
    claim = jobs.claim_finish(store, job_id, "cpu-1", 90)
    assert claim
    seconds = segments * SECONDS
    source = Source("/rec/long.wav", 1234, "ab" * 32, seconds, "wav", "pcm_s16le", 1, 16_000)
    people = tuple(Speaker(number, "", seconds / 4) for number in range(4))
    said = Transcript(job_id, source, ENGINE, tuple(map(_sentence, range(segments))), people)
    transcripts.save(store, claim, render(said, "json").decode())
    jobs.complete(store, claim, JobState.DONE)
    return job_id


def _sentence(number: int) -> Segment:
    """Of one to nine words, each with its times."""
    start, texts = number * SECONDS, [f"s{number}", *"and so we talk about the budget today".split()[: number % 9]]
    each = SECONDS / len(texts)
    words = tuple(Word(start + i * each, start + (i + 1) * each, text) for i, text in enumerate(texts))
    return Segment(start, start + SECONDS, " ".join(texts), number // 5 % 4, confidence=0.9, words=words)


def state_of(store: Database, job_id: str) -> JobState:
    return queries.job(store, job_id).state
