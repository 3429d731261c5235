"""Results: the segments of a job's chunks, its finished transcript, and the files written for it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import starmap
from typing import Any

from sqlalchemy import delete, select, update

from dropscribe.core.errors import LeaseLostError
from dropscribe.core.types import ChunkKind, ChunkState, EngineInfo, Segment, SegmentKind, Span, Word
from dropscribe.store import leases, search, transitions
from dropscribe.store.leases import JobClaim
from dropscribe.store.session import Database, insert_ignoring
from dropscribe.store.tables import chunks, jobs, now, outputs, path_key, segments, transcripts
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


def read_chunks(database: Database, job_id: str) -> list[ReadChunk]:
    """All windows of a job that were read, with their segments, in order of time."""
    said: dict[str, list[Segment]] = {}
    windows = (chunks.c.job_id == job_id, chunks.c.kind == ChunkKind.WINDOW, chunks.c.state == ChunkState.DONE)
    of_job = select(chunks.c.id).where(*windows)
    with database.read() as connection:
        rows = connection.execute(select(chunks).where(*windows).order_by(chunks.c.keep_from, chunks.c.start)).all()
        query = (
            select(segments).where(segments.c.chunk_id.in_(of_job)).order_by(segments.c.chunk_id, segments.c.position)
        )
        for row in connection.execute(query):
            said.setdefault(row.chunk_id, []).append(_segment(row))
    return [
        ReadChunk(
            Span(row.start, row.end),
            Span(row.keep_from, row.keep_to),
            tuple(said.get(row.id, ())),
            tuple(row.reasons),
            row.missing,
            row.engine,
            row.timings,
            row.language,
            row.finished_at,
            row.channel,
        )
        for row in rows
    ]


@dataclass(frozen=True, slots=True)
class EmbeddedStretch:
    """A stretch whose voices were embedded, or the reason why not."""

    id: str
    span: Span
    reason: str
    timings: dict[str, float]


def embedded_stretches(database: Database, job_id: str) -> list[EmbeddedStretch]:
    """The job's stretches that are over, in order of time."""
    over = (chunks.c.job_id == job_id, chunks.c.kind == ChunkKind.EMBED, chunks.c.state == ChunkState.DONE)
    with database.read() as connection:
        rows = connection.execute(select(chunks).where(*over).order_by(chunks.c.start)).all()
    return [EmbeddedStretch(row.id, Span(row.start, row.end), "; ".join(row.reasons), row.timings) for row in rows]


def _segment(row: Any) -> Segment:
    words = tuple(starmap(Word, row.words))
    return Segment(row.start, row.end, row.text, row.speaker, SegmentKind(row.kind), row.quality, words)


def save(database: Database, claim: JobClaim, document: str, diarization: dict[str, Any] | None = None) -> None:
    """Keep the finished transcript (the JSON document), and have it found by its words. Raises LeaseLostError.

    So is `diarization`, by which it is made again when the embeddings are gone.
    """
    with database.begin() as connection:
        leases.write(connection, claim, diarization=diarization)
        connection.execute(delete(transcripts).where(transcripts.c.job_id == claim.id))
        connection.execute(
            insert_ignoring(connection, transcripts).values(job_id=claim.id, document=document, created_at=now())
        )
        search.index(connection, claim.id, document)


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


EMPTY = hashlib.sha256(b"").hexdigest()  # of a name that was claimed where there are no hard links


@dataclass(frozen=True, slots=True)
class WrittenFile:
    """A file on disk that dropscribe wrote, or is about to: `sha256` of its content, in hex.

    `replaced` is that of the file which was to give way, where a crash came in between.
    """

    path: str
    job_id: str
    format: str
    sha256: str
    written: bool
    replaced: str | None = None

    @property
    def contents(self) -> frozenset[str | None]:
        """Digests of what may be there unless somebody else put it there; None stands for nothing.

        After a crash that is what was to be written, what was to give way, or an empty file.
        """
        before = () if self.written else (self.replaced, EMPTY)
        return frozenset({None, self.sha256, *before})


def file_at(database: Database, path: str) -> WrittenFile | None:
    """What dropscribe knows of the file at this absolute path; None when it did not write it."""
    with database.read() as connection:
        row = connection.execute(select(outputs).where(outputs.c.path_key == path_key(path))).first()
    return _file(row) if row else None


def files_of(database: Database, job_id: str) -> list[WrittenFile]:
    """The transcript files of a job."""
    with database.read() as connection:
        rows = connection.execute(select(outputs).where(outputs.c.job_id == job_id).order_by(outputs.c.path)).all()
    return [*map(_file, rows)]


def _file(row: Any) -> WrittenFile:
    return WrittenFile(row.path, row.job_id, row.format, row.sha256, row.written_at is not None, row.replaced)


def reserve(
    database: Database,
    claim: JobClaim,
    path: str,
    fmt: str,
    sha256: str,
    *,
    replaces: str | None,
    replaced: str | None = None,
) -> bool:
    """Record, before a file is put in place, that it is to be this job's; False when another job took the path.

    `replaces` is the job whose file, with the digest `replaced`, gives way. Raises LeaseLostError.
    """
    with database.begin() as connection:
        leases.write(connection, claim, owner=claim.owner)
        values: dict[str, Any] = {
            "job_id": claim.id,
            "format": fmt,
            "sha256": sha256,
            "replaced": replaced,
            "written_at": None,
        }
        key = path_key(path)
        if replaces is not None:
            row = update(outputs).where(outputs.c.path_key == key, outputs.c.job_id == replaces)
            return bool(connection.execute(row.values(**values)).rowcount)
        fresh = insert_ignoring(connection, outputs).values(path_key=key, path=path, **values)
        return connection.execute(fresh.returning(outputs.c.path_key)).first() is not None


def give_up(database: Database, claim: JobClaim, path: str) -> None:
    """Forget a reservation whose path turned out to be taken."""
    with database.begin() as connection:
        connection.execute(delete(outputs).where(outputs.c.path_key == path_key(path), outputs.c.job_id == claim.id))


def same_recording(database: Database, one: str, other: str) -> bool:
    """True when both jobs are about the file at the same path."""
    with database.read() as connection:
        paths = select(jobs.c.path_key).where(jobs.c.id.in_([one, other])).distinct()
        return one == other or len(connection.execute(paths).all()) == 1


def written(database: Database, claim: JobClaim, paths: Sequence[str]) -> None:
    """Record that the job's files are in place."""
    keys = [*map(path_key, paths)]
    with database.begin() as connection:
        rows = update(outputs).where(outputs.c.path_key.in_(keys), outputs.c.job_id == claim.id)
        if connection.execute(rows.values(written_at=now(), replaced=None)).rowcount != len(keys):
            raise LeaseLostError(f"{claim.id}: its files belong to another job by now")
