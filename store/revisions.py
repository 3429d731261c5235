"""What people correct in transcripts, revision by revision: none is ever overwritten, and each can be gone back to.

Revisions are numbered on. Number 0 holds what was said of the speakers before the first. Edits need the transcript that
they are applied to: number 0 holds it as a document, or the revision before the first one with edits.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from sqlalchemy import Connection, exists, func, insert, select, update

from dropscribe.core.errors import DropscribeError, EditConflictError, UsageError
from dropscribe.core.event_kinds import EventKind
from dropscribe.core.types import JobState, SpeakerNames
from dropscribe.store import jobs as job_store
from dropscribe.store import transitions
from dropscribe.store.events import last_of, note
from dropscribe.store.file_names import path_key
from dropscribe.store.session import Database
from dropscribe.store.tables import jobs, now, revisions, transcripts
from dropscribe.store.transitions import JobEvent

ANEW = -1  # what a revision goes back to that another transcript takes the place of: nothing that people said
_WRITTEN_OR_NOT = (
    *(EventKind.RETRIED, EventKind.RERUN, EventKind.REVISED, EventKind.CORRECTIONS_REPLACED),
    *(EventKind.DONE, EventKind.SUSPECT),
)
NAMED = "named or merged; its files are written again"


@dataclass(frozen=True, slots=True)
class NewRevision:
    """What somebody wants: `edits` as JSON, other names of speakers, or to go `back_to` the revision of that number.

    None stands for names that stay, and for going nowhere. `summary` tells it without a word of what was said.
    """

    who: str
    edits: Sequence[Mapping[str, Any]] = ()
    speakers: SpeakerNames | None = None
    back_to: int | None = None
    summary: str = ""


@dataclass(frozen=True, slots=True)
class Revision:
    """What was done by `who`, `at` seconds since the epoch; `has_document` where it only holds a transcript."""

    number: int
    at: float
    who: str
    edits: Sequence[Mapping[str, Any]]
    back_to: int | None
    speakers: SpeakerNames
    has_document: bool

    @property
    def is_action(self) -> bool:
        """Did somebody correct something?"""
        return self.back_to is None and self.number > 0 and not self.has_document


class Corrections(NamedTuple):
    """`edits`, in order, are to be applied to the transcript `document`; None where nobody corrected the text."""

    document: str | None
    edits: Sequence[Mapping[str, Any]]


class _Content(NamedTuple):
    """The number of the revision with the document, None where there is none, and those of the edits to it."""

    base: int | None
    edits: list[int]


_COLUMNS = (
    *(revisions.c[name] for name in ("number", "at", "who", "edits", "back_to", "speakers")),
    revisions.c.document.is_not(None).label("has_document"),
)
_History = dict[int, Revision]


def _history(connection: Connection, job_id: str) -> _History:
    """All revisions of a job by number, in order."""
    query = select(*_COLUMNS).where(revisions.c.job_id == job_id).order_by(revisions.c.number)
    return {row.number: Revision(*row) for row in connection.execute(query)}


def _content(history: Mapping[int, Revision], number: int) -> _Content:
    """What the transcript of a revision is made of."""
    edits: list[int] = []
    while number in history:
        one = history[number]
        if one.back_to is not None:
            number = one.back_to
            continue
        if one.has_document:
            return _Content(number, edits[::-1])
        if one.edits:
            edits.append(number)
        number -= 1
    return _Content(None, [])


def _last_action(history: Mapping[int, Revision], number: int) -> int | None:
    """The last thing that somebody did of what a revision has; None where nobody did anything."""
    while number in history and not history[number].is_action:
        back_to = history[number].back_to
        number = number - 1 if back_to is None else back_to
    return number if number in history else None


def head_of(history: Mapping[int, Revision]) -> int:
    """The number of the last revision; 0 where there is none."""
    return max(history, default=0)


def listing(database: Database, job_id: str) -> list[Revision]:
    """What people did, in order."""
    with database.read() as connection:
        history = _history(connection, job_id)
    return [one for one in history.values() if one.is_action or one.back_to is not None]


def newest(database: Database, job_id: str) -> int:
    """The number of the last revision; 0 where there is none."""
    with database.read() as connection:
        last = select(func.max(revisions.c.number)).where(revisions.c.job_id == job_id)
        return connection.execute(last).scalar() or 0


def require_newest(database: Database, job_id: str, expected: int | None) -> int:
    """The number of the last revision. Raises EditConflictError where that is not the `expected` one; None: any."""
    found = newest(database, job_id)
    _require_expected(found, expected)
    return found


def corrections(database: Database, job_id: str, number: int) -> Corrections:
    """What the revision of that number makes the text of."""
    with database.read() as connection:
        history = _history(connection, job_id)
        content = _content(history, number)
        if not content.edits:
            return Corrections(None, ())
        query = select(revisions.c.document).where(revisions.c.job_id == job_id, revisions.c.number == content.base)
        document = connection.execute(query).scalar_one()
    return Corrections(document, [edit for one in content.edits for edit in history[one].edits])


def live(connection: Connection, job_id: str) -> list[Revision]:
    """What would be lost if another transcript took the place of the job's: edits, and the last naming of speakers."""
    number = connection.execute(select(jobs.c.revision).where(jobs.c.id == job_id)).scalar() or 0
    history = _history(connection, job_id)
    found = {one: history[one] for one in _content(history, number).edits}
    said = history.get(_last_action(history, number) or 0)  # numbers begin at 1
    if said and (said.speakers.names or said.speakers.merged):
        found[said.number] = said
    return [*found.values()]


