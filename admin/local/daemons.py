"""One role of a fleet in this process, until SIGTERM or Ctrl-C: for `dropscribe watch`, `worker`, `serve` and `up`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from dropscribe.core import private_state, start_up
from dropscribe.core.errors import UsageError


def watch(folders: list[Path], *, name: str | None = None) -> int:
    """Run the scheduler over `folders`; returns the exit status. It is called `name` in the store."""
    with start_up.without_collection():
        from dropscribe.core import bucket_names
        from dropscribe.core.settings_loading import load
        from dropscribe.scheduler import service
        from dropscribe.scheduler.scanning import scanner

    settings = load(watched=scanner.real_paths(bucket_names.apart(folders)[0]))
    private_state.keep(settings.home)
    return service.run(settings, folders, name=name)


def worker(
    role: str, gpu: str | None, overrides: Mapping[str, Any] = MappingProxyType({}), *, name: str | None = None
) -> int:
    """Run a worker; returns the exit status. A model worker is pinned to GPU `gpu`: a number or a UUID.

    `overrides` are settings that options say.
    """
    with start_up.without_collection():
        from dropscribe.core.settings_loading import load
        from dropscribe.worker import service

    settings = load(overrides=overrides)
    private_state.keep(settings.home)
    return service.run(settings, role, which_gpu=gpu, name=name)


def serve(overrides: Mapping[str, Any] = MappingProxyType({}), *, announce: Path | None = None) -> int:
    """Run the server; returns the exit status. `overrides` are settings that options say.

    Its address is printed, or written to the file `announce` for the process that started it.
    """
    with start_up.without_collection():
        from dropscribe.core.installing import how_to_install
        from dropscribe.core.settings_loading import load

        try:
            from dropscribe.serve import service
        except ModuleNotFoundError as error:
            raise UsageError(f"{error.name} is not installed", remedy=how_to_install("serve")) from error

    settings = load(overrides=overrides)
    private_state.keep(settings.home)
    return service.run(settings, announce)
