"""Puts a transcript's files in place, each written once, never over a file that is not ours.

All are staged under temporary names. Their own names are recorded with the contents' hashes in the store (fenced), in
one transaction, which also saves the transcript. Then each is moved there, and the folder is synced once. A name that
turns out to be somebody else's is given up, and the next one tried. After a crash the next attempt goes on. A file in
place with the right content stays and gets its readers. A recorded name is used again.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import chain
from operator import attrgetter
from pathlib import Path, PurePath

from dropscribe.core import reserved_names
from dropscribe.core.bucket_names import is_in_bucket
from dropscribe.core.errors import OtherFolderError, OutputError, WithheldError
from dropscribe.core.settings import OUTPUT_FORMATS
from dropscribe.core.types import JobState
from dropscribe.store import recording_moves, revisions, transcripts, written_files
from dropscribe.store.leases import JobClaim
from dropscribe.store.queries import Job
from dropscribe.store.transcripts import Reservation
from dropscribe.store.written_files import WrittenFile
from dropscribe.worker import outputs
from dropscribe.worker.finishing import placement
from dropscribe.worker.finishing.bucket_place import BucketPlace
from dropscribe.worker.finishing.destination import destination
from dropscribe.worker.finishing.finish import Outcome
from dropscribe.worker.finishing.output_place import FolderPlace, Name, OutputPlace
from dropscribe.worker.runtime.context import WorkerContext

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Published:
    """What became of a transcript's files: which are in place, or why it stays in the store alone."""

    files: tuple[str, ...] = ()
    withheld: str = ""


def publish(context: WorkerContext, claim: JobClaim, job: Job, outcome: Outcome) -> Published:
    """Save the transcript, and write every format that is wanted and then the marker.

    It is saved whatever becomes of its files. Raises OutputError, LeaseLostError; OtherFolderError as long as another
    try may find the folder.
    """
    register = _Register(context, claim, outcome)
    try:
        return Published(_written(context, claim, job, outcome, register))
    except WithheldError as error:
        if isinstance(error, OtherFolderError) and job.failures + 1 < context.settings.failed_attempts:
            raise
        log.warning("%s: the transcript stays in the store: %s", job.id, error)
        return Published(
            withheld=f"its transcript is only in the store: {error}; then `dropscribe retry {job.id}`; "
            f"`dropscribe transcript {job.id}` prints it"
        )
    finally:
        register.save()


class _Register:
    """The names of a transcript's files in the store; with the first of them, the transcript is saved."""

    def __init__(self, context: WorkerContext, claim: JobClaim, outcome: Outcome) -> None:
        self._database, self._claim, self._outcome = context.database, claim, outcome
        self._is_saved = False

    def save(self) -> None:
        """Save the transcript, unless it is."""
        if not self._is_saved:
            self.reserve(())

    def reserve(self, files: Sequence[Reservation]) -> frozenset[str]:
        """The paths that are the job's now. Raises LeaseLostError."""
        if self._is_saved:
            return transcripts.reserve(self._database, self._claim, files)
        document = outputs.render(self._outcome.transcript, "json").decode()
        ours = transcripts.save(self._database, self._claim, document, self._outcome.diarization, files)
        self._is_saved = True
        return ours

    def known(self, paths: Sequence[str]) -> dict[str, WrittenFile]:
        """What is at these paths, as far as dropscribe wrote it."""
        return written_files.files_at(self._database, paths)

    def gives_way(self, theirs: str, ours: str) -> bool:
        """May a job's file take the place of another's: of the same recording, and not of what people corrected?"""
        if theirs == ours:
            return True
        with self._database.read() as connection:
            is_corrected = bool(revisions.live(connection, theirs))
        return not is_corrected and transcripts.same_recording(self._database, theirs, ours)

    def give_up(self, target: str) -> None:
        """Forget a name that was reserved."""
        transcripts.give_up(self._database, self._claim, target)


def _written(
    context: WorkerContext, claim: JobClaim, job: Job, outcome: Outcome, register: _Register
) -> tuple[str, ...]:
    """Write every format that is asked for; returns their paths, or names of objects."""
    settings = context.settings.for_job(job.overrides)
    with _place(context, claim, job) as place:
        shelf = _Shelf(job, place, register)
        formats = [Content(fmt, outputs.render(outcome.transcript, fmt, place.folder)) for fmt in settings.outputs]
        placed = shelf.place(formats)
        if ending := context.settings.marker:  # it says that the others are whole, so they last by now
            placed |= shelf.place([Content(ending, marker(job.id, outcome.state, placed))])
    return tuple(placed)