def live_at(database: Database, source: str) -> list[Revision]:
    """`live` of all jobs of the recording at this absolute path."""
    with database.read() as connection:
        query = select(jobs.c.id).where(jobs.c.path_key == path_key(source), jobs.c.revision > 0)
        return [one for job_id in connection.execute(query).scalars().all() for one in live(connection, job_id)]


@dataclass(slots=True)
class _Writing:
    """Adds revisions behind those that there are."""

    connection: Connection
    job_id: str
    history: _History
    head: int = field(init=False)

    def __post_init__(self) -> None:
        self.head = head_of(self.history)

    def add(self, number: int, speakers: SpeakerNames, **values: Any) -> None:
        """Add one; `values` are those of its other columns."""
        row = {"who": "", "edits": [], **values}
        self.connection.execute(
            insert(revisions).values(job_id=self.job_id, number=number, at=now(), speakers=speakers, **row)
        )
        self.head = number


def add(
    database: Database, job_id: str, wanted: NewRevision, *, expected: int | None = None, base: str | None = None
) -> int:
    """Keep a revision, and have the job's files written again (send `finish`). Returns its number.

    `base` is the transcript as it was recognized, where this is the first to correct the text; by default as it is
    stored. Raises EditConflictError where the last revision is not the `expected` one, DropscribeError for a job that
    has no transcript, UsageError for a revision that there is not.
    """
    with database.begin() as connection:
        job = job_store.lock(connection, job_id, whole=True)
        _require_transcript(connection, job)
        writing = _Writing(connection, job_id, _history(connection, job_id))
        _require_expected(writing.head, expected)
        speakers = _speakers_after(writing.history, job, wanted)
        begins = bool(wanted.edits) and _content(writing.history, writing.head).base is None
        if begins:
            _require_written(connection, job)
        if not writing.history:
            document = _base(connection, job_id, base) if begins else None
            writing.add(0, job.speakers, document=document)
        elif begins:
            writing.add(writing.head + 1, job.speakers, document=_base(connection, job_id, base))
        told = {"who": wanted.who, "edits": [*wanted.edits], "back_to": wanted.back_to}
        writing.add(writing.head + 1, speakers, **told)
        _write_again(connection, job, wanted, writing.head, speakers, where=database.where)
        return writing.head


def _require_transcript(connection: Connection, job: Any) -> None:
    """Raise DropscribeError for a job that has no transcript to correct."""
    is_there = exists().where(transcripts.c.job_id == job.id)
    waits = job.state == JobState.FINISHING and connection.execute(select(is_there)).scalar()
    if not (JobState(job.state).has_transcript or waits):
        raise DropscribeError(f"{job.id} is {job.state}", remedy="it is corrected once its transcript is written")
    if job.text_removed_at is not None:
        raise DropscribeError(
            f"what was said in {job.id} was removed from the store",
            remedy="`dropscribe rerun` transcribes its recording again",
        )


