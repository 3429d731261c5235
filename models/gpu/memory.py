"""How full the GPU of this process is, where it has one."""

from __future__ import annotations

import sys
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class GpuMemory:
    """In bytes: what this process's tensors hold, what is free for anybody, what the card has."""

    held: int
    free: int
    total: int


def look() -> GpuMemory | None:
    """The memory now; None where no model is on a GPU, or the GPU does not answer any more.

    Imports no torch: a process that has not is on no GPU.
    """
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return None
    try:
        free, total = torch.cuda.mem_get_info()
    except RuntimeError:  # after an error that sticks, which ends the process by itself
        return None
    return GpuMemory(torch.cuda.memory_allocated(), free, total)
