"""The folder of a bucket that a job's files go to: that of its recording, or one below `[s3] results`.

Each file is one request, which the server refuses where somebody else has the name by then. So two workers never write
one object each over the other's, whatever their leases say.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from dropscribe.core.bucket_client import Bucket, ObjectTakenError
from dropscribe.core.bucket_names import BucketFolder, names_beside
from dropscribe.core.error_translation import translated
from dropscribe.core.s3_settings import S3
from dropscribe.core.settings import Settings
from dropscribe.store.queries import Job
from dropscribe.worker.finishing.output_place import Name
from dropscribe.worker.finishing.placement import TargetExistsError
from dropscribe.worker.outputs import MEDIA_TYPES, PLAIN


class BucketPlace:
    """Names are whole names of objects: s3://bucket/key."""

    def __init__(self, job: Job, settings: Settings) -> None:
        """Asks the server nothing yet. Raises UsageError where buckets cannot be used here."""
        home = BucketFolder.parse(job.root)
        self._key, self._job_id = home.key(job.path), job.id
        results = settings.of(S3).results
        beside = "".join(self._key.rpartition("/")[:2])
        self._start = f"{results}/{beside}" if results else beside
        self._top = f"s3://{home.bucket}/"
        self._bucket = Bucket(settings, home.bucket)
        self._etags: dict[str, str | None] = {}
        self._digests: dict[str, str | None] = {}

    @property
    def folder(self) -> Path:
        """See `OutputPlace`."""
        return Path(self._top + self._start)

    def candidates(self, fmt: str) -> list[str]:
        """See `OutputPlace`."""
        return [self._top + key for key in names_beside(self._key, self._start, fmt, self._job_id)]

    def digest(self, target: str) -> str | None:
        """See `OutputPlace`."""
        data = self.read(target)
        is_there = self._etags[target] is not None
        self._digests[target] = hashlib.sha256(data).hexdigest() if data is not None else "" if is_there else None
        return self._digests[target]

    def read(self, target: str) -> bytes | None:
        """See `OutputPlace`. What is written later takes the place of this very content alone."""
        data, self._etags[target] = self._bucket.content(self._key_of(target)) or (None, None)
        return data

    def stands(self, target: str, sha256: str) -> bool:
        """See `OutputPlace`. It goes by what `digest` found: an object has no readers of its own to see to."""
        return self._digests.get(target) == sha256

    @contextmanager
    def staged(self, files: Mapping[str, bytes]) -> Iterator[Name]:
        """See `OutputPlace`. An object appears whole or not at all, so nothing is written before it has its name."""

        def name(target: str) -> None:
            """See `Name`."""
            kind = MEDIA_TYPES.get(target.rpartition(".")[2], PLAIN)
            with translated(ObjectTakenError, into=lambda error: TargetExistsError(error.problem, remedy=error.remedy)):
                self._bucket.write(self._key_of(target), files[target], kind, replaces=self._etags[target])

        yield name

    def settle(self) -> None:
        """See `OutputPlace`. The server answers when it lasts."""

    def _key_of(self, target: str) -> str:
        """The key of an object by its whole name."""
        return target.removeprefix(self._top)


def remove_objects(job: Job, settings: Settings, targets: Sequence[str]) -> None:
    """Remove transcripts of a job, by their whole names. Raises OutputError, BucketAwayError."""
    top = BucketFolder(BucketFolder.parse(job.root).bucket, "")
    bucket = Bucket(settings, top.bucket)
    for target in targets:
        bucket.remove(target.removeprefix(f"{top.url}/"))
