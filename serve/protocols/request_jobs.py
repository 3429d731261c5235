"""Recordings that programs send by the protocols of others: each becomes a job of the highest priority.

They lie in a folder of the server's own in the spool, below which each token has one. A recording is called by its
content and by what is wanted of it. So a client that asks the same again, after a lost connection or a new start of the
server, gets the job that is there. The audio goes when its job has a transcript, which the store keeps.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import stat
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path, PurePath
from typing import TypeVar

from fastapi import Request
from starlette.concurrency import run_in_threadpool

from dropscribe.admin.act.step_sender import StepSender
from dropscribe.core.disk_errors import cannot_write, why
from dropscribe.core.error_translation import translated
from dropscribe.core.errors import NameTakenError, UsageError
from dropscribe.core.folder_settings import Results
from dropscribe.core.mappings import said
from dropscribe.core.reserved_names import fitted
from dropscribe.core.routing import PREPARE
from dropscribe.core.safe_text import printable
from dropscribe.core.settings import Settings
from dropscribe.core.types import Priority, SpeechTask
from dropscribe.scheduler.scanning.ignore import NameKind, classify
from dropscribe.scheduler.scanning.scan import Observation
from dropscribe.scheduler.watching import submission
from dropscribe.serve import actions, uploads
from dropscribe.serve.protocols import forms
from dropscribe.serve.protocols.forms import SentForm
from dropscribe.serve.request_limits import AtOnce, RequestLimits
from dropscribe.serve.share_threads import ShareThreads
from dropscribe.serve.uploads import Upload, UploadPlace
from dropscribe.serve.visible import VisibleStore
from dropscribe.store import commands, queries
from dropscribe.store.jobs import NewJob
from dropscribe.store.queries import Job

MTIME_NS = 946_684_800 * 10**9  # of all: by it, name, size and settings the store knows a recording again
GIGABYTE = 10**9
JOB_HEADER = "X-Dropscribe-Job"  # in which answers name the job
KEY_DIGITS = 16  # of the digest in a recording's name
STEM = 60  # characters at most of what the client called it
RAW_RATE, RAW_BYTES = 16_000, 2  # of sound without a header: samples a second of one channel, bytes a sample
WAV = struct.Struct("<4sI4s4sIHHIIHH4sI")  # a header as far as the samples
MAX_WAV = 0xFFFF_FFFF

Form = TypeVar("Form")


@dataclass(frozen=True, slots=True)
class Wish:
    """What is wanted of a recording; empty: what the settings say. Speakers are distinguished only where asked for."""

    task: SpeechTask = SpeechTask.TRANSCRIBE
    language: str = ""
    context: str = ""
    model: str = ""
    speakers: bool = False

    @property
    def own(self) -> dict[str, str]:
        """As settings of the recording alone."""
        given = {"task": self.task.value, "language": self.language, "model": self.model}
        return {"outputs": "json", **said({name: value or None for name, value in given.items()})} | (
            {} if self.speakers else {"speakers": "off"}
        )


@dataclass(frozen=True, slots=True)
class RawSound:
    """The recording is sound without a header, mono in 16 bits at 16 kHz, of which so many seconds count."""

    seconds: float = float("inf")


@dataclass
class _Content:
    """Writes what comes into an upload, as a WAV file where it is `raw`; knows its digest and size."""

    sent: Upload
    raw: RawSound | None
    digest: hashlib._Hash = field(default_factory=hashlib.sha256)
    size: int = 0

    def __post_init__(self) -> None:
        """Leave room for a header."""
        if self.raw:
            self.sent.write(wav_header(0))

    def write(self, data: bytes) -> None:
        """Add bytes. Raises as `Upload.write` does."""
        if self.raw:
            left = self.raw.seconds * RAW_RATE * RAW_BYTES - self.size
            data = data if len(data) <= left else data[: int(left)]
        self.digest.update(data)
        self.size += len(data)
        self.sent.write(data)

    def finish(self) -> Observation:
        """Write the header, now that the size is known; returns what the file is."""
        if not self.raw:
            return Observation(self.size, MTIME_NS)
        if self.size:
            self.sent.begin_with(wav_header(self.size))
        return Observation(self.size + WAV.size, MTIME_NS)


def wav_header(size: int) -> bytes:
    """The header of a WAV file with so many bytes of raw sound."""
    data, riff = min(size, MAX_WAV), min(size + WAV.size - 8, MAX_WAV)
    rate = RAW_RATE * RAW_BYTES
    return WAV.pack(b"RIFF", riff, b"WAVE", b"fmt ", 16, 1, 1, RAW_RATE, rate, RAW_BYTES, 8 * RAW_BYTES, b"data", data)


def name_of(called: str, digest: str, wish: Wish) -> str:
    """What a recording is called that a client calls so, with its content by digest.

    >>> name_of("../Talk 1.MP3", "00", Wish())
    'Talk 1.36a299aedb1dbe82.MP3'
    """
    path = PurePath(printable(called))
    key = hashlib.sha256(json.dumps([digest, asdict(wish)]).encode()).hexdigest()[:KEY_DIGITS]
    ending = path.suffix if classify(f"a{path.suffix}") is NameKind.ADMIT else ""
    stem = path.name.removesuffix(ending).lstrip(".")[:STEM]
    return fitted(stem, f".{key}{ending}").lstrip(".")


async def take(
    request: Request,
    store: VisibleStore,
    file_field: str,
    asked: Callable[[SentForm], tuple[Wish, Form]],
    raw: RawSound | None = None,
    *,
    called: str = "",
) -> tuple[Job, Form]:
    """The job of the recording that a form brings in `file_field`: a new one, or that of an earlier request.

    `asked` says what the form wants, and what else the caller needs of it, which is returned; `called` is the
    recording's name, if the form does not know it. Raises RefusedError, UsageError, SpoolError, StoreError.
    """
    limits: RequestLimits = request.app.state.limits
    shares: ShareThreads = request.app.state.shares
    settings = store.context.settings
    limit = int(settings.serve_upload_gb * GIGABYTE)
    on_share = partial(shares.run, str(settings.requests_dir))
    await run_in_threadpool(actions.require_room, store)
    with limits.holding(AtOnce.UPLOAD, store.caller):
        folder = await on_share(_folder, settings, store.caller.requests)
        begun = uploads.begun(settings.home / uploads.JOURNAL, UploadPlace(str(folder), ".", ""), limit)
        async with shares.using(str(settings.requests_dir), begun) as sent:
            content = await on_share(_Content, sent, raw)
            form = await forms.read(request, file_field, partial(on_share, content.write), limit + forms.FIELD_BYTES)
            wish, rest = asked(form)
            job = await on_share(_admit, store, folder, content, called or form.file_name, wish)
            return job, rest


def _folder(settings: Settings, token: str) -> Path:
    """The folder for the recordings of a token, open to whom the spool is open. Raises SpoolError."""
    folder = settings.requests_dir / token
    with translated(OSError, into=lambda error: cannot_write(f"cannot make the folder {folder}: {why(error)}", error)):
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        mode = stat.S_IMODE(settings.spool_dir.stat().st_mode) & ~stat.S_IRWXO
        for made in (folder.parent, folder):
            made.chmod(mode)
    return folder


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Let nobody else put something into the folder or remove something there. Raises OSError."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _admit(store: VisibleStore, folder: Path, content: _Content, called: str, wish: Wish) -> Job:
    """Give the recording its name and make a job of it, or find the one that it has. Raises as `take` does."""
    context = store.context
    if not content.size:
        raise UsageError("the recording is empty", remedy="send its bytes as the file of the form")
    given = submission.wishes(context.settings, wish.own, priority=Priority.HIGH, topic=wish.context or None)
    given["results"] = Results(folder, "")  # beside the recording, with which the sweep removes it
    name = name_of(called, content.digest.hexdigest(), wish)
    wanted = submission.submitted(context.settings, folder, name, content.finish(), given, is_watched=False)
    with locked(folder):
        is_new = _put(content.sent, name)
        try:
            return _job_of(store, wanted)
        except BaseException:
            if is_new:
                content.sent.take_back()
            raise


def _job_of(store: VisibleStore, wanted: NewJob) -> Job:
    """The recording's job, which begins again where it ended without a transcript, or has lost it."""
    context = store.context
    job_id, is_new = submission.enter(context.database, wanted, Priority.HIGH)
    if is_new:
        context.ring(PREPARE, job_id, wanted.priority)
    job = queries.job(context.database, job_id)
    if job.state.is_final and not has_text(job):
        StepSender(context).send(commands.rerun(context.database, job_id, wanted), job_id)
    return store.job(job_id)


def _put(sent: Upload, name: str) -> bool:
    """Give the recording its name; False where it is there already, as what has its name has its content."""
    sent.call(name, MTIME_NS)
    with suppress(NameTakenError):
        sent.put()
        return True
    return False


def has_text(job: Job) -> bool:
    """Has the store what was said in the recording of a job that is over?"""
    return job.state.has_transcript and job.text_removed_at is None
