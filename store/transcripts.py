"""Results: the segments of a job's chunks, its finished transcript, and the files written for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import starmap
from typing import Any

from sqlalchemy import Connection, bindparam, delete, select, update

from dropscribe.core.types import ChunkKind, ChunkState, EngineInfo, Segment, SegmentKind, Span, Word
from dropscribe.store import leases, search, transitions
from dropscribe.store.file_names import path_key
from dropscribe.store.json_columns import speech_of
from dropscribe.store.leases import JobClaim
from dropscribe.store.session import Database, insert_ignoring
from dropscribe.store.tables import chunks, jobs, now, outputs, segments, transcripts
from dropscribe.store.transitions import JobEvent


@dataclass(frozen=True, slots=True)
class ReadChunk:
    """A chunk with what the model said; times in seconds of the recording."""

    window: Span
    keep: Span
    segments: tuple[Segment, ...]
    reasons: tuple[str, ...]
    missing: tuple[Span, ...]
    engine: EngineInfo
    timings: dict[str, float]
    language: str
    finished_at: float
    channel: int = 0


@dataclass(frozen=True, slots=True)
class EmbeddedStretch:
    """A stretch whose voices were embedded, or the reason why not."""

    id: str
    span: Span
    reason: str
    timings: dict[str, float]


@dataclass(frozen=True, slots=True)
class Transcribed:
    """All that a transcript is made of: windows that were read and stretches that are over, in order of time.

    `diarization` is what was found out of the speakers when it was made before; None where that is to be done.
    """

    chunks: tuple[ReadChunk, ...]
    stretches: tuple[EmbeddedStretch, ...]
    diarization: dict[str, Any] | None
    _media: dict[str, Any] | None

    def speech(self, channel: int | None = None) -> tuple[Span, ...]:
        """Where somebody speaks in the recording, or in one channel."""
        return speech_of(self._media, channel)


_OVER = (
    select(chunks)
    .where(chunks.c.job_id == bindparam("job"), chunks.c.state == ChunkState.DONE)
    .order_by(chunks.c.keep_from, chunks.c.start)
)
_SAID = (
    select(segments)
    .join(chunks, chunks.c.id == segments.c.chunk_id)
    .where(chunks.c.job_id == bindparam("job"), chunks.c.kind == ChunkKind.WINDOW, chunks.c.state == ChunkState.DONE)
    .order_by(segments.c.chunk_id, segments.c.position)
)
_FOUND = select(jobs.c.diarization, jobs.c.media).where(jobs.c.id == bindparam("job"))


def transcribed(database: Database, job_id: str) -> Transcribed:
    """What the models made of a recording so far, in one reading transaction."""
    said: dict[str, list[Segment]] = {}
    with database.read() as connection:
        over = connection.execute(_OVER, {"job": job_id}).all()
        for row in connection.execute(_SAID, {"job": job_id}):
            said.setdefault(row.chunk_id, []).append(_segment(row))
        found = connection.execute(_FOUND, {"job": job_id}).one()
    windows = (row for row in over if row.kind == ChunkKind.WINDOW)
    stretches = (row for row in over if row.kind == ChunkKind.EMBED)
    return Transcribed(
        tuple(_chunk(row, said.get(row.id, ())) for row in windows), tuple(map(_stretch, stretches)), *found
    )


def _chunk(row: Any, said: Sequence[Segment]) -> ReadChunk:
    return ReadChunk(
        Span(row.start, row.end),
        Span(row.keep_from, row.keep_to),
        tuple(said),
        tuple(row.reasons),
        row.missing,
        row.engine,
        row.timings,
        row.language,
        row.finished_at,
        row.channel,
    )


def _stretch(row: Any) -> EmbeddedStretch:
    return EmbeddedStretch(row.id, Span(row.start, row.end), "; ".join(row.reasons), row.timings)


def _segment(row: Any) -> Segment:
    words = tuple(starmap(Word, row.words))
    return Segment(row.start, row.end, row.text, row.speaker, SegmentKind(row.kind), row.quality, words)


@dataclass(frozen=True, slots=True)
class Reservation:
    """A name for a file of a transcript, asked for before it is put in place; `sha256` is of its content, in hex.

    `replaces` is the job whose file, with the digest `replaced`, gives way.
    """

    path: str
    format: str
    sha256: str
    replaces: str | None = None
    replaced: str | None = None

    @property
    def values(self) -> dict[str, Any]:
        """What the register says of it until the file is in place."""
        return {"format": self.format, "sha256": self.sha256, "replaced": self.replaced, "written_at": None}


def save(
    database: Database,
    claim: JobClaim,
    document: str,
    diarization: dict[str, Any] | None = None,
    files: Sequence[Reservation] = (),
) -> frozenset[str]:
    """Keep the finished transcript (the JSON document), and have it found by its words. Raises LeaseLostError.

    So is `diarization`, by which it is made again when the embeddings are gone. `files` are reserved in the same
    transaction, as by `reserve`; returns the paths that are this job's now.
    """
    with database.begin() as connection:
        leases.write(connection, claim, diarization=diarization)
        connection.execute(delete(transcripts).where(transcripts.c.job_id == claim.id))
        connection.execute(
            insert_ignoring(connection, transcripts).values(job_id=claim.id, document=document, created_at=now())
        )
        search.index(connection, claim.id, document)
        return _reserved(connection, claim, files)


TAKEN_OVER = "taken_over"  # the document of an earlier store, among what is known of a job's speakers


@dataclass(frozen=True, slots=True)
class FoundFile:
    """A file of an earlier transcript, written by dropscribe and not changed since; `sha256` in hex."""

    path: str
    format: str
    sha256: str


def take_over(
    database: Database, claim: JobClaim, document: str, duration: float, files: Sequence[FoundFile]
) -> list[str]:
    """Keep a transcript that an earlier store had made, and own its files; returns the job to send `finish` for.

    `duration` is the recording's, in seconds. The document stays as it was made, so that names and merges of speakers
    can be undone. Raises LeaseLostError.
    """
    with database.begin() as connection:
        found = files[0].path
        values: dict[str, Any] = {"duration": duration, "media": None, "diarization": {TAKEN_OVER: document}}
        transitions.move(connection, JobEvent.TAKEN_OVER, claim, detail=found, **values)
        for file in files:
            known = {"path_key": path_key(file.path), "job_id": claim.id, "written_at": now(), **asdict(file)}
            connection.execute(insert_ignoring(connection, outputs).values(**known))
    return [claim.id]


def diarization(database: Database, job_id: str) -> dict[str, Any] | None:
    """What was found out of the job's speakers when its transcript was saved; None where that is to be done."""
    with database.read() as connection:
        return connection.execute(select(jobs.c.diarization).where(jobs.c.id == job_id)).scalar()


