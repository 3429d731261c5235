"""What can happen to a recording, each event one transaction: admit, claim, follow, complete, fail.

Functions that make work return the ids for which a message is to be sent, always after the commit.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import PurePosixPath
from typing import Any

from sqlalchemy import Connection, exc, select, update

from dropscribe.core.errors import LeaseLostError
from dropscribe.core.routing import AUTO, model_queue
from dropscribe.core.types import ChunkState, JobState, Span
from dropscribe.store import leases, notifications
from dropscribe.store.events import AGAIN, DEFERRED, REFUSED, note
from dropscribe.store.leases import Claim
from dropscribe.store.session import Database, insert_ignoring
from dropscribe.store.tables import chunks, forgotten, jobs, now, path_key

ID_LETTERS = "23456789abcdefghjkmnpqrstuvwxyz"  # without those that are mistaken for one another
ID_LENGTH = 8  # 40 bits; a clash refuses the row, and the next scan admits it under another id
UNREAD = (ChunkState.HELD, ChunkState.QUEUED, ChunkState.RUNNING)
BATCH = 200  # rows an INSERT; SQLite takes 32,766 parameters


@dataclass(frozen=True, slots=True)
class NewJob:
    """A complete recording: `path` relative to `root`, size in bytes, settings by digest.

    `overrides` are the settings that its folder has of its own.
    """

    root: str
    path: str
    size: int
    mtime_ns: int
    settings_digest: str
    priority: str
    context: str = ""
    overrides: Mapping[str, Any] = field(default_factory=dict, compare=False)

    @property
    def source(self) -> str:
        """Absolute path."""
        return str(PurePosixPath(self.root) / self.path)

    @property
    def moves(self) -> bool:
        """Is it put away when its job has ended?"""
        return self.overrides.get("when_done") == "move"

    @property
    def model_queue(self) -> str:
        """Where its chunks wait: for any model worker, or for those that its folder wants."""
        return model_queue(self.overrides.get("engine", AUTO), self.overrides.get("precision", AUTO))

    @property
    def identity(self) -> str:
        """Digest of what makes this admission the same as another."""
        text = f"{path_key(self.source)}:{self.size}:{self.mtime_ns}:{self.settings_digest}"
        return hashlib.sha256(text.encode()).hexdigest()


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
            rows = [_row(job) for job in (batch if again else _never_admitted(connection, batch))]
            if not rows:
                continue
            statement = insert_ignoring(connection, jobs).values(rows).returning(jobs.c.id)
            new = list(connection.execute(statement).scalars())
            for job_id in new:
                note(connection, job_id, "admitted", where=database.where)
        admitted += new
    return admitted


def _never_admitted(connection: Connection, batch: Sequence[NewJob]) -> list[NewJob]:
    keys = {job: path_key(job.source) for job in batch}
    seen = {
        row
        for table in (jobs, forgotten)
        for row in connection.execute(
            select(table.c.path_key, table.c.size, table.c.mtime_ns).where(table.c.path_key.in_(keys.values()))
        )
    }
    return [job for job in batch if (keys[job], job.size, job.mtime_ns) not in seen]


def _row(job: NewJob) -> dict[str, Any]:
    return asdict(job) | {
        "id": new_id(),
        "path_key": path_key(job.source),
        "identity": job.identity,
        "model_queue": job.model_queue,
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


def find_admitted(database: Database, recording: NewJob) -> str | None:
    """The id of the job of exactly this recording with these settings."""
    with database.read() as connection:
        return connection.execute(select(jobs.c.id).where(jobs.c.identity == recording.identity)).scalar()


def known(database: Database, root: str) -> dict[str, tuple[int, int]]:
    """Size and mtime_ns of every recording under `root` that was ever admitted, the newest admission of each."""
    rows = select(jobs.c.path, jobs.c.size, jobs.c.mtime_ns).where(jobs.c.root == root).order_by(jobs.c.created_at)
    with database.read() as connection:
        return {row.path: (row.size, row.mtime_ns) for row in connection.execute(rows)}


def claim_prepare(database: Database, job_id: str, owner: str, seconds: float) -> Claim | None:
    """Claim a queued job to prepare it; None if it cannot be claimed."""
    return _claim(database, job_id, JobState.QUEUED, JobState.PREPARING, owner, seconds)


def claim_finish(database: Database, job_id: str, owner: str, seconds: float) -> Claim | None:
    """Claim a job to write its transcript, once all its chunks are transcribed; None if it cannot be claimed."""
    return _claim(database, job_id, JobState.FINISHING, JobState.FINISHING, owner, seconds)


def _claim(
    database: Database, job_id: str, waits: JobState, becomes: JobState, owner: str, seconds: float
) -> Claim | None:
    with database.begin() as connection:
        claim = leases.take(connection, jobs, job_id, waits=waits, becomes=becomes, owner=owner, seconds=seconds)
        if claim:
            note(connection, job_id, becomes, where=owner)
        return claim


def content_key(sha256: str, settings_digest: str) -> str:
    """Under this key one job at most transcribes; the others follow it."""
    return f"{sha256}:{settings_digest}"


def lead_or_follow(database: Database, claim: Claim, sha256: str) -> tuple[str | None, list[str]]:
    """Record the content's hash; become the one job that transcribes it, or follow the one that does.

    Returns (None, []) to the leader. A follower loses its claim, waits for its leader, and gets the leader's id
    and, when the leader is through already, its own id to send `finish` for.
    """
    while True:
        try:
            with database.begin() as connection:
                digest = connection.execute(select(jobs.c.settings_digest).where(jobs.c.id == claim.id)).scalar_one()
                key = content_key(sha256, digest)
                leases.write(connection, claim, sha256=sha256, content_key=key, duplicate_of=None)
                return None, []
        except exc.IntegrityError:
            followed = _follow(database, claim, sha256, key)
            if followed:
                return followed


def _follow(database: Database, claim: Claim, sha256: str, key: str) -> tuple[str, list[str]] | None:
    with database.begin() as connection:
        query = select(jobs.c.id, jobs.c.state).where(jobs.c.content_key == key).with_for_update()
        leader = connection.execute(query).first()
        if leader is None:  # it failed meanwhile: the lead is free again
            return None
        through = JobState(leader.state).is_final
        state = JobState.FINISHING if through else JobState.TRANSCRIBING
        leases.let_go(connection, claim, state=state, reason="", sha256=sha256, duplicate_of=leader.id)
        note(connection, claim.id, "follows", leader.id, where=claim.owner)
        return leader.id, [claim.id] if through else []


def complete(
    database: Database,
    claim: Claim,
    state: JobState,
    *,
    reason: str = "",
    notes: Sequence[str] = (),
    missing: Sequence[Span] = (),
    timings: dict[str, float] | None = None,
) -> list[str]:
    """End the job for good as done, suspect or duplicate; returns the followers to send `finish` for."""
    with database.begin() as connection:
        values: dict[str, Any] = {"notes": list(notes), "missing": [[span.start, span.end] for span in missing]}
        leases.let_go(
            connection,
            claim,
            state=state,
            reason=reason,
            finished_at=now(),
            cancel_requested=False,
            timings=timings or {},
            **values,
        )
        note(connection, claim.id, state, reason, where=claim.owner)
        notifications.announce(connection, claim.id, state, reason)
        return wake_followers(connection, claim.id)


def fail(database: Database, claim: Claim, reason: str) -> list[str]:
    """End the job for good: no retry can help. Returns the followers to send `finish` for."""
    with database.begin() as connection:
        leases.write(connection, claim, owner=None)
        note(connection, claim.job_id, REFUSED, "a retry cannot help", where=claim.owner)
        return close(connection, claim.job_id, JobState.FAILED, reason, where=claim.owner)


def retry_later(database: Database, claim: Claim, reason: str, *, delay: float, limit: int) -> list[str]:
    """Let the job go back to its queue for `delay` seconds; at the `limit`-th failure it fails for good."""
    with database.begin() as connection:
        failures = connection.execute(select(jobs.c.failures).where(jobs.c.id == claim.id)).scalar_one() + 1
        if failures >= limit:
            leases.write(connection, claim, owner=None, failures=failures)
            return close(connection, claim.id, JobState.FAILED, reason, where=claim.owner)
        back = leases.FALLS_BACK[claim.state]
        leases.let_go(connection, claim, state=back, failures=failures, reason=reason, not_before=now() + delay)
        note(connection, claim.id, AGAIN, reason, where=claim.owner)
        return []


def postpone(database: Database, claim: Claim, reason: str, *, delay: float) -> None:
    """Let the job go back to its queue for `delay` seconds for something that is not its fault."""
    with database.begin() as connection:
        back = leases.FALLS_BACK[claim.state]
        leases.let_go(connection, claim, state=back, reason=reason, not_before=now() + delay)
        note(connection, claim.id, DEFERRED, reason, where=claim.owner)


def start_over(database: Database, claim: Claim, reason: str) -> list[str]:
    """A follower whose leader came to nothing transcribes by itself; returns its id to send `prepare` for."""
    with database.begin() as connection:
        leases.let_go(connection, claim, state=JobState.QUEUED, duplicate_of=None, sent_at=now())
        note(connection, claim.id, "start_over", reason, where=claim.owner)
        return [claim.id]


def release(database: Database, claim: Claim) -> list[str]:
    """Give the work back: its worker stops, or the job is to be cancelled (then it is). No failure is counted.

    Returns the followers to send `finish` for.
    """
    with database.begin() as connection:
        job = lock(connection, claim.id)
        leases.let_go(connection, claim, state=leases.FALLS_BACK[claim.state])
        note(connection, claim.id, "released", where=claim.owner)
        if job.cancel_requested:
            return close(connection, claim.id, JobState.CANCELLED, "cancelled on request", where=claim.owner)
        return []


def close(connection: Connection, job_id: str, state: JobState, reason: str, *, where: str) -> list[str]:
    """End the job and what is left of its chunks, whoever owns them; returns the followers to send for."""
    connection.execute(
        update(jobs)
        .where(jobs.c.id == job_id)
        .values(**leases.FREE, state=state, reason=reason, finished_at=now(), cancel_requested=False, content_key=None)
    )
    connection.execute(
        update(chunks)
        .where(chunks.c.job_id == job_id, chunks.c.state.in_(UNREAD))
        .values(**leases.FREE, state=ChunkState.CANCELLED)
    )
    note(connection, job_id, state, reason, where=where)
    notifications.announce(connection, job_id, state, reason)
    return wake_followers(connection, job_id)


def wake_followers(connection: Connection, job_id: str) -> list[str]:
    """Move the jobs that waited for this one's transcript to `finishing`; returns their ids."""
    woken = (
        update(jobs)
        .where(jobs.c.duplicate_of == job_id, jobs.c.state == JobState.TRANSCRIBING)
        .values(state=JobState.FINISHING, sent_at=now())
        .returning(jobs.c.id)
    )
    return list(connection.execute(woken).scalars())


def lock(connection: Connection, job_id: str) -> Any:
    """Lock and return the job's row: whoever changes a job through its chunks does so one at a time.

    Raises LeaseLostError when the job is gone.
    """
    row = connection.execute(select(jobs).where(jobs.c.id == job_id).with_for_update()).first()
    if row is None:
        raise LeaseLostError(f"{job_id} was removed while it was worked on")
    return row
