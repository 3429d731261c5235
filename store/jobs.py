"""What can happen to a recording, each event one transaction: admit, claim, follow, complete, fail.

Functions that make work return the ids for which a message is to be sent, always after the commit.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import chain
from operator import attrgetter
from typing import Any

from sqlalchemy import Connection, Select, bindparam, case, exc, exists, select, update

from dropscribe.core import chunk_ids
from dropscribe.core.errors import LeaseLostError
from dropscribe.core.event_kinds import EventKind
from dropscribe.core.file_marks import FileMark
from dropscribe.core.job_overrides import JobOverrides
from dropscribe.core.origin import RecordingOrigin
from dropscribe.core.recording_parts import RecordingPart
from dropscribe.core.routing import AUTO, CPU_QUEUE, model_queue
from dropscribe.core.types import ACTIVE_STATES, ChunkState, JobState, Span
from dropscribe.store import leases, transitions, waiting_line
from dropscribe.store import parts as part_store
from dropscribe.store.events import last_of, note, note_attempt
from dropscribe.store.file_names import StoredRecording, folder_key, path_key
from dropscribe.store.file_names import source_of as source_at
from dropscribe.store.leases import JobClaim
from dropscribe.store.session import Database, insert_all, insert_ignoring
from dropscribe.store.tables import TO_ARCHIVE, chunks, forgotten, jobs, now, outputs, parts
from dropscribe.store.transitions import ChunkEvent, JobEvent

DIGITS = 32  # in hex, of the digests by which jobs are the same, or have the same content
SCOPE_DIGITS = 12  # of the digest of a folder within which contents are compared
# Why a transcript is written: that somebody corrected it is nothing to announce.
WRITTEN_FOR = (EventKind.ADMITTED, EventKind.RETRIED, EventKind.RERUN, EventKind.SPEAKERS, EventKind.REVISED)
BATCH = 200  # rows an INSERT; SQLite takes 32,766 parameters


@dataclass(frozen=True, slots=True)
class NewJob(StoredRecording):
    """A complete recording: `path` relative to `root`, size in bytes, settings by digest.

    `overrides` are the settings that its folder has of its own; `submitted` says that somebody asked for it by name,
    and that the watcher did not find it. `mark` is given where it replaced another recording of
    the same name, size and time. `parts` are further files of the same recording; `remark` is for its audit trail.
    """

    root: str
    path: str
    size: int
    mtime_ns: int
    settings_digest: str
    priority: str
    context: str = ""
    overrides: JobOverrides = field(default_factory=JobOverrides)
    mark: FileMark | None = None
    submitted: bool = False
    parts: tuple[RecordingPart, ...] = ()
    remark: str = ""

    @property
    def part_count(self) -> int:
        """How many files follow the first."""
        return len(self.parts)

    @property
    def moves(self) -> bool:
        """Is it archived when its job has ended?"""
        return self.overrides.archives

    @property
    def model_queue(self) -> str:
        """Where its chunks wait: for any model worker, or for those that its folder wants."""
        wishes = (self.overrides.engine, self.overrides.precision, self.overrides.model)
        return model_queue(*(wish or AUTO for wish in wishes))

    @property
    def identity(self) -> str:
        """Digest of what makes this admission the same as another."""
        text = f"{path_key(self.source)}:{self.size}:{self.mtime_ns}:{self.settings_digest}"
        # With the stamp, as a content may come back after another one.
        mark = f":{self.mark.stamp}:{self.mark.fingerprint}" if self.mark else ""
        further = "".join(f":{path_key(one.path)}:{one.size}:{one.mtime_ns}" for one in self.parts)
        return hashlib.sha256((text + mark + further).encode()).hexdigest()[:DIGITS]


def wishes(job: NewJob) -> dict[str, Any]:
    """The columns that say which model workers a job may go to, with the wishes of `job` in a row of an older one.

    What is bound to a model stays bound.
    """
    free = jobs.c.model_queue == jobs.c.wanted_queue
    return {
        "wanted_queue": job.model_queue,
        "model_queue": case((free, job.model_queue), else_=jobs.c.model_queue),
    }


def new_id() -> str:
    """A random job id, short enough to type."""
    return "".join(secrets.choice(chunk_ids.LETTERS) for _ in range(chunk_ids.LENGTH))


def admit(
    database: Database, found: Sequence[NewJob], *, again: bool = False, woken: list[str] | None = None
) -> list[str]:
    """Insert a job for each recording that has none yet; returns the ids of the new ones.

    A recording that was admitted under other settings, or forgotten, gets a job only with `again`. One in parts takes
    the place of what was admitted of it before: see `_join`; `woken` takes the followers to send `finish` for.
    """
    admitted: list[str] = []
    for start in range(0, len(found), BATCH):
        with database.begin() as connection:
            batch = found[start : start + BATCH]
            new, followers = admit_batch(
                connection, batch if again else _never_admitted(connection, batch), where=database.where
            )
        admitted += new
        (woken if woken is not None else []).extend(followers)
    return admitted


def admit_batch(connection: Connection, batch: Sequence[NewJob], *, where: str) -> tuple[list[str], list[str]]:
    """`admit` so many again in the caller's transaction; returns the ids of the new ones, and the followers."""
    rows, woken = _rows(connection, batch), list[str]()
    if not rows:
        return [], woken
    statement = insert_ignoring(connection, jobs).values([row for row, _ in rows]).returning(jobs.c.id)
    new = list(connection.execute(statement).scalars())
    of_ids = {row["id"]: job for row, job in rows}
    for job_id in new:
        note(connection, job_id, EventKind.ADMITTED, of_ids[job_id].remark, where=where)
        if of_ids[job_id].parts:
            woken += _join(connection, job_id, of_ids[job_id], where=where)
    if new and any(map(attrgetter("mark"), batch)):
        _leave_to(connection, new)
    return new, woken


