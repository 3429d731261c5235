"""From transcribed chunks to a finished transcript, or that of the job it duplicates; ends the job."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import chain
from operator import attrgetter
from pathlib import PurePath
from typing import Any

import numpy as np

from dropscribe.core import confidence
from dropscribe.core import corrections as edits
from dropscribe.core.clock import period
from dropscribe.core.safe_text import printable
from dropscribe.core.settings import Settings
from dropscribe.core.types import EngineInfo, JobState, Media, Source, SourcePart, Span, Transcript
from dropscribe.store import jobs, queries, revisions, transcripts
from dropscribe.store import parts as part_store
from dropscribe.store import voices as enrolled
from dropscribe.store.leases import JobClaim
from dropscribe.store.queries import Job
from dropscribe.store.session import Database
from dropscribe.store.transcripts import EmbeddedStretch, ReadChunk, Transcribed
from dropscribe.worker.diarizing import diarize, embed, known_voices
from dropscribe.worker.merging import corrections, merge_chunks, speaker_linking
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
    """The transcript of a job whose chunks are read, or of its leader; None where it is to start over.

    That is when the leader came to nothing or its text was removed, and the job has none of it from before; or when a
    transcript that was taken over is kept no longer. What people corrected is not made again.
    """
    if corrected := _corrected(context, job):
        return corrected
    if job.is_taken_over:
        kept = transcripts.diarization(context.database, job.id)
        if kept is None:
            return None
        transcript = named(json_.from_json(kept[transcripts.TAKEN_OVER]), job)
        return Outcome(_state(transcript), transcript, kept)
    if job.duplicate_of is None:
        found = transcripts.transcribed(context.database, job.id)
        voices = who_speaks(context, job, found)
        transcript = named(assemble(job, found, _merged(job, found, voices)), job)
        transcript = replace(transcript, task=context.settings.for_job(job.overrides).task)
        return Outcome(_state(transcript), transcript, speaker_linking.to_json(voices))
    ours = _followed(context.database, job)
    return Outcome(JobState.DUPLICATE, named(ours, job)) if ours else None


def _corrected(context: WorkerContext, job: Job) -> Outcome | None:
    """What people made of the transcript; None where they corrected none of its text."""
    if not job.revision:
        return None
    found = revisions.corrections(context.database, job.id, job.revision)
    if found.document is None:
        return None
    before = json_.from_json(found.document)
    source = replace(before.source, path=job.source, size=job.size)
    after = corrections.corrected(replace(before, source=source), edits.read(found.edits))
    transcript = named(after, job)
    state = JobState.DUPLICATE if job.duplicate_of else _state(transcript)
    return Outcome(state, transcript, transcripts.diarization(context.database, job.id))


def recognized(database: Database, job: Job) -> Transcript | None:
    """The transcript without anything that people said of it; None where the store does not tell it any more."""
    if job.duplicate_of:
        return _followed(database, job)
    if job.is_taken_over:
        kept = transcripts.diarization(database, job.id)
        return json_.from_json(kept[transcripts.TAKEN_OVER]) if kept else None
    found = transcripts.transcribed(database, job.id)
    if found.diarization is None:
        return None
    return assemble(job, found, _merged(job, found, speaker_linking.from_json(found.diarization)))


def _followed(database: Database, job: Job) -> Transcript | None:
    """The transcript of the job that this one follows, as its own; None where there is none."""
    document = transcripts.document(database, job.duplicate_of or "")
    if document is None:
        return _kept_duplicate(database, job)
    leader = queries.job(database, job.duplicate_of or "")
    theirs = json_.from_json(document)
    if (leader.root, leader.home) != (job.root, job.home):
        theirs = _without_people(database, leader, theirs)
    names = [PurePath(job.path).name, *map(attrgetter("name"), part_store.of_job(database, job.id))]
    own_parts = tuple(map(_called, theirs.source.parts, names))
    source = replace(theirs.source, path=job.source, size=job.size, parts=own_parts)
    other = f"job {leader.id} ({leader.path})" if _of_one_owner(leader, job) else "another recording"
    return replace(theirs, job_id=job.id, source=source, notes=(*theirs.notes, f"same content as {other}"))


def _without_people(database: Database, job: Job, stored: Transcript) -> Transcript:
    """A job's `stored` transcript as another folder may have it: without what people said of it, and without names."""
    found = recognized(database, job) if job.revision else None
    plain = replace(found, task=stored.task) if found else stored
    return replace(plain, speakers=tuple(replace(one, name="", recognized=None) for one in plain.speakers))


def _called(part: SourcePart, name: str) -> SourcePart:
    """A part of another recording of the same content, under the name of ours."""
    return replace(part, name=printable(name))


def _kept_duplicate(database: Database, job: Job) -> Transcript | None:
    """What a duplicate has of its leader from before, as the leader's is gone; None where it has nothing."""
    was_its_own = job.duration is not None  # it was transcribed itself once, and is to be again
    kept = None if was_its_own else transcripts.document(database, job.id)
    if kept is None:
        return None
    ours = json_.from_json(kept)
    return replace(ours, source=replace(ours.source, path=job.source, size=job.size))


def _of_one_owner(one: Job, other: Job) -> bool:
    """Do their folders belong to the same account, so that one may name the other?"""
    same_folder = (one.root, one.home) == (other.root, other.home)
    owners = {job.origin.owner if job.origin else None for job in (one, other)}
    return same_folder or (len(owners) == 1 and None not in owners)


def scope_of(settings: Settings, job: Job) -> str:
    """The folder within which the job's content is compared with that of others; empty for the whole fleet."""
    scopes = {"folder": str(PurePath(job.root, job.home)), "root": job.root, "fleet": ""}
    return scopes[settings.duplicates]


