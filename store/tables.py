"""The tables, in SQLAlchemy's typed core (no ORM: rows change hands by guarded updates, not by identity).

Moments are seconds since the epoch by the database's own clock (`now()`), so that hosts whose clocks differ
agree on when a lease ends. Paths are stored with undecodable bytes made reversible (`FileName`); since a path
may be longer than an index entry, uniqueness is held on digests (`path_key`, `identity`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    ColumnElement,
    Connection,
    Double,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    TypedColumns,
    column,
    literal_column,
    table,
    text,
)
from sqlalchemy.engine import Dialect
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.schema import CreateIndex
from sqlalchemy.sql.expression import FunctionElement
from sqlalchemy.types import TypeDecorator, TypeEngine, UserDefinedType

from dropscribe.core.job_overrides import JobOverrides
from dropscribe.core.origin import RecordingOrigin
from dropscribe.core.routing import MODEL_QUEUE
from dropscribe.core.types import FINAL_STATES, EngineInfo, Span, SpeakerNames
from dropscribe.store import file_names, packing, search_words
from dropscribe.store.json_columns import PARSED

T = TypeVar("T")
_LONE = re.compile("[\ud800-\udfff]")


class ParsedJson(TypeDecorator[T]):
    """A column of JSON that is parsed where a row leaves the store, and written where it goes in: see `PARSED`."""

    impl = JSON
    cache_ok = True

    def __init__(self, name: str) -> None:
        """`name` says what the column holds."""
        super().__init__()
        self.name = name
        self.read, self.write = PARSED[name]

    def process_bind_param(self, value: T | None, dialect: Dialect) -> Any:  # noqa: ARG002
        """To the database."""
        return None if value is None else self.write(value)

    def process_result_value(self, value: Any, dialect: Dialect) -> T | None:  # noqa: ARG002
        """From the database."""
        parsed: T | None = None if value is None else self.read(value)
        return parsed


OVERRIDES = ParsedJson[JobOverrides]("overrides")
ENGINE = ParsedJson[EngineInfo]("engine")
TIMINGS = ParsedJson[dict[str, float]]("timings")
SPANS = ParsedJson[tuple[Span, ...]]("spans")
ORIGIN = ParsedJson[RecordingOrigin]("origin")
SPEAKERS = ParsedJson[SpeakerNames]("speakers")


class FileName(TypeDecorator[str]):
    """A path as `os.fsdecode` gives it, lone surrogates included."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:  # noqa: ARG002
        """To the database."""
        return value and file_names.stored(value)

    def process_result_value(self, value: str | None, dialect: Dialect) -> str | None:  # noqa: ARG002
        """From the database."""
        return value and file_names.shown(value)


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


class Digest(TypeDecorator[str]):
    """A digest, in hex where it is used, as bytes where it is stored, which takes half the space, also in indexes.

    SQLite calls that column a VARCHAR, as it always did: to it the types of columns are but names.
    """

    impl = String
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """See the base class."""
        return dialect.type_descriptor(self.impl_instance if dialect.name == "sqlite" else LargeBinary())

    def process_bind_param(self, value: str | None, dialect: Dialect) -> Any:  # noqa: ARG002
        """To the database."""
        return None if value is None else bytes.fromhex(value)

    def process_result_value(self, value: Any, dialect: Dialect) -> str | None:  # noqa: ARG002
        """From the database."""
        return None if value is None else value.hex()


class Packed(TypeDecorator[str]):
    """Prose that is stored compressed. What earlier versions wrote is read as it is."""

    impl = Text
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """See the base class."""
        return dialect.type_descriptor(Text() if dialect.name == "sqlite" else LargeBinary())

    def process_bind_param(self, value: str | None, dialect: Dialect) -> Any:
        """To the database."""
        return None if value is None else packing.pack(str(PROSE.process_bind_param(value, dialect)))

    def process_result_value(self, value: Any, dialect: Dialect) -> str | None:  # noqa: ARG002
        """From the database."""
        return packing.unpack(value) if isinstance(value, bytes) else value


PROSE = Prose()


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


def among(column: ColumnElement[Any], constants: Iterable[str]) -> ColumnElement[bool]:
    """The condition that a column holds one of these constants, which do not come from outside.

    They stand in the statement: what `in_` binds is put into it each time it runs, at half the cost of running it.
    """
    return column.in_([literal_column(f"'{constant}'") for constant in sorted(constants)])


