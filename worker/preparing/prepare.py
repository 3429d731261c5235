"""From a source file to spooled audio and a chunk plan."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import chain
from operator import attrgetter
from pathlib import Path, PurePath

from dropscribe.core.bucket_names import is_in_bucket
from dropscribe.core.clock import clock
from dropscribe.core.error_translation import writing
from dropscribe.core.settings import Settings
from dropscribe.core.spans import merged
from dropscribe.core.types import Chunk, Media, SourcePart, Span
from dropscribe.store import parts
from dropscribe.store.chunk_plans import Prepared
from dropscribe.store.fleet import Capacity, capacity
from dropscribe.store.queries import Job
from dropscribe.worker import chunking
from dropscribe.worker.preparing import decode, part_staging, staging, tracks, vad
from dropscribe.worker.preparing.stage_object import stage_object
from dropscribe.worker.preparing.staging import Staged
from dropscribe.worker.runtime import scratch
from dropscribe.worker.runtime.context import WorkerContext
from dropscribe.worker.runtime.lease import Held

NO_SPEECH = "no speech was found"
MIN_INVERTED = 1.0  # s; less is stereo effects
STRETCH_SECONDS = 300.0  # of a recording whose voices are embedded in one step: half a minute's work
DEFAULT_LONGEST = 1800.0  # seconds, where no model worker lives yet; VibeVoice-ASR does not drift within that


@contextmanager
def staged(context: WorkerContext, job: Job, held: Held) -> Iterator[Staged]:
    """A copy of the source in a directory of local scratch, hashed and proved whole, for the duration of the block."""
    with scratch.directory(context.settings.scratch_dir, staging.shown(Path(job.path))) as folder:
        if is_in_bucket(job.root):
            yield stage_object(context.settings, job, folder, held.check)
            return
        first = staging.stage(Path(job.source), Path(job.root), folder, held.check, home=PurePath(job.home))
        yield _with_parts(context, job, first, held) if job.part_count else first


def is_last_try(context: WorkerContext, job: Job) -> bool:
    """Does the job fail for good where it fails now?"""
    return job.failures + 1 >= context.settings.failed_attempts


def _with_parts(context: WorkerContext, job: Job, first: Staged, held: Held) -> Staged:
    """A recording in parts with its further files, staged beside the first."""
    further, folder = parts.of_job(context.database, job.id), first.path.parent
    whole = part_staging.with_parts(job, first, further, folder, held.check, is_last_try=is_last_try(context, job))
    parts.mark(context.database, job.id, part_staging.fingerprints(whole.parts))
    return whole


def prepare(context: WorkerContext, job: Job, copy: Staged, held: Held) -> Prepared:
    """Decode the staged copy into the spool, find speech, plan chunks; of each channel where they are apart."""
    settings = context.settings.for_job(job.overrides)
    began = time.monotonic()
    decoded = _decoded(context, job, copy, held)
    decoding = time.monotonic() - began
    channels = range(max(1, len(decoded.separate_channels)))
    found = [_speech(settings, context.spooled(job.id), channel, decoded, held) for channel in channels]
    of_channels = [*map(attrgetter("spans"), found)]
    speech = merged(chain.from_iterable(of_channels))
    chunks = _numbered([plan(context, job, spans, decoded.duration) for spans in of_channels])
    return Prepared(
        duration=decoded.duration,
        media=_media(decoded),
        speech_detector=found[0].detector,
        chunks=chunks,
        stretches=() if decoded.separate_channels else stretches(settings, speech, decoded.duration),
        speech=speech,
        speech_of_channels=of_channels if decoded.separate_channels else (),
        notes=notes(decoded, chunks),
        timings={"audio_decode": decoding, "speech_detection": time.monotonic() - began - decoding},
    )


def _decoded(context: WorkerContext, job: Job, copy: Staged, held: Held) -> decode.Decoded:
    """Decode the staged copy into the spool, as the settings of the job say."""
    settings = context.settings.for_job(job.overrides)
    with writing(f"cannot make the spool {settings.spool_dir}", "check DROPSCRIBE_SPOOL and its disk"):
        settings.spool_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    label, target = staging.shown(Path(job.path)), context.spooled(job.id)
    bounds, wanted = decode.limits(settings), decode.listening(settings)
    folder, zygote = copy.path.parent, context.zygote
    try:
        return decode.decode(
            copy.path,
            target,
            bounds,
            wanted,
            label=label,
            parts=[*part_staging.to_decode(job, copy)],
            scratch=folder,
            stop=held.stop,
            zygote=zygote,
        )
    except decode.DecodeStoppedError:
        held.check()
        raise


def _speech(settings: Settings, target: Path, channel: int, decoded: decode.Decoded, held: Held) -> vad.SpeechMap:
    """Where somebody speaks in a channel; nowhere in silence."""
    held.check()
    if decoded.silent:
        return vad.SpeechMap((), "none needed")
    return vad.detect(target, vad.load(settings.speech_detector), check=held.check, channel=channel)


def _numbered(plans: Sequence[Sequence[Chunk]]) -> tuple[Chunk, ...]:
    """The chunks of all channels, numbered on from one to the next."""
    chunks = (replace(chunk, channel=channel) for channel, chunks in enumerate(plans) for chunk in chunks)
    return tuple(replace(chunk, index=index) for index, chunk in enumerate(chunks))


def _media(decoded: decode.Decoded) -> Media:
    """What is known of the recording, as the job keeps it."""
    claimed = decoded.claimed_duration if decoded.truncated else None
    return Media(
        format=decoded.format,
        codec=decoded.codec,
        channels=decoded.channels,
        sample_rate=decoded.sample_rate,
        claimed_duration=claimed,
        unread_bytes=decoded.unread_bytes or None,
        tracks=decoded.tracks,
        separate_channels=decoded.separate_channels,
        damaged=decoded.damaged,
        parts=decoded.parts,
    )


def plan(context: WorkerContext, job: Job, speech: Sequence[Span], duration: float) -> tuple[Chunk, ...]:
    """Chunks as long as is set, or as the living model workers can hold and all of them get a part."""
    settings = context.settings.for_job(job.overrides)
    fleet = capacity(context.database, settings.silence_seconds, job.model_queue)
    longest = _longest(settings, fleet)
    overlap = settings.overlap_seconds
    target = settings.chunk_target_seconds or chunking.target_for(
        duration, longest, max(1, fleet.slots), overlap=overlap
    )
    return chunking.plan(speech, duration, longest, target=target, overlap=overlap)


def stretches(settings: Settings, speech: Sequence[Span], duration: float) -> tuple[Span, ...]:
    """The parts of a recording whose voices are embedded in a step each; none where speakers are not distinguished."""
    if not settings.embeds_voices:
        return ()
    return tuple(map(attrgetter("keep"), chunking.plan(speech, duration, STRETCH_SECONDS)))


def _longest(settings: Settings, fleet: Capacity) -> float:
    """Seconds of the longest chunk that all workers of the fleet can take."""
    held = fleet.longest_chunk or DEFAULT_LONGEST
    return min(settings.chunk_seconds or held, held)


def notes(decoded: decode.Decoded, chunks: tuple[Chunk, ...]) -> tuple[str, ...]:
    """Remarks on a recording that a reader of its transcript should know."""
    inverted, claimed, whole = decoded.inverted_seconds, decoded.header_seconds, decoded.duration
    remarks = {
        NO_SPEECH: not chunks,
        f"{decoded.decode_errors} damaged packets were skipped": decoded.decode_errors,
        f"{decoded.silence_inserted:.1f} s missing in the recording were filled with silence": decoded.silence_inserted,
        f"{inverted:.0f} s have inverted channels that cancel each other out: one was heard": inverted >= MIN_INVERTED,
        f"its header claims {claimed:.0f} of {whole:.0f} s: it was read to the end of the file": claimed,
    }
    on_sound = [remark for remark, holds in remarks.items() if holds]
    return (*_notes_on_parts(decoded.parts), *on_sound, *_notes_on_tracks(decoded), *decoded.remarks)


def _notes_on_parts(parts: Sequence[SourcePart]) -> Iterator[str]:
    """Notes on the files that were joined, and those that could not be read."""
    if parts:
        told = ", ".join(f"{part.name} from {clock(part.start)}" for part in parts)
        yield f"one recording in {len(parts)} parts: {told}"
    for part in parts:
        if part.problem:
            yield f"about {clock(part.duration)} are missing, for {part.name} could not be read: {part.problem}"


def _notes_on_tracks(decoded: decode.Decoded) -> Iterator[str]:
    """Notes on tracks that were transcribed together, or not at all."""
    heard = [str(track.number) for track in tracks.heard(decoded.tracks)]
    if len(heard) > 1 and not decoded.separate_channels:
        yield f"the sound tracks {', '.join(heard)} were transcribed together"
    for track in tracks.missed(decoded.tracks):
        yield f"sound track {track.number} was not heard: {track.left_out}"
