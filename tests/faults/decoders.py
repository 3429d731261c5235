"""The decoders that a process has started."""

from __future__ import annotations

import contextlib
import os

import psutil

from dropscribe.worker.preparing import decode_child


def decoders(parent: int | None = None) -> list[psutil.Process]:
    """Those of the process `parent`, else of this one."""
    children = psutil.Process(parent or os.getpid()).children()
    return [child for child in children if _name(child) == decode_child.NAME]


def _name(process: psutil.Process) -> str:
    """A zygote has the command line of the decoders that it forks, but another name."""
    with contextlib.suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
        return process.name()
    return ""
