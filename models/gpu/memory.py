"""How full the GPU of this process is, where it has one, and how much of it a worker may plan with."""

from __future__ import annotations

import sys
from contextlib import suppress
from dataclasses import dataclass
from operator import attrgetter

from dropscribe.core import gpus
from dropscribe.models.gpu.allowance import allowance


@dataclass(frozen=True, slots=True)
class GpuMemory:
    """In bytes: what this process's tensors hold, what is free for anybody, what the card has."""

    held: int
    free: int
    total: int


def first_gpu() -> str:
    """The UUID of the GPU that a process takes which is not pinned; empty where the driver does not tell."""
    return next(map(attrgetter("uuid"), gpus.known().gpus), "")


def plannable(share: float) -> int | None:
    """Bytes that a process may plan with which has tried a kernel on its GPU, and so has its context there and no more.

    None where the driver does not tell. What it tells to be free lacks that context, which every plan counts.
    """
    found = gpus.known().gpus
    if not found or found[0].memory is None or found[0].free is None:
        return None
    return allowance(found[0].free, found[0].memory, share, has_context=True)


def look() -> GpuMemory | None:
    """The memory now; None where no model is on a GPU, or the GPU does not answer any more.

    Imports no torch: a process that has not is on no GPU.
    """
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return None
    with suppress(RuntimeError):  # after an error that sticks, which ends the process by itself
        free, total = torch.cuda.mem_get_info()
        return GpuMemory(torch.cuda.memory_allocated(), free, total)
    return None
