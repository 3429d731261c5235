"""One worker at a time measures a GPU's free memory and takes its part: a lock that ends with the process.

Two workers that start at the same moment would both plan with the memory that only one of them can have. The lock is a
name that all processes of a host share, a service and a shell alike, and a file in `home`, which containers may share.
"""

from __future__ import annotations

import fcntl
import logging
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import IO

from dropscribe.models.gpu import host_lock
from dropscribe.models.gpu.host_lock import STRANGERS_SECONDS, Holder
from dropscribe.models.gpu.placement import Placement

log = logging.getLogger(__name__)

MACHINE = "none"  # in the name of the lock of those who compute on the CPU


def turn(placement: Placement, home: Path, gpu: str = "") -> AbstractContextManager[None]:
    """Let one worker at a time measure and take memory, of the GPU that it is pinned to or else of the one named `gpu`.

    Without either, it is the machine's memory, if other workers share that.
    """
    name = placement.uuid or gpu or (MACHINE if placement.workers else "")
    return held(name, home) if name else nullcontext()


@contextmanager
def held(gpu: str, folder: Path, patience: float = STRANGERS_SECONDS) -> Iterator[None]:
    """Hold the lock of the GPU with that UUID while its memory is measured and taken; wait for it if need be.

    The kernel releases it when the process ends, however that ends. Part of it may be unavailable (a `folder` that is
    read-only, a filesystem without locks, another user who keeps the name for `patience` seconds). The log then says
    so, and the worker goes on: a single worker on a card, the usual case, needs no lock.
    """
    with _named(gpu, patience), _file(gpu, folder):
        yield


@contextmanager
def _named(gpu: str, patience: float) -> Iterator[None]:
    """Hold the lock as a name in the kernel, for the duration of the block; after `patience`, go on without it."""
    began, seen = time.monotonic(), [""]

    def tell(holder: Holder) -> None:
        """Note and log who has the lock."""
        seen.append(str(holder))
        log.info("another worker is taking memory%s; waiting until it is ready (%s)", _of(gpu), holder)

    with host_lock.held(_name(gpu), tell, patience) as had:
        if had and seen[-1]:
            log.info("waited %.1f s for the other worker", time.monotonic() - began)
        elif seen[-1]:
            log.warning(
                "%s has kept the lock%s for %.0f s; going on without it: end that process if it is not a worker",
                seen[-1],
                _of(gpu),
                patience,
            )
        yield


@contextmanager
def _file(gpu: str, folder: Path) -> Iterator[None]:
    """Hold the lock as a locked file, where the kernel has no such names; without it where the file cannot be made."""
    path = folder / f"{_name(gpu)}.lock"
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        file = path.open("ab")
    except OSError as error:
        log.warning("%s; start only one worker at a time there", _trouble(path, error))
        yield
        return
    with file:
        locked = _acquire(file, path, gpu)
        try:
            yield
        finally:
            if locked:  # a child that was forked meanwhile would keep it
                fcntl.flock(file, fcntl.LOCK_UN)


def _name(gpu: str) -> str:
    """What the lock of a GPU is called.

    >>> _name("GPU-1234")
    'dropscribe-gpu-GPU-1234'
    """
    return f"dropscribe-gpu-{gpu}"


def _of(gpu: str) -> str:
    """Whose memory it is, as part of a sentence."""
    return "" if gpu == MACHINE else " of this GPU"


def _acquire(file: IO[bytes], path: Path, gpu: str) -> bool:
    """Lock it, and say in the log when that takes waiting; False where the filesystem has no locks."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        began = time.monotonic()
        log.info("another worker is taking memory%s; waiting until it is ready (it holds %s)", _of(gpu), path)
        fcntl.flock(file, fcntl.LOCK_EX)
        log.info("waited %.1f s for the other worker", time.monotonic() - began)
    except OSError as error:
        log.warning("%s; start only one worker at a time there", _trouble(path, error))
        return False
    return True


def _trouble(path: Path, error: OSError) -> str:
    """Why there is no lock."""
    return f"cannot lock {path}: {error.strerror}"
