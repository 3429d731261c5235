"""From transcribed chunks to a finished transcript, or that of the job it duplicates; ends the job."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import chain
from operator import attrgetter
from typing import Any

import numpy as np

from dropscribe.core import confidence
from dropscribe.core.clock import period
from dropscribe.core.types import EngineInfo, JobState, Media, Source, Span, Transcript
from dropscribe.store import jobs, queries, transcripts
from dropscribe.store import voices as enrolled
from dropscribe.store.leases import JobClaim
from dropscribe.store.queries import Job
from dropscribe.store.transcripts import EmbeddedStretch, ReadChunk
from dropscribe.worker.diarizing import diarize, embed, known_voices
from dropscribe.worker.merging import merge_chunks, speaker_linking
from dropscribe.worker.merging.merge_channels import ChannelOutcome, merge_channels
from dropscribe.worker.merging.merge_chunks import ChunkOutcome, MergedChunks
from dropscribe.worker.merging.speaker_embeddings import SpeakerEmbeddings, Vectors
from dropscribe.worker.merging.speaker_linking import Voices
from dropscribe.worker.outputs import json_
from dropscribe.worker.runtime.context import WorkerContext
from dropscribe.worker.runtime.spooled_audio import SpoolGoneError

MAX_SPANS = 5  # of a damaged recording that its reason names
NO_ENGINE = EngineInfo(engine="none", model="none", precision="none")  # of a recording without speech


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a job ends with; `diarization` is what was found out of its speakers, to be kept for another time."""

    state: JobState
    transcript: Transcript
    diarization: dict[str, Any] | None = None


def outcome(context: WorkerContext, job: Job) -> Outcome | None:
    """The transcript of a job whose chunks are read, or of its leader; None when the leader came to nothing."""
    if job.is_taken_over and (kept := transcripts.diarization(context.database, job.id)):
        transcript = named(json_.from_json(kept[transcripts.TAKEN_OVER]), job)
        return Outcome(_state(transcript), transcript, kept)
    if job.duplicate_of is None:
        chunks = transcripts.read_chunks(context.database, job.id)
        stretches = transcripts.embedded_stretches(context.database, job.id)
        voices = who_speaks(context, job, _parts(chunks), stretches)
        merged = _merged(context, job, chunks, voices)
        transcript = named(assemble(job, chunks, stretches, merged), job)
        return Outcome(_state(transcript), transcript, speaker_linking.to_json(voices))
    document = transcripts.document(context.database, job.duplicate_of)
    if document is None:
        return None
    leader = queries.job(context.database, job.duplicate_of)
    theirs = json_.from_json(document)
    source = replace(theirs.source, path=job.source, size=job.size)
    same = f"same content as job {leader.id} ({leader.path})"
    ours = replace(theirs, job_id=job.id, source=source, notes=(*theirs.notes, same))
    return Outcome(JobState.DUPLICATE, named(ours, job))


def _state(transcript: Transcript) -> JobState:
    return JobState.SUSPECT if transcript.reasons else JobState.DONE


def who_speaks(
    context: WorkerContext, job: Job, parts: Sequence[ChunkOutcome], stretches: Sequence[EmbeddedStretch]
) -> Voices:
    """The speakers of a recording, as they were found out before or by its embeddings, which only the spool has."""
    if (stored := transcripts.diarization(context.database, job.id)) is not None:
        return speaker_linking.from_json(stored)
    settings = context.settings.for_job(job.overrides)
    if settings.speakers == "off" or _separate(job):
        return Voices(compared=True)
    heard, notes = _heard(context, stretches)
    whole = SpeakerEmbeddings.joined(heard)
    voices, means = told_apart(parts, heard, whole, settings.people)
    if settings.known_voices:
        voices = replace(voices, recognized=_recognized(context, means, whole.encoder))
    return replace(voices, notes=tuple(notes))


def told_apart(
    parts: Sequence[ChunkOutcome], heard: Sequence[SpeakerEmbeddings], whole: SpeakerEmbeddings, people: int | None
) -> tuple[Voices, Vectors]:
    """The voices of a recording, and the mean embedding of each where there are embeddings."""
    voices = speaker_linking.link(parts)
    if not voices.numbers:  # the engine tells nobody apart
        return diarize.diarize(heard, people)
    return speaker_linking.link_by_embeddings(voices, parts, whole, people) if heard else (voices, whole.vectors)


def _recognized(context: WorkerContext, means: Vectors, encoder: str) -> dict[int, tuple[str, float]]:
    """Which of the speakers are known voices; embeddings of other encoders are not compared."""
    known = enrolled.known(context.database, encoder=encoder)
    embeddings = np.array([*map(attrgetter("embedding"), known)], np.float32)
    return known_voices.recognize(means, [*map(attrgetter("name"), known)], embeddings)


def _heard(context: WorkerContext, stretches: Sequence[EmbeddedStretch]) -> tuple[list[SpeakerEmbeddings], list[str]]:
    """The embeddings of a job, and a remark where some lack."""
    heard, lacking = [], defaultdict[str, list[Span]](list)
    for stretch in stretches:
        found = _embeddings(context, stretch)
        if isinstance(found, str):
            lacking[found].append(stretch.span)
        else:
            heard.append(found)
    return heard, [_not_told(spans, reason, whole=not heard) for reason, spans in lacking.items()]


def _embeddings(context: WorkerContext, stretch: EmbeddedStretch) -> SpeakerEmbeddings | str:
    """The embeddings of a stretch, or the reason why there are none."""
    if stretch.reason:
        return stretch.reason
    try:
        return embed.load(context.embeddings(stretch.id))
    except SpoolGoneError:
        return "their embeddings are gone from the spool"


