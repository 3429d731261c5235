"""How many jobs came to which final state, without counting all jobs that ever were: see `EndedColumns`."""

from __future__ import annotations

from typing import Any

from dropscribe.core.types import JobState
from dropscribe.store import sql
from dropscribe.store.session import Database

MANY = 1_000  # rows from which they are folded; reading so many takes half a millisecond


def count_by_state(database: Database, root: str | None = None) -> dict[JobState, int]:
    """The jobs of a root, or all of them, in each final state; states without jobs are left out."""
    with database.asking() as ask:
        rows = ask(_counts) if root is None else ask(_counts_of_root, root=root)
    return {JobState(state): int(count) for state, count in rows}


@sql.statement
def _counts() -> Any:
    """Jobs by final state."""
    number = sql.func.sum(sql.ended.c.jobs)
    return sql.select(sql.ended.c.state, number).group_by(sql.ended.c.state).having(number != 0)


@sql.statement
def _counts_of_root() -> Any:
    """Those of one `root`."""
    return _counts().where(sql.ended.c.root == sql.bindparam("root", type_=sql.FileName))


def fold(database: Database, many: int = MANY) -> None:
    """Make one row of all of the same root and state, once there are many.

    The rows that are removed are those that are summed up: what others add meanwhile is seen by neither statement.
    """
    with database.begin() as connection:
        if connection.execute(sql.select(sql.func.count()).select_from(sql.ended)).scalar_one() < many:
            return
        sums: dict[tuple[str, str], int] = {}
        for row in connection.execute(
            sql.delete(sql.ended).returning(sql.ended.c.root, sql.ended.c.state, sql.ended.c.jobs)
        ):
            sums[row.root, row.state] = sums.get((row.root, row.state), 0) + row.jobs
        folded = [{"root": root, "state": state, "jobs": count} for (root, state), count in sums.items() if count]
        if folded:
            connection.execute(sql.insert(sql.ended), folded)