def _leave_to(connection: Connection, new: Sequence[str]) -> None:
    """What lies where older jobs' recordings lay is another one by now: only its own job puts it away."""
    replaced = select(jobs.c.path_key).where(jobs.c.id.in_(new), jobs.c.fingerprint != "")
    older = (TO_ARCHIVE, jobs.c.path_key.in_(replaced), jobs.c.id.not_in(new))
    connection.execute(update(jobs).where(*older).values(moves=False, moving_to=None))


def _join(connection: Connection, job_id: str, job: NewJob, *, where: str) -> list[str]:
    """Keep the further files of a new job, which takes the place of older ones of its first file.

    These are not archived by themselves any more, and end where they are under way. Their transcripts give way to that
    of the new one, as those of the same recording do. Returns the followers to send `finish` for.
    """
    insert_all(connection, parts, part_store.rows_of(job_id, job.root, job.parts))
    note(connection, job_id, EventKind.JOINED, ", ".join(map(attrgetter("name"), job.parts)), where=where)
    older, why = (jobs.c.path_key == path_key(job.source), jobs.c.id != job_id), f"job {job_id} has further parts"
    connection.execute(update(jobs).where(*older, TO_ARCHIVE).values(moves=False, moving_to=None))
    under_way = connection.execute(select(jobs.c.id).where(*older, jobs.c.state.in_(ACTIVE_STATES))).scalars().all()
    ended = [request_cancel(connection, one, where=where, why=f"{why} of its recording") for one in under_way]
    return [*chain.from_iterable(filter(None, ended))]


