"""What can happen to a recording, each event one transaction: admit, claim, follow, complete, fail.

Functions that make work return the ids for which a message is to be sent, always after the commit.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, case, exc, select, update

from dropscribe.core.errors import LeaseLostError
from dropscribe.core.event_kinds import EventKind
from dropscribe.core.file_marks import FileMark
from dropscribe.core.job_overrides import JobOverrides
from dropscribe.core.routing import AUTO, model_queue
from dropscribe.core.types import JobState, Span
from dropscribe.store import leases, transitions
from dropscribe.store.events import note, note_attempt
from dropscribe.store.leases import JobClaim
from dropscribe.store.session import Database, insert_ignoring
from dropscribe.store.tables import forgotten, jobs, now, path_key, source_of
from dropscribe.store.transitions import JobEvent

ID_LETTERS = "23456789abcdefghjkmnpqrstuvwxyz"  # without those that are mistaken for one another
ID_LENGTH = 8  # 40 bits; a clash refuses the row, and the next scan admits it under another id
BATCH = 200  # rows an INSERT; SQLite takes 32,766 parameters


@dataclass(frozen=True, slots=True)
class NewJob:
    """A complete recording: `path` relative to `root`, size in bytes, settings by digest.

    `overrides` are the settings that its folder has of its own. `mark` is given where it replaced another recording of
    the same name, size and time.
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

    @property
    def source(self) -> str:
        """Absolute path."""
        return source_of(self.root, self.path)

    @property
    def moves(self) -> bool:
        """Is it put away when its job has ended?"""
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
        return hashlib.sha256((text + mark).encode()).hexdigest()


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
    return "".join(secrets.choice(ID_LETTERS) for _ in range(ID_LENGTH))


def admit(database: Database, found: Sequence[NewJob], *, again: bool = False) -> list[str]:
    """Insert a job for each recording that has none yet; returns the ids of the new ones.

    A recording that was admitted under other settings, or forgotten, gets a job only with `again`.
    """
    admitted: list[str] = []
    for start in range(0, len(found), BATCH):
        with database.begin() as connection:
            batch = found[start : start + BATCH]
            rows = [*map(_row, batch if again else _never_admitted(connection, batch))]
            if not rows:
                continue
            statement = insert_ignoring(connection, jobs).values(rows).returning(jobs.c.id)
            new = list(connection.execute(statement).scalars())
            for job_id in new:
                note(connection, job_id, EventKind.ADMITTED, where=database.where)
            if new and any(job.mark for job in batch):
                _leave_to(connection, new)
        admitted += new
    return admitted


def _leave_to(connection: Connection, new: Sequence[str]) -> None:
    """What lies where older jobs' recordings lay is another one by now: only its own job puts it away."""
    replaced = select(jobs.c.path_key).where(jobs.c.id.in_(new), jobs.c.fingerprint != "")
    older = (jobs.c.moves.is_(True), jobs.c.path_key.in_(replaced), jobs.c.id.not_in(new))
    connection.execute(update(jobs).where(*older).values(moves=False, moving_to=None))


def _never_admitted(connection: Connection, batch: Sequence[NewJob]) -> list[NewJob]:
    keys = {job: path_key(job.source) for job in batch}
    seen = {
        row
        for table in (jobs, forgotten)
        for row in connection.execute(
            select(table.c.path_key, table.c.size, table.c.mtime_ns).where(table.c.path_key.in_(keys.values()))
        )
    }
    return [job for job in batch if job.mark or (keys[job], job.size, job.mtime_ns) not in seen]


