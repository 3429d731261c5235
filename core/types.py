"""The nouns every room shares: states, chunks, segments, transcripts. Frozen, and free of I/O.

Times are seconds as float. Within a `RawTranscript` they count from the start of the chunk that was handed
to the model; everywhere else they count from the start of the recording.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from dropscribe.core import old_names


def _warn(old: str, new: str) -> None:
    """Warn anyone who uses an old name in Python."""
    warnings.warn(f"{old} is now {new}; the old name goes with {old_names.UNTIL}", DeprecationWarning, stacklevel=3)


class JobState(StrEnum):
    """Where a recording is on its way; the states after `FINISHING` are final."""

    QUEUED = "queued"
    PREPARING = "preparing"
    TRANSCRIBING = "transcribing"
    FINISHING = "finishing"
    DONE = "done"
    SUSPECT = "suspect"
    DUPLICATE = "duplicate"
    FAILED = "failed"
    PARKED = "parked"
    CANCELLED = "cancelled"

    @property
    def is_final(self) -> bool:
        """True when nothing more will happen to the job by itself."""
        return self in FINAL_STATES

    @property
    def has_transcript(self) -> bool:
        """True when the job ended with a transcript."""
        return self in TRANSCRIPT_STATES

    @property
    def needs_attention(self) -> bool:
        """True when the job ended in a way that somebody has to look at."""
        return self in ATTENTION_STATES


# The states by what they mean, for conditions in SQL too.
ACTIVE_STATES = frozenset({JobState.QUEUED, JobState.PREPARING, JobState.TRANSCRIBING, JobState.FINISHING})
FINAL_STATES = tuple(state for state in JobState if state not in ACTIVE_STATES)
TRANSCRIPT_STATES = (JobState.DONE, JobState.SUSPECT, JobState.DUPLICATE)
ATTENTION_STATES = (JobState.FAILED, JobState.PARKED, JobState.SUSPECT)
ARCHIVED_STATES = (*TRANSCRIPT_STATES, JobState.FAILED)  # whose recordings are archived, where their folder says so


class JobPhase(StrEnum):
    """What happens to a recording now, as people see it: waiting and being worked on are different words.

    A recording is `TRANSCRIBING` while a model works on it. In the same state it is `WAITING` while all of its chunks
    wait for a model, and `FINISHING` once only its voices are left to be compared. A final state is its own phase.
    """

    WAITING = "waiting"
    PREPARING = "preparing"
    TRANSCRIBING = "transcribing"
    FINISHING = "finishing"
    DONE = "done"
    SUSPECT = "suspect"
    DUPLICATE = "duplicate"
    FAILED = "failed"
    PARKED = "parked"
    CANCELLED = "cancelled"

    @classmethod
    def of(cls, state: JobState, *, running: int, chunks_left: bool) -> JobPhase:
        """That of a job of which a model transcribes so many chunks now; `chunks_left` is False once all are over."""
        if state is JobState.QUEUED:
            return cls.WAITING
        if state is not JobState.TRANSCRIBING or running:
            return cls(state)
        return cls.WAITING if chunks_left else cls.FINISHING


class ChunkState(StrEnum):
    """Where one window of a recording is.

    `HELD` waits for others of its job, so that a long recording does not fill the queue; `SPLIT` failed its checks
    and its halves are read instead; `CANCELLED` was given up with its job.
    """

    HELD = "held"
    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    SPLIT = "split"
    CANCELLED = "cancelled"


# Chunks that are still to be transcribed or embedded, and those that are over with a result of their own or of halves.
WAITING_CHUNKS = (ChunkState.HELD, ChunkState.QUEUED)
PENDING_CHUNKS = (*WAITING_CHUNKS, ChunkState.RUNNING)
SETTLED_CHUNKS = (ChunkState.DONE, ChunkState.SPLIT)


class ChunkKind(StrEnum):
    """What is to be done with a stretch of the recording: a model reads a window, a CPU worker embeds its voices."""

    WINDOW = "window"
    EMBED = "embed"


class SpeechTask(StrEnum):
    """What a model makes of speech: text in the language that is spoken, or a translation into English."""

    TRANSCRIBE = "transcribe"
    TRANSLATE = "translate"


class TokenRole(StrEnum):
    """What a token may do, each more than the one before: ask; change recordings; change the fleet."""

    READER = "reader"
    EDITOR = "editor"
    ADMIN = "admin"


class Priority(StrEnum):
    """How urgent a job is; the order within a queue."""

    HIGH = "high"
    NORMAL = "normal"
    LOW = "low"


class FinishReason(StrEnum):
    """How the model's answer to one chunk came to its end."""

    COMPLETE = "complete"
    TRUNCATED = "truncated"
    LOOP = "loop"
    CANCELLED = "cancelled"


