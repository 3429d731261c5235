"""A transcript that lies beside its recording and that the store does not know: it is taken over, not made again.

So it is after a store was restored from an older backup, or was lost. The JSON file alone is loss-free, and it counts
where it names the SHA-256 of the recording that lies there now.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from hashlib import sha256

from dropscribe.core.bucket_names import is_in_bucket
from dropscribe.core.errors import OutputError, StoreError
from dropscribe.core.types import Transcript
from dropscribe.store import written_files
from dropscribe.store.leases import JobClaim
from dropscribe.store.queries import Job
from dropscribe.store.transcripts import FoundFile
from dropscribe.worker import outputs
from dropscribe.worker.finishing.bucket_place import BucketPlace
from dropscribe.worker.finishing.destination import existing
from dropscribe.worker.finishing.output_place import FolderPlace, OutputPlace
from dropscribe.worker.outputs import json_
from dropscribe.worker.runtime.context import WorkerContext


@dataclass(frozen=True, slots=True)
class EarlierTranscript:
    """The transcript as it is to be stored, as JSON, and the files of it that are there and were not changed since."""

    document: str
    duration: float
    files: tuple[FoundFile, ...]


def find(context: WorkerContext, claim: JobClaim, job: Job, digest: str) -> EarlierTranscript | None:
    """The transcript of the recording with that SHA-256, where one lies where the job's would be written.

    None for a job whose files the store knows: it is to be transcribed again. So is a file that is known no such
    transcript, and a file that is not a transcript of this recording is left alone.
    """
    if written_files.files_of(context.database, job.id):
        return None
    with suppress(OutputError), _existing(context, claim, job) as place:
        for path in place.candidates("json"):
            data = place.read(path) or b""
            if digest.encode() in data and not written_files.file_at(context.database, path):
                with suppress(StoreError, OutputError, ValueError, RecursionError):  # somebody else's
                    transcript = json_.from_json(data.decode())
                    if transcript.source.sha256 == digest:
                        written = FoundFile(path, "json", sha256(data).hexdigest())
                        return _taken(context, job, place, written, transcript)
    return None


@contextmanager
def _existing(context: WorkerContext, claim: JobClaim, job: Job) -> Iterator[OutputPlace]:
    """Where the job's files would go, where that is there. Raises OutputError."""
    if is_in_bucket(job.root):
        yield BucketPlace(job, context.settings)
        return
    with existing(job, context.settings) as there:
        yield FolderPlace(there, job, claim)


def _taken(
    context: WorkerContext, job: Job, place: OutputPlace, written: FoundFile, transcript: Transcript
) -> EarlierTranscript:
    """The transcript as this job's own, with its files."""
    here = replace(transcript.source, path=job.source, size=job.size)
    ours = replace(transcript, job_id=job.id, source=here)
    files = (written, *_others(context, job, place, transcript))
    return EarlierTranscript(outputs.render(ours, "json").decode(), transcript.source.duration, files)


def _others(context: WorkerContext, job: Job, place: OutputPlace, transcript: Transcript) -> Iterator[FoundFile]:
    """Files of the other formats that are what this transcript makes; what people changed is theirs."""
    settings = context.settings.for_job(job.overrides)
    for fmt in set(settings.outputs) - {"json"}:
        made = sha256(outputs.render(transcript, fmt, place.folder)).hexdigest()
        yield from _named(fmt, place, partial(_has, made))
    if settings.marker:
        yield from _named(settings.marker, place, partial(_is_marker_of, transcript.job_id))


def _named(fmt: str, place: OutputPlace, is_ours: Callable[[bytes], bool]) -> Iterator[FoundFile]:
    """Those with a name that a file of the job would have, and which are ours."""
    for path in place.candidates(fmt):
        data = place.read(path)
        if data is not None and is_ours(data):
            yield FoundFile(path, fmt, sha256(data).hexdigest())


def _has(digest: str, data: bytes) -> bool:
    """Is it exactly this content?"""
    return sha256(data).hexdigest() == digest


def _is_marker_of(job_id: str, data: bytes) -> bool:
    """Is it the marker of that job?"""
    with suppress(ValueError, AttributeError, RecursionError):
        return bool(json.loads(data).get("job") == job_id)
    return False
