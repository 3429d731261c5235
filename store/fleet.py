"""Who is there: workers and their heartbeats, watched folders, the reconciler's role, the pause switch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import case, delete, insert, or_, select, update

from dropscribe.core.types import EngineInfo
from dropscribe.store.leases import DRAINING, PAUSED
from dropscribe.store.queries import WaitingFolder
from dropscribe.store.session import Database, insert_ignoring
from dropscribe.store.tables import chunks, jobs, locks, now, path_key, roots, switches, workers

UNFIT = "unfit"  # the state of a worker that took itself out
FORGET_SECONDS = 3600.0  # a worker silent for so long is no longer listed


@dataclass(frozen=True, slots=True)
class RootReport:
    """What a scheduler found out about a folder in its last scan; counts of files, durations in seconds."""

    path: str
    host: str
    filesystem: str
    online: bool
    reason: str = ""
    files: int = 0
    pending: int = 0
    not_media: int = 0
    ignored: int = 0
    scan_seconds: float = 0.0
    waiting: Sequence[WaitingFolder] = ()


def register(
    database: Database, worker: str, *, host: str, pid: int, role: str, state: str, gpu: str = "", metrics: str = ""
) -> None:
    """Enter a process that starts, with the URL of its metrics; an older entry under its name is replaced."""
    with database.begin() as connection:
        connection.execute(
            delete(workers).where(or_(workers.c.id == worker, workers.c.heartbeat_at < now() - FORGET_SECONDS))
        )
        connection.execute(
            insert(workers).values(
                id=worker,
                host=host,
                pid=pid,
                role=role,
                state=state,
                gpu=gpu,
                metrics=metrics,
                audio_seconds=0.0,
                busy_seconds=0.0,
                started_at=now(),
                heartbeat_at=now(),
            )
        )


def heartbeat(
    database: Database,
    worker: str,
    *,
    state: str | None = None,
    engine: EngineInfo | None = None,
    audio: float = 0.0,
    busy: float = 0.0,
    memory: int | None = None,
) -> str | None:
    """Say that the worker lives; add seconds of audio read and of time spent on it since the last beat.

    `memory` is what the process takes, in bytes.

    Returns the state that it is in now, which `drain` may have set; None when it is struck off.
    """
    values: dict[str, Any] = {
        "heartbeat_at": now(),
        "audio_seconds": workers.c.audio_seconds + audio,
        "busy_seconds": workers.c.busy_seconds + busy,
    }
    if state:
        values["state"] = case((workers.c.state == DRAINING, DRAINING), else_=state)
    if memory is not None:
        values["memory"] = memory
    if engine:
        values["engine"] = asdict(engine)
    with database.begin() as connection:
        told = update(workers).where(workers.c.id == worker).values(**values).returning(workers.c.state)
        return connection.execute(told).scalar()


def drain(database: Database, worker: str) -> bool:
    """Tell a worker to finish what it does and end; it hears of it with its next heartbeat. False if there is none."""
    told = update(workers).where(workers.c.id == worker, workers.c.role != "scheduler").values(state=DRAINING)
    with database.begin() as connection:
        return bool(connection.execute(told).rowcount)


def leave(database: Database, worker: str) -> None:
    """Strike off a process that stopped in order."""
    with database.begin() as connection:
        connection.execute(delete(workers).where(workers.c.id == worker))


def report_roots(database: Database, reports: Sequence[RootReport]) -> None:
    """Record the state of watched folders."""
    with database.begin() as connection:
        for report in reports:
            key = path_key(f"{report.host}:{report.path}")
            values = asdict(report) | {"scanned_at": now()}
            # Two schedulers may watch one folder: whoever comes second finds the row there.
            connection.execute(insert_ignoring(connection, roots).values(values | {"path_key": key}))
            connection.execute(update(roots).where(roots.c.path_key == key).values(values))


def forget_roots(database: Database, host: str) -> None:
    """Strike off the folders that a scheduler on this host watched before."""
    with database.begin() as connection:
        connection.execute(delete(roots).where(roots.c.host == host))


def hold(database: Database, role: str, owner: str, seconds: float) -> bool:
    """Take or renew a role that one process of the fleet has at a time; False while another has it."""
    # An end far ahead was set by a clock that has been set back since.
    free = or_(locks.c.owner == owner, locks.c.lease_until < now(), locks.c.lease_until > now() + 2 * seconds)
    with database.begin() as connection:
        renewed = update(locks).where(locks.c.name == role, free).values(owner=owner, lease_until=now() + seconds)
        if connection.execute(renewed).rowcount:
            return True
        fresh = insert_ignoring(connection, locks).values(name=role, owner=owner, lease_until=now() + seconds)
        return connection.execute(fresh.returning(locks.c.name)).first() is not None


def pause(database: Database, switch: str = PAUSED) -> bool:
    """Let no worker start anything new (or, by its switch, no preparing); what runs goes on. False if it was so."""
    with database.begin() as connection:
        thrown = insert_ignoring(connection, switches).values(name=switch, since=now())
        return connection.execute(thrown.returning(switches.c.name)).first() is not None


def resume(database: Database, switch: str = PAUSED) -> None:
    """Undo `pause`. Messages that arrived meanwhile were answered with nothing, so all are to be sent again."""
    with database.begin() as connection:
        if not connection.execute(delete(switches).where(switches.c.name == switch)).rowcount:
            return
        for table in (jobs, chunks):
            connection.execute(update(table).where(table.c.state == "queued").values(sent_at=None))
        connection.execute(update(jobs).where(jobs.c.state == "finishing", jobs.c.owner.is_(None)).values(sent_at=None))


def paused_since(database: Database, switch: str = PAUSED) -> float | None:
    """When the fleet was paused (seconds since the epoch), or None."""
    with database.read() as connection:
        return connection.execute(select(switches.c.since).where(switches.c.name == switch)).scalar()
