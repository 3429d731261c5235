"""A machine of one's own for every test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e.harness import Machine


@pytest.fixture
def make_machine(tmp_path: Path) -> Iterator[Callable[..., Machine]]:
    """Makes machines with the given settings, and leaves none running."""
    made: list[Machine] = []

    def make(**settings: str) -> Machine:
        made.append(Machine(tmp_path / f"machine{len(made)}", **settings))
        return made[-1]

    yield make
    for machine in made:
        machine.close()


@pytest.fixture
def machine(make_machine: Callable[..., Machine]) -> Machine:
    """A machine with the scripted model."""
    return make_machine()
