"""What processes may take of a machine's memory: by what it has, by the limits of cgroups, and shared by workers."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from dropscribe.core import machine_memory

GIB = 2**30
PHYSICAL = 64 * GIB


@pytest.fixture(autouse=True)
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine of 64 GiB, of which 50 are available, without cgroups; what it is made of lies in this folder."""
    monkeypatch.setattr(machine_memory, "PROC", tmp_path / "proc")
    monkeypatch.setattr(machine_memory, "CGROUPS", tmp_path / "cgroup")
    pages = {"SC_PHYS_PAGES": PHYSICAL // 4096, "SC_PAGE_SIZE": 4096}
    monkeypatch.setattr(os, "sysconf", pages.__getitem__)
    write(tmp_path / "proc" / "meminfo", f"MemTotal: {PHYSICAL // 1024} kB\nMemAvailable: {50 * GIB // 1024} kB\n")
    return tmp_path


def write(path: Path, text: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(str(text))


def test_one_worker_may_take_what_is_free() -> None:
    assert machine_memory.total() == PHYSICAL
    assert machine_memory.allowance() == 50 * GIB


def test_workers_share_the_machine() -> None:
    assert machine_memory.allowance(2) == 32 * GIB
    assert machine_memory.allowance(4) == 16 * GIB


def test_the_limit_of_a_unit_or_of_one_above_it_holds(machine: Path) -> None:
    write(machine / "proc/self/cgroup", "0::/system.slice/dropscribe.service\n")
    write(machine / "cgroup/system.slice/dropscribe.service/memory.max", "max\n")
    write(machine / "cgroup/system.slice/memory.max", 20 * GIB)
    assert machine_memory.total() == 20 * GIB
    assert machine_memory.allowance(2) == 10 * GIB


def test_what_a_container_uses_already_is_not_free_but_its_caches_are(machine: Path) -> None:
    write(machine / "proc/self/cgroup", "0::/\n")
    write(machine / "cgroup/memory.max", 16 * GIB)
    write(machine / "cgroup/memory.current", 10 * GIB)
    write(machine / "cgroup/memory.stat", f"anon 1\ninactive_file {3 * GIB}\n")
    assert machine_memory.allowance() == 9 * GIB
    assert machine_memory.allowance(2) == 8 * GIB


def test_the_first_version_of_cgroups_is_read_too(machine: Path) -> None:
    write(machine / "proc/self/cgroup", "9:name=systemd:/\n4:memory:/docker/1\n1:cpu,cpuacct:/docker/1\n0::/\n")
    write(machine / "cgroup/memory/docker/1/memory.limit_in_bytes", 8 * GIB)
    write(machine / "cgroup/memory/docker/1/memory.usage_in_bytes", 2 * GIB)
    write(machine / "cgroup/memory/docker/1/memory.stat", f"total_inactive_file {GIB}\n")
    write(machine / "cgroup/memory/memory.limit_in_bytes", 2**63 - 4096)  # which means none
    assert machine_memory.total() == 8 * GIB
    assert machine_memory.allowance() == 7 * GIB


def test_a_system_that_tells_nothing_has_what_it_has(machine: Path) -> None:
    (machine / "proc/meminfo").unlink()
    assert machine_memory.allowance() == PHYSICAL


def test_a_limit_that_is_used_up_leaves_nothing(machine: Path) -> None:
    write(machine / "proc/self/cgroup", "0::/\n")
    write(machine / "cgroup/memory.max", GIB)
    write(machine / "cgroup/memory.current", GIB + 4096)
    assert machine_memory.allowance() == 0