def _never_admitted(connection: Connection, batch: Sequence[NewJob]) -> list[NewJob]:
    keys = {job: path_key(job.source) for job in batch}
    seen = {
        row
        for table in (jobs, forgotten)
        for row in connection.execute(
            select(table.c.path_key, table.c.size, table.c.mtime_ns).where(table.c.path_key.in_(keys.values()))
        )
    }

    def is_known(job: NewJob) -> bool:
        """Of a recording in parts it is not enough that its first file was admitted."""
        return _has_these(connection, job) if job.parts else (keys[job], job.size, job.mtime_ns) in seen

    return [job for job in batch if job.mark or not is_known(job)]


def _has_these(connection: Connection, job: NewJob) -> bool:
    """Was a recording of the same files, each of this size and time, admitted under whichever settings?"""
    first = (jobs.c.path_key == path_key(job.source), jobs.c.size == job.size, jobs.c.mtime_ns == job.mtime_ns)
    of_first = connection.execute(select(jobs.c.id).where(*first, jobs.c.part_count == job.part_count)).scalars().all()
    wanted = [replace(part, fingerprint="") for part in job.parts]
    return any(
        wanted == [replace(part, fingerprint="") for part in part_store.further_files(connection, one)]
        for one in of_first
    )


def _rows(connection: Connection, found: Sequence[NewJob]) -> list[tuple[dict[str, Any], NewJob]]:
    folders = [folder_key(job.source) for job in found]
    turns = waiting_line.turns(connection, [(key, job.priority) for key, job in zip(folders, found, strict=True)])
    return [
        (_row(job) | {"folder_key": key, "turn": turn}, job)
        for job, key, turn in zip(found, folders, turns, strict=True)
    ]


def _row(job: NewJob) -> dict[str, Any]:
    return _given(job) | {
        "id": new_id(),
        "path_key": path_key(job.source),
        "identity": job.identity,
        "model_queue": job.model_queue,
        "wanted_queue": job.model_queue,
        "moves": job.moves,
        "part_count": job.part_count,
        "state": JobState.QUEUED,
        "reason": "",
        "notes": [],
        "missing": [],
        "speech_detector": "",
        "cancel_requested": False,
        "attempt": 0,
        "lost": 0,
        "failures": 0,
        "not_before": 0.0,
        "sent_at": now(),
        "timings": {},
        "created_at": now(),
    }


def _given(job: NewJob) -> dict[str, Any]:
    given = {name: getattr(job, name) for name in NewJob.__dataclass_fields__ if name not in NO_COLUMNS}
    return given | _marked(job.mark)


NO_COLUMNS = {"mark", "parts", "remark"}  # of a new job, what is kept otherwise


def _marked(mark: FileMark | None) -> dict[str, Any]:
    if mark is None:
        return {"stamp": None, "fingerprint": ""}
    return {"stamp": mark.stamp, "fingerprint": mark.fingerprint}


def find_admitted(database: Database, recording: NewJob) -> str | None:
    """The id of the job of exactly this recording with these settings."""
    with database.read() as connection:
        return job_of(connection, recording)


def job_of(connection: Connection, recording: NewJob) -> str | None:
    """`find_admitted` in the caller's transaction."""
    return connection.execute(select(jobs.c.id).where(jobs.c.identity == recording.identity)).scalar()


def known(database: Database, root: str) -> dict[str, tuple[int, int]]:
    """Size and mtime_ns of every file under `root` that was ever admitted, the newest admission of each."""
    rows = select(jobs.c.path, jobs.c.size, jobs.c.mtime_ns).where(jobs.c.root == root).order_by(jobs.c.created_at)
    further = select(parts.c.path, parts.c.size, parts.c.mtime_ns).join(jobs, jobs.c.id == parts.c.job_id)
    of_root = further.where(jobs.c.root == root).order_by(jobs.c.created_at)
    with database.read() as connection:
        found = {row.path: (row.size, row.mtime_ns) for row in connection.execute(rows)}
        return found | {row.path: (row.size, row.mtime_ns) for row in connection.execute(of_root)}


