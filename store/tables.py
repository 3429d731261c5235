"""The tables, in SQLAlchemy's typed core (no ORM: rows change hands by guarded updates, not by identity).

Moments are seconds since the epoch by the database's own clock (`now()`), so that hosts whose clocks differ
agree on when a lease ends. Paths are stored with undecodable bytes made reversible (`FileName`); since a path
may be longer than an index entry, uniqueness is held on digests (`path_key`, `identity`).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Connection,
    Double,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    TypedColumns,
    text,
)
from sqlalchemy.engine import Dialect
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.expression import FunctionElement
from sqlalchemy.types import TypeDecorator, TypeEngine, UserDefinedType

from dropscribe.core.job_overrides import JobOverrides
from dropscribe.core.routing import MODEL_QUEUE
from dropscribe.core.types import EngineInfo, Span, SpeakerNames
from dropscribe.store import search_words
from dropscribe.store.json_columns import ENGINE, OVERRIDES, SPANS, SPEAKERS

# Python shows an undecodable byte 0xNN as the lone surrogate U+DCNN, which no database takes. A private-use
# plane holds it instead: U+10DC80..U+10DCFF.
_SHIFT = 0x10DC00 - 0xDC00
_SURROGATE = re.compile("[\udc80-\udcff]")
_LONE = re.compile("[\ud800-\udfff]")
_SHIFTED = re.compile("[\U0010dc80-\U0010dcff]")


class FileName(TypeDecorator[str]):
    """A path as `os.fsdecode` gives it, lone surrogates included."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:  # noqa: ARG002
        """To the database."""
        return value and _SURROGATE.sub(lambda m: chr(ord(m[0]) + _SHIFT), value)

    def process_result_value(self, value: str | None, dialect: Dialect) -> str | None:  # noqa: ARG002
        """From the database."""
        return value and _SHIFTED.sub(lambda m: chr(ord(m[0]) - _SHIFT), value)


class Prose(TypeDecorator[str]):
    """Text from outside, with what no database takes dropped (NUL) or shown as U+FFFD (lone surrogates)."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:  # noqa: ARG002
        """To the database."""
        return value and _LONE.sub("\ufffd", value).replace("\0", "")


class TsVector(UserDefinedType[str]):
    """PostgreSQL's type; its dialect is imported nowhere, as that costs `dropscribe status` its start."""

    cache_ok = True

    def get_col_spec(self, **_: Any) -> str:
        """Its name in SQL."""
        return "TSVECTOR"


class TsQuery(UserDefinedType[str]):
    """Likewise."""

    cache_ok = True

    def get_col_spec(self, **_: Any) -> str:
        """Its name in SQL."""
        return "TSQUERY"


class Words(TypeDecorator[Sequence[str]]):
    """Words for the search index: PostgreSQL's tsvector; on SQLite text, which FTS5 reads."""

    impl = Text
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """See the base class."""
        return dialect.type_descriptor(Text() if dialect.name == "sqlite" else TsVector())

    def process_bind_param(self, value: Sequence[str] | None, dialect: Dialect) -> str:
        """To the database."""
        return (" ".join if dialect.name == "sqlite" else search_words.tsvector)(value or ())


def path_key(path: str) -> str:
    """Digest of an absolute path, for indexes."""
    return hashlib.sha256(path.encode("utf-8", "surrogateescape")).hexdigest()[:32]


def source_of(root: str, path: str) -> str:
    """Absolute path of the recording at `path` below its `root`."""
    return f"{root.rstrip('/')}/{path}"


class now(FunctionElement[float]):  # noqa: N801 (reads as the SQL function it is)
    """The database's clock in seconds since the epoch, also within a transaction."""

    type = Double()
    inherit_cache = True


@compiles(now, "sqlite")
def _now_sqlite(*_: Any, **__: Any) -> str:
    return "((julianday('now') - 2440587.5) * 86400.0)"


@compiles(now, "postgresql")
def _now_postgresql(*_: Any, **__: Any) -> str:
    return "extract(epoch from clock_timestamp())::double precision"


metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)

RowId = BigInteger().with_variant(Integer(), "sqlite")  # SQLite numbers rows by itself only as INTEGER


