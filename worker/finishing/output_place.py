"""Where the files of one attempt at a job go: what publishing asks of a folder, and of a bucket."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Protocol

from dropscribe.core.bucket_client import MAX_BYTES
from dropscribe.core.safe_open import regular
from dropscribe.store.leases import JobClaim
from dropscribe.store.queries import Job
from dropscribe.worker.finishing import placement
from dropscribe.worker.finishing.destination import Destination

Name = Callable[[str], None]  # gives a staged file the name; raises TargetExistsError where it is somebody else's


class OutputPlace(Protocol):
    """Knows files by their whole names: paths, or those of objects. Methods raise OutputError."""

    @property
    def folder(self) -> Path:
        """What people call it."""

    def candidates(self, fmt: str) -> list[str]:
        """Names for a file with that ending, best first; the last is the job's own."""

    def digest(self, target: str) -> str | None:
        """SHA-256 in hex of what has that name; None for nothing, empty for what dropscribe does not write."""

    def read(self, target: str) -> bytes | None:
        """What has that name; None for nothing, and for what is too large to be a transcript or no file."""

    def stands(self, target: str, sha256: str) -> bool:
        """Is a file of ours in place with this content? Its readers are seen to."""

    def staged(self, files: Mapping[str, bytes]) -> AbstractContextManager[Name]:
        """Files that are to have these names, for the block; what has none at its end is removed."""

    def settle(self) -> None:
        """Make what got its name last."""


class FolderPlace:
    """An open folder of this machine, into which files come under temporary names."""

    def __init__(self, there: Destination, job: Job, claim: JobClaim) -> None:
        self._there, self._job, self._claim = there, job, claim
        self._found: dict[str, str | None] = {}

    @property
    def folder(self) -> Path:
        """See `OutputPlace`."""
        return self._there.folder

    def candidates(self, fmt: str) -> list[str]:
        """See `OutputPlace`."""
        return [*map(str, placement.candidates(Path(self._job.source), fmt, self._job.id, self._there.folder))]

    def digest(self, target: str) -> str | None:
        """See `OutputPlace`."""
        self._found[target] = placement.digest(self._at(target))
        return self._found[target]

    def read(self, target: str) -> bytes | None:
        """See `OutputPlace`."""
        with suppress(OSError), regular(self._at(target)) as descriptor, open(descriptor, "rb", closefd=False) as file:
            return file.read() if os.fstat(descriptor).st_size <= MAX_BYTES else None
        return None

    def stands(self, target: str, sha256: str) -> bool:
        """See `OutputPlace`."""
        return placement.give(self._at(target), sha256, self._there.readers)

    @contextmanager
    def staged(self, files: Mapping[str, bytes]) -> Iterator[Name]:
        """See `OutputPlace`."""
        staged: dict[str, Path] = {}
        with ExitStack() as stack:
            for target, data in files.items():
                claim, readers = self._claim, self._there.readers
                staged[target] = placement.stage(self._at(target), data, claim.id, claim.attempt, readers)
                stack.callback(staged[target].unlink, missing_ok=True)

            def name(target: str) -> None:
                """See `Name`."""
                is_there = self._found[target] is not None
                placement.publish(staged[target], self._at(target), replaces=is_there)

            yield name

    def settle(self) -> None:
        """See `OutputPlace`."""
        placement.settle(self._there.here)

    def _at(self, target: str) -> Path:
        """The way to a file."""
        return self._there.at(Path(target))