def first_to_prepare(database: Database, most: int) -> list[str]:
    """The ids of the jobs whose turn it is to be prepared: the first so many of one priority that can be claimed."""
    with database.read() as connection:
        return waiting_line.of_first_priority(connection.execute(_first_to_prepare(), {"most": most}).all())


@cache
def _first_to_prepare() -> Select[Any]:
    waits = select(jobs.c.id, jobs.c.turn).where(*transitions.claimable(JobEvent.PREPARING))
    return waits.order_by(jobs.c.turn).limit(bindparam("most"))


def claim_prepare(database: Database, job_id: str, owner: str, seconds: float) -> JobClaim | None:
    """Claim a queued job to prepare it; None if it cannot be claimed."""
    with database.begin() as connection:
        taken = transitions.take(connection, JobEvent.PREPARING, job_id, owner=owner, seconds=seconds)
        if taken is None:
            return None
        waiting_line.move_on(connection, taken.turn, (CPU_QUEUE,))
        return JobClaim(job_id, JobState.PREPARING, taken.attempt, owner)


def claim_finish(database: Database, job_id: str, owner: str, seconds: float) -> JobClaim | None:
    """Claim a job to write its transcript, once all its chunks are transcribed; None if it cannot be claimed."""
    with database.begin() as connection:
        taken = transitions.take(connection, JobEvent.FINISHING, job_id, owner=owner, seconds=seconds)
    return JobClaim(job_id, JobState.FINISHING, taken.attempt, owner) if taken else None


def content_key(sha256: str, settings_digest: str, scope: str = "") -> str:
    """Under this key one job at most transcribes; the others follow it.

    `scope` is the folder within which contents are compared, empty for the whole fleet.
    """
    told = ":".join((sha256, settings_digest, *([path_key(scope)[:SCOPE_DIGITS]] if scope else [])))
    return hashlib.sha256(told.encode()).hexdigest()[:DIGITS]


def lead_or_follow(
    database: Database,
    claim: JobClaim,
    sha256: str,
    mark: FileMark | None = None,
    origin: RecordingOrigin | None = None,
    *,
    scope: str = "",
) -> tuple[str | None, list[str]]:
    """Record the content's hash, the file's mark and its origin; become the one job that transcribes it, or follow it.

    Contents are compared within the folder `scope`. Returns (None, []) to the leader. A follower loses its claim, waits
    for its leader, and gets the leader's id and, when the leader has already ended, its own id to send `finish` for.
    """
    found = {"sha256": sha256, "origin": origin, **_marked(mark)}
    while True:
        try:
            with database.begin() as connection:
                digest = connection.execute(select(jobs.c.settings_digest).where(jobs.c.id == claim.id)).scalar_one()
                key = content_key(sha256, digest, scope)
                leases.write(connection, claim, content_key=key, duplicate_of=None, **found)
                return None, []
        except exc.IntegrityError:
            followed = _follow(database, claim, key, found)
            if followed:
                return followed


def _follow(database: Database, claim: JobClaim, key: str, found: dict[str, Any]) -> tuple[str, list[str]] | None:
    with database.begin() as connection:
        query = select(jobs.c.id, jobs.c.state).where(jobs.c.content_key == key).with_for_update()
        leader = connection.execute(query).first()
        if leader is None:  # it failed meanwhile: the lead is free again
            return None
        through = JobState(leader.state).is_final
        state = JobState.FINISHING if through else JobState.TRANSCRIBING
        transitions.move(
            connection, JobEvent.FOLLOWS, claim, to=state, detail=leader.id, duplicate_of=leader.id, **found
        )
        return leader.id, [claim.id] if through else []