def owned(table: Table[Any]) -> ColumnElement[bool]:
    """The condition that somebody owns the row; spelled so that SQLite finds it by its index."""
    found: ColumnElement[bool] = table.c.owner > ""
    return found


def partly(condition: str) -> dict[str, str]:
    """What says of an index that it holds only the rows of which this is true, and nothing of what is over.

    Statements that are to use it hold the condition literally: SQLite does not see that others imply it.
    """
    return {"where": condition}


@compiles(CreateIndex)
def _create_index(create: CreateIndex, compiler: Any, **_: Any) -> str:
    """`Index(sqlite_where=..., postgresql_where=...)` would load the dialects of both: see `SEARCH_INDEX`."""
    statement: str = compiler.visit_create_index(create)
    condition = create.element.info.get("where")
    return f"{statement} WHERE {condition}" if condition else statement


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
    archived when its job has ended, `moving_to` where, as soon as that is decided.
    `stamp` and `fingerprint` are the mark of its file as it was read: see `FileMark`; `origin` is where that was.
    `submitted` says that somebody asked for it by name; `text_removed_at` when what was said was
    removed from here, 0 while that is going on.
    `part_count` files follow its own in `parts`, where the recorder wrote it in parts.
    `turn` is when it is prepared, of all that wait, and `folder_key` the folder with which others take turns: see
    `dropscribe.store.waiting_line`. `revision` is the correction that its transcript has: see `RevisionColumns`; 0 for
    none.
    """

    id = Column(String(16), primary_key=True)
    root = Column(FileName, nullable=False)
    path = Column(FileName, nullable=False)
    path_key: Column[str] = Column(Digest(32), nullable=False, index=True)
    folder_key = Column(String(32), nullable=False, server_default="")
    identity: Column[str] = Column(Digest(64), nullable=False, unique=True)
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
    submitted = Column(Boolean, nullable=False, server_default="0")
    part_count = Column(Integer, nullable=False, server_default="0")

    state = Column(String(16), nullable=False)
    reason = Column(Prose, nullable=False)
    notes = Column(JSON, nullable=False)
    missing: Column[tuple[Span, ...]] = Column(SPANS, nullable=False)
    cancel_requested = Column(Boolean, nullable=False)
    turn = Column(Double, nullable=False, server_default="0")

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
    origin: Column[RecordingOrigin | None] = Column(ORIGIN, nullable=True)
    content_key: Column[str | None] = Column(Digest(96), nullable=True, unique=True)
    duplicate_of = Column(String(16), nullable=True)
    duration = Column(Double, nullable=True)
    media = Column(JSON, nullable=True)
    speech_detector = Column(String(32), nullable=False)
    timings: Column[dict[str, float]] = Column(TIMINGS, nullable=False)
    speakers: Column[SpeakerNames] = Column(SPEAKERS, nullable=False, server_default="{}")
    diarization = Column(JSON, nullable=True)
    revision = Column(Integer, nullable=False, server_default="0")

    created_at = Column(Double, nullable=False)
    finished_at = Column(Double, nullable=True)
    text_removed_at = Column(Double, nullable=True)


class PartColumns(TypedColumns):
    """A further file of a recording in parts, by `position` from 1; the others are as in `JobColumns`."""

    job_id = Column(String(16), ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    position = Column(Integer, primary_key=True, autoincrement=False)
    path = Column(FileName, nullable=False)
    path_key: Column[str] = Column(Digest(32), nullable=False, index=True)
    size = Column(BigInteger, nullable=False)
    mtime_ns = Column(BigInteger, nullable=False)
    fingerprint = Column(String(32), nullable=False, server_default="")


class ChunkColumns(TypedColumns):
    """A stretch of a recording and what is to be done with it: see `ChunkKind`.

    `keep_from` and `keep_to` bound what is this chunk's to tell; `depth` counts how often it was halved. `channel`
    is which of the spooled channels it is of, `speech` where in it somebody speaks. `claimed_at` is when the last
    attempt began. `turn` and `folder_key` are as in `JobColumns`, once a window waits; `queue` is its job's
    `model_queue` then, which a trigger keeps so: whose turn it is in a queue is found without all that waits in others.
    """

    id = Column(String(24), primary_key=True)
    job_id = Column(String(16), ForeignKey("jobs.id", ondelete="CASCADE"), nullable=False)
    position = Column(Integer, nullable=False)
    kind = Column(String(8), nullable=False, server_default="window")
    depth = Column(Integer, nullable=False, server_default="0")
    channel = Column(Integer, nullable=False, server_default="0")
    start = Column(Double, nullable=False)
    end = Column(Double, nullable=False)
    keep_from = Column(Double, nullable=False, server_default="0")
    keep_to = Column(Double, nullable=False, server_default="0")
    speech: Column[tuple[Span, ...] | None] = Column(SPANS, nullable=True)
    folder_key = Column(String(32), nullable=False, server_default="")
    turn = Column(Double, nullable=False, server_default="0")
    queue = Column(String(48), nullable=False, server_default="")

    state = Column(String(16), nullable=False)
    attempt = Column(Integer, nullable=False)
    lost = Column(Integer, nullable=False)
    failures = Column(Integer, nullable=False)
    owner = Column(String(128), nullable=True)
    lease_until = Column(Double, nullable=True)
    not_before = Column(Double, nullable=False)
    sent_at = Column(Double, nullable=True)
    claimed_at = Column(Double, nullable=True)

    progress = Column(Double, nullable=False)
    ended = Column(String(16), nullable=True)
    reasons = Column(JSON, nullable=False)
    missing: Column[tuple[Span, ...]] = Column(SPANS, nullable=False, server_default="[]")
    engine: Column[EngineInfo | None] = Column(ENGINE, nullable=True)
    timings: Column[dict[str, float]] = Column(TIMINGS, nullable=False)
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
    document = Column(Packed, nullable=False)
    created_at = Column(Double, nullable=False)


class RevisionColumns(TypedColumns):
    """What `who` corrected in a job's transcript: `edits` to what the revision before it made, by `number`.

    One with `back_to` makes the transcript that the revision of that number made. One with a `document` corrects
    nothing: to that transcript the edits of later ones are applied. `speakers` is what people say of them from here on.
    """

    id = Column(RowId, primary_key=True, autoincrement=True)
    job_id = Column(String(16), ForeignKey("jobs.id", ondelete="CASCADE"), nullable=False)
    number = Column(Integer, nullable=False)
    at = Column(Double, nullable=False)
    who = Column(Prose, nullable=False)
    edits = Column(JSON, nullable=False, server_default="[]")
    back_to = Column(Integer, nullable=True)
    speakers: Column[SpeakerNames] = Column(SPEAKERS, nullable=False, server_default="{}")
    document = Column(Prose, nullable=True)


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

    path_key: Column[str] = Column(Digest(32), primary_key=True)
    size = Column(BigInteger, primary_key=True)
    mtime_ns = Column(BigInteger, primary_key=True)
    at = Column(Double, nullable=False)


class RemovalColumns(TypedColumns):
    """How many recordings lost `what` (`text`, or `job`: all of it) on a `day` since the epoch, last `at`, and why."""

    day = Column(Integer, primary_key=True, autoincrement=False)
    what = Column(String(8), primary_key=True)
    why = Column(FileName, primary_key=True)
    jobs = Column(Integer, nullable=False)
    at = Column(Double, nullable=False)


class OutputColumns(TypedColumns):
    """A file that dropscribe wrote or is about to write: the proof that it may be replaced.

    `replaced` is the digest of the file that gives way to it, as long as `written_at` is not set.
    """

    path_key: Column[str] = Column(Digest(32), primary_key=True)
    path = Column(FileName, nullable=False)
    job_id = Column(String(16), ForeignKey("jobs.id", ondelete="CASCADE"), nullable=False, index=True)
    format = Column(String(8), nullable=False)
    sha256: Column[str] = Column(Digest(64), nullable=False)
    replaced: Column[str | None] = Column(Digest(64), nullable=True)
    written_at = Column(Double, nullable=True)


class VoiceColumns(TypedColumns):
    """The voice of somebody whom people enrolled: an embedding by that encoder, of so many seconds of speech."""

    name = Column(Prose, primary_key=True)
    encoder = Column(String(128), nullable=False)
    embedding = Column(JSON, nullable=False)
    seconds = Column(Double, nullable=False)
    enrolled_at = Column(Double, nullable=False)


class TokenColumns(TypedColumns):
    """What a program shows to the server instead of a password: of its `name` the SHA-256, never the token itself.

    `folders` are absolute paths that it is limited to; where they are empty, it is limited to none.
    """

    name = Column(String(64), primary_key=True)
    digest = Column(String(64), nullable=False, unique=True)
    role = Column(String(8), nullable=False)
    folders = Column(JSON, nullable=False)
    created_at = Column(Double, nullable=False)


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


class SpeedColumns(TypedColumns):
    """How fast the model of `model_queue` is on a GPU of a host, or its CPU: seconds of audio, and of work on them."""

    host = Column(String(255), primary_key=True)
    gpu = Column(String(64), primary_key=True)
    model_queue = Column(String(48), primary_key=True)
    audio_seconds = Column(Double, nullable=False)
    busy_seconds = Column(Double, nullable=False)
    measured_at = Column(Double, nullable=False)


class LastTurnColumns(TypedColumns):
    """The last turn that was claimed by who serves `queue`, of each priority: see `dropscribe.store.waiting_line`."""

    queue = Column(String(48), primary_key=True)
    priority = Column(String(8), primary_key=True)
    turn = Column(Double, nullable=False)


class RootColumns(TypedColumns):
    """A watched folder as its scheduler last saw it; `waiting` are folders in it whose settings are to be fixed.

    `unreadable` are the first of `unreadable_count` places in it that cannot be read, each with the reason. `parts` are
    files that wait for further parts of their recordings.
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
    parts = Column(JSON, nullable=False, server_default="[]")
    scanned_at = Column(Double, nullable=False)


