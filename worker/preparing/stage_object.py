"""Copies an object of a bucket to local scratch, hashed on the way.

The object is read as it is at that moment, and its job stores the etag. If the object is replaced meanwhile, the old
content is read, and the new one gets another job.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from dropscribe.core.bucket_client import Bucket
from dropscribe.core.bucket_names import BucketFolder, mark_of
from dropscribe.core.file_marks import FileMark
from dropscribe.core.safe_text import printable
from dropscribe.core.settings import Settings
from dropscribe.store.queries import Job
from dropscribe.worker.preparing import staging
from dropscribe.worker.preparing.staging import Staged


def stage_object(settings: Settings, job: Job, scratch: Path, check: Callable[[], None] = lambda: None) -> Staged:
    """Copy the job's object into `scratch` (mode 0600); see `staging.stage`.

    Raises SourceMissingError (gone, or not to be read), BucketAwayError, NotMediaError (empty), NoRoomError or
    SpoolError, and what `check` raises with each block. On any failure no copy is left.
    """
    folder, name = BucketFolder.parse(job.root), printable(job.source)
    with Bucket(settings, folder.bucket).opened(folder.key(job.path)) as found:
        staging.require_content(found.size, name)
        with staging.new_copy(scratch, found.size, name) as (copy, descriptor):
            sha256 = staging.copied(found.blocks(), descriptor, found.size, name, check)
    mark = FileMark(found.moment, mark_of(found.etag))
    return Staged(path=copy, size=found.size, mtime_ns=found.moment, sha256=sha256, mark=mark)
