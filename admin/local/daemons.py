"""`dropscribe watch` and `dropscribe worker`: one role of a fleet in this process, until SIGTERM or Ctrl-C."""

from __future__ import annotations

from pathlib import Path

from dropscribe.core.settings import load


def watch(folders: list[Path]) -> int:
    """Run the scheduler over `folders`; returns the exit status."""
    from dropscribe.scheduler import service

    return service.run(load(), folders)


def worker(role: str, gpu: int | None, engine: str | None) -> int:
    """Run a worker; returns the exit status. A model worker is pinned to GPU `gpu`, if one is given."""
    from dropscribe.worker import service

    return service.run(load(overrides={"engine": engine}), role, gpu_index=gpu)
