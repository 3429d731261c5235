"""A name that one process of this host has at a time, no matter who runs it and whatever its folders are.

It is an abstract Unix socket, see unix(7): nothing lies on a disk that somebody could put in the way, and the kernel
gives it up with its process. Any user of the host may take any name, so a stranger is waited for only so long: he could
keep it for ever. Processes in a network namespace of their own, as containers have, see other names.
"""

from __future__ import annotations

import errno
import os
import pwd
import socket
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from weakref import WeakSet

ROOT = 0
WAITERS = 128  # that the kernel keeps in line; more of them ask again and again
RETRY_SECONDS = 0.2
STRANGERS_SECONDS = 600.0  # longer than a model takes to load from a slow disk
CREDENTIALS = struct.Struct("3i")  # process, user and group of the listener


@dataclass(frozen=True, slots=True)
class Holder:
    """The process that has a name, with its user; -1 where the kernel does not tell."""

    pid: int = -1
    uid: int = -1

    @property
    def is_stranger(self) -> bool:
        """Does it belong to neither this user nor root?"""
        return self.uid not in {ROOT, os.geteuid()}

    def __str__(self) -> str:
        """In words."""
        return f"process {self.pid} of {_user(self.uid)}" if self.pid > 0 else "a process that cannot be seen from here"


def _user(uid: int) -> str:
    """The user by name."""
    with suppress(KeyError):
        return pwd.getpwuid(uid).pw_name
    return f"the user {uid}"


@contextmanager
def held(name: str, tell: Callable[[Holder], None], patience: float = STRANGERS_SECONDS) -> Iterator[bool]:
    """Have that name, and wait for the process that has it: for a stranger `patience` seconds at most.

    `tell` hears of each who is waited for. Yields whether it was had: not where there are no such names (they are
    Linux's), nor where a stranger kept it.
    """
    with socket.socket(socket.AF_UNIX) as server:
        _own.add(server)
        yield _acquire(server, f"\0{name}".encode(), tell, patience)


def _acquire(server: socket.socket, address: bytes, tell: Callable[[Holder], None], patience: float) -> bool:
    """Take the name, waiting for its holder; False where a stranger has kept it for longer than `patience`."""
    deadline, before = time.monotonic() + patience, Holder()
    while (had := _take(server, address)) is False:
        holder = _await(address, deadline, tell, before)
        if holder.is_stranger and time.monotonic() >= deadline:
            return False
        if holder.is_stranger:
            time.sleep(RETRY_SECONDS)
        before = holder
    return bool(had)


def _take(server: socket.socket, address: bytes) -> bool | None:
    """Whether the name is ours now; None where there are no such names."""
    try:
        server.bind(address)
        server.listen(WAITERS)
    except OSError as error:
        return False if error.errno == errno.EADDRINUSE else None
    return True


def _await(address: bytes, deadline: float, tell: Callable[[Holder], None], before: Holder) -> Holder:
    """Wait until the process that has the name gives it up, for a stranger until the deadline; who it is, if known.

    A connection ends with the socket that it waits at.
    """
    holder = Holder()
    with socket.socket(socket.AF_UNIX) as call, suppress(OSError):
        call.settimeout(RETRY_SECONDS)
        call.connect(address)
        told = call.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, CREDENTIALS.size)
        holder = Holder(*CREDENTIALS.unpack(told)[:2])
        if holder != before:
            tell(holder)
        call.settimeout(max(deadline - time.monotonic(), RETRY_SECONDS) if holder.is_stranger else None)
        call.recv(1)
    return holder


_own: WeakSet[socket.socket] = WeakSet()


def _close_in_child() -> None:
    """A child that was forked meanwhile would keep the name."""
    for server in list(_own):
        server.close()


os.register_at_fork(after_in_child=_close_in_child)
