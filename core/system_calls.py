"""Calls of Linux that Python has no function for, by number where libc has none either."""

from __future__ import annotations

import ctypes
import os
import platform
import signal
import struct

PR_SET_DUMPABLE, PR_SET_NAME, PR_SET_NO_NEW_PRIVS = 4, 15, 38  # linux/prctl.h
CLONE = {"x86_64": 56, "aarch64": 220}  # numbers of clone(2), whose arguments differ elsewhere
CLONE_PARENT = 0x8000  # linux/sched.h
CAPABILITY_VERSION = 0x20080522  # linux/capability.h: sets of 64 bits, in two halves

_LIBC = ctypes.CDLL(None, use_errno=True)
_LIBC_UNDER_THE_LOCK = ctypes.PyDLL(
    None, use_errno=True
)  # keeps Python's lock, which a copy of a process could not get


def call(number: int, *arguments: int | bytes | ctypes.Array[ctypes.c_char] | None) -> int:
    """Make the system call of that number; returns its answer. Raises OSError."""
    return _checked(_LIBC.syscall(ctypes.c_long(number), *map(_wide, arguments)))


def prctl(option: int, value: int) -> None:
    """Change how the kernel treats this process: prctl(2). Raises OSError."""
    _checked(_LIBC.prctl(option, *map(ctypes.c_ulong, (value, 0, 0, 0))))


def name_process(name: str) -> None:
    """Call this process so where processes are listed: 15 characters of ASCII at most. Raises OSError."""
    _checked(_LIBC.prctl(PR_SET_NAME, name.encode("ascii"), 0, 0, 0))


def can_fork_siblings() -> bool:
    """Is `fork_sibling` known for this processor?"""
    return platform.machine() in CLONE


def fork_sibling() -> int:
    """Fork as `os.fork` does, but the new process becomes a child of this one's parent, which waits for it.

    Returns the new process's id, and 0 in it. To be called with one thread, as nothing that Python or libc does at a
    fork for others is done. Raises OSError.
    """
    flags = CLONE_PARENT | signal.SIGCHLD
    return _checked(_LIBC_UNDER_THE_LOCK.syscall(*map(ctypes.c_long, (CLONE[platform.machine()], flags, 0, 0, 0, 0))))


def keep_capabilities(kept: int) -> None:
    """Give up all privileges of root but these, a set of bits by linux/capability.h. Raises OSError."""
    head = struct.pack("=Ii", CAPABILITY_VERSION, 0)
    halves = ctypes.create_string_buffer(24)  # effective, permitted and inheritable, of the lower and the upper 32
    _checked(_LIBC.capget(head, halves))
    _, permitted, *_ = struct.unpack("=6I", halves)
    left = permitted & kept
    _checked(_LIBC.capset(head, struct.pack("=6I", left, left, 0, 0, 0, 0)))


def _wide(argument: int | bytes | ctypes.Array[ctypes.c_char] | None) -> object:
    """A number as the kernel takes it, in 64 bits; pointers as they are."""
    return ctypes.c_long(argument) if isinstance(argument, int) else argument


def _checked(answer: int) -> int:
    """What a system call answered. Raises OSError where that is a failure."""
    if answer < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return answer