class SegmentKind(StrEnum):
    """Words that somebody spoke, or a sound that is not speech (`[Music]`)."""

    SPEECH = "speech"
    EVENT = "event"


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of time, `start <= end`, in seconds."""

    start: float
    end: float

    @property
    def duration(self) -> float:
        """Length in seconds."""
        return self.end - self.start

    def later(self, seconds: float) -> Span:
        """The same stretch in a time that began so much earlier."""
        return Span(self.start + seconds, self.end + seconds)


@dataclass(frozen=True, slots=True)
class Word:
    """A word as the segment's text has it, with the punctuation that touches it, and when it was said.

    `corrected` is True where a person wrote it.
    """

    start: float
    end: float
    text: str
    corrected: bool = False

    def later(self, seconds: float) -> Word:
        """The same word in a time that began so much earlier."""
        return replace(self, start=self.start + seconds, end=self.end + seconds)


@dataclass(frozen=True, slots=True)
class Segment:
    """What one speaker said between two moments.

    `speaker` is the model's label (an index) or None where it gave none. `confidence` is the recognizer's own figure
    from 0 to 1, or None where the engine has none. `words` stand in `text` one after the other,
    with nothing but blanks between; there are none where the engine tells no times of words. `corrected` is True where
    a person wrote or confirmed the text: then it has no confidence of a recognizer's.
    """

    start: float
    end: float
    text: str
    speaker: int | None = None
    kind: SegmentKind = SegmentKind.SPEECH
    confidence: float | None = None
    words: tuple[Word, ...] = ()
    corrected: bool = False

    @property
    def quality(self) -> float | None:
        """The old name of `confidence`, which goes with version 0.2."""
        _warn("Segment.quality", "confidence")
        return self.confidence

    @property
    def is_speech(self) -> bool:
        """False for a sound."""
        return self.kind is SegmentKind.SPEECH

    @property
    def span(self) -> Span:
        """From when to when; without length where the model wrote an end before the start."""
        return Span(self.start, max(self.start, self.end))

    def later(self, seconds: float) -> Segment:
        """The same segment in a time that began so much earlier."""
        words = tuple(word.later(seconds) for word in self.words)
        return replace(self, start=self.start + seconds, end=self.end + seconds, words=words)


@dataclass(frozen=True, slots=True)
class Chunk:
    """A window of a recording that the model reads in one go: `index` in order of `start`.

    Neighbours overlap. What is said within `keep` is this chunk's to tell; the kept spans of a recording's chunks
    follow each other without a gap. `channel` is which of the channels it is of, where they are transcribed one by one.
    """

    index: int
    start: float
    end: float
    keep: Span
    channel: int = 0

    @property
    def duration(self) -> float:
        """Length in seconds."""
        return self.end - self.start


@dataclass(frozen=True, slots=True)
class RawTranscript:
    """A model's answer to one chunk; times count from the chunk's start.

    `timings` are seconds by phase; `budget` is the number of tokens it was allowed, 0 where there is no such limit.
    `language` is the code of the language that was set or detected, empty where the model does not say.
    """

    segments: tuple[Segment, ...]
    ended: FinishReason = FinishReason.COMPLETE
    prompt_tokens: int = 0
    output_tokens: int = 0
    budget: int = 0
    timings: dict[str, float] = field(default_factory=dict)
    language: str = ""


@dataclass(frozen=True, slots=True)
class EngineInfo:
    """What a model says of itself, copied into the workers' table and into every transcript.

    `slots` is how many chunks it reads at once, `longest_chunk` in seconds. `notice` is what a user has to
    know before trusting a transcript, empty where there is nothing to say. `quantized` are the parts of the model
    that are, with commas between. `attention` is how it computes attention and `attention_reason` why so; loading
    took `load_seconds`, after which the process held `memory_held` bytes of the GPU's memory, and `memory_free` were
    free (0 without a GPU).
    """

    engine: str
    model: str
    precision: str
    slots: int = 1
    longest_chunk: float = 1800.0
    notice: str = ""
    quantized: str = ""
    attention: str = ""
    attention_reason: str = ""
    load_seconds: float = 0.0
    memory_held: int = 0
    memory_free: int = 0


@dataclass(frozen=True, slots=True)
class Track:
    """A sound track of a recording, by its `number` from 1; of what the file does not say, empty or 0.

    `left_out` says why it was not heard, and is empty where it was.
    """

    number: int
    codec: str = ""
    channels: int = 0
    sample_rate: int = 0
    language: str = ""
    title: str = ""
    left_out: str = ""


@dataclass(frozen=True, slots=True)
class SourcePart:
    """One of the files of a recording in parts: its `name`, and from when on it sounds for how long, in seconds.

    `problem` says why it could not be read, and is empty where it could; then its length is estimated by its size.
    """

    name: str
    start: float
    duration: float
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Media:
    """What a recording's file is; of what nothing is known, empty or 0.

    `claimed_duration` is not None where the file breaks off: the seconds that the whole has, 0 where nothing tells.
    `unread_bytes` is not None where so much lies behind the sound, and is neither sound nor described by the file.
    `tracks` are its sound tracks. `separate_channels` are the numbers, from 1, of the channels that are transcribed one
    by one, and of which each is a speaker; none where they are mixed. What is `damaged` could not be read. `parts` are
    its files, where it has more than one.
    """

    format: str = ""
    codec: str = ""
    channels: int = 0
    sample_rate: int = 0
    claimed_duration: float | None = None
    unread_bytes: int | None = None
    tracks: tuple[Track, ...] = ()
    separate_channels: tuple[int, ...] = ()
    damaged: tuple[Span, ...] = ()
    parts: tuple[SourcePart, ...] = ()

    @property
    def heard(self) -> str:
        """The numbers of the tracks that were heard, as the setting `tracks` has them; empty where nobody knows."""
        return ",".join(str(track.number) for track in self.tracks if not track.left_out)


@dataclass(frozen=True, slots=True)
class Source:
    """The recording as it was read: `path` as seen by the worker, `duration` in seconds, `sha256` in hex.

    Of a recording in parts `path` and `size` are those of the first, and `sha256` is made of those of all.
    `tracks`, `separate_channels` and `parts` are those of `Media`; `codec`, `channels` and `sample_rate` are of the
    first track that was heard.
    """

    path: str
    size: int
    sha256: str
    duration: float
    format: str
    codec: str
    channels: int
    sample_rate: int
    tracks: tuple[Track, ...] = ()
    separate_channels: tuple[int, ...] = ()
    parts: tuple[SourcePart, ...] = ()


@dataclass(frozen=True, slots=True)
class Speaker:
    """Somebody who speaks in a recording.

    `number` is what segments call them, by first appearance; where channels are transcribed one by one, it is that of
    their channel, less one. `name` what people call them, empty until somebody says; `seconds` how long they speak.
    `maybe_same` are numbers of speakers that may be the same person: the evidence neither proves nor excludes it;
    `similarity` says of each how alike they sound, up to 1, or None where that is not known. `recognized` is how much
    they sound like the known voice whose name they were given, None where no voice gave it.
    """

    number: int
    name: str = ""
    seconds: float = 0.0
    maybe_same: tuple[int, ...] = ()
    similarity: tuple[float | None, ...] = ()
    recognized: float | None = None

    @property
    def perhaps(self) -> tuple[int, ...]:
        """The old name of `maybe_same`, which goes with version 0.2."""
        _warn("Speaker.perhaps", "maybe_same")
        return self.maybe_same

    @property
    def called(self) -> str:
        """Their name; until somebody names them, people count speakers from one."""
        return self.name or f"Speaker {self.number + 1}"


@dataclass(frozen=True, slots=True)
class SpeakerNames:
    """By number of the speaker: `names`, and in `merged` the number of the speaker that they are in truth."""

    names: Mapping[int, str] = field(default_factory=dict)
    merged: Mapping[int, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Transcript:
    """One recording, read: everything an output format may need.

    `notes` are harmless remarks ("no speech was found"). `reasons` say why the transcript is not to be trusted, and are
    empty unless the job is suspect; `uncovered_speech` are the parts of it that no segment covers. `language` is the
    code of the language of most of the text, empty if the model does not give it. `revision` is the number of its last
    correction by people, 0 if there is none. `task` says whether the text is a transcription or a translation.
    """

    job_id: str
    source: Source
    engine: EngineInfo
    segments: tuple[Segment, ...]
    speakers: tuple[Speaker, ...] = ()
    speech_detector: str = ""
    settings: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()
    uncovered_speech: tuple[Span, ...] = ()
    timings: dict[str, float] = field(default_factory=dict)
    created_at: str = ""
    language: str = ""
    revision: int = 0
    task: SpeechTask = SpeechTask.TRANSCRIBE

    @property
    def missing(self) -> tuple[Span, ...]:
        """The old name of `uncovered_speech`, which goes with version 0.2."""
        _warn("Transcript.missing", "uncovered_speech")
        return self.uncovered_speech
