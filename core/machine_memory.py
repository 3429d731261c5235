"""How much of this machine's memory processes may take: what it has, but no more than their cgroups allow (Linux)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
CGROUPS = Path("/sys/fs/cgroup")
KIB = 1024


@dataclass(frozen=True, slots=True)
class _Version:
    """Where a version of cgroups keeps what, below `CGROUPS`; caches that give way are part of what is used."""

    folder: str
    limit: str
    used: str
    cache: str


_VERSIONS = {
    "memory": _Version("memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    "": _Version("", "memory.max", "memory.current", "inactive_file"),
}


def allowance(workers: int = 1) -> int:
    """Bytes that one of so many model workers on this machine may plan with: its share, but no more than is free."""
    return min(total() // max(1, workers), free())


def total() -> int:
    """Bytes that the processes of this machine, or of this container or unit, may take together."""
    limits = [limit for version, folder in _cgroups() if (limit := _number(folder / version.limit)) is not None]
    return min(_physical(), *limits) if limits else _physical()


def free() -> int:
    """Bytes that they could take now."""
    rooms = [room for version, folder in _cgroups() if (room := _room(version, folder)) is not None]
    available = _field(PROC / "meminfo", "MemAvailable:")
    return max(0, min(total() if available is None else available * KIB, *rooms, total()))


def _physical() -> int:
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _room(version: _Version, folder: Path) -> int | None:
    limit, used = _number(folder / version.limit), _number(folder / version.used)
    if limit is None or used is None:
        return None
    return limit - used + (_field(folder / "memory.stat", version.cache) or 0)


def _cgroups() -> Iterator[tuple[_Version, Path]]:
    """The cgroups that limit this process's memory, from its own upwards; in a container, its own is the top."""
    for line in _lines(PROC / "self" / "cgroup"):
        _, controllers, path = line.split(":", 2)
        version = next((found for name, found in _VERSIONS.items() if name in controllers.split(",")), None)
        if version:
            top = CGROUPS / version.folder
            own = top / path.lstrip("/")
            yield from ((version, folder) for folder in (own, *own.parents) if folder.is_relative_to(top))


def _number(path: Path) -> int | None:
    """The number in a file; None where there is no such file, or it says `max`."""
    text = "".join(_lines(path)[:1])
    return int(text) if text.isdecimal() else None


def _field(path: Path, name: str) -> int | None:
    """The number behind a name in a file of names and numbers; None where there is none."""
    found = (line.split() for line in _lines(path))
    return next((int(words[1]) for words in found if words[:1] == [name]), None)


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
