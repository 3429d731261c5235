"""One tree of errors. Each message is the sentence an operator reads: what is wrong, and what to do next.

DropscribeError                 exit 1; `retryable` says whether trying again can help
|-- UsageError                  exit 2: the command line or a setting was wrong
|   |-- SettingsError           an unknown key, a value that does not parse
|   |-- JobNotFoundError        no job has that id, prefix or path
|   `-- AmbiguousJobError       a prefix that several jobs share
|-- SourceError                 the recording itself; never retried, the job ends `failed`
|   |-- NotMediaError           no decoder takes it, or it may not be read as media
|   |-- NoAudioError            a container without sound
|   |-- DecodeLimitError        longer, larger or slower to decode than the limits allow
|   `-- OutsideRootError        a link that leads out of its folder
|-- SourceMissingError          gone for now: a rename or a share that went away; retried
|-- SourceChangedError          it was written to while being read; retried
|-- StoreError                  the database refused
|   |-- StoreUnavailableError   out of reach, or locked too long; retried
|   |-- UnstorableError         the database cannot hold a value
|   `-- SchemaError             the tables are newer or older than this program
|-- BrokerError                 Redis is out of reach; retried
|-- SpoolError                  working files cannot be written or read; retried
|   `-- NoRoomError             their disk is full, or the user's part of it
|-- OutputError                 a transcript could not be written; retried
|-- ModelError                  the model failed on this chunk; retried
|   |-- ModelUnavailableError   the engine is not installed or does not fit; the worker does not start
|   `-- ModelFatalError         the process must end and start anew (exit 70)
`-- LeaseLostError              somebody else owns this work now; stop and write nothing
"""

from __future__ import annotations

from typing import ClassVar


class DropscribeError(Exception):
    """Something failed. `problem` says what, `remedy` what to do next; the message is both, as one sentence."""

    retryable: ClassVar[bool] = False
    exit_code: ClassVar[int] = 1

    def __init__(self, problem: str, *, remedy: str = "") -> None:
        """`remedy` is empty where `problem` says all there is to say."""
        super().__init__(problem)  # which a copy by pickle is made with
        self.problem = problem
        self.remedy = remedy

    def __str__(self) -> str:
        """What is wrong, and what to do next."""
        return f"{self.problem}; {self.remedy}" if self.remedy else self.problem


class UsageError(DropscribeError):
    """The command was given something it cannot use."""

    exit_code: ClassVar[int] = 2


class SettingsError(UsageError):
    """A setting is unknown or has a value that does not fit."""


class JobNotFoundError(UsageError):
    """No job has that id, prefix or path."""

    exit_code: ClassVar[int] = 1


class AmbiguousJobError(UsageError):
    """Several jobs share that prefix; type more of it."""

    exit_code: ClassVar[int] = 1


class SourceError(DropscribeError):
    """The recording cannot be transcribed, however often it is tried."""


class NotMediaError(SourceError):
    """The file is not audio or video in a format that dropscribe reads."""


class NoAudioError(SourceError):
    """The file is media, but has no sound."""


class DecodeLimitError(SourceError):
    """Decoding hit a limit on length, size, memory or time."""


class OutsideRootError(SourceError):
    """The path leads out of the watched folder or is not a regular file."""


class SourceMissingError(DropscribeError):
    """The file is not there (any more, or just now)."""

    retryable: ClassVar[bool] = True


class SourceChangedError(DropscribeError):
    """The file was written to while it was read."""

    retryable: ClassVar[bool] = True


class StoreError(DropscribeError):
    """The database refused an operation."""


class StoreUnavailableError(StoreError):
    """The database is out of reach or locked."""

    retryable: ClassVar[bool] = True


class UnstorableError(StoreError):
    """The database cannot hold a value: a number beyond its range, a character that its encoding lacks."""


class SchemaError(StoreError):
    """The database's tables do not fit this version of dropscribe."""


class BrokerError(DropscribeError):
    """Redis is out of reach."""

    retryable: ClassVar[bool] = True


class SpoolError(DropscribeError):
    """Working files cannot be written."""

    retryable: ClassVar[bool] = True


class NoRoomError(SpoolError):
    """Working files or transcripts have no room: the disk or the quota is full, and is waited for."""


class OutputError(DropscribeError):
    """A transcript file cannot be written."""

    retryable: ClassVar[bool] = True


class ModelError(DropscribeError):
    """The model failed on a chunk."""

    retryable: ClassVar[bool] = True


class ModelUnavailableError(ModelError):
    """The engine cannot be loaded on this machine."""

    retryable: ClassVar[bool] = False


class ModelFatalError(ModelError):
    """The model's process is beyond repair and has to start anew."""

    exit_code: ClassVar[int] = 70


class LeaseLostError(DropscribeError):
    """This attempt no longer owns its work; it stops and writes nothing."""
