"""One role of a fleet in this process, until SIGTERM or Ctrl-C: for `dropscribe watch`, `worker` and `up`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from dropscribe.core import start_up


def watch(folders: list[Path], *, name: str | None = None) -> int:
    """Run the scheduler over `folders`; returns the exit status. It is called `name` in the store."""
    with start_up.without_collection():
        from dropscribe.core.settings_loading import load
        from dropscribe.scheduler import service

    return service.run(load(), folders, name=name)


def worker(
    role: str, gpu: str | None, overrides: Mapping[str, Any] = MappingProxyType({}), *, name: str | None = None
) -> int:
    """Run a worker; returns the exit status. A model worker is pinned to GPU `gpu`: a number or a UUID.

    `overrides` are settings that options say.
    """
    with start_up.without_collection():
        from dropscribe.core.settings_loading import load
        from dropscribe.worker import service

    return service.run(load(overrides=overrides), role, which_gpu=gpu, name=name)