def _state(transcript: Transcript) -> JobState:
    """What becomes of a job with this transcript."""
    return JobState.SUSPECT if transcript.reasons else JobState.DONE


def who_speaks(context: WorkerContext, job: Job, found: Transcribed) -> Voices:
    """The speakers of a recording, as they were found out before or by its embeddings, which only the spool has."""
    if found.diarization is not None:
        return speaker_linking.from_json(found.diarization)
    settings = context.settings.for_job(job.overrides)
    if settings.speakers == "off" or _separate(job):
        return Voices(compared=True)
    heard, notes = _heard(context, found.stretches)
    whole = SpeakerEmbeddings.joined(heard)
    voices, means = told_apart(_parts(found.chunks), heard, whole, settings.people)
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
    """A note: in which spans, or in all, speakers were not distinguished, and why.

    >>> _not_told([Span(0, 30), Span(60, 90)], "no model", whole=False)
    'speakers were not distinguished at 0-30 s, 60-90 s: no model'
    """
    where = "" if whole else f" at {', '.join(f'{span.start:.0f}-{span.end:.0f} s' for span in spans)}"
    return f"speakers were not distinguished{where}: {reason}"


def _parts(chunks: Sequence[ReadChunk]) -> list[ChunkOutcome]:
    """The chunks as merging takes them."""
    return [
        ChunkOutcome(
            window=chunk.window,
            keep=chunk.keep,
            segments=chunk.segments,
            reasons=chunk.reasons,
            missing=chunk.missing,
        )
        for chunk in chunks
    ]


def named(transcript: Transcript, job: Job) -> Transcript:
    """With what people said of its speakers, and the number of the last that they said of it."""
    segments, people = merge_chunks.merge(transcript.segments, transcript.speakers, job.speakers.merged)
    speakers = merge_chunks.named(people, job.speakers.names)
    return replace(transcript, segments=segments, speakers=speakers, revision=job.revision)


def _separate(job: Job) -> tuple[int, ...]:
    """The numbers of the channels that were transcribed one by one; none where they were mixed."""
    return job.media.separate_channels if job.media else ()


def _merged(job: Job, found: Transcribed, voices: Voices) -> MergedChunks:
    """The timeline of all chunks: of one recording with these voices, or of channels, each of which is a speaker."""
    channels = _separate(job)
    if not channels:
        return merge_chunks.merge_chunks(_parts(found.chunks), found.speech(), voices)
    return merge_channels(
        [
            ChannelOutcome(
                number,
                _parts([chunk for chunk in found.chunks if chunk.channel == channel]),
                found.speech(channel),
            )
            for channel, number in enumerate(channels)
        ]
    )


def assemble(job: Job, found: Transcribed, stitched: MergedChunks) -> Transcript:
    """One transcript from a job's chunks; always the same, so that a second attempt finds its files in place."""
    chunks = found.chunks
    media = job.media or Media()
    source = _source(job, media)
    return Transcript(
        job_id=job.id,
        source=source,
        engine=chunks[0].engine if chunks else NO_ENGINE,
        segments=stitched.segments,
        speakers=stitched.speakers,
        speech_detector=job.speech_detector,
        settings={"digest": job.settings_digest},  # and not the context, whose terms may be a secret of the folder
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
        timings=_timings(job, [*chunks, *found.stretches]),
        created_at=_moment(max(map(attrgetter("finished_at"), chunks), default=job.created_at)),
        language=_language(chunks),
    )


def _source(job: Job, media: Media) -> Source:
    """What the transcript says of its recording."""
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
        parts=media.parts,
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
    """The reason not to trust the transcript of a file that is only the beginning of a recording.

    >>> [*_broken_off(59.6, 3600)]
    ['the recording breaks off: 60 of 3600 s are there; copy it again']
    """
    if claimed is not None:
        digits = 0 if round(there) < round(claimed) else 1
        told = f"{there:.{digits}f} of {claimed:.{digits}f} s are there" if claimed else f"{there:.0f} s are there"
        yield f"the recording breaks off: {told}; copy it again"


def _unread(size: int | None) -> Iterator[str]:
    """The reason not to trust the transcript of a file that holds what nobody can read."""
    if size:
        yield f"{size / 1e6:.1f} MB behind its sound are neither sound nor described by the file; copy it again"


def _damaged(spans: Sequence[Span]) -> Iterator[str]:
    """The reason not to trust the transcript of a file in the middle of which something could not be read.

    >>> [*_damaged([Span(10, 12)])]
    ['the recording is damaged: 0:00:10-0:00:12 could not be read; copy it again']
    """
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


def end(
    context: WorkerContext, claim: JobClaim, result: Outcome, withheld: str = "", files: Sequence[str] = ()
) -> list[str]:
    """Set the job's final state; returns the followers to send `finish` for.

    If somebody corrected the transcript meanwhile, that is the job itself.

    `files` are in place; `withheld` is why its transcript is in the store alone.
    """
    transcript = result.transcript
    reason = "; ".join(filter(None, (*transcript.reasons, withheld))) if result.state is JobState.SUSPECT else withheld
    if result.state is JobState.DUPLICATE and not withheld:
        reason = transcript.notes[-1]
    return jobs.complete(
        context.database,
        claim,
        JobState.SUSPECT if withheld else result.state,
        files=files,
        reason=reason,
        notes=transcript.notes,
        missing=transcript.uncovered_speech,
        timings={} if result.state is JobState.DUPLICATE else transcript.timings,
        revision=transcript.revision,
    )


def _moment(seconds: float) -> str:
    """A moment as the transcript has it, in UTC.

    >>> _moment(0.0)
    '1970-01-01T00:00:00+00:00'
    """
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