class JobColumns(TypedColumns):
    """One recording.

    `speakers` is what people say of them, `diarization` what was found out by their voices, as `worker` wrote it.
    `overrides` are settings that its folder has of its own; `wanted_queue` says which model workers they leave for it,
    and `model_queue` which are left: those of one model, once a chunk was claimed. `moves` says that it is still to be
    put away when its job has ended, `moving_to` where, as soon as that is decided.
    `stamp` and `fingerprint` are the mark of its file as it was read: see `FileMark`.
    """

    id = Column(String(16), primary_key=True)
    root = Column(FileName, nullable=False)
    path = Column(FileName, nullable=False)
    path_key = Column(String(32), nullable=False, index=True)
    identity = Column(String(64), nullable=False, unique=True)
    size = Column(BigInteger, nullable=False)
    mtime_ns = Column(BigInteger, nullable=False)
    settings_digest = Column(String(16), nullable=False)
    context = Column(Prose, nullable=False)
    priority = Column(String(8), nullable=False)
    overrides: Column[JobOverrides] = Column(OVERRIDES, nullable=False, server_default="{}")
    model_queue = Column(String(48), nullable=False, server_default=MODEL_QUEUE)
    wanted_queue = Column(String(48), nullable=False, server_default=MODEL_QUEUE)
    moves = Column(Boolean, nullable=False, server_default="0")
    moving_to = Column(FileName, nullable=True)

    state = Column(String(16), nullable=False)
    reason = Column(Prose, nullable=False)
    notes = Column(JSON, nullable=False)
    missing: Column[tuple[Span, ...]] = Column(SPANS, nullable=False)
    cancel_requested = Column(Boolean, nullable=False)

    attempt = Column(Integer, nullable=False)
    lost = Column(Integer, nullable=False)
    failures = Column(Integer, nullable=False)
    owner = Column(String(128), nullable=True)
    lease_until = Column(Double, nullable=True)
    not_before = Column(Double, nullable=False)
    sent_at = Column(Double, nullable=True)

    sha256 = Column(String(64), nullable=True)
    stamp = Column(BigInteger, nullable=True)
    fingerprint = Column(String(32), nullable=False, server_default="")
    content_key = Column(String(96), nullable=True, unique=True)
    duplicate_of = Column(String(16), nullable=True, index=True)
    duration = Column(Double, nullable=True)
    media = Column(JSON, nullable=True)
    speech_detector = Column(String(32), nullable=False)
    timings = Column(JSON, nullable=False)
    speakers: Column[SpeakerNames] = Column(SPEAKERS, nullable=False, server_default="{}")
    diarization = Column(JSON, nullable=True)

    created_at = Column(Double, nullable=False)
    finished_at = Column(Double, nullable=True)


class ChunkColumns(TypedColumns):
    """A stretch of a recording and what is to be done with it: see `ChunkKind`.

    `keep_from` and `keep_to` bound what is this chunk's to tell; `depth` counts how often it was halved. `channel`
    is which of the spooled channels it is of.
    """

    id = Column(String(24), primary_key=True)
    job_id = Column(String(16), ForeignKey("jobs.id", ondelete="CASCADE"), nullable=False, index=True)
    position = Column(Integer, nullable=False)
    kind = Column(String(8), nullable=False, server_default="window")
    depth = Column(Integer, nullable=False, server_default="0")
    channel = Column(Integer, nullable=False, server_default="0")
    start = Column(Double, nullable=False)
    end = Column(Double, nullable=False)
    keep_from = Column(Double, nullable=False, server_default="0")
    keep_to = Column(Double, nullable=False, server_default="0")

    state = Column(String(16), nullable=False)
    attempt = Column(Integer, nullable=False)
    lost = Column(Integer, nullable=False)
    failures = Column(Integer, nullable=False)
    owner = Column(String(128), nullable=True)
    lease_until = Column(Double, nullable=True)
    not_before = Column(Double, nullable=False)
    sent_at = Column(Double, nullable=True)

    progress = Column(Double, nullable=False)
    ended = Column(String(16), nullable=True)
    reasons = Column(JSON, nullable=False)
    missing: Column[tuple[Span, ...]] = Column(SPANS, nullable=False, server_default="[]")
    engine: Column[EngineInfo | None] = Column(ENGINE, nullable=True)
    timings = Column(JSON, nullable=False)
    language = Column(String(12), nullable=False, server_default="")
    prompt_tokens = Column(Integer, nullable=False)
    output_tokens = Column(Integer, nullable=False)
    finished_at = Column(Double, nullable=True)


class SegmentColumns(TypedColumns):
    """What was said, by chunk, in the recording's time."""

    id = Column(RowId, primary_key=True, autoincrement=True)
    chunk_id = Column(String(24), ForeignKey("chunks.id", ondelete="CASCADE"), nullable=False, index=True)
    position = Column(Integer, nullable=False)
    start = Column(Double, nullable=False)
    end = Column(Double, nullable=False)
    speaker = Column(Integer, nullable=True)
    kind = Column(String(8), nullable=False)
    text = Column(Prose, nullable=False)
    quality = Column(Double, nullable=True)
    words = Column(JSON, nullable=False, server_default="[]")