def _require_written(connection: Connection, job: Any) -> None:
    """Raise DropscribeError for a job whose stored transcript is not the one that would be corrected."""
    last = last_of(connection, job.id, _WRITTEN_OR_NOT)
    if last == EventKind.CORRECTIONS_REPLACED:
        raise DropscribeError(
            f"another transcript replaced the one of {job.id}",
            remedy="correct that of the newer job, or go back to an earlier revision first",
        )
    if job.state == JobState.FINISHING and job.diarization is None and last in {EventKind.RETRIED, EventKind.RERUN}:
        raise DropscribeError(
            f"{job.id} was transcribed again, and its new transcript is being written",
            remedy="correct it when that is done, in a moment",
        )


def _require_expected(head: int, expected: int | None) -> None:
    """Raise EditConflictError where somebody else was quicker."""
    if expected not in (None, head):
        raise EditConflictError(
            f"somebody else has corrected this transcript: its revision is now {head}, and not {expected}",
            remedy="load it again, and correct the rest",
        )


def _base(connection: Connection, job_id: str, base: str | None) -> str:
    """The transcript that is corrected."""
    stored = select(transcripts.c.document).where(transcripts.c.job_id == job_id)
    return connection.execute(stored).scalar_one() if base is None else base


def _speakers_after(history: Mapping[int, Revision], job: Any, wanted: NewRevision) -> SpeakerNames:
    """What is said of the speakers from then on. Raises UsageError for a revision that there is not."""
    if wanted.back_to is None:
        return job.speakers if wanted.speakers is None else wanted.speakers
    if wanted.back_to not in history:
        raise UsageError(f"there is no revision {wanted.back_to}", remedy=f"the last one is {head_of(history)}")
    return history[wanted.back_to].speakers


def _write_again(
    connection: Connection, job: Any, wanted: NewRevision, number: int, speakers: SpeakerNames, *, where: str
) -> None:
    """Let the job have the revision; a worker that is just writing it does so once more when it ends."""
    is_named = wanted.back_to is None and not wanted.edits
    event = JobEvent.SPEAKERS if is_named else JobEvent.REVISED
    detail = NAMED if is_named else f"revision {number} by {wanted.who}: {wanted.summary}"
    the_job = jobs.c.id == job.id
    values: dict[str, Any] = {"speakers": speakers, "revision": number}
    if job.owner is None:
        transitions.apply(connection, event, the_job, where=where, detail=detail, **values)
        return
    connection.execute(update(jobs).where(the_job).values(**values))
    note(connection, job.id, EventKind(event), detail, where=where)


def undo(database: Database, job_id: str, who: str, *, expected: int | None = None) -> int:
    """Take the last correction back that is not taken back yet. Returns the number of the revision that does.

    Raises UsageError where there is none, and as `add` does.
    """
    with database.read() as connection:
        history = _history(connection, job_id)
    head = head_of(history)
    _require_expected(head, expected)
    last = _last_action(history, head)
    if last is None:
        raise UsageError(f"there is nothing left to undo in {job_id}", remedy="see what was corrected")
    wanted = NewRevision(who, back_to=last - 1, summary=f"{last} taken back")
    return add(database, job_id, wanted, expected=head)


def set_aside(connection: Connection, job: Any, who: str, *, where: str) -> None:
    """Let another transcript take the place of the corrected one of a job; its revisions stay, and can be gone back to.

    The caller has locked the job's row `job`.
    """
    writing = _Writing(connection, job.id, _history(connection, job.id))
    writing.add(writing.head + 1, job.speakers, who=who, back_to=ANEW)
    connection.execute(update(jobs).where(jobs.c.id == job.id).values(revision=writing.head))
    note(connection, job.id, EventKind.CORRECTIONS_REPLACED, f"by {who}", where=where)


def make_way(connection: Connection, source: str, replaces_by: str | None, *, where: str) -> bool:
    """`set_aside` for every corrected job of the recording at this absolute path; `replaces_by` is who replaces them.

    False where there is any, and nobody does.
    """
    there = connection.execute(select(jobs).where(jobs.c.path_key == path_key(source)).with_for_update()).all()
    corrected = [job for job in there if live(connection, job.id)]
    for job in corrected if replaces_by else ():
        set_aside(connection, job, replaces_by or "", where=where)
    return bool(replaces_by) or not corrected
