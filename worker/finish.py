"""From read chunks to a finished transcript: stitch, or take over the leader's; write; end the job."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from core.types import EngineInfo, JobState, Source, Span, Transcript
from store import jobs, queries, transcripts
from store.leases import Claim
from store.queries import Job
from store.transcripts import ReadChunk
from worker.context import WorkerContext
from worker.outputs import json_
from worker.stitch import Part, stitch

NO_ENGINE = EngineInfo(engine="none", model="none", precision="none")  # of a recording without speech


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a job ends with."""

    state: JobState
    transcript: Transcript


def outcome(context: WorkerContext, job: Job) -> Outcome | None:
    """The transcript of a job whose chunks are read, or of its leader; None when the leader came to nothing."""
    if job.duplicate_of is None:
        transcript = assemble(job, transcripts.read_chunks(context.database, job.id))
        return Outcome(JobState.SUSPECT if transcript.reasons else JobState.DONE, transcript)
    document = transcripts.document(context.database, job.duplicate_of)
    if document is None:
        return None
    leader = queries.job(context.database, job.duplicate_of)
    theirs = json_.from_json(document)
    source = replace(theirs.source, path=job.source, size=job.size)
    same = f"same content as job {leader.id} ({leader.path})"
    return Outcome(
        JobState.DUPLICATE,
        replace(theirs, job_id=job.id, source=source, notes=(*theirs.notes, same)),
    )


def assemble(job: Job, chunks: list[ReadChunk]) -> Transcript:
    """One transcript from a job's chunks; always the same, so that a second attempt finds its files in place."""
    media: dict[str, Any] = job.media or {"speech": []}
    speech = tuple(Span(start, end) for start, end in media["speech"])
    stitched = stitch([Part(chunk.span, chunk.segments, chunk.reasons) for chunk in chunks], speech)
    timings = dict(job.timings)
    for chunk in chunks:
        for phase, seconds in chunk.timings.items():
            timings[phase] = timings.get(phase, 0.0) + seconds
    return Transcript(
        job_id=job.id,
        source=Source(
            path=job.source,
            size=job.size,
            sha256=job.sha256 or "",
            duration=job.duration or 0.0,
            format=media.get("format", ""),
            codec=media.get("codec", ""),
            channels=media.get("channels", 0),
            sample_rate=media.get("sample_rate", 0),
        ),
        engine=chunks[0].engine if chunks else NO_ENGINE,
        segments=stitched.segments,
        speech_detector=job.speech_detector,
        settings={"digest": job.settings_digest, "context": job.context},
        notes=(*job.notes, *stitched.notes),
        reasons=stitched.reasons,
        missing=stitched.missing,
        timings=timings,
        created_at=_moment(max((chunk.finished_at for chunk in chunks), default=job.created_at)),
    )


def end(context: WorkerContext, claim: Claim, result: Outcome) -> list[str]:
    """Set the job's final state; returns the followers to send `finish` for."""
    transcript = result.transcript
    reason = "; ".join(transcript.reasons) if result.state is JobState.SUSPECT else ""
    if result.state is JobState.DUPLICATE:
        reason = transcript.notes[-1]
    return jobs.complete(
        context.database,
        claim,
        result.state,
        reason=reason,
        notes=transcript.notes,
        missing=transcript.missing,
        timings={} if result.state is JobState.DUPLICATE else transcript.timings,
    )


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
