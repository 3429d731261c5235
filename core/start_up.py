"""Puts garbage collection off while much is built, such as at a start, a third of whose CPU time it takes."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def without_collection() -> Iterator[None]:
    """Collect no garbage in this block, which imports modules or builds what stays until the process ends.

    Later collections, those at exit too, skip what the block made.
    """
    with collecting_later():
        try:
            yield
        finally:
            gc.freeze()


@contextmanager
def collecting_later() -> Iterator[None]:
    """Collect no garbage in this block, which builds much that stays: looking at it again and again doubles its time.

    Where threads do so at once, the first that is done ends it for all.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
