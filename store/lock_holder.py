"""Who holds SQLite's write lock: a process that is frozen, or forgot a transaction, while all others wait."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

WRITE_LOCK = 120  # the byte of the -shm file that a writer locks: UNIX_SHM_BASE of its os_unix.c
STOPPED = frozenset("Tt")  # states of proc(5)


def holder(database: Path) -> str:
    """The process, such as `process 4711 (python3), which is stopped`; empty where nobody is or can be found.

    Asks /proc/locks. To open the file and ask by fcntl would end this process's own locks on it.
    """
    with suppress(OSError):
        inode = Path(f"{database}-shm").stat().st_ino
        locks = Path("/proc/locks").read_text(encoding="ascii").splitlines()
        return next((_described(pid) for line in locks if (pid := _writer(line.split(), inode))), "")
    return ""


def _writer(lock: list[str], inode: int) -> str:
    """The process of a line such as `1: POSIX ADVISORY WRITE 4711 fd:01:131073 120 120`, if it is that lock."""
    match lock:
        case [_, "POSIX", _, "WRITE", pid, file, first, last] if file.endswith(f":{inode}") and last.isdigit():
            return pid if int(first) <= WRITE_LOCK <= int(last) else ""
    return ""


def _described(pid: str) -> str:
    """A process by its number and name, and that it is stopped if it is."""
    try:
        before, _, after = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(") ")
    except OSError:  # of another container, or gone
        return f"process {pid}"
    name = before.partition("(")[2]
    stopped = f", which is stopped (`kill -CONT {pid}` wakes it)" if after[:1] in STOPPED else ""
    return f"process {pid} ({name}){stopped}"
