"""A share that can be broken, and watches over folders."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from core.settings import Settings, load
from tests.faults.shares import PATIENCE, Share, Watched, watch_over

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
