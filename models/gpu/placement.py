"""Where a model worker computes. No torch."""

from __future__ import annotations

from dataclasses import dataclass

from dropscribe.core.gpus import Gpu


@dataclass(frozen=True, slots=True)
class Placement:
    """The GPU that the process is pinned to, if it is, and how many model workers share the machine's memory, with it.

    0 `workers` stand for a process that shares nothing.
    """

    gpu: Gpu | None = None
    workers: int = 0

    @property
    def uuid(self) -> str:
        """That of the GPU; empty without one."""
        return self.gpu.uuid if self.gpu else ""


ANYWHERE = Placement()  # what is not pinned takes a GPU if there is one
