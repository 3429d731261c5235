"""`dropscribe voices enroll`: the voice of a speaker, made again from the recording, is kept under a name."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from operator import attrgetter
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dropscribe.admin.act.speakers import number_of, people_of
from dropscribe.admin.act.voices import document, find_voice, remark_where_off
from dropscribe.admin.context import Context
from dropscribe.admin.state.job_lookup import find
from dropscribe.admin.terminal import render
from dropscribe.admin.terminal.progress import busy, byte_progress, track
from dropscribe.core.bucket_names import is_in_bucket
from dropscribe.core.errors import DropscribeError, SourceMissingError, UsageError
from dropscribe.core.spans import total
from dropscribe.core.types import Span
from dropscribe.models.speakers import encoder as speaker_encoder
from dropscribe.store import queries, voices
from dropscribe.store.queries import Job
from dropscribe.store.voices import KnownVoice
from dropscribe.worker.diarizing import voice_print
from dropscribe.worker.diarizing.known_voices import RECOGNIZED
from dropscribe.worker.merging.speaker_embeddings import MAYBE, unit
from dropscribe.worker.preparing import decode, staging
from dropscribe.worker.preparing.decode import Listening
from dropscribe.worker.preparing.stage_object import stage_object
from dropscribe.worker.runtime import scratch


@dataclass(frozen=True, slots=True)
class Enrolled:
    """A voice as it is kept now, and the `seconds` of speech of `speaker` in `job` that were added to it.

    `known` are the voices that were known before.
    """

    kept: KnownVoice
    job: Job
    speaker: int
    seconds: float
    known: Sequence[KnownVoice]

    @property
    def document(self) -> dict[str, Any]:
        """As docs/cli.md describes it."""
        return {"job": self.job.id, "speaker": self.speaker, "speech": self.seconds, "voice": document(self.kept)}


def enroll(context: Context, job_name: str, who: str, name: str, *, as_json: bool) -> None:
    """Keep the voice of the job's speaker `who` under `name`, and say so. Raises as `enrolled` does."""
    _require_name(name)
    one = enrolled(context, queries.job(context.database, find(context.database, job_name)), who, name)
    context.answer(lambda: one.document, lambda: _report(context, one), as_json=as_json)
    for other in one.known:
        _warn_if_alike(context, one.kept, other)


def enrolled(context: Context, job: Job, who: str, name: str) -> Enrolled:
    """Keep the voice of the job's speaker `who` under `name`; a voice of that name is joined with it.

    Raises UsageError for an empty name or an unknown speaker. Raises DropscribeError for too little speech, for a
    recording that is gone or changed, and for a voice that differs from the one of that name.
    """
    _require_name(name)
    spans, speaker = _speech_of(context, job, who)
    with byte_progress(context.err) as tell:
        encoder = speaker_encoder.load(tell)
    with _decoded(context, job) as audio:
        found = voice_print.voice_print(audio, spans, encoder, partial(track, context.err, "embedding the voice"))
    seconds = round(total(spans), 1)
    known = voices.known(context.database)
    before = find_voice(known, name)
    heard = KnownVoice(before.name if before else name.strip(), encoder.name, _rounded(found), seconds)
    kept = _joined(before, heard)
    voices.enroll(context.database, kept)
    return Enrolled(_stored(context, kept), job, speaker, seconds, known)


def _require_name(name: str) -> None:
    """Raise UsageError for an empty name."""
    if not name.strip():
        raise UsageError("a voice needs a name", remedy="give it with --as")


def _speech_of(context: Context, job: Job, who: str) -> tuple[list[Span], int]:
    """What the speaker says alone, and the speaker's number."""
    segments, people = people_of(context.database, job)
    number = number_of(who, people, set(map(attrgetter("number"), people)))
    speech = queries.speech(context.database, job.id)
    spans = voice_print.spoken_alone(segments, number, speech)
    seconds = total(spans)
    if seconds < voice_print.MIN_SECONDS:
        raise DropscribeError(
            f"speaker {who} says {seconds:.1f} s alone in {job.id}, and a voice needs {voice_print.MIN_SECONDS:.0f} s",
            remedy="enroll it from a recording in which they speak longer",
        )
    return spans, number