class TranscriptColumns(TypedColumns):
    """The finished transcript of a job, as the JSON document that is also written beside the recording."""

    job_id = Column(String(16), ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    document = Column(Prose, nullable=False)
    created_at = Column(Double, nullable=False)


class LineColumns(TypedColumns):
    """One segment of a finished transcript, for the search index; `voice` is the speaker's name as it is compared."""

    id = Column(RowId, primary_key=True, autoincrement=True)
    job_id = Column(String(16), ForeignKey("jobs.id", ondelete="CASCADE"), nullable=False)
    position = Column(Integer, nullable=False)
    start = Column(Double, nullable=False)
    end = Column(Double, nullable=False)
    speaker = Column(Prose, nullable=False)
    voice = Column(Prose, nullable=False)
    text = Column(Prose, nullable=False)
    words = Column(Words, nullable=False)


class ForgottenColumns(TypedColumns):
    """A recording that was forgotten: its path as a digest, so that the watcher does not admit it again."""

    path_key = Column(String(32), primary_key=True)
    size = Column(BigInteger, primary_key=True)
    mtime_ns = Column(BigInteger, primary_key=True)
    at = Column(Double, nullable=False)


class OutputColumns(TypedColumns):
    """A file that dropscribe wrote or is about to write: the proof that it may be replaced.

    `replaced` is the digest of the file that gives way to it, as long as `written_at` is not set.
    """

    path_key = Column(String(32), primary_key=True)
    path = Column(FileName, nullable=False)
    job_id = Column(String(16), ForeignKey("jobs.id", ondelete="CASCADE"), nullable=False, index=True)
    format = Column(String(8), nullable=False)
    sha256 = Column(String(64), nullable=False)
    replaced = Column(String(64), nullable=True)
    written_at = Column(Double, nullable=True)


class VoiceColumns(TypedColumns):
    """The voice of somebody whom people enrolled: an embedding by that encoder, of so many seconds of speech."""

    name = Column(Prose, primary_key=True)
    encoder = Column(String(128), nullable=False)
    embedding = Column(JSON, nullable=False)
    seconds = Column(Double, nullable=False)
    enrolled_at = Column(Double, nullable=False)


class WorkerColumns(TypedColumns):
    """A process that works, alive as long as its heartbeat is fresh; `queues` are those that its model serves."""

    id = Column(String(128), primary_key=True)
    host = Column(String(255), nullable=False)
    pid = Column(Integer, nullable=False)
    role = Column(String(16), nullable=False)
    state = Column(String(16), nullable=False)
    gpu = Column(String(64), nullable=False)
    metrics = Column(String(255), nullable=False, server_default="")
    memory = Column(BigInteger, nullable=False, server_default="0")
    engine: Column[EngineInfo | None] = Column(ENGINE, nullable=True)
    queues = Column(JSON, nullable=False, server_default="[]")
    audio_seconds = Column(Double, nullable=False)
    busy_seconds = Column(Double, nullable=False)
    started_at = Column(Double, nullable=False)
    heartbeat_at = Column(Double, nullable=False)


class RootColumns(TypedColumns):
    """A watched folder as its scheduler last saw it; `waiting` are folders in it whose settings are to be mended.

    `unreadable` are the first of `unreadable_count` places in it that cannot be read, each with the reason.
    """

    path_key = Column(String(32), primary_key=True)
    path = Column(FileName, nullable=False)
    host = Column(String(255), nullable=False)
    filesystem = Column(String(32), nullable=False)
    online = Column(Boolean, nullable=False)
    reason = Column(Prose, nullable=False)
    files = Column(Integer, nullable=False)
    pending = Column(Integer, nullable=False)
    not_media = Column(Integer, nullable=False)
    ignored = Column(Integer, nullable=False)
    scan_seconds = Column(Double, nullable=False)
    waiting = Column(JSON, nullable=False, server_default="[]")
    unreadable = Column(JSON, nullable=False, server_default="[]")
    unreadable_count = Column(Integer, nullable=False, server_default="0")
    scanned_at = Column(Double, nullable=False)


class LockColumns(TypedColumns):
    """A role that one process holds at a time, by lease."""

    name = Column(String(64), primary_key=True)
    owner = Column(String(128), nullable=False)
    lease_until = Column(Double, nullable=False)


class SwitchColumns(TypedColumns):
    """A switch thrown for the whole fleet (`paused`)."""

    name = Column(String(64), primary_key=True)
    since = Column(Double, nullable=False)


class EventColumns(TypedColumns):
    """What happened to a job, or its chunk of the number `chunk`, when and where; `rules` are checks that failed."""

    id = Column(RowId, primary_key=True, autoincrement=True)
    job_id = Column(String(16), ForeignKey("jobs.id", ondelete="CASCADE"), nullable=False, index=True)
    at = Column(Double, nullable=False)
    kind = Column(String(32), nullable=False)
    chunk = Column(String(24), nullable=False, server_default="")
    attempt = Column(Integer, nullable=True)
    rules = Column(JSON, nullable=False, server_default="[]")
    where = Column(String(128), nullable=False)
    detail = Column(Prose, nullable=False)


class NotificationColumns(TypedColumns):
    """That a job came to a final state: to be told to `url` (empty: the setting `webhook_url`), or told already.

    `next_at` is when it is tried next, and not set once it is over.
    """

    id = Column(String(32), primary_key=True)
    job_id = Column(String(16), ForeignKey("jobs.id", ondelete="CASCADE"), nullable=False, index=True)
    url = Column(Text, nullable=False)
    state = Column(String(16), nullable=False)
    reason = Column(Prose, nullable=False)
    at = Column(Double, nullable=False)
    status = Column(String(16), nullable=False)
    tries = Column(Integer, nullable=False)
    next_at = Column(Double, nullable=True)
    error = Column(Prose, nullable=False)
    delivered_at = Column(Double, nullable=True)


jobs = Table("jobs", metadata, JobColumns)
chunks = Table("chunks", metadata, ChunkColumns)
segments = Table("segments", metadata, SegmentColumns)
transcripts = Table("transcripts", metadata, TranscriptColumns)
lines = Table("lines", metadata, LineColumns)
forgotten = Table("forgotten", metadata, ForgottenColumns)
outputs = Table("outputs", metadata, OutputColumns)
voices = Table("voices", metadata, VoiceColumns)
workers = Table("workers", metadata, WorkerColumns)
roots = Table("roots", metadata, RootColumns)
locks = Table("locks", metadata, LockColumns)
switches = Table("switches", metadata, SwitchColumns)
events = Table("events", metadata, EventColumns)
notifications = Table("notifications", metadata, NotificationColumns)

Index("ix_jobs_state", jobs.c.state, jobs.c.created_at)
Index("ix_jobs_created", jobs.c.created_at)
Index("ix_jobs_finished", jobs.c.finished_at)
Index("ix_jobs_owner", jobs.c.owner)
Index("ix_jobs_moves", jobs.c.moves, jobs.c.state)
Index("ix_lines_job_id", lines.c.job_id, lines.c.position)
Index("ix_chunks_owner", chunks.c.owner)
Index("ix_chunks_state", chunks.c.state, chunks.c.sent_at)
Index("ix_notifications_status", notifications.c.status, notifications.c.next_at)

# The search index. It is written in SQL, since `Index(postgresql_using=...)` loads PostgreSQL's dialect, which costs
# every start on SQLite. The words hold nothing of ASCII but letters and digits, and whatever lies outside of ASCII
# belongs to a word.
SEARCH_INDEX = {
    "postgresql": ("CREATE INDEX ix_lines_words ON lines USING gin (words)",),
    "sqlite": (
        "CREATE VIRTUAL TABLE lines_index USING fts5(words, content='lines', content_rowid='id', tokenize='ascii')",
        """
CREATE TRIGGER lines_inserted AFTER INSERT ON lines BEGIN
  INSERT INTO lines_index(rowid, words) VALUES (new.id, new.words);
END
""",
        """
CREATE TRIGGER lines_deleted AFTER DELETE ON lines BEGIN
  INSERT INTO lines_index(lines_index, rowid, words) VALUES ('delete', old.id, old.words);
END
""",
    ),
}
# As Alembic makes it.
VERSION_TABLE = """
CREATE TABLE alembic_version (
  version_num VARCHAR(32) NOT NULL, CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
)
"""


def create(connection: Connection, version: str) -> None:
    """Make all tables in an empty database, equal to those of the migrations up to `version`."""
    metadata.create_all(connection, checkfirst=False)
    for statement in (*SEARCH_INDEX[connection.dialect.name], VERSION_TABLE):
        connection.execute(text(statement))
    connection.execute(text("INSERT INTO alembic_version VALUES (:version)"), {"version": version})
