"""The decoders that a process has started."""

from __future__ import annotations

import contextlib
import os

import psutil


def decoders(parent: int | None = None) -> list[psutil.Process]:
    """Those of the process `parent`, else of this one."""
    children = psutil.Process(parent or os.getpid()).children()
    return [child for child in children if "dropscribe.worker.preparing.decode_child" in _command(child)]


def _command(process: psutil.Process) -> list[str]:
    with contextlib.suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
        return process.cmdline()
    return []
