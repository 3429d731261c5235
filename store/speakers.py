"""What people say about a job's speakers: names, and which of them are one person."""

from __future__ import annotations

from dropscribe.core.types import SpeakerNames
from dropscribe.store import revisions
from dropscribe.store.revisions import NewRevision
from dropscribe.store.session import Database


def say(database: Database, job_id: str, said: SpeakerNames, who: str = "", *, expected: int | None = None) -> int:
    """Replace what was said of the job's speakers, and have its outputs written again (send `finish`).

    Returns the number of the revision. Raises DropscribeError for a job that has no transcript; EditConflictError where
    its last revision is not the `expected` one.
    """
    return revisions.add(database, job_id, NewRevision(who, speakers=said), expected=expected)