@contextmanager
def _place(context: WorkerContext, claim: JobClaim, job: Job) -> Iterator[OutputPlace]:
    """Where the files go; what earlier attempts left there is removed. Raises OutputError."""
    if is_in_bucket(job.root):
        yield BucketPlace(job, context.settings)
        return
    with destination(job, context.settings) as there:
        placement.sweep(there.here, job.id, claim.attempt, [*OUTPUT_FORMATS, context.settings.marker])
        yield FolderPlace(there, job, claim)


@dataclass(frozen=True, slots=True)
class Content:
    """What is to be in one of the files; `fmt` is also the ending of its name."""

    fmt: str
    data: bytes

    @property
    def sha256(self) -> str:
        """Its digest, in hex."""
        return hashlib.sha256(self.data).hexdigest()


def marker(job_id: str, state: JobState, placed: Mapping[str, Content]) -> bytes:
    """Says that a recording's files are whole: JSON with the job, its state, and each file's name and digest."""
    files = [{"name": PurePath(path).name, "sha256": content.sha256} for path, content in placed.items()]
    return json.dumps({"job": job_id, "state": state, "files": files}, indent=2).encode() + b"\n"


def destined(context: WorkerContext, claim: JobClaim, job: Job) -> Job:
    """The job with the path that its recording will have, decided before anything is written. Raises LeaseLostError.

    The transcript of one that is archived is written where it will lie.
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


@dataclass(frozen=True, slots=True)
class OccupiedPath:
    """What stands at a path that may be ours: whose job's (none: nobody's), and what is there (None: nothing)."""

    by: str
    digest: str | None


@dataclass(frozen=True, slots=True)
class Naming:
    """A file and the name that it may have."""

    content: Content
    target: str
    taken: OccupiedPath

    @property
    def reservation(self) -> Reservation:
        """What is asked of the store."""
        by, digest = self.taken.by or None, self.taken.digest
        return Reservation(self.target, self.content.fmt, self.content.sha256, replaces=by, replaced=digest)


class _Shelf:
    """The place into which the files of one attempt at a job go."""

    def __init__(self, job: Job, place: OutputPlace, register: _Register) -> None:
        self._job, self._place, self._register = job, place, register

    def place(self, contents: Sequence[Content]) -> dict[str, Content]:
        """Put files in place and make that last; returns the name that each got. Raises OutputError, LeaseLostError."""
        names = {content.fmt: self._place.candidates(content.fmt) for content in contents}
        known = self._register.known([*chain.from_iterable(names.values())])
        free = {content.fmt: self._free(content, names[content.fmt], known) for content in contents}
        found: dict[str, str] = {}
        while waiting := [content for content in contents if content.fmt not in found]:
            found |= self._put([next(free[content.fmt]) for content in waiting])
        if contents:
            self._place.settle()
        return {found[content.fmt]: content for content in contents}

    def _free(self, content: Content, names: Sequence[str], known: Mapping[str, WrittenFile]) -> Iterator[Naming]:
        """The names that a file may have, best first. Raises OutputError after the last."""
        for target in names:
            if taken := self._may_take(target, known.get(target)):
                yield Naming(content, target, taken)
        raise OutputError(
            f"every name for the {content.fmt} transcript of {self._job.path} in {self._place.folder} is taken by "
            "files that dropscribe did not write",
            remedy="move them",
        )

    def _may_take(self, target: str, recorded: WrittenFile | None) -> OccupiedPath | None:
        """None when the path belongs to somebody else.

        A file of ours gives way to a newer transcript of the same recording, unless somebody edited or corrected it.
        """
        on_disk = self._place.digest(target)
        if recorded is None:
            return OccupiedPath("", None) if on_disk is None else None
        ours = on_disk in recorded.contents and self._register.gives_way(recorded.job_id, self._job.id)
        return OccupiedPath(recorded.job_id, on_disk) if ours else None

    def _put(self, tried: Sequence[Naming]) -> dict[str, str]:
        """Try a name for each file; those that could be claimed, by format."""
        standing = [naming for naming in tried if self._stands(naming)]
        new = [naming for naming in tried if naming not in standing]
        with self._place.staged({naming.target: naming.content.data for naming in new}) as name:
            ours = self._register.reserve([*map(attrgetter("reservation"), new)]) if new else frozenset()
            named = [naming for naming in new if naming.target in ours and self._named(naming, name)]
        return {naming.content.fmt: naming.target for naming in (*standing, *named)}

    def _stands(self, naming: Naming) -> bool:
        """Did an earlier attempt get this far? Then its readers are seen to."""
        put_before = OccupiedPath(self._job.id, naming.content.sha256)
        return naming.taken == put_before and self._place.stands(naming.target, naming.content.sha256)

    def _named(self, naming: Naming, name: Name) -> bool:
        """Give a file its name; False if somebody put another there this very moment."""
        try:
            name(naming.target)
        except placement.TargetExistsError:
            self._register.give_up(naming.target)
            return False
        return True