def complete(
    database: Database,
    claim: JobClaim,
    state: JobState,
    *,
    files: Sequence[str] = (),
    reason: str = "",
    notes: Sequence[str] = (),
    missing: Sequence[Span] = (),
    timings: dict[str, float] | None = None,
    revision: int | None = None,
) -> list[str]:
    """End the job for good as done, suspect or duplicate; returns the followers to send `finish` for.

    `files` are the paths of its transcript's files, which are in place. They have the `revision` of that number; where
    somebody corrected the transcript meanwhile, the job does not end but is to be written once more, and its own id is
    returned. None asks for none. Raises LeaseLostError.
    """
    found: dict[str, Any] = {
        "notes": list(notes),
        "missing": tuple(missing),
        "timings": timings or {},
    }
    with database.begin() as connection:
        _in_place(connection, claim, files)
        is_told = not (revision and last_of(connection, claim.id, WRITTEN_FOR) == EventKind.REVISED)
        try:
            return transitions.move(
                connection,
                JobEvent(state),
                claim,
                detail=reason,
                reason=reason,
                announces=is_told,
                of_revision=revision,
                **found,
            )
        except LeaseLostError:
            if lock(connection, claim.id).revision == revision:
                raise
            transitions.move(connection, JobEvent.REVISED, claim, detail="corrected while it was written")
            return [claim.id]


def _in_place(connection: Connection, claim: JobClaim, files: Sequence[str]) -> None:
    """Record that the job's files are in place."""
    keys = [*map(path_key, files)]
    rows = update(outputs).where(outputs.c.path_key.in_(keys), outputs.c.job_id == claim.id)
    if keys and connection.execute(rows.values(written_at=now(), replaced=None)).rowcount != len(keys):
        raise LeaseLostError(f"{claim.id}: its files now belong to another job")


def fail(database: Database, claim: JobClaim, reason: str) -> list[str]:
    """End the job for good: no retry can help. Returns the followers to send `finish` for."""
    with database.begin() as connection:
        note_attempt(connection, claim, EventKind.REFUSED, "a retry cannot help")
        return transitions.move(connection, JobEvent.FAILED, claim, detail=reason, reason=reason)


def retry_later(database: Database, claim: JobClaim, reason: str, *, delay: float, limit: int) -> list[str]:
    """Let the job go back to its queue for `delay` seconds; at the `limit`-th failure it fails for good."""
    with database.begin() as connection:
        failures = connection.execute(select(jobs.c.failures).where(jobs.c.id == claim.id)).scalar_one() + 1
        event, due = (JobEvent.FAILED, 0.0) if failures >= limit else (JobEvent.RETRY, delay)
        return transitions.move(connection, event, claim, detail=reason, reason=reason, failures=failures, delay=due)


def postpone(database: Database, claim: JobClaim, reason: str, *, delay: float) -> None:
    """Let the job go back to its queue for `delay` seconds for something that is not its fault."""
    with database.begin() as connection:
        transitions.move(connection, JobEvent.DEFERRED, claim, detail=reason, reason=reason, delay=delay)


def fall_apart(database: Database, claim: JobClaim, reason: str) -> list[str]:
    """Make a recording of each file of a job: they do not belong together. Returns the jobs to send `prepare` for.

    A further file that is in a newer job already gets none.
    """
    with database.begin() as connection:
        row = lock(connection, claim.id, whole=True)
        newer = part_store.in_newer_jobs(connection, claim.id)
        further = part_store.further_files(connection, claim.id)
        left = [part for part in further if path_key(source_at(row.root, part.path)) not in newer]
        connection.execute(parts.delete().where(parts.c.job_id == claim.id))
        transitions.move(connection, JobEvent.FELL_APART, claim, detail=reason, part_count=0, content_key=None)
        others = [values for values, _ in _rows(connection, [_alone(row, part, reason) for part in left])]
        statement = insert_ignoring(connection, jobs).values(others).returning(jobs.c.id)
        new = list(connection.execute(statement).scalars()) if others else []
        for job_id in new:
            note(connection, job_id, EventKind.ADMITTED, f"not joined to {row.path}: {reason}", where=database.where)
        return [claim.id, *new]


