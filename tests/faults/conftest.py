"""A share that can be broken, and watches over folders."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from dropscribe.core.settings import Settings
from dropscribe.core.settings_loading import load
from tests.conftest import missing
from tests.e2e.harness import PATIENCE
from tests.faults import fleet, postgres
from tests.faults.fleet import Fleet
from tests.faults.nursery import Nursery
from tests.faults.postgres import Server
from tests.faults.recordings import Recordings
from tests.faults.shares import Share, Watched, watch_over
from tests.servers import find_postgresql

MakeWatched = Callable[..., Watched]


@pytest.fixture
def plain(tmp_path: Path) -> Settings:
    """The defaults, with a home of their own."""
    return load({"DROPSCRIBE_HOME": str(tmp_path / "home")})


@pytest.fixture
def unmounted(tmp_path: Path) -> Iterator[Share]:
    """A share that is not mounted yet, on an empty folder."""
    if os.geteuid() != 0 or not Path("/dev/fuse").exists() or not shutil.which("umount"):
        pytest.skip("mounting a FUSE filesystem needs root and /dev/fuse")
    share = Share(tmp_path.resolve() / "server", tmp_path.resolve() / "share")
    share.server.mkdir()
    share.path.mkdir()
    yield share
    share.unmount()


@pytest.fixture
def share(unmounted: Share) -> Share:
    """A share, mounted."""
    unmounted.mount()
    return unmounted


@pytest.fixture
def over(plain: Settings) -> Iterator[MakeWatched]:
    """Makes watches that are closed in the end."""
    made: list[Watched] = []

    def make(
        path: Path,
        *,
        known: Mapping[str, tuple[int, int]] | None = None,
        deadline: float = PATIENCE,
        **settings: object,
    ) -> Watched:
        made.append(watch_over(path, plain.model_copy(update=settings), known or {}, deadline))
        return made[-1]

    yield make
    for watched in made:
        watched.watch.close()


@pytest.fixture(scope="session")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Recordings]:
    """Recordings whose transcripts are known."""
    made = Recordings(tmp_path_factory.mktemp("recordings"))
    yield made
    made.close()


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """A PostgreSQL that may be broken."""
    with postgres.server(postgresql_programs()) as running:
        yield running


def postgresql_programs() -> Path:
    programs = find_postgresql()
    if programs is None:
        missing("PostgreSQL")
    assert programs
    return programs


@pytest.fixture(scope="session")
def nursery() -> Iterator[Nursery]:
    """What forks the members of fleets."""
    made = Nursery()
    yield made
    made.close()


@pytest.fixture
def make_fleet(tmp_path: Path, nursery: Nursery) -> Iterator[Callable[..., Fleet]]:
    """Makes fleets, on SQLite or on a PostgreSQL server that is emptied for it, and leaves none running."""
    made: list[Fleet] = []

    def make(server: Server | None = None, **settings: str) -> Fleet:
        url = settings.pop("DATABASE_URL", "")
        if server:
            server.empty()
            url = url or server.url
        folder = tmp_path / f"fleet{len(made)}"
        made.append(fleet.make(folder, database_url=url, settings=settings, nursery=nursery))
        return made[-1]

    yield make
    for one in made:
        one.close()