class EndedColumns(TypedColumns):
    """How many jobs of a root are in a final state, as the sum of `jobs` over rows of the same root and state.

    Triggers on the table of jobs add a row for each job that comes to a final state (1) or leaves it (-1), so that no
    two transactions write the same one. `ended.fold` makes few rows of many.
    """

    id = Column(RowId, primary_key=True, autoincrement=True)
    root = Column(FileName, nullable=False)
    state = Column(String(16), nullable=False)
    jobs = Column(BigInteger, nullable=False)


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
    """That a job came to a final state: to be sent by `channel`, or sent already.

    `url` is that of a webhook (empty: the setting `webhook_url`).
    `next_at` is when it is tried next, and not set once it is over.
    """

    id = Column(String(32), primary_key=True)
    job_id = Column(String(16), ForeignKey("jobs.id", ondelete="CASCADE"), nullable=False, index=True)
    channel = Column(String(16), nullable=False, server_default="webhook")
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
parts = Table("parts", metadata, PartColumns)
chunks = Table("chunks", metadata, ChunkColumns)
segments = Table("segments", metadata, SegmentColumns)
transcripts = Table("transcripts", metadata, TranscriptColumns)
revisions = Table("revisions", metadata, RevisionColumns)
lines = Table("lines", metadata, LineColumns)
forgotten = Table("forgotten", metadata, ForgottenColumns)
removals = Table("removals", metadata, RemovalColumns)
outputs = Table("outputs", metadata, OutputColumns)
voices = Table("voices", metadata, VoiceColumns)
tokens = Table("tokens", metadata, TokenColumns)
workers = Table("workers", metadata, WorkerColumns)
speeds = Table("speeds", metadata, SpeedColumns)
last_turns = Table("last_turns", metadata, LastTurnColumns)
roots = Table("roots", metadata, RootColumns)
ended = Table("ended", metadata, EndedColumns)
locks = Table("locks", metadata, LockColumns)
switches = Table("switches", metadata, SwitchColumns)
events = Table("events", metadata, EventColumns)
notifications = Table("notifications", metadata, NotificationColumns)

