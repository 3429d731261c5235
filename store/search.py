"""The search index: what was said in every finished transcript, line by line, and finding it again.

SQLite holds the words in an FTS5 table that triggers keep in step, PostgreSQL in a column with a GIN index.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import groupby, starmap
from operator import itemgetter
from typing import Any

from sqlalchemy import ColumnElement, Connection, cast, column, delete, exists, func, select, table
from sqlalchemy import Text as SqlText

from dropscribe.core.types import Speaker
from dropscribe.store import search_words
from dropscribe.store.file_names import StoredRecording
from dropscribe.store.queries import under, under_any
from dropscribe.store.session import Database, insert_all
from dropscribe.store.tables import TsQuery, jobs, lines, transcripts

LINES_INDEX = table("lines_index", column("rowid"), column("lines_index"))


def entries(job_id: str, document: str) -> list[dict[str, Any]]:
    """The rows of a finished transcript (its JSON document)."""
    told = json.loads(document)
    called = {item["number"]: Speaker(item["number"], item["name"]).called for item in told.get("speakers", ())}
    return [
        _entry(job_id, position, segment, called.get(segment["speaker"], ""))
        for position, segment in enumerate(told.get("segments", ()))
    ]


def _entry(job_id: str, position: int, segment: dict[str, Any], speaker: str) -> dict[str, Any]:
    return {
        "job_id": job_id,
        "position": position,
        "start": segment["start"],
        "end": segment["end"],
        "speaker": speaker,
        "voice": voice(speaker),
        "text": segment["text"],
        "words": search_words.keys(segment["text"]),
    }


def voice(speaker: str) -> str:
    """A speaker's name as it is compared: its words between blanks.

    >>> voice("Ada Lovelace")
    ' ada lovelace '
    """
    return f" {' '.join(search_words.keys(speaker))} "


def index(connection: Connection, job_id: str, document: str) -> None:
    """Have the job found by this transcript and no other."""
    connection.execute(delete(lines).where(lines.c.job_id == job_id))
    insert_all(connection, lines, entries(job_id, document))


@dataclass(frozen=True, slots=True)
class Query:
    """What to look for. Moments in seconds since the epoch, of the recording's file; `folder` is an absolute path.

    `within` are folders, under one of which the recordings lie; None: anywhere.
    """

    terms: tuple[search_words.Term, ...]
    speaker: str = ""
    since: float | None = None
    until: float | None = None
    folder: str | None = None
    within: tuple[str, ...] | None = None


MAX_TIME = (1 << 63) - 1  # ns


@dataclass(frozen=True, slots=True)
class Hit(StoredRecording):
    """A line in which all terms occur; `start` and `end` in seconds of the recording, `mtime_ns` of its file."""

    job: str
    root: str
    path: str
    mtime_ns: int
    position: int
    start: float
    end: float
    speaker: str
    text: str


_HIT_COLUMNS = (
    lines.c.job_id, jobs.c.root, jobs.c.path, jobs.c.mtime_ns,
    lines.c.position, lines.c.start, lines.c.end, lines.c.speaker, lines.c.text,
)  # fmt: skip


def find(database: Database, query: Query, *, limit: int | None = None) -> list[Hit]:
    """What was said, the newest recording first, each in order; of a recording only its newest transcript counts."""
    wanted = [_matches(database, query.terms), ~_superseded()]
    if query.speaker:
        wanted.append(lines.c.voice.contains(voice(query.speaker), autoescape=True))
    if query.since is not None:
        wanted.append(jobs.c.mtime_ns >= _nanoseconds(query.since))
    if query.until is not None:
        wanted.append(jobs.c.mtime_ns < _nanoseconds(query.until))
    if query.folder:
        wanted.append(under(database, query.folder))
    if query.within is not None:
        wanted.append(under_any(database, query.within))
    found = select(*_HIT_COLUMNS).join(jobs, jobs.c.id == lines.c.job_id).where(*wanted)
    with database.read() as connection:
        rows = connection.execute(found.order_by(jobs.c.mtime_ns.desc(), jobs.c.id, lines.c.position).limit(limit))
        return [*starmap(Hit, rows)]


def _nanoseconds(moment: float) -> int:
    """A moment as files have it, as far as the database counts: to the year 2262."""
    return max(-MAX_TIME, min(MAX_TIME, int(moment * 1e9)))


def _matches(database: Database, terms: Sequence[search_words.Term]) -> ColumnElement[bool]:
    if database.is_sqlite:
        held = select(LINES_INDEX.c.rowid).where(LINES_INDEX.c.lines_index.op("MATCH")(search_words.fts5(terms)))
        return lines.c.id.in_(held)
    return lines.c.words.bool_op("@@")(cast(cast(search_words.tsquery(terms), SqlText), TsQuery))


def _superseded() -> ColumnElement[bool]:
    newer = jobs.alias()
    return exists(
        select(newer.c.id)
        .join(transcripts, transcripts.c.job_id == newer.c.id)
        .where(newer.c.path_key == jobs.c.path_key, newer.c.created_at > jobs.c.created_at)
    )


def speakers_of(database: Database, ids: Collection[str]) -> dict[str, list[str]]:
    """What the speakers of finished transcripts are called, by job, in the order in which they begin to speak."""
    query = (
        select(lines.c.job_id, lines.c.speaker)
        .where(lines.c.job_id.in_(ids), lines.c.speaker != "")
        .group_by(lines.c.job_id, lines.c.speaker)
        .order_by(lines.c.job_id, func.min(lines.c.position))
    )
    with database.read() as connection:
        rows = [*connection.execute(query)]
    return {job: [speaker for _, speaker in of_job] for job, of_job in groupby(rows, itemgetter(0))}


def around(database: Database, hit: Hit, count: int) -> list[Hit]:
    """The hit with up to `count` lines before and after it, in order."""
    near = lines.c.position.between(hit.position - count, hit.position + count)
    found = select(*_HIT_COLUMNS).join(jobs, jobs.c.id == lines.c.job_id).where(lines.c.job_id == hit.job, near)
    with database.read() as connection:
        return [*starmap(Hit, connection.execute(found.order_by(lines.c.position)))]
