"""A transcript that lies beside its recording and that the store does not know: it is taken over, not made again.

So it is after a store was restored from an older backup, or was lost. The JSON file alone is loss-free, and it counts
where it names the SHA-256 of the recording that lies there now.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path

from dropscribe.core.errors import OutputError, StoreError
from dropscribe.core.types import Transcript
from dropscribe.store import transcripts
from dropscribe.store.queries import Job
from dropscribe.store.transcripts import FoundFile
from dropscribe.worker import outputs
from dropscribe.worker.finishing import placement
from dropscribe.worker.outputs import json_
from dropscribe.worker.runtime.context import WorkerContext

MAX_BYTES = 256_000_000  # a day of talk with times of words takes 60 MB


@dataclass(frozen=True, slots=True)
class EarlierTranscript:
    """The transcript as it is to be stored, as JSON, and the files of it that are there and were not changed since."""

    document: str
    duration: float
    files: tuple[FoundFile, ...]


def find(context: WorkerContext, job: Job, digest: str) -> EarlierTranscript | None:
    """The transcript of the recording with that SHA-256, where one lies where the job's would be written.

    A file that the store knows is no such transcript: the recording is to be transcribed again.
    """
    folder = placement.folder_of(job, context.settings.results)
    try:
        for path in placement.candidates(Path(job.source), "json", job.id, folder):
            transcript = _transcript(context, path, digest)
            if transcript is not None:
                return _taken(context, job, folder, path, transcript)
    except OutputError:  # what cannot be read is somebody else's
        pass
    return None


def _transcript(context: WorkerContext, path: Path, digest: str) -> Transcript | None:
    if (
        not placement.digest(path)
        or path.stat().st_size > MAX_BYTES
        or transcripts.file_at(context.database, str(path))
    ):
        return None
    try:
        transcript = json_.from_json(path.read_bytes().decode())
    except (StoreError, UnicodeDecodeError, OSError):
        return None
    return transcript if transcript.source.sha256 == digest else None


def _taken(context: WorkerContext, job: Job, folder: Path, path: Path, transcript: Transcript) -> EarlierTranscript:
    here = replace(transcript.source, path=job.source, size=job.size)
    ours = replace(transcript, job_id=job.id, source=here)
    files = (FoundFile(str(path), "json", placement.digest(path) or ""), *_others(context, job, folder, transcript))
    return EarlierTranscript(outputs.render(ours, "json").decode(), transcript.source.duration, files)


def _others(context: WorkerContext, job: Job, folder: Path, transcript: Transcript) -> Iterator[FoundFile]:
    """Files of the other formats that are what this transcript makes; what people changed is theirs."""
    settings = context.settings.for_job(job.overrides)
    for fmt in set(settings.outputs) - {"json"}:
        made = sha256(outputs.render(transcript, fmt, folder)).hexdigest()
        for path in placement.candidates(Path(job.source), fmt, job.id, folder):
            if placement.digest(path) == made:
                yield FoundFile(str(path), fmt, made)
    if ending := settings.marker:
        markers = placement.candidates(Path(job.source), ending, job.id, folder)
        ours = (path for path in markers if _is_marker_of(path, transcript.job_id))
        yield from (FoundFile(str(path), ending, placement.digest(path) or "") for path in ours)


def _is_marker_of(path: Path, job_id: str) -> bool:
    try:
        return bool(placement.digest(path)) and json.loads(path.read_bytes()).get("job") == job_id
    except (ValueError, AttributeError, OSError):
        return False
