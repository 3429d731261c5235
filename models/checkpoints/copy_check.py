"""Pure: what is said of a copy that was made: it was checked by running it, or why it was not run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class CopyRun:
    """What came of running it: `checked`, or `not_run` with the reason."""

    checked: bool = False
    not_run: str = "nobody asked for it"

    def __str__(self) -> str:
        """For people."""
        return "checked: it was loaded as a worker does, and ran" if self.checked else f"not run here: {self.not_run}"


Try = Callable[[Path], CopyRun]


def without_running(_folder: Path) -> CopyRun:
    """What is said of a copy that nobody wants to run."""
    return CopyRun()