TO_ARCHIVE = jobs.c.moves == literal_column("true")
WAITS = "state IN ('queued')"  # as `among` says it

Index("ix_jobs_state", jobs.c.state, jobs.c.created_at)
Index("ix_jobs_created", jobs.c.created_at)
Index("ix_jobs_root", jobs.c.root, jobs.c.state, jobs.c.finished_at)
Index("ix_jobs_finished", jobs.c.state, jobs.c.finished_at)
Index("ix_jobs_owner", jobs.c.owner, info=partly("owner IS NOT NULL"))
Index("ix_jobs_moves", jobs.c.moves, jobs.c.root, jobs.c.state, info=partly("moves = true"))
Index("ix_jobs_duplicate_of", jobs.c.duplicate_of, info=partly("duplicate_of IS NOT NULL"))
Index("ix_revisions_job_id", revisions.c.job_id, revisions.c.number, unique=True)
Index("ix_lines_job_id", lines.c.job_id, lines.c.position)
Index("ix_chunks_of_job", chunks.c.job_id, chunks.c.kind, chunks.c.state, chunks.c.start)
Index("ix_chunks_owner", chunks.c.owner, info=partly("owner IS NOT NULL"))
Index("ix_chunks_state", chunks.c.state, chunks.c.sent_at)
Index("ix_jobs_turn", jobs.c.state, jobs.c.turn, info=partly(WAITS))
Index("ix_jobs_folder_key", jobs.c.folder_key, jobs.c.turn, info=partly(WAITS))
Index("ix_chunks_turn", chunks.c.queue, chunks.c.turn, info=partly(WAITS))
Index("ix_chunks_folder_key", chunks.c.folder_key, chunks.c.turn, info=partly(WAITS))
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
# Columns of which PostgreSQL keeps no samples for its planner: they would outlive the rows, and no plan hangs on them.
NO_SAMPLES = {
    "jobs": ("path", "context", "reason", "moving_to"),
    "segments": ("text",),
    "transcripts": ("document",),
    "revisions": ("who", "edits", "speakers", "document"),
    "lines": ("speaker", "voice", "text", "words"),
    "outputs": ("path",),
    "events": ("detail",),
    "notifications": ("reason", "error"),
    "parts": ("path",),
}
WITHOUT_SAMPLES = {
    "postgresql": tuple(
        f"ALTER TABLE {table} {', '.join(f'ALTER COLUMN {name} SET STATISTICS 0' for name in names)}"
        for table, names in NO_SAMPLES.items()
    ),
    "sqlite": (),
}
# What keeps the table `ended`: by triggers, so that nothing that writes jobs can forget it.
_FINAL = ", ".join(f"'{state}'" for state in FINAL_STATES)
_ADDED = f"INSERT INTO ended (root, state, jobs) SELECT new.root, new.state, 1 WHERE new.state IN ({_FINAL});"
_TAKEN = f"INSERT INTO ended (root, state, jobs) SELECT old.root, old.state, -1 WHERE old.state IN ({_FINAL});"
ENDED_TRIGGERS = {
    "postgresql": (
        f"""
CREATE FUNCTION count_ended() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF TG_OP <> 'INSERT' THEN {_TAKEN} END IF;
  IF TG_OP <> 'DELETE' THEN {_ADDED} END IF;
  RETURN NULL;
END
$$
""",
        """
CREATE TRIGGER jobs_counted AFTER INSERT OR DELETE ON jobs
FOR EACH ROW EXECUTE FUNCTION count_ended()
""",
        """
CREATE TRIGGER jobs_recounted AFTER UPDATE OF state, root ON jobs FOR EACH ROW
WHEN (old.state <> new.state OR old.root <> new.root) EXECUTE FUNCTION count_ended()
""",
    ),
    "sqlite": (
        f"CREATE TRIGGER jobs_inserted AFTER INSERT ON jobs BEGIN {_ADDED} END",
        f"CREATE TRIGGER jobs_deleted AFTER DELETE ON jobs BEGIN {_TAKEN} END",
        f"""
CREATE TRIGGER jobs_recounted AFTER UPDATE OF state, root ON jobs WHEN old.state <> new.state OR old.root <> new.root
BEGIN {_TAKEN} {_ADDED} END
""",
    ),
}
# What keeps the queue of windows that wait, or may wait again.
_REQUEUED = "UPDATE chunks SET queue = new.model_queue WHERE job_id = new.id AND state IN ('queued', 'running');"
QUEUE_TRIGGERS = {
    "postgresql": (
        f"""
CREATE FUNCTION requeue_windows() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  {_REQUEUED}
  RETURN NULL;
END
$$
""",
        """
CREATE TRIGGER jobs_requeued AFTER UPDATE OF model_queue ON jobs FOR EACH ROW
WHEN (old.model_queue <> new.model_queue) EXECUTE FUNCTION requeue_windows()
""",
    ),
    "sqlite": (
        f"""
CREATE TRIGGER jobs_requeued AFTER UPDATE OF model_queue ON jobs WHEN old.model_queue <> new.model_queue
BEGIN {_REQUEUED} END
""",
    ),
}
VERSION = table("alembic_version", column("version_num", String))
# As Alembic makes it.
VERSION_TABLE = """
CREATE TABLE alembic_version (
  version_num VARCHAR(32) NOT NULL, CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
)
"""


def create(connection: Connection, version: str) -> None:
    """Make all tables in an empty database, equal to those of the migrations up to `version`."""
    metadata.create_all(connection, checkfirst=False)
    dialect = connection.dialect.name
    for statement in (
        *SEARCH_INDEX[dialect],
        *WITHOUT_SAMPLES[dialect],
        *ENDED_TRIGGERS[dialect],
        *QUEUE_TRIGGERS[dialect],
        VERSION_TABLE,
    ):
        connection.execute(text(statement))
    connection.execute(text("INSERT INTO alembic_version VALUES (:version)"), {"version": version})