def document(database: Database, job_id: str) -> str | None:
    """The finished transcript of a job as JSON, or None."""
    with database.read() as connection:
        return connection.execute(select(transcripts.c.document).where(transcripts.c.job_id == job_id)).scalar()


def reserve(database: Database, claim: JobClaim, files: Sequence[Reservation]) -> frozenset[str]:
    """Record, before files are put in place, that they are to be this job's; returns the paths that no other job took.

    Raises LeaseLostError.
    """
    with database.begin() as connection:
        leases.write(connection, claim, owner=claim.owner)
        return _reserved(connection, claim, files)


def _reserved(connection: Connection, claim: JobClaim, files: Sequence[Reservation]) -> frozenset[str]:
    by_key = {path_key(file.path): file for file in files}
    fresh = {key: file for key, file in by_key.items() if file.replaces is None}
    rows = [{"path_key": key, "path": file.path, "job_id": claim.id, **file.values} for key, file in fresh.items()]
    ours = set[str]()
    if rows:
        added = insert_ignoring(connection, outputs).returning(outputs.c.path_key)
        ours.update(connection.execute(added, rows).scalars())
    ours.update(key for key in by_key.keys() - fresh.keys() if _replaced(connection, claim, key, by_key[key]))
    return frozenset(by_key[key].path for key in ours)


def _replaced(connection: Connection, claim: JobClaim, key: str, file: Reservation) -> bool:
    row = update(outputs).where(outputs.c.path_key == key, outputs.c.job_id == file.replaces)
    return bool(connection.execute(row.values(job_id=claim.id, **file.values)).rowcount)


def give_up(database: Database, claim: JobClaim, path: str) -> None:
    """Forget a reservation whose path turned out to be taken."""
    with database.begin() as connection:
        connection.execute(delete(outputs).where(outputs.c.path_key == path_key(path), outputs.c.job_id == claim.id))


def same_recording(database: Database, one: str, other: str) -> bool:
    """True when both jobs are about the file at the same path."""
    with database.read() as connection:
        paths = select(jobs.c.path_key).where(jobs.c.id.in_([one, other])).distinct()
        return one == other or len(connection.execute(paths).all()) == 1
