"""What is counted for the metrics, by few queries whose number does not grow with the fleet."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Text, cast, exists, func, select

from dropscribe.core import old_names
from dropscribe.core.old_names import current
from dropscribe.core.types import TRANSCRIPT_STATES, JobState
from dropscribe.store import fleet, queries
from dropscribe.store.notifications import WAITING
from dropscribe.store.queries import Backlog
from dropscribe.store.roots import WatchedRoot, list_roots
from dropscribe.store.session import Database
from dropscribe.store.switches import PAUSED, SPOOL_FULL
from dropscribe.store.tables import events, jobs, notifications, now, switches

SILENT = "silent"  # the state of a worker that missed its heartbeats


@dataclass(frozen=True, slots=True)
class Figures:
    """The fleet at one moment.

    `jobs` by state, `oldest` the age of each state's oldest job since its admission, and the `backlog`; `time_left` in
    seconds where the speed is known; `workers` by role and state; the `switches` that are thrown; `notifications`
    that wait to be sent.
    """

    jobs: Mapping[JobState, int]
    oldest: Mapping[JobState, float]
    backlog: Backlog
    time_left: float | None
    workers: Mapping[tuple[str, str], int]
    roots: tuple[WatchedRoot, ...]
    switches: frozenset[str]
    notifications: int

    @property
    def paused(self) -> bool:
        """Is nothing new begun?"""
        return PAUSED in self.switches

    @property
    def spool_full(self) -> bool:
        """Is nothing prepared?"""
        return SPOOL_FULL in self.switches


def figures(database: Database, silence: float) -> Figures:
    """Count; a worker is silent that was not heard of for `silence` seconds. Raises StoreError."""
    backlog, workers = queries.backlog(database), fleet.list_workers(database)
    speed = fleet.speed_of(worker for worker in workers if worker.is_alive(silence))
    roots = tuple(list_roots(database))
    standing = queries.count_by_state(database)
    with database.read() as connection:
        found = _singles(connection, standing)
        return Figures(
            jobs=standing,
            oldest={state: found[state] for state in standing if found[state] is not None},
            backlog=backlog,
            time_left=backlog.chunk_seconds / speed if speed else None,
            workers=Counter((one.role, one.state if one.is_alive(silence) else SILENT) for one in workers),
            roots=roots,
            switches=frozenset(filter(found.get, (PAUSED, SPOOL_FULL))),
            notifications=found[WAITING],
        )


def _singles(connection: Connection, states: Iterable[JobState]) -> Mapping[str, Any]:
    """By state the age of its oldest job, the first entry of its part of an index; what waits to be sent; switches."""
    admitted = {state: select(func.min(jobs.c.created_at)).where(jobs.c.state == state) for state in states}
    ages = [(now() - query.scalar_subquery()).label(state) for state, query in admitted.items()]
    unsent = select(func.count()).where(notifications.c.status == WAITING).scalar_subquery().label(WAITING)
    thrown = [exists().where(switches.c.name == name).label(name) for name in (PAUSED, SPOOL_FULL)]
    return dict(connection.execute(select(*ages, unsent, *thrown)).mappings().one())


@dataclass(frozen=True, slots=True)
class Happened:
    """What happened in a stretch of time: events by kind, rules that answers failed, seconds of audio transcribed."""

    events: Mapping[str, int]
    rules: Mapping[str, int]
    audio: float


def happened(database: Database, after: int, upto: int) -> Happened:
    """What the events tell whose number is above `after` and at most `upto`: see `EventCursor`."""
    between = (events.c.id > after, events.c.id <= upto)
    failed = cast(events.c.rules, Text).label("failed")
    by_kind = select(events.c.kind, failed, func.count()).where(*between).group_by(events.c.kind, "failed")
    audio = (
        select(func.coalesce(func.sum(jobs.c.duration), 0.0))
        .join(events, events.c.job_id == jobs.c.id)
        .where(*between, events.c.kind.in_(TRANSCRIPT_STATES))
    )
    kinds: Counter[str] = Counter()
    rules: Counter[str] = Counter()
    with database.read() as connection:
        for kind, rules_failed, count in connection.execute(by_kind):
            kinds[current(kind)] += count
            for rule in json.loads(rules_failed):
                rules[current(rule, old_names.CHECKS)] += count
        return Happened(kinds, rules, connection.execute(audio).scalar_one())
