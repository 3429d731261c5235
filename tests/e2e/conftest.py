"""A machine of one's own for every test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e.harness import Machine
from tests.e2e.heard import Heard, hear


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


@pytest.fixture(scope="session")
def heard(tmp_path_factory: pytest.TempPathFactory, whisper_base: Path) -> Iterator[Heard]:
    """Everything that is to be recognized for real, read by one `up`."""
    machine = Machine(tmp_path_factory.mktemp("machine"), ENGINE="auto", LEASE_SECONDS="60")
    machine.environment |= {"HF_HOME": str(whisper_base), "CUDA_VISIBLE_DEVICES": ""}
    try:
        yield hear(machine, tmp_path_factory.mktemp("made"))
    finally:
        machine.close()