def _rounded(embedding: NDArray[np.float32]) -> tuple[float, ...]:
    """An embedding as it is stored: six decimals of each number."""
    return tuple(round(float(number), 6) for number in embedding)


@contextmanager
def _decoded(context: Context, job: Job) -> Iterator[Path]:
    """The recording as workers hear it, in scratch for the duration of the block."""
    settings, source = context.settings, Path(job.source)
    label = staging.shown(Path(job.path))
    with scratch.directory(settings.scratch_dir, label) as folder:
        with busy(context.err, f"decoding {render.safe(label)}"):
            copy = _staged(context, job, source, folder)
            audio = folder / "audio.flac"
            heard = job.media.heard if job.media else ""
            wanted = Listening(tracks=heard) if heard else decode.listening(settings.for_job(job.overrides))
            decode.decode(copy, audio, decode.limits(settings), replace(wanted, channels="mix"), label=label)
        copy.unlink()
        yield audio


def _staged(context: Context, job: Job, source: Path, folder: Path) -> Path:
    """A copy of the recording in the folder. Raises DropscribeError where it is gone, or not what was transcribed."""
    try:
        if is_in_bucket(job.root):
            copy = stage_object(context.settings, job, folder)
        else:
            copy = staging.stage(source, Path(job.root), folder)
    except SourceMissingError as error:
        raise DropscribeError(
            f"the recording of {job.id} is gone, and embeddings are not kept: {error.problem}",
            remedy="put it back, or enroll the voice from another recording",
        ) from error
    if job.sha256 and copy.sha256 != job.sha256:
        raise DropscribeError(
            f"{staging.shown(source)} has changed since {job.id} transcribed it",
            remedy="enroll the voice from the job of the new file",
        )
    return copy.path


def _joined(before: KnownVoice | None, heard: KnownVoice) -> KnownVoice:
    """The mean of both by seconds of speech. Embeddings of another encoder are given up."""
    if before is None or before.encoder != heard.encoder:
        return heard
    if (alike := _similarity(before, heard)) < MAYBE:
        raise DropscribeError(
            f"this voice is not like that of {render.safe(before.name)} (similarity {alike:.2f})",
            remedy="enroll it under another name, or forget the other first: `dropscribe voices forget NAME`",
        )
    mean = unit(np.array(before.embedding) * before.seconds + np.array(heard.embedding) * heard.seconds)
    return replace(heard, embedding=_rounded(mean), seconds=round(before.seconds + heard.seconds, 1))


def _similarity(one: KnownVoice, other: KnownVoice) -> float:
    """How alike two voices are, from -1 to 1."""
    return float(np.dot(one.embedding, other.embedding))


def _stored(context: Context, kept: KnownVoice) -> KnownVoice:
    """The voice as the store has it; as it was to be kept, if somebody has just removed it."""
    return find_voice(voices.known(context.database), kept.name) or kept


def _report(context: Context, one: Enrolled) -> None:
    """Say that the voice is kept, of how much speech it is made, and whether voices are recognized at all."""
    kept = one.kept
    whole = "" if kept.seconds == one.seconds else f", {render.duration(kept.seconds)} in all"
    context.say(f"{kept.name} is enrolled with {render.duration(one.seconds)} of speech in {one.job.id}{whole}")
    remark_where_off(context)


def _warn_if_alike(context: Context, kept: KnownVoice, other: KnownVoice) -> None:
    """Say it where two known voices are so alike that neither would be recognized."""
    if other.encoder != kept.encoder or other.name == kept.name:
        return
    if (similarity := _similarity(kept, other)) >= RECOGNIZED:
        alike = f"{other.name} sounds like {kept.name} ({similarity:.2f})"
        context.warn(f"{alike}; if both match, neither is recognized")
