"""The life of jobs and chunks is one table: nothing else writes states, and the table leads where it should."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from dropscribe.core.types import ChunkState, JobState
from dropscribe.store import transitions
from dropscribe.store.transitions import CHUNKS, JOBS, ChunkEvent, JobEvent, Transition

STORE = Path(transitions.__file__).parent
TABLES: list[Transition] = [*JOBS.values(), *CHUNKS.values()]


def writes_a_state(module: ast.Module) -> Iterator[int]:
    """Lines that hand a `state` to `values`."""
    for call in ast.walk(module):
        is_values = isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and call.func.attr == "values"
        if is_values and any(keyword.arg == "state" for keyword in call.keywords):
            yield call.lineno


def test_only_the_table_changes_states_of_jobs_and_chunks() -> None:
    of_others = {"fleet.py", "notifications.py"}  # states of workers and of announcements
    found = {
        path.name: list(writes_a_state(ast.parse(path.read_text())))
        for path in STORE.glob("*.py")
        if path.name not in of_others
    }
    assert list(writes_a_state(ast.parse("update(jobs).values(state='done')"))) == [1]
    assert {name for name, lines in found.items() if lines} == {"transitions.py"}


def test_every_event_stands_in_its_table() -> None:
    assert set(JOBS) == set(JobEvent)
    assert set(CHUNKS) == set(ChunkEvent)


@pytest.mark.parametrize(("table", "states"), [(JOBS, JobState), (CHUNKS, ChunkState)])
def test_every_state_is_reached_and_none_is_a_trap_but_those_that_are_meant(
    table: dict[str, Transition], states: type[JobState | ChunkState]
) -> None:
    moves = [(before, after) for made in table.values() for before, many in made.moves.items() for after in many]
    beginning = {JobState.QUEUED, ChunkState.HELD}
    assert {after for _, after in moves} | beginning >= set(states)
    assert set(states) - {before for before, _ in moves} == ({ChunkState.SPLIT} if states is ChunkState else set())


def test_whoever_claims_leads_from_one_state_to_one() -> None:
    claims = [made for made in TABLES if made.claims]
    assert len(claims) == 4
    assert all(len(made.moves) == 1 and len(next(iter(made.moves.values()))) == 1 for made in claims)


def test_a_state_to_which_an_event_does_not_lead_is_refused() -> None:
    with pytest.raises(KeyError, match="done"):
        JOBS[JobEvent.PREPARED].towards(JobState.DONE)
    assert CHUNKS[ChunkEvent.LOST].towards(None) == {ChunkState.RUNNING: ChunkState.QUEUED}
