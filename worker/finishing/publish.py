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
from dropscribe.core.settings import OUTPUT_FORMATS
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
    placement.sweep(folder, job.id, claim.attempt, [*OUTPUT_FORMATS, context.settings.marker])
    placed: dict[Path, Content] = {}
    for fmt in context.settings.for_job(job.overrides).outputs:
        content = Content(fmt, outputs.render(transcript, fmt, folder))
        placed[_place(context, claim, job, content, folder)] = content
    if ending := context.settings.marker:
        content = Content(ending, marker(job.id, state, placed))
        placed[_place(context, claim, job, content, folder)] = content
    transcripts.written(context.database, claim, [*map(str, placed)])
    return list(placed)


@dataclass(frozen=True, slots=True)
class Content:
    """What is to be in one of the files; `fmt` is also the ending of its name."""

    fmt: str
    data: bytes

    @property
    def sha256(self) -> str:
        """Its digest, in hex."""
        return hashlib.sha256(self.data).hexdigest()


def marker(job_id: str, state: JobState, placed: Mapping[Path, Content]) -> bytes:
    """Says that a recording's files are whole: JSON with the job, its state, and each file's name and digest."""
    files = [{"name": path.name, "sha256": content.sha256} for path, content in placed.items()]
    return json.dumps({"job": job_id, "state": state, "files": files}, indent=2).encode() + b"\n"


def destined(context: WorkerContext, claim: JobClaim, job: Job) -> Job:
    """The job with the path that its recording will have, decided before anything is written. Raises LeaseLostError.

    The transcript of one that is put away is written where it will lie.
    """
    if not job.overrides.archives:
        return job
    for decided in (job.path, job.moving_to or ""):
        if reserved_names.shelf_of(decided) == reserved_names.DONE:
            return replace(job, path=decided)
    best, own = reserved_names.shelved(job.path, reserved_names.DONE, job.id)
    to = own if os.path.lexists(Path(job.root, best)) else best
    recording_moves.reserve(context.database, claim, to)
    return replace(job, path=to)


def _place(context: WorkerContext, claim: JobClaim, job: Job, content: Content, folder: Path) -> Path:
    put_before = OccupiedPath(job.id, content.sha256)  # where an earlier attempt got this far
    for target in placement.candidates(Path(job.source), content.fmt, job.id, folder):
        taken = _may_take(context, job, target)
        if taken and (taken == put_before or _put(context, claim, target, content, taken)):
            return target
    raise OutputError(
        f"every name for the {content.fmt} transcript of {job.path} in {folder} is taken by files that dropscribe did "
        "not write",
        remedy="move them",
    )


@dataclass(frozen=True, slots=True)
class OccupiedPath:
    """What stands at a path that may be ours: whose job's (none: nobody's), and what is there (None: nothing)."""

    by: str
    digest: str | None


def _may_take(context: WorkerContext, job: Job, target: Path) -> OccupiedPath | None:
    """None when the path belongs to somebody else.

    A file of ours gives way to a newer transcript of the same recording, unless somebody edited it.
    """
    recorded = transcripts.file_at(context.database, str(target))
    on_disk = placement.digest(target)
    if recorded is None:
        return OccupiedPath("", None) if on_disk is None else None
    ours = on_disk in recorded.contents and transcripts.same_recording(context.database, recorded.job_id, job.id)
    return OccupiedPath(recorded.job_id, on_disk) if ours else None


def _put(context: WorkerContext, claim: JobClaim, target: Path, content: Content, taken: OccupiedPath) -> bool:
    temporary = placement.stage(target, content.data, claim.id, claim.attempt)
    try:
        replaces = {"replaces": taken.by or None, "replaced": taken.digest}
        if not transcripts.reserve(context.database, claim, str(target), content.fmt, content.sha256, **replaces):
            return False
        placement.publish(temporary, target, replaces=taken.digest is not None)
    except placement.TargetExistsError:  # somebody put a file there this very moment
        transcripts.give_up(context.database, claim, str(target))
        return False
    finally:
        temporary.unlink(missing_ok=True)
    return True
