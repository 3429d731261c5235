"""Copies the further files of a recording in parts to local scratch, each as safely as the first."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from operator import attrgetter
from pathlib import Path, PurePath

from dropscribe.core.errors import NotMediaError, PartsDifferError, SourceChangedError, SourceMissingError
from dropscribe.core.recording_parts import RecordingPart
from dropscribe.store.queries import Job
from dropscribe.worker.preparing import staging
from dropscribe.worker.preparing.decode import PartToDecode
from dropscribe.worker.preparing.staging import Staged, StagedPart


def with_parts(
    job: Job,
    first: Staged,
    further: Iterable[RecordingPart],
    folder: Path,
    check: Callable[[], None],
    *,
    is_last_try: bool,
) -> Staged:
    """The recording with its further files, copied into `folder`; its hash is made of those of all.

    On the last try, one that is gone is done without. Raises as `staging.stage`, SourceChangedError for a file that is
    not what was admitted, and PartsDifferError where not everybody who may read the first may read another.
    """
    _require_same(first, (job.size, job.mtime_ns), Path(job.source))
    parts = tuple(_staged(job, first, part, folder, check, is_last_try=is_last_try) for part in further)
    return replace(first, sha256=_digest(first, parts), parts=parts)


def to_decode(job: Job, copy: Staged) -> Iterator[PartToDecode]:
    """All files of a recording in parts; none of one that has a single file."""
    if copy.parts:
        yield PartToDecode(staging.shown(Path(Path(job.path).name)), copy.size, str(copy.path))
    for one in copy.parts:
        name = staging.shown(Path(one.part.name))
        yield PartToDecode(name, one.part.size, str(one.copy.path) if one.copy else "", one.problem)


def _staged(
    job: Job, first: Staged, part: RecordingPart, folder: Path, check: Callable[[], None], *, is_last_try: bool
) -> StagedPart:
    """One further file."""
    source = Path(job.root, part.path)
    try:
        copy = staging.stage(source, Path(job.root), folder, check, home=PurePath(job.home))
    except SourceMissingError as error:
        if not is_last_try:
            raise
        return StagedPart(part, None, error.problem)
    except NotMediaError as error:
        return StagedPart(part, None, error.problem)
    _require_same(copy, (part.size, part.mtime_ns), source)
    if _readers(copy) != _readers(first):
        raise PartsDifferError(f"{staging.shown(source)} and the parts before it have different readers")
    return StagedPart(replace(part, fingerprint=copy.mark.fingerprint), copy)


def _require_same(copy: Staged, admitted: tuple[int, int], source: Path) -> None:
    """Raise SourceChangedError for a file that is not of the size and time that were admitted."""
    size, mtime_ns = admitted
    if copy.size != size or (copy.mtime_ns - mtime_ns) % (1 << 64):  # times beyond 2262 are stored folded into 64 bits
        name = staging.shown(source)
        raise SourceChangedError(f"{name} has changed since it was admitted", remedy="it is tried again")


def _readers(copy: Staged) -> object:
    """Who may read the original."""
    return copy.origin and copy.origin.access


def _digest(first: Staged, parts: Iterable[StagedPart]) -> str:
    """A hash of all files, in hex, which no single file has but by a collision."""
    hashes = [first.sha256, *(one.copy.sha256 if one.copy else "missing" for one in parts)]
    return hashlib.sha256("\n".join(["recording in parts", *hashes]).encode()).hexdigest()


def fingerprints(parts: Iterable[StagedPart]) -> dict[str, str]:
    """What was read of the further files, by their paths."""
    found = map(attrgetter("part"), parts)
    return {part.path: part.fingerprint for part in found if part.fingerprint}
