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

from sqlalchemy import (
    ColumnElement,
    Connection,
    Double,
    Select,
    Table,
    TextClause,
    Update,
    and_,
    bindparam,
    func,
    select,
    text,
    union_all,
    update,
)

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
        before = ends[of_one] if of_one in ends else _end_of_jobs(connection, *of_one)
        ends[of_one] = before + COST_OF_JOB
        yield ends[of_one]


def join(connection: Connection, ids: Sequence[str]) -> None:
    """Let jobs stand in line that wait to be prepared from now on, or that stand in it and have another priority."""
    query = select(jobs.c.id, jobs.c.folder_key, jobs.c.priority).where(jobs.c.id.in_(ids))
    for row in connection.execute(query).all():
        turn = _end_of_jobs(connection, row.folder_key, row.priority, ids) + COST_OF_JOB
        connection.execute(update(jobs).where(jobs.c.id == row.id).values(turn=turn))


def _end_of_jobs(connection: Connection, folder_key: str, priority: str, without: Sequence[str] = ()) -> float:
    """Behind which turn the next job of this folder and priority stands; those `without` do not count."""
    bound = {"of_queue": CPU_QUEUE, "of_folder": folder_key, "without": list(without)}
    return float(connection.execute(_ending_without(), bound | _level(priority)).scalar_one())


@cache
def _ending_without() -> Select[Any]:
    return _ending(jobs, jobs.c.id.not_in(bindparam("without", expanding=True)))


def place(job: Any, priority: str = "") -> dict[str, Any]:
    """What binds `placed_behind` to a job by its row, or as it stands once it has another `priority`."""
    return {"job": job.id, "of_queue": job.model_queue, "of_folder": job.folder_key} | _level(priority or job.priority)


def _level(priority: str) -> dict[str, Any]:
    begin = FIRST_TURN[Priority(priority)]
    return {"of_priority": priority, "level": begin, "above": begin + LEVEL}


def placed_behind(start: ColumnElement[float]) -> dict[str, Any]:
    """The columns by which windows of a job stand in line, behind its folder's others, from the `start` of the first.

    To be bound by `place`, and set in the statement by which they come to wait.
    """
    before = _ending(chunks).scalar_subquery()
    return {"folder_key": bindparam("of_folder"), "queue": bindparam("of_queue"), "turn": chunks.c.end + before - start}


def move_windows(connection: Connection, job: Any, priority: str) -> None:
    """Let the windows of a job that stand in line, or come back to it if they are given back, stand in another one."""
    connection.execute(_moving(), place(job, priority))


@cache
def _moving() -> Update:
    have_turns = among(chunks.c.state, [ChunkState.QUEUED, ChunkState.RUNNING])
    windows = (chunks.c.job_id == bindparam("job"), chunks.c.kind == ChunkKind.WINDOW, have_turns)
    first = select(func.min(chunks.c.start)).where(*windows).scalar_subquery()
    return update(chunks).where(*windows).values(**placed_behind(first))


def _ending(table: Table[Any], *others: ColumnElement[bool]) -> Select[Any]:
    """The statement that finds behind which turn the next row of a folder and priority stands."""
    in_level = table.c.turn.between(bindparam("level"), bindparam("above"))
    of_folder = (WAITS[table.name], in_level, table.c.folder_key == bindparam("of_folder"), *others)
    of_queue = (last_turns.c.queue == bindparam("of_queue"), last_turns.c.priority == bindparam("of_priority"))
    first = select(bindparam("level", type_=Double).label("turn"))
    claimed = select(last_turns.c.turn).where(*of_queue)
    last = select(func.max(table.c.turn)).where(*of_folder)
    found = union_all(first, claimed, last).subquery()
    return select(func.max(found.c.turn))
