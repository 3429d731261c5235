"""One tree of errors. Each message is the sentence an operator reads: what is wrong, and what to do next.

DropscribeError                 exit 1; `retryable` says whether trying again can help
|-- UsageError                  exit 2: the command line or a setting was wrong
|   |-- SettingsError           an unknown key, a value that does not parse
|   |-- SandboxError            decoders must be closed off, and this machine cannot do it
|   |-- JobNotFoundError        no job has that id, prefix or path
|   |-- ModelNotFoundError      requests may not ask for that model
|   `-- AmbiguousJobError       a prefix that several jobs share
|-- SourceError                 the recording itself; never retried, the job ends `failed`
|   |-- NotMediaError           no decoder takes it, or it may not be read as media
|   |-- NoAudioError            a container without sound
|   |-- DecodeLimitError        longer, larger or slower to decode than the limits allow
|   |-- PartsDifferError        files that looked like parts of one recording are not
|   `-- OutsideRootError        a link that leads out of its folder
|-- DecoderKilledError          somebody else ended the decoder; retried
|-- SourceMissingError          gone for now: a rename or a share that went away; retried
|-- SourceChangedError          it was written to while being read; retried
|-- StoreError                  the database refused
|   |-- StoreUnavailableError   out of reach, or locked too long; retried
|   |-- UnstorableError         the database cannot hold a value
|   `-- SchemaError             the tables are newer or older than this program
|-- BrokerError                 Redis is out of reach; retried
|-- SpoolError                  working files cannot be written or read; retried
|   `-- NoRoomError             their disk is full, or the user's part of it
|-- BucketAwayError             a bucket is out of reach, or refuses access; waited for
|-- OutputError                 a transcript could not be written; retried
|   `-- WithheldError           it may not be put there, as others could read it; it stays in the store
|       `-- OtherFolderError    the folder of its recording is gone, or another has its name; retried before
|-- ModelError                  the model failed on this chunk; retried
|   |-- ModelUnavailableError   the engine is not installed or does not run here; the worker does not start
|   |   `-- ModelDoesNotFitError  this machine has too little memory for it, or lacks what its format needs
|   |-- ModelMemoryError        memory ran out on this chunk; at the start, the model does not fit
|   `-- ModelFatalError         the process must end and start again (exit 70)
|-- RefusedError                the server does not do that for this caller
|   |-- UnknownCallerError      no token, or an invalid one
|   |-- ForbiddenError          the token may not do that, or a page of another site sent it
|   |-- TooManyError            too many requests or waiting recordings; works later
|   |-- TooLargeError           more bytes than the server takes
|   |-- NameTakenError          another file has that name
|   |-- EditConflictError       another person corrected the transcript meanwhile
|   |-- FolderOfflineError      its scheduler does not see the folder, or another machine watches it; later it works
|   `-- StoppingError           the server ends; the same request finds what it waited for
|-- InternalError               a defect of dropscribe itself
`-- LeaseLostError              somebody else owns this work now; stop and write nothing
"""

from __future__ import annotations

import re
from typing import ClassVar

from dropscribe.core.passwords import redact


class DropscribeError(Exception):
    """Something failed. `problem` says what, `remedy` what to do next; the message is both, as one sentence.

    `code` names the kind for programs: `job_not_found` for JobNotFoundError, and so on; `failed` otherwise.
    """

    retryable: ClassVar[bool] = False
    exit_code: ClassVar[int] = 1
    code: ClassVar[str] = "failed"

    def __init__(self, problem: str, *, remedy: str = "") -> None:
        """`remedy` is empty where `problem` says all there is to say."""
        problem = redact(problem)  # a driver's own words may hold a password
        super().__init__(problem)  # which a copy by pickle is made with
        self.problem = problem
        self.remedy = remedy

    def __str__(self) -> str:
        """What is wrong, and what to do next."""
        return f"{self.problem}; {self.remedy}" if self.remedy else self.problem

    def __init_subclass__(cls) -> None:
        """Names the kind."""
        cls.code = re.sub(r"(?<!^)(?=[A-Z])", "_", cls.__name__.removesuffix("Error")).lower()

    @property
    def document(self) -> dict[str, str]:
        """The error for programs, as docs/cli.md describes it."""
        return {"code": self.code, "message": redact(str(self)), "remedy": redact(self.remedy)}


class UsageError(DropscribeError):
    """The command was given something it cannot use."""

    exit_code: ClassVar[int] = 2


class SettingsError(UsageError):
    """A setting is unknown or has a value that does not fit."""


class SandboxError(UsageError):
    """Decoders must be closed off, and the kernel of this machine cannot do it."""


class JobNotFoundError(UsageError):
    """No job has that id, prefix or path."""

    exit_code: ClassVar[int] = 1


class ModelNotFoundError(UsageError):
    """Requests may not ask for a model of that name."""


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


class PartsDifferError(SourceError):
    """Files that looked like parts of one recording do not belong together."""


class OutsideRootError(SourceError):
    """The path leads out of the watched folder or is not a regular file."""


class DecoderKilledError(DropscribeError):
    """Somebody else ended the decoder: an operator, or a kernel that was short of memory; it is tried again."""

    retryable: ClassVar[bool] = True


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


class BucketAwayError(DropscribeError):
    """A bucket is out of reach: its server, the network or the credentials. It is waited for."""

    retryable: ClassVar[bool] = True


class OutputError(DropscribeError):
    """A transcript file cannot be written."""

    retryable: ClassVar[bool] = True


class WithheldError(OutputError):
    """A file that may not be put where it is to go, as others could read it or its owner could not."""


class OtherFolderError(WithheldError):
    """The folder of the recording is gone, or is another one than that in which it was read."""


class ModelError(DropscribeError):
    """The model failed on a chunk."""

    retryable: ClassVar[bool] = True


class ModelUnavailableError(ModelError):
    """The engine cannot be loaded on this machine."""

    retryable: ClassVar[bool] = False


class ModelDoesNotFitError(ModelUnavailableError):
    """This machine has too little memory for the model, or lacks what its number format needs."""


class ModelMemoryError(ModelError):
    """Memory ran out."""


class ModelFatalError(ModelError):
    """The model's process is beyond repair and has to start again."""

    exit_code: ClassVar[int] = 70


class RefusedError(DropscribeError):
    """The server does not do that for anyone who asks."""


class UnknownCallerError(RefusedError):
    """The server does not know who asks."""


class ForbiddenError(RefusedError):
    """Anyone who asks may not do that."""


class TooManyError(RefusedError):
    """Anyone who asks has asked for too much lately."""

    retryable: ClassVar[bool] = True


class TooLargeError(RefusedError):
    """The server takes no more bytes than that."""


class NameTakenError(RefusedError):
    """Another file has the name that this one is to have."""


class EditConflictError(RefusedError):
    """Somebody else has corrected the transcript since it was read; nothing of theirs is overwritten."""


class FolderOfflineError(RefusedError):
    """The folder cannot be reached from the server's machine just now."""

    retryable: ClassVar[bool] = True


class StoppingError(RefusedError):
    """The server ends; what it waited for goes on, and is found by asking again."""

    retryable: ClassVar[bool] = True


class InternalError(DropscribeError):
    """A defect of dropscribe itself."""


class LeaseLostError(DropscribeError):
    """This attempt no longer owns its work; it stops and writes nothing."""
