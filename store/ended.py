"""How many jobs came to which final state, without counting all jobs that ever were: see `EndedColumns`."""

from __future__ import annotations

from sqlalchemy import delete, func, insert, select

from dropscribe.core.types import JobState
from dropscribe.store.session import Database
from dropscribe.store.tables import ended

MANY = 1_000  # rows from which they are folded; reading so many takes half a millisecond


def count_by_state(database: Database, root: str | None = None) -> dict[JobState, int]:
    """The jobs of a root, or all of them, in each final state; states without jobs are left out."""
    number = func.sum(ended.c.jobs)
    query = select(ended.c.state, number).group_by(ended.c.state).having(number != 0)
    if root is not None:
        query = query.where(ended.c.root == root)
    with database.read() as connection:
        return {JobState(state): int(count) for state, count in connection.execute(query)}


def fold(database: Database, many: int = MANY) -> None:
    """Make one row of all of the same root and state, once there are many.

    The rows that are removed are those that are summed up: what others add meanwhile is seen by neither statement.
    """
    with database.begin() as connection:
        if connection.execute(select(func.count()).select_from(ended)).scalar_one() < many:
            return
        sums: dict[tuple[str, str], int] = {}
        for row in connection.execute(delete(ended).returning(ended.c.root, ended.c.state, ended.c.jobs)):
            sums[row.root, row.state] = sums.get((row.root, row.state), 0) + row.jobs
        folded = [{"root": root, "state": state, "jobs": count} for (root, state), count in sums.items() if count]
        if folded:
            connection.execute(insert(ended), folded)
