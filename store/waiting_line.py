"""In which order waiting rows are claimed: urgent ones first, and of equal priority the folders take turns.

Every row that waits has a `turn`, and the smallest is claimed first. A row that joins the line gets the larger of two
numbers, plus what it costs: the last turn that was claimed, and that of the last row of its own folder that waits. So
the first file of a folder is among the next, whatever else waits, and its thousandth stands behind its 999 others:

    folder A, 1,000 files at once:  1 2 3 4 5 6 7 ...
    when 3 was claimed, folder B, 2 files:  4 5
    claimed then:  A4 and B4 in any order, A5 and B5, A6 ...

A job to prepare costs 1, a window to transcribe its seconds. Each priority has turns of its own, those of high ones
before all others. Two that join at once may get the same turn, which does no harm.

The last turn that was claimed is kept (`last_turns`) and only grows, also while nothing waits. So a row that a worker
releases, or that was not due, keeps its turn and stands in front. It does not delay rows that join. Each queue of model
workers has its own, which a claim moves on for all queues that the worker serves: a row that no worker may take holds
back nobody either.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

from sqlalchemy import Connection, Select, Table, TextClause, and_, bindparam, func, select, text, update

from dropscribe.core.routing import CPU_QUEUE
from dropscribe.core.types import ChunkKind, ChunkState, JobState, Priority
from dropscribe.store.tables import among, chunks, jobs, last_turns

LEVEL = 1e12  # turns of one priority: 30,000 years of audio in a line that never gets empty
PRIORITIES = tuple(Priority)
FIRST_TURN = {priority: number * LEVEL for number, priority in enumerate(PRIORITIES)}
WAITS = {
    jobs.name: among(jobs.c.state, [JobState.QUEUED]),
    chunks.name: and_(among(chunks.c.state, [ChunkState.QUEUED]), chunks.c.kind == ChunkKind.WINDOW),
}
COST_OF_JOB = 1.0


def of_first_priority(rows: Sequence[Any]) -> list[str]:
    """Of rows in the order of their turns, the ids of those that have the priority of the first."""
    return [row.id for row in rows if _priority(row.turn) == _priority(rows[0].turn)]


def move_on(connection: Connection, turn: float, queues: Sequence[str]) -> None:
    """Note the turn of a row that was claimed by a worker that serves these queues."""
    bound = {"of_priority": _priority(turn), "of_turn": turn}
    # Sorted, so that no two workers deadlock.
    named = {f"queue_{number}": queue for number, queue in enumerate(sorted(queues))}
    connection.execute(_noting(len(named)), bound | named)


@cache
def _noting(queues: int) -> TextClause:
    """The statement that notes a turn for so many queues.

    In SQL, which both databases understand alike: SQLAlchemy compiles an INSERT of several rows again each time.
    """
    rows = ", ".join(f"(:queue_{number}, :of_priority, :of_turn)" for number in range(queues))
    later = "ON CONFLICT (queue, priority) DO UPDATE SET turn = excluded.turn WHERE last_turns.turn < excluded.turn"
    return text(f"INSERT INTO last_turns (queue, priority, turn) VALUES {rows} {later}")  # noqa: S608 (names alone)


def _priority(turn: float) -> Priority:
    return PRIORITIES[int(turn // LEVEL)]


def turns(connection: Connection, found: Sequence[tuple[str, str]]) -> Iterator[float]:
    """The turns of new jobs, each given by its folder's key and its priority, in their order."""
    ends: dict[tuple[str, str], float] = {}
    for of_one in found:
        before = ends[of_one] if of_one in ends else _end(connection, jobs, CPU_QUEUE, *of_one)
        ends[of_one] = before + COST_OF_JOB
        yield ends[of_one]


def join(connection: Connection, table: Table[Any], ids: Sequence[str]) -> None:
    """Let rows stand in line that wait from now on: jobs to prepare, or chunks of jobs, of which windows stand in it.

    Also for rows that stand in it already and whose priority has changed.
    """
    (_join_windows if table is chunks else _join_jobs)(connection, ids)


def _join_jobs(connection: Connection, ids: Sequence[str]) -> None:
    query = select(jobs.c.id, jobs.c.folder_key, jobs.c.priority).where(jobs.c.id.in_(ids))
    for row in connection.execute(query).all():
        turn = _end(connection, jobs, CPU_QUEUE, row.folder_key, row.priority, ids) + COST_OF_JOB
        connection.execute(update(jobs).where(jobs.c.id == row.id).values(turn=turn))


def _join_windows(connection: Connection, ids: Sequence[str]) -> None:
    joining = {"ids": list(ids)}
    for row in connection.execute(_JOBS_OF_WINDOWS, joining).all():
        before = _end(connection, chunks, row.model_queue, row.folder_key, row.priority, ids)
        placed = {"of_folder": row.folder_key, "in_queue": row.model_queue, "after": before - row.start}
        connection.execute(_PLACING_WINDOWS, joining | placed | {"job": row.id})


_WINDOWS = (chunks.c.id.in_(bindparam("ids", expanding=True)), chunks.c.kind == ChunkKind.WINDOW)
_OF_JOB = (jobs.c.id, jobs.c.model_queue, jobs.c.folder_key, jobs.c.priority)
_JOBS_OF_WINDOWS = (
    select(*_OF_JOB, func.min(chunks.c.start).label("start"))
    .join(chunks, chunks.c.job_id == jobs.c.id)
    .where(*_WINDOWS)
    .group_by(*_OF_JOB)
)
_PLACING_WINDOWS = (
    update(chunks)
    .where(*_WINDOWS, chunks.c.job_id == bindparam("job"))
    .values(folder_key=bindparam("of_folder"), queue=bindparam("in_queue"), turn=chunks.c.end + bindparam("after"))
)


def _end(
    connection: Connection, table: Table[Any], queue: str, folder_key: str, priority: str, without: Sequence[str] = ()
) -> float:
    """Behind which turn the next row of this folder and priority stands; rows `without` do not count."""
    begin = FIRST_TURN[Priority(priority)]
    bound = {"queue": queue, "folder": folder_key, "priority": priority, "begin": begin, "end": begin + LEVEL}
    found = connection.execute(_ending(table), bound | {"without": list(without)}).one()
    return max((turn for turn in found if turn is not None), default=begin)


@cache
def _ending(table: Table[Any]) -> Select[Any]:
    in_level = table.c.turn.between(bindparam("begin"), bindparam("end"))
    others = (WAITS[table.name], in_level, table.c.id.not_in(bindparam("without", expanding=True)))
    last = select(func.max(table.c.turn)).where(*others, table.c.folder_key == bindparam("folder"))
    claimed = select(last_turns.c.turn).where(
        last_turns.c.queue == bindparam("queue"), last_turns.c.priority == bindparam("priority")
    )
    return select(claimed.scalar_subquery(), last.scalar_subquery())
