"""Puts a transcript's files in place, each written once, never over a file that is not ours.

For each format: find a name, record it with the content's hash in the store (fenced), then move the finished
temporary file there. Whatever a crash leaves behind, the next attempt goes on from: a file that is in place with
the right content is left alone, a recorded name is used again.
"""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path

from core.errors import OutputError
from core.types import Transcript
from store import transcripts
from store.leases import Claim
from store.queries import Job
from worker import outputs
from worker.context import WorkerContext
from worker.outputs import files

log = logging.getLogger(__name__)


def publish(context: WorkerContext, claim: Claim, job: Job, transcript: Transcript) -> list[Path]:
    """Write every configured format; returns the files. Raises OutputError, LeaseLostError."""
    folder = folder_of(context, job)
    files.sweep(folder, job.id)
    placed = [_place(context, claim, job, transcript, fmt, folder) for fmt in context.settings.outputs]
    transcripts.written(context.database, claim, [str(path) for path in placed])
    return placed


def folder_of(context: WorkerContext, job: Job) -> Path:
    """Where a job's files go: beside the recording, or in the mirror of its root."""
    results = context.settings.results
    if results is None:
        return Path(job.source).parent
    root = Path(job.root or "/")
    return results / (root.name or "files") / Path(job.path).parent


def _place(context: WorkerContext, claim: Claim, job: Job, transcript: Transcript, fmt: str, folder: Path) -> Path:
    data = outputs.render(transcript, fmt)
    sha256 = hashlib.sha256(data).hexdigest()
    for target in files.candidates(Path(job.source), fmt, job.id, folder):
        replaces = _may_take(context, job, target)
        if replaces is None:
            continue
        if files.digest(target) == sha256 and replaces == job.id:
            return target  # an earlier attempt got this far
        if _put(context, claim, target, data, fmt, sha256, replaces):
            return target
    raise OutputError(
        f"every name for the {fmt} transcript of {job.path} in {folder} is taken by files that dropscribe did not "
        f"write; move them, then `dropscribe retry {job.id}`"
    )


FREE = ""


def _may_take(context: WorkerContext, job: Job, target: Path) -> str | None:
    """None when the path belongs to somebody else; FREE, or the job (perhaps this one) whose file may give way.

    A file of ours gives way to a newer transcript of the same recording, unless somebody edited it.
    """
    recorded = transcripts.file_at(context.database, str(target))
    on_disk = files.digest(target)
    if recorded is None:
        return FREE if on_disk is None else None
    if not transcripts.same_recording(context.database, recorded.job_id, job.id):
        return None
    unchanged = on_disk is None or on_disk == recorded.sha256 or (recorded.job_id == job.id and not recorded.written)
    return recorded.job_id if unchanged else None


def _put(context: WorkerContext, claim: Claim, target: Path, data: bytes, fmt: str, sha256: str, replaces: str) -> bool:
    temporary = files.stage(target, data, claim.id, claim.attempt)
    try:
        if not transcripts.reserve(context.database, claim, str(target), fmt, sha256, replaces=replaces or None):
            return False
        files.publish(temporary, target, replaces=bool(replaces))
    except files.TargetExistsError:  # somebody put a file there this very moment
        transcripts.give_up(context.database, claim, str(target))
        return False
    finally:
        temporary.unlink(missing_ok=True)
    return True