def _alone(row: Any, part: RecordingPart, reason: str) -> NewJob:
    """A further file of a job as a recording by itself, under the same settings."""
    return NewJob(
        root=row.root,
        path=part.path,
        size=part.size,
        mtime_ns=part.mtime_ns,
        settings_digest=row.settings_digest,
        priority=row.priority,
        context=row.context,
        overrides=row.overrides,
        submitted=row.submitted,
        remark=reason,
    )


def start_over(database: Database, claim: JobClaim, reason: str) -> list[str]:
    """A job that has nothing to write is transcribed, as it follows nobody; returns its id to send `prepare` for."""
    with database.begin() as connection:
        transitions.move(connection, JobEvent.START_OVER, claim, detail=reason)
        return [claim.id]


def release(database: Database, claim: JobClaim) -> list[str]:
    """Give the work back: its worker stops, or the job is to be cancelled (then it is). No failure is counted.

    Returns the followers to send `finish` for.
    """
    with database.begin() as connection:
        job = lock(connection, claim.id)
        transitions.move(connection, JobEvent.RELEASED, claim)
        return cancel(connection, claim.id, where=claim.owner) if job.cancel_requested else []


def close(connection: Connection, job_id: str, event: JobEvent, reason: str, *, where: str) -> list[str]:
    """End the job and what is left of its chunks, no matter who owns them; returns the followers to send for."""
    the_job = jobs.c.id == job_id
    return transitions.apply(connection, event, the_job, where=where, detail=reason, reason=reason).followers


def request_cancel(connection: Connection, job_id: str, *, where: str, why: str = "") -> list[str] | None:
    """Cancel a job that is under way: at once if nobody works on it, otherwise as soon as its worker notices.

    Returns the followers to send `finish` for; None while somebody works on it.
    """
    connection.execute(update(jobs).where(jobs.c.id == job_id).values(cancel_requested=True))
    note(connection, job_id, EventKind.CANCEL_REQUESTED, why, where=where)
    of_job = chunks.c.job_id == job_id
    transitions.apply(connection, ChunkEvent.CANCELLED, of_job, chunks.c.owner.is_(None), where=where)
    running = exists().where(of_job, chunks.c.state == ChunkState.RUNNING)
    owner, is_running = connection.execute(select(jobs.c.owner, running).where(jobs.c.id == job_id)).one()
    return None if owner or is_running else cancel(connection, job_id, where=where)


def cancel(connection: Connection, job_id: str, *, where: str) -> list[str]:
    """End a job whose cancellation was requested, now that nobody works on it; returns the followers to send for."""
    return close(connection, job_id, JobEvent.CANCELLED, "cancelled on request", where=where)


_THE_JOB = jobs.c.id == bindparam("job")
_LOCK = (
    select(
        *(jobs.c.id, jobs.c.state, jobs.c.owner, jobs.c.cancel_requested),
        *(jobs.c.priority, jobs.c.model_queue, jobs.c.revision),
        *(jobs.c.folder_key, jobs.c.context, jobs.c.overrides),
    )
    .where(_THE_JOB)
    .with_for_update()
)
_LOCK_WHOLE = select(jobs).where(_THE_JOB).with_for_update()


def lock(connection: Connection, job_id: str, *, whole: bool = False) -> Any:
    """Lock and return the job's row: anyone who changes a job through its chunks does so one at a time.

    Of the row there is what tells where the job stands and what its chunks need, or the `whole` of it: its speech alone
    takes milliseconds to read. Raises LeaseLostError when the job is gone.
    """
    row = connection.execute(_LOCK_WHOLE, {"job": job_id}).first() if whole else lock_if_there(connection, job_id)
    if row is None:
        raise LeaseLostError(f"{job_id} was removed while it was worked on")
    return row


def lock_if_there(connection: Connection, job_id: str) -> Any:
    """`lock` that gives None when the job is gone."""
    return connection.execute(_LOCK, {"job": job_id}).first()