def _not_told(spans: Sequence[Span], reason: str, *, whole: bool) -> str:
    where = "" if whole else f" at {', '.join(f'{span.start:.0f}-{span.end:.0f} s' for span in spans)}"
    return f"speakers were not told apart{where}: {reason}"


def _parts(chunks: Sequence[ReadChunk]) -> list[ChunkOutcome]:
    return [ChunkOutcome(chunk.window, chunk.keep, chunk.segments, chunk.reasons, chunk.missing) for chunk in chunks]


def named(transcript: Transcript, job: Job) -> Transcript:
    """With what people said of its speakers."""
    segments, people = merge_chunks.merge(transcript.segments, transcript.speakers, job.speakers.merged)
    return replace(transcript, segments=segments, speakers=merge_chunks.named(people, job.speakers.names))


def _separate(job: Job) -> tuple[int, ...]:
    """The numbers of the channels that were transcribed one by one; none where they were mixed."""
    return job.media.separate_channels if job.media else ()


def _merged(context: WorkerContext, job: Job, chunks: Sequence[ReadChunk], voices: Voices) -> MergedChunks:
    """The timeline of all chunks: of one recording with these voices, or of channels, each of which is a speaker."""
    channels = _separate(job)
    if not channels:
        return merge_chunks.merge_chunks(_parts(chunks), queries.speech(context.database, job.id), voices)
    return merge_channels(
        [
            ChannelOutcome(
                number,
                _parts([chunk for chunk in chunks if chunk.channel == channel]),
                queries.speech(context.database, job.id, channel),
            )
            for channel, number in enumerate(channels)
        ]
    )


def assemble(
    job: Job, chunks: Sequence[ReadChunk], stretches: Sequence[EmbeddedStretch], stitched: MergedChunks
) -> Transcript:
    """One transcript from a job's chunks; always the same, so that a second attempt finds its files in place."""
    media = job.media or Media()
    source = _source(job, media)
    return Transcript(
        job_id=job.id,
        source=source,
        engine=chunks[0].engine if chunks else NO_ENGINE,
        segments=stitched.segments,
        speakers=stitched.speakers,
        speech_detector=job.speech_detector,
        settings={"digest": job.settings_digest, "context": job.context},
        notes=(*job.notes, *stitched.notes, *_doubtful(chunks)),
        reasons=(
            *_broken_off(source.duration, media.claimed_duration),
            *_unread(media.unread_bytes),
            *_damaged(media.damaged),
            *stitched.reasons,
        ),
        uncovered_speech=(
            *stitched.missing,
            *_lost(source.duration, media.claimed_duration),
            *filter(attrgetter("duration"), media.damaged),
        ),
        timings=_timings(job, [*chunks, *stretches]),
        created_at=_moment(max(map(attrgetter("finished_at"), chunks), default=job.created_at)),
        language=_language(chunks),
    )


def _source(job: Job, media: Media) -> Source:
    return Source(
        path=job.source,
        size=job.size,
        sha256=job.sha256 or "",
        duration=job.duration or 0.0,
        format=media.format,
        codec=media.codec,
        channels=media.channels,
        sample_rate=media.sample_rate,
        tracks=media.tracks,
        separate_channels=media.separate_channels,
    )


def _doubtful(chunks: Sequence[ReadChunk]) -> Iterator[str]:
    """Notes on what the model is not sure of, but which passed the quality checks."""
    for chunk in chunks:
        figure = confidence.average(chunk.segments)
        if confidence.is_low(figure) and not chunk.reasons:
            yield f"{period(chunk.window)}: the model is not sure of its words: confidence {figure:.2f}"


def _timings(job: Job, parts: Sequence[ReadChunk | EmbeddedStretch]) -> dict[str, float]:
    """Seconds by phase, all together."""
    total = defaultdict[str, float](float, job.timings)
    for phase, seconds in chain.from_iterable(part.timings.items() for part in parts):
        total[phase] += seconds
    return dict(total)


def _broken_off(there: float, claimed: float | None) -> Iterator[str]:
    """The reason not to trust the transcript of a file that is only the beginning of a recording."""
    if claimed is not None:
        digits = 0 if round(there) < round(claimed) else 1
        told = f"{there:.{digits}f} of {claimed:.{digits}f} s are there" if claimed else f"{there:.0f} s are there"
        yield f"the recording breaks off: {told}; copy it again"


def _unread(size: int | None) -> Iterator[str]:
    """The reason not to trust the transcript of a file that holds what nobody can read."""
    if size:
        yield f"{size / 1e6:.1f} MB behind its sound are neither sound nor described by the file; copy it again"


def _damaged(spans: Sequence[Span]) -> Iterator[str]:
    """The reason not to trust the transcript of a file in the middle of which something could not be read."""
    if spans:
        more = f" and {len(spans) - MAX_SPANS} more" if len(spans) > MAX_SPANS else ""
        told = ", ".join(map(period, spans[:MAX_SPANS]))
        yield f"the recording is damaged: {told}{more} could not be read; copy it again"


def _lost(there: float, claimed: float | None) -> Iterator[Span]:
    """The part of it that is not there, where that is known."""
    if claimed is not None and claimed > there:
        yield Span(there, claimed)


def _language(chunks: Sequence[ReadChunk]) -> str:
    """The one in which most of the recording was read; of equals the first."""
    seconds = defaultdict[str, float](float)
    for chunk in chunks:
        seconds[chunk.language] += chunk.keep.duration
    return max(seconds, key=seconds.__getitem__, default="")


def end(context: WorkerContext, claim: JobClaim, result: Outcome) -> list[str]:
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
        missing=transcript.uncovered_speech,
        timings={} if result.state is JobState.DUPLICATE else transcript.timings,
    )


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
