"""Puts a transcript's files in place, each written once, never over a file that is not ours.

For each format: find a name, record it with the content's hash in the store (fenced), then move the finished
temporary file there. Whatever a crash leaves behind, the next attempt goes on from: a file that is in place with
the right content is left alone, a recorded name is used again.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from dropscribe.core import reserved_names
from dropscribe.core.errors import OutputError
from dropscribe.core.types import JobState, Transcript
from dropscribe.store import recording_moves, transcripts
from dropscribe.store.leases import JobClaim
from dropscribe.store.queries import Job
from dropscribe.worker import outputs
from dropscribe.worker.finishing import placement
from dropscribe.worker.runtime.context import WorkerContext

log = logging.getLogger(__name__)


def publish(context: WorkerContext, claim: JobClaim, job: Job, transcript: Transcript, state: JobState) -> list[Path]:
    """Write every format that is wanted, and then the marker; returns the files. Raises OutputError, LeaseLostError."""
    folder = placement.folder_of(job, context.settings.results)
    placement.sweep(folder, job.id)
    placed: dict[Path, bytes] = {}
    for fmt in context.settings.for_job(job.overrides).outputs:
        data = outputs.render(transcript, fmt, folder)
        placed[_place(context, claim, job, data, fmt, folder)] = data
    if ending := context.settings.marker:
        data = marker(job.id, state, placed)
        placed[_place(context, claim, job, data, ending, folder)] = data
    transcripts.written(context.database, claim, [str(path) for path in placed])
    return list(placed)


def marker(job_id: str, state: JobState, placed: Mapping[Path, bytes]) -> bytes:
    """Says that a recording's files are whole: JSON with the job, its state, and each file's name and digest."""
    told = [{"name": path.name, "sha256": hashlib.sha256(data).hexdigest()} for path, data in placed.items()]
    return json.dumps({"job": job_id, "state": state, "files": told}, indent=2).encode() + b"\n"


def destined(context: WorkerContext, claim: JobClaim, job: Job) -> Job:
    """The job with the path that its recording will have, decided before anything is written. Raises LeaseLostError.

    The transcript of one that is put away is written where it will lie.
    """
    if not placement.is_put_away(job) or reserved_names.shelf_of(job.path) == reserved_names.DONE:
        return job
    if job.moving_to and reserved_names.shelf_of(job.moving_to) == reserved_names.DONE:
        return replace(job, path=job.moving_to)
    best, own = reserved_names.shelved(job.path, reserved_names.DONE, job.id)
    to = own if os.path.lexists(Path(job.root, best)) else best
    recording_moves.reserve(context.database, claim, to)
    return replace(job, path=to)


def _place(context: WorkerContext, claim: JobClaim, job: Job, data: bytes, fmt: str, folder: Path) -> Path:
    sha256 = hashlib.sha256(data).hexdigest()
    for target in placement.candidates(Path(job.source), fmt, job.id, folder):
        taken = _may_take(context, job, target)
        if taken is None:
            continue
        if taken.digest == sha256 and taken.by == job.id:
            return target  # an earlier attempt got this far
        if _put(context, claim, target, data, fmt, sha256, taken):
            return target
    raise OutputError(
        f"every name for the {fmt} transcript of {job.path} in {folder} is taken by files that dropscribe did not "
        "write; move them"
    )


EMPTY = hashlib.sha256(b"").hexdigest()  # of a name that was claimed where there are no hard links


@dataclass(frozen=True, slots=True)
class OccupiedPath:
    """What stands at a path that may be ours: whose job's (none: nobody's), and what is there (None: nothing)."""

    by: str
    digest: str | None


def _may_take(context: WorkerContext, job: Job, target: Path) -> OccupiedPath | None:
    """None when the path belongs to somebody else.

    A file of ours gives way to a newer transcript of the same recording, unless somebody edited it. After a crash it
    is the one that was to be written, the one that was to give way, or an empty one.
    """
    recorded = transcripts.file_at(context.database, str(target))
    on_disk = placement.digest(target)
    if recorded is None:
        return OccupiedPath("", None) if on_disk is None else None
    if not transcripts.same_recording(context.database, recorded.job_id, job.id):
        return None
    ours = {None, recorded.sha256} if recorded.written else {None, recorded.sha256, recorded.replaced, EMPTY}
    return OccupiedPath(recorded.job_id, on_disk) if on_disk in ours else None


def _put(
    context: WorkerContext, claim: JobClaim, target: Path, data: bytes, fmt: str, sha256: str, taken: OccupiedPath
) -> bool:
    temporary = placement.stage(target, data, claim.id, claim.attempt)
    try:
        replaces = {"replaces": taken.by or None, "replaced": taken.digest}
        if not transcripts.reserve(context.database, claim, str(target), fmt, sha256, **replaces):
            return False
        placement.publish(temporary, target, replaces=taken.digest is not None)
    except placement.TargetExistsError:  # somebody put a file there this very moment
        transcripts.give_up(context.database, claim, str(target))
        return False
    finally:
        temporary.unlink(missing_ok=True)
    return True
