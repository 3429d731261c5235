"""A transcript that lies beside its recording and that the store does not know: it is taken over, not made again.

So it is after a store was restored from an older backup, or was lost. The JSON file alone is loss-free, and it counts
where it names the SHA-256 of the recording that lies there now.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from hashlib import sha256
from pathlib import Path

from dropscribe.core.errors import OutputError, StoreError
from dropscribe.core.safe_open import SAFELY
from dropscribe.core.types import Transcript
from dropscribe.store import transcripts
from dropscribe.store.queries import Job
from dropscribe.store.transcripts import FoundFile
from dropscribe.worker import outputs
from dropscribe.worker.finishing import placement
from dropscribe.worker.outputs import json_
from dropscribe.worker.runtime.context import WorkerContext

MAX_BYTES = 100_000_000  # a day of talk with times of words takes 60 MB


@dataclass(frozen=True, slots=True)
class EarlierTranscript:
    """The transcript as it is to be stored, as JSON, and the files of it that are there and were not changed since."""

    document: str
    duration: float
    files: tuple[FoundFile, ...]


def find(context: WorkerContext, job: Job, digest: str) -> EarlierTranscript | None:
    """The transcript of the recording with that SHA-256, where one lies where the job's would be written.

    None for a job whose files the store knows: it is to be transcribed again. So is a file that is known no such
    transcript, and one that is no transcript of this recording is left alone.
    """
    if transcripts.files_of(context.database, job.id):
        return None
    folder = placement.folder_of(job, context.settings.results)
    for path in placement.candidates(Path(job.source), "json", job.id, folder):
        data = _read(path)
        if digest.encode() in data and not transcripts.file_at(context.database, str(path)):
            with suppress(StoreError, OutputError, ValueError, RecursionError):  # somebody else's
                transcript = json_.from_json(data.decode())
                if transcript.source.sha256 == digest:
                    written = FoundFile(str(path), "json", sha256(data).hexdigest())
                    return _taken(context, job, folder, written, transcript)
    return None


def _read(path: Path) -> bytes:
    """What is in a regular file of bounded size, and nothing of anything else that may lie there."""
    try:
        descriptor = os.open(path, SAFELY)
        with os.fdopen(descriptor, "rb") as file:
            there = os.fstat(descriptor)
            return file.read(MAX_BYTES) if stat.S_ISREG(there.st_mode) and there.st_size <= MAX_BYTES else b""
    except OSError:
        return b""


def _taken(
    context: WorkerContext, job: Job, folder: Path, written: FoundFile, transcript: Transcript
) -> EarlierTranscript:
    here = replace(transcript.source, path=job.source, size=job.size)
    ours = replace(transcript, job_id=job.id, source=here)
    files = (written, *_others(context, job, folder, transcript))
    return EarlierTranscript(outputs.render(ours, "json").decode(), transcript.source.duration, files)


def _others(context: WorkerContext, job: Job, folder: Path, transcript: Transcript) -> Iterator[FoundFile]:
    """Files of the other formats that are what this transcript makes; what people changed is theirs."""
    settings = context.settings.for_job(job.overrides)
    for fmt in set(settings.outputs) - {"json"}:
        made = sha256(outputs.render(transcript, fmt, folder)).hexdigest()
        yield from _named(job, fmt, folder, partial(_has, made))
    if settings.marker:
        yield from _named(job, settings.marker, folder, partial(_is_marker_of, transcript.job_id))


def _named(job: Job, fmt: str, folder: Path, is_ours: Callable[[Path], bool]) -> Iterator[FoundFile]:
    """Those with a name that a file of the job would have, and which are ours."""
    for path in filter(is_ours, placement.candidates(Path(job.source), fmt, job.id, folder)):
        yield FoundFile(str(path), fmt, placement.digest(path) or "")


def _has(digest: str, path: Path) -> bool:
    return placement.digest(path) == digest


def _is_marker_of(job_id: str, path: Path) -> bool:
    with suppress(ValueError, AttributeError, RecursionError):
        return bool(json.loads(_read(path)).get("job") == job_id)
    return False
