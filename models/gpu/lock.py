"""One worker at a time measures a GPU's free memory and takes its part: a lock that ends with the process.

Two workers that start at the same moment would both plan with the memory that only one of them can have.
"""

from __future__ import annotations

import fcntl
import logging
import os
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import IO

from dropscribe.models.gpu.placement import Placement

log = logging.getLogger(__name__)

MACHINE = "none"  # in the name of the lock of those who compute on the CPU
RUNTIME = Path("/run/user")  # has a folder for each user who is logged in; gone at the next start of the machine


def place(home: Path, runtime: Path = RUNTIME) -> Path:
    """Where this user's locks lie: the same for all of the user's processes on this host, whatever their `home`.

    Users of services have no folder in `runtime`; their processes share a `home`.
    """
    own = runtime / str(os.getuid())
    return own if os.access(own, os.W_OK | os.X_OK) else home


def turn(placement: Placement, home: Path, gpu: str = "") -> AbstractContextManager[None]:
    """Let one worker at a time measure and take memory, of the GPU that it is pinned to or else of the one named `gpu`.

    Without either, it is the machine's memory, if other workers share that.
    """
    name = placement.uuid or gpu or (MACHINE if placement.workers else "")
    return held(name, place(home)) if name else nullcontext()


@contextmanager
def held(gpu: str, folder: Path) -> Iterator[None]:
    """Hold the lock of the GPU with that UUID while its memory is measured and taken; wait for it if need be.

    The kernel lets go of it when the process ends, however that ends. Where a lock cannot be had at all (a `folder`
    that is read-only, a filesystem without locks) the log says so and nothing is held: one worker on a card, which is
    the rule, needs none.
    """
    path = folder / _name(gpu)
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        file = path.open("ab")
    except OSError as error:
        log.warning("%s; start only one worker at a time there", _trouble(path, error))
        yield
        return
    with file:
        locked = _acquire(file, path)
        try:
            yield
        finally:
            if locked:  # a child that was forked meanwhile would keep it
                fcntl.flock(file, fcntl.LOCK_UN)


def _name(gpu: str) -> str:
    return f"dropscribe-gpu-{gpu}.lock"


def _acquire(file: IO[bytes], path: Path) -> bool:
    """Lock it, and say in the log when that takes waiting; False where the filesystem has no locks."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        began = time.monotonic()
        log.info(
            "another worker is taking memory%s; waiting until it is ready (it holds %s)",
            "" if path.name == _name(MACHINE) else " of this GPU",
            path,
        )
        fcntl.flock(file, fcntl.LOCK_EX)
        log.info("waited %.1f s for the other worker", time.monotonic() - began)
    except OSError as error:
        log.warning("%s; start only one worker at a time there", _trouble(path, error))
        return False
    return True


def _trouble(path: Path, error: OSError) -> str:
    return f"cannot lock {path}: {error.strerror}"
