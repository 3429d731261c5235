"""A decoder that a recording has taken over: what runs is hostile code, in the place where media are parsed.

Run as `python -m tests.integration.taken_over GOALS REQUEST`; with an empty request it is a zygote of such decoders. It
tries everything and answers what it got.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import resource
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NoReturn

from dropscribe.core.errors import NotMediaError
from dropscribe.worker.preparing import decode_child, media

LIBC = ctypes.CDLL(None, use_errno=True)
PTRACE_SEIZE, PTRACE_DETACH = 0x4206, 17
CLONE_NEWUSER = 0x10000000
IO_URING_SETUP, PIDFD_OPEN, PROCESS_VM_READV = 425, 434, 310

Goals = Mapping[str, str]


def attacks(goals: Goals) -> dict[str, Callable[[], object]]:
    """Each by its name; one that raises, or has nothing to show, has failed."""
    worker = os.getppid()
    return {
        "read the worker's environment": lambda: Path(f"/proc/{worker}/environ").read_bytes(),
        "open the worker's memory": lambda: os.open(f"/proc/{worker}/mem", os.O_RDONLY),
        "read the worker's memory": lambda: _read_memory(worker),
        "trace the worker": lambda: _trace(worker),
        "signal the worker": lambda: os.kill(worker, 0) is None,
        "hold the worker": lambda: _done(LIBC.syscall(PIDFD_OPEN, worker, 0)),
        "read the worker's limits": lambda: resource.prlimit(worker, resource.RLIMIT_NOFILE),
        "read the store": lambda: Path(goals["store"]).read_bytes(),
        "read another recording's audio": lambda: Path(goals["audio"]).read_bytes(),
        "list the spool": lambda: os.listdir(Path(goals["audio"]).parent),
        "write over another recording's audio": lambda: Path(goals["audio"]).write_bytes(b"forged"),
        "empty another recording's audio": lambda: os.truncate(goals["audio"], 0) is None,
        "rename another recording's audio": lambda: Path(goals["audio"]).rename(f"{goals['audio']}.old"),
        "read the passwords": lambda: Path("/etc/passwd").read_bytes(),
        "list the processes": lambda: os.listdir("/proc"),
        "write into home": lambda: Path(goals["store"]).with_name("planted").write_bytes(b"planted"),
        "link to the store": lambda: os.link(goals["store"], f"{goals['scratch']}/store") is None,
        "connect to Redis": lambda: _connected(socket.AF_UNIX, goals["redis"]),
        "connect by TCP": lambda: _connected(socket.AF_INET, ("127.0.0.1", int(goals["port"]))),
        "send by UDP": lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", ("127.0.0.1", 9)),
        "listen": lambda: socket.create_server(("127.0.0.1", 0)),
        "start a shell": lambda: subprocess.run(["/bin/sh", "-c", "true"], check=True),
        "become another program": _become,
        "become a program in memory": lambda: os.memfd_create("program"),
        "fork": _forked,
        "start a thread": lambda: threading.Thread(target=print, args=("",), kwargs={"end": ""}).start() is None,
        "make a namespace": lambda: _done(LIBC.syscall(272, 0)),  # unshare(0) changes nothing
        "use io_uring": lambda: _done(LIBC.syscall(IO_URING_SETUP, 1, ctypes.create_string_buffer(120))),
        "find descriptors": lambda: [fd for fd in range(3, 64) if _is_open(fd)],
        "find secrets in the environment": lambda: [name for name in os.environ if name.startswith("DROPSCRIBE")],
        "open many files": lambda: [os.open(goals["scratch"], os.O_RDONLY) for _ in range(1000)],
    }


def _is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


def _done(answer: int) -> bool:
    if answer < 0:
        raise OSError(ctypes.get_errno(), "refused")
    return True


def _read_memory(worker: int) -> bool:
    """Of some page that does not exist: who may read the worker's memory is told that, not that he may not."""
    here = ctypes.create_string_buffer(8)
    local = (ctypes.c_size_t * 2)(ctypes.addressof(here), 8)
    remote = (ctypes.c_size_t * 2)(4096, 8)
    LIBC.syscall(PROCESS_VM_READV, worker, local, 1, remote, 1, 0)
    return ctypes.get_errno() == errno.EFAULT


def _trace(worker: int) -> bool:
    _done(LIBC.ptrace(PTRACE_SEIZE, worker, None, None))
    LIBC.ptrace(PTRACE_DETACH, worker, None, None)
    return True


def _connected(family: int, address: object) -> bool:
    with socket.socket(family) as connection:
        connection.connect(address)  # type: ignore[arg-type]
    return True


def _become() -> bool:
    """Who may run programs is told that this one does not exist."""
    try:
        os.execv("/nowhere/at/all", ["x"])
    except FileNotFoundError:
        return True


def _forked() -> bool:
    if (pid := os.fork()) == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    return True


def _got(attack: Callable[[], object]) -> bool:
    try:
        return bool(attack())
    except (OSError, RuntimeError, subprocess.SubprocessError):
        return False


def main(goals: str, request: str) -> None:
    """Be the decoder's child, which parses a recording in the hands of an attacker."""

    def parse(*_: object) -> NoReturn:
        got = [name for name, attack in attacks(json.loads(goals)).items() if _got(attack)]
        raise NotMediaError(json.dumps(got))

    media.decode = parse  # type: ignore[assignment]
    decode_child.main(request) if request else decode_child.serve()


if __name__ == "__main__":
    main(*sys.argv[1:])
