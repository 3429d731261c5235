"""A worker whose tasks are called by hand, and a recording for it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from core.queue import Doorbell
from core.settings import Settings
from models.scripted import Script, Scripted
from store.session import Database
from tests.e2e.harness import speech
from tests.integration.one_worker import MakeContext, die
from worker.context import Fitness, WorkerContext
from worker.lease import LeaseKeeper
from worker.tally import Tally


@pytest.fixture
def make_context(database: Database, settings: Settings, tmp_path: Path) -> Iterator[MakeContext]:
    """A worker of both roles, with a script for its model."""
    keepers: list[LeaseKeeper] = []
    own = settings.model_copy(update={"spool": tmp_path / "spool"})
    doorbell = Doorbell(own)

    def make(script: Script | None = None, **changes: object) -> WorkerContext:
        keepers.append(LeaseKeeper(database, lease=60, renew=1, beat=lambda: None))
        keepers[-1].start()
        model = Scripted(script or Script())
        changed = own.model_copy(update=changes)
        fitness = Fitness(changed.unfit_failures)
        return WorkerContext(changed, database, doorbell, keepers[-1], "worker", model, Tally(), fitness, die)

    yield make
    for keeper in keepers:
        keeper.end()
    doorbell.close()


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    (tmp_path / "inbox").mkdir()
    return speech(tmp_path / "inbox" / "talk.wav")
