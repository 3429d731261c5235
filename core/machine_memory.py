"""How much of this machine's memory processes may take: what it has, but no more than their cgroups allow (Linux)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import accumulate
from operator import truediv
from pathlib import Path

PROC = Path("/proc")
CGROUPS = Path("/sys/fs/cgroup")
KIB = 1024
NO_LIMIT = 2**63  # bytes; more than any machine has


@dataclass(frozen=True, slots=True)
class _Version:
    """Where a version of cgroups keeps what, below `CGROUPS`; caches that give way are part of what is used."""

    folder: str
    limit: str
    used: str
    cache: str

    def room(self, cgroup: Path) -> int:
        """Bytes that the processes of a cgroup could take now."""
        caches = _numbers(cgroup / "memory.stat").get(self.cache, 0)
        return _number(cgroup / self.limit, NO_LIMIT) - _number(cgroup / self.used, 0) + caches


# By the controllers that a line of /proc/self/cgroup names; those of other lines do not limit memory.
_VERSIONS = {
    "memory": _Version("memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    "": _Version("", "memory.max", "memory.current", "inactive_file"),
}
_NO_MEMORY = _Version("none", "", "", "")


def allowance(workers: int = 1) -> int:
    """Bytes that one of so many model workers on this machine may plan with: its share, but no more than is free."""
    return min(total() // max(1, workers), free())


def total() -> int:
    """Bytes that the processes of this machine, or of this container or unit, may take together."""
    physical = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return min(physical, *(_number(cgroup / version.limit, NO_LIMIT) for version, cgroup in _cgroups()), NO_LIMIT)


def free() -> int:
    """Bytes that they could take now."""
    available = _numbers(PROC / "meminfo").get("MemAvailable:", NO_LIMIT) * KIB
    return max(0, min(available, total(), *(version.room(cgroup) for version, cgroup in _cgroups())))


def _cgroups() -> Iterator[tuple[_Version, Path]]:
    """The cgroups that limit this process's memory, from the top to its own; in a container, its own is the top."""
    for line in _lines(PROC / "self" / "cgroup"):
        _, controllers, path = line.split(":", 2)
        version = _VERSIONS.get(controllers, _NO_MEMORY)
        own = Path(path.lstrip("/")).parts
        yield from ((version, cgroup) for cgroup in accumulate(own, truediv, initial=CGROUPS / version.folder))


def _number(path: Path, default: int) -> int:
    """The number in a file; the default where there is no such file, or it says `max`."""
    text = "".join(_lines(path)[:1])
    return int(text) if text.isdecimal() else default


def _numbers(path: Path) -> dict[str, int]:
    """A file whose lines have a name and a number; empty where there is no such file."""
    return {name: int(number) for name, number, *_ in map(str.split, _lines(path))}


def _lines(path: Path) -> list[str]:
    """The lines of a file of the kernel; none where there is no such file."""
    with suppress(OSError):
        return path.read_text(encoding="utf-8").splitlines()
    return []
