"""What people who look into one watched folder want to know of its recordings. Reads only."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from sqlalchemy import ColumnElement, exists, func, select

from dropscribe.core.types import JobState
from dropscribe.store import queries
from dropscribe.store.queries import Job
from dropscribe.store.session import Database
from dropscribe.store.tables import jobs


def _last_of_its_file() -> ColumnElement[bool]:
    """No later job is about the same file: what failed before is of no interest then."""
    later = jobs.alias()
    return ~exists().where(later.c.path_key == jobs.c.path_key, later.c.created_at > jobs.c.created_at)


def newest(database: Database, root: str, states: Collection[JobState], limit: int) -> list[Job]:
    """The jobs of a root in these states, the last of each file: those that ended last, or wait the longest."""
    moment: Any = jobs.c.finished_at.desc() if all(state.is_final for state in states) else jobs.c.created_at
    query = select(jobs.c.id).where(jobs.c.root == root, jobs.c.state.in_(states), _last_of_its_file())
    with database.read() as connection:
        ids = list(connection.execute(query.order_by(moment).limit(limit)).scalars())
    found = {job.id: job for job in queries.list_jobs(database, ids=ids)}
    return [found[job_id] for job_id in ids if job_id in found]


def counts(database: Database, root: str, superseded: Collection[JobState]) -> dict[JobState, int]:
    """How many jobs of a root are in each state; of those in `superseded` only the last of its file counts."""
    of_root = select(jobs.c.state, func.count()).where(jobs.c.root == root).group_by(jobs.c.state)
    with database.read() as connection:
        plain = connection.execute(of_root.where(jobs.c.state.not_in(superseded))).all()
        last = connection.execute(of_root.where(jobs.c.state.in_(superseded), _last_of_its_file())).all()
    return {JobState(state): number for state, number in [*plain, *last]}
