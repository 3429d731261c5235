"""What is counted for the metrics, by few queries whose number does not grow with the fleet."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import Connection, Text, cast, func, select

from dropscribe.core import old_names
from dropscribe.core.old_names import current
from dropscribe.core.types import TRANSCRIPT_STATES, JobState
from dropscribe.store import queries
from dropscribe.store.notifications import WAITING
from dropscribe.store.roots import WatchedRoot, list_roots
from dropscribe.store.session import Database
from dropscribe.store.switches import PAUSED, SPOOL_FULL
from dropscribe.store.tables import events, jobs, notifications, now, switches, workers

SILENT = "silent"  # the state of a worker that missed its heartbeats


@dataclass(frozen=True, slots=True)
class Figures:
    """The fleet at one moment.

    `jobs` by state, `oldest` the age of each state's oldest job since its admission and `waiting_audio` what is not
    read yet, in seconds; `workers` by role and state; the `switches` that are thrown; `notifications` that
    wait to be sent.
    """

    jobs: Mapping[JobState, int]
    oldest: Mapping[JobState, float]
    waiting_audio: float
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
    waiting = queries.backlog(database).audio_seconds
    roots = tuple(list_roots(database))
    by_state = select(jobs.c.state, func.count(), now() - func.min(jobs.c.created_at)).group_by(jobs.c.state)
    untold = select(func.count()).where(notifications.c.status == WAITING)
    with database.read() as connection:
        standing = {JobState(state): (count, age) for state, count, age in connection.execute(by_state)}
        return Figures(
            jobs={state: count for state, (count, _) in standing.items()},
            oldest={state: age for state, (_, age) in standing.items()},
            waiting_audio=waiting,
            workers=_workers(connection, silence),
            roots=roots,
            switches=frozenset(connection.execute(select(switches.c.name)).scalars()),
            notifications=connection.execute(untold).scalar_one(),
        )


def _workers(connection: Connection, silence: float) -> Mapping[tuple[str, str], int]:
    query = select(workers.c.role, workers.c.state, now() - workers.c.heartbeat_at)
    return Counter((role, SILENT if age >= silence else state) for role, state, age in connection.execute(query))


@dataclass(frozen=True, slots=True)
class Happened:
    """What happened in a stretch of time: events by kind, rules that answers failed, seconds of audio transcribed."""

    events: Mapping[str, int]
    rules: Mapping[str, int]
    audio: float


def newest_event(database: Database) -> int:
    """The number of the newest event, 0 where there is none."""
    with database.read() as connection:
        return connection.execute(select(func.coalesce(func.max(events.c.id), 0))).scalar_one()


def happened(database: Database, after: int, upto: int) -> Happened:
    """What the events tell whose number is above `after` and at most `upto`.

    Numbers are given out in order, but transactions end in any: `upto` is a number that was the newest some seconds
    ago, so that none below it is still to come.
    """
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