def _row(job: NewJob) -> dict[str, Any]:
    return _given(job) | {
        "id": new_id(),
        "path_key": path_key(job.source),
        "identity": job.identity,
        "model_queue": job.model_queue,
        "wanted_queue": job.model_queue,
        "moves": job.moves,
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
    given = {name: getattr(job, name) for name in NewJob.__dataclass_fields__ if name != "mark"}
    return given | _marked(job.mark)


def _marked(mark: FileMark | None) -> dict[str, Any]:
    if mark is None:
        return {"stamp": None, "fingerprint": ""}
    return {"stamp": mark.stamp, "fingerprint": mark.fingerprint}


def find_admitted(database: Database, recording: NewJob) -> str | None:
    """The id of the job of exactly this recording with these settings."""
    with database.read() as connection:
        return connection.execute(select(jobs.c.id).where(jobs.c.identity == recording.identity)).scalar()


def known(database: Database, root: str) -> dict[str, tuple[int, int]]:
    """Size and mtime_ns of every recording under `root` that was ever admitted, the newest admission of each."""
    rows = select(jobs.c.path, jobs.c.size, jobs.c.mtime_ns).where(jobs.c.root == root).order_by(jobs.c.created_at)
    with database.read() as connection:
        return {row.path: (row.size, row.mtime_ns) for row in connection.execute(rows)}


def claim_prepare(database: Database, job_id: str, owner: str, seconds: float) -> JobClaim | None:
    """Claim a queued job to prepare it; None if it cannot be claimed."""
    return _claim(database, JobEvent.PREPARING, job_id, owner, seconds)


def claim_finish(database: Database, job_id: str, owner: str, seconds: float) -> JobClaim | None:
    """Claim a job to write its transcript, once all its chunks are transcribed; None if it cannot be claimed."""
    return _claim(database, JobEvent.FINISHING, job_id, owner, seconds)


def _claim(database: Database, event: JobEvent, job_id: str, owner: str, seconds: float) -> JobClaim | None:
    """`event` is called as the state that it leads to."""
    with database.begin() as connection:
        attempt = transitions.take(connection, event, job_id, owner=owner, seconds=seconds)
        return JobClaim(job_id, JobState(event), attempt, owner) if attempt else None


def content_key(sha256: str, settings_digest: str) -> str:
    """Under this key one job at most transcribes; the others follow it."""
    return f"{sha256}:{settings_digest}"


def lead_or_follow(
    database: Database, claim: JobClaim, sha256: str, mark: FileMark | None = None
) -> tuple[str | None, list[str]]:
    """Record the content's hash and the file's mark; become the one job that transcribes it, or follow that one.

    Returns (None, []) to the leader. A follower loses its claim, waits for its leader, and gets the leader's id
    and, when the leader is through already, its own id to send `finish` for.
    """
    while True:
        try:
            with database.begin() as connection:
                digest = connection.execute(select(jobs.c.settings_digest).where(jobs.c.id == claim.id)).scalar_one()
                key = content_key(sha256, digest)
                found = {"sha256": sha256, **_marked(mark)}
                leases.write(connection, claim, content_key=key, duplicate_of=None, **found)
                return None, []
        except exc.IntegrityError:
            followed = _follow(database, claim, key, {"sha256": sha256, **_marked(mark)})
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
        found |= {"duplicate_of": leader.id}
        transitions.move(connection, JobEvent.FOLLOWS, claim, to=state, detail=leader.id, **found)
        return leader.id, [claim.id] if through else []


def complete(
    database: Database,
    claim: JobClaim,
    state: JobState,
    *,
    reason: str = "",
    notes: Sequence[str] = (),
    missing: Sequence[Span] = (),
    timings: dict[str, float] | None = None,
) -> list[str]:
    """End the job for good as done, suspect or duplicate; returns the followers to send `finish` for."""
    found: dict[str, Any] = {
        "notes": list(notes),
        "missing": tuple(missing),
        "timings": timings or {},
    }
    with database.begin() as connection:
        return transitions.move(connection, JobEvent(state), claim, detail=reason, reason=reason, **found)


def fail(database: Database, claim: JobClaim, reason: str) -> list[str]:
    """End the job for good: no retry can help. Returns the followers to send `finish` for."""
    with database.begin() as connection:
        note_attempt(connection, claim, EventKind.REFUSED, "a retry cannot help")
        return transitions.move(connection, JobEvent.FAILED, claim, detail=reason, reason=reason)


def retry_later(database: Database, claim: JobClaim, reason: str, *, delay: float, limit: int) -> list[str]:
    """Let the job go back to its queue for `delay` seconds; at the `limit`-th failure it fails for good."""
    with database.begin() as connection:
        failures = connection.execute(select(jobs.c.failures).where(jobs.c.id == claim.id)).scalar_one() + 1
        event, due = (JobEvent.FAILED, 0.0) if failures >= limit else (JobEvent.RETRY, now() + delay)
        counted: dict[str, Any] = {"failures": failures, "not_before": due}
        return transitions.move(connection, event, claim, detail=reason, reason=reason, **counted)


def postpone(database: Database, claim: JobClaim, reason: str, *, delay: float) -> None:
    """Let the job go back to its queue for `delay` seconds for something that is not its fault."""
    with database.begin() as connection:
        due = now() + delay
        transitions.move(connection, JobEvent.DEFERRED, claim, detail=reason, reason=reason, not_before=due)


def start_over(database: Database, claim: JobClaim, reason: str) -> list[str]:
    """A follower whose leader came to nothing transcribes by itself; returns its id to send `prepare` for."""
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
    """End the job and what is left of its chunks, whoever owns them; returns the followers to send for."""
    the_job = jobs.c.id == job_id
    return transitions.apply(connection, event, the_job, where=where, detail=reason, reason=reason).followers


def cancel(connection: Connection, job_id: str, *, where: str) -> list[str]:
    """End a job whose cancellation was requested, now that nobody works on it; returns the followers to send for."""
    return close(connection, job_id, JobEvent.CANCELLED, "cancelled on request", where=where)


def lock(connection: Connection, job_id: str) -> Any:
    """Lock and return the job's row: whoever changes a job through its chunks does so one at a time.

    Raises LeaseLostError when the job is gone.
    """
    row = connection.execute(select(jobs).where(jobs.c.id == job_id).with_for_update()).first()
    if row is None:
        raise LeaseLostError(f"{job_id} was removed while it was worked on")
    return row
