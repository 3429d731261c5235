"""seccomp: a process gives up every system call but those that it names (seccomp(2)).

The filter is a program of the kernel's classic BPF, which is run for each call and sees its number and arguments. It is
written here by hand, since the package that would write it needs a library of the system that may be missing.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from types import MappingProxyType

from dropscribe.core import system_calls

SET_MODE_FILTER, GET_ACTION_AVAIL = 1, 2  # operations of seccomp(2)
ALL_THREADS = 1  # the flag TSYNC
ALLOW, REFUSE, KILL = 0x7FFF0000, 0x00050000, 0x80000000  # what becomes of a call, or of its process

# Instructions of classic BPF: load a word of what describes the call, compare it, end.
LOAD, IF_EQUAL, IF_AT_LEAST, RETURN = 0x20, 0x15, 0x35, 0x06
NUMBER_AT, PROCESSOR_AT, ARGUMENTS_AT = 0, 4, 16  # bytes into the kernel's struct seccomp_data
X32 = 0x40000000  # from here on, numbers are those of x86-64's other way to call


@dataclass(frozen=True, slots=True)
class Processor:
    """A kind of processor: the kernel's number for it, its column in `CALLS`, and its own number of seccomp(2)."""

    audit: int
    column: int
    seccomp: int


PROCESSORS = {"x86_64": Processor(0xC000003E, 0, 317), "aarch64": Processor(0xC00000B7, 1, 277)}

# What computing, and reading and writing files that Landlock lets through, takes: numbers on x86-64 and on ARM, which
# never had the older ones.
CALLS: Mapping[str, tuple[int | None, int | None]] = MappingProxyType(
    {
        "access": (21, None), "brk": (12, 214), "clock_getres": (229, 114), "clock_gettime": (228, 113),
        "clock_nanosleep": (230, 115), "close": (3, 57), "close_range": (436, 436), "dup": (32, 23),
        "dup2": (33, None), "dup3": (292, 24), "exit": (60, 93), "exit_group": (231, 94), "faccessat": (269, 48),
        "faccessat2": (439, 439), "fadvise64": (221, 223), "fallocate": (285, 47), "fcntl": (72, 25),
        "fdatasync": (75, 83), "fstat": (5, 80), "fstatfs": (138, 44), "fsync": (74, 82), "ftruncate": (77, 46),
        "futex": (202, 98), "getcpu": (309, 168), "getcwd": (79, 17), "getdents64": (217, 61), "getegid": (108, 177),
        "geteuid": (107, 175), "getgid": (104, 176), "getpid": (39, 172), "getppid": (110, 173),
        "getrandom": (318, 278), "getrlimit": (97, 163), "getrusage": (98, 165), "gettid": (186, 178),
        "gettimeofday": (96, 169), "getuid": (102, 174), "lseek": (8, 62), "lstat": (6, None), "madvise": (28, 233),
        "membarrier": (324, 283), "mmap": (9, 222), "mprotect": (10, 226), "mremap": (25, 216), "munmap": (11, 215),
        "nanosleep": (35, 101), "newfstatat": (262, 79), "open": (2, None), "openat": (257, 56), "poll": (7, None),
        "ppoll": (271, 73), "pread64": (17, 67), "preadv": (295, 69), "pwrite64": (18, 68), "pwritev": (296, 70),
        "read": (0, 63), "readlink": (89, None), "readlinkat": (267, 78), "readv": (19, 65),
        "restart_syscall": (219, 128), "rseq": (334, 293), "rt_sigaction": (13, 134), "rt_sigprocmask": (14, 135),
        "rt_sigreturn": (15, 139), "sched_getaffinity": (204, 123), "sched_yield": (24, 124),
        "set_robust_list": (273, 99), "sigaltstack": (131, 132), "stat": (4, None), "statfs": (137, 43),
        "statx": (332, 291), "sysinfo": (99, 179), "time": (201, None), "times": (100, 153), "uname": (63, 160),
        "unlink": (87, None), "unlinkat": (263, 35), "write": (1, 64), "writev": (20, 66),
    }
)  # fmt: skip

# Calls that may be made with one value of one argument alone: numbers, which argument, which values.
IOCTL, PRLIMIT, TGKILL = (16, 29), (302, 261), (234, 131)
HARMLESS_IOCTLS = (0x5401, 0x5450, 0x5451, 0x541B)  # TCGETS, FIONCLEX, FIOCLEX, FIONREAD


def processor() -> Processor | None:
    """The processor of this machine; None where the numbers of its calls are not known here."""
    return PROCESSORS.get(platform.machine())


def is_offered() -> bool:
    """Can calls be filtered on this machine?"""
    known = processor()
    if known is None:
        return False
    with suppress(OSError):
        system_calls.call(known.seccomp, GET_ACTION_AVAIL, 0, struct.pack("=I", KILL))
        return True
    return False


def restrict() -> None:
    """Leave this process, with all its threads, only `CALLS`; any other fails as if the kernel had it not.

    The process must have given up new privileges. Raises OSError, also where filters are not offered.
    """
    known = processor()
    if known is None:
        raise OSError(errno.ENOSYS, f"the system calls of {platform.machine()} are not known")
    program = b"".join(_program(known, os.getpid()))
    code = ctypes.create_string_buffer(program, len(program))
    described = struct.pack("@HP", len(program) // 8, ctypes.addressof(code))
    system_calls.call(known.seccomp, SET_MODE_FILTER, ALL_THREADS, described)


def _program(known: Processor, pid: int) -> Iterator[bytes]:
    """The instructions; a processor's other way to call ends the process, as numbers mean something else there."""
    yield from (_load(PROCESSOR_AT), _skip_unless(IF_EQUAL, known.audit, 1, otherwise=0), _end(KILL))
    yield from (_load(NUMBER_AT), _skip_unless(IF_AT_LEAST, X32, 0, otherwise=1), _end(KILL))
    for numbers in CALLS.values():
        if (number := numbers[known.column]) is not None:
            yield from (_skip_unless(IF_EQUAL, number, 0, otherwise=1), _end(ALLOW))
    yield from _if_argument(IOCTL[known.column], 1, HARMLESS_IOCTLS)
    yield from _if_argument(PRLIMIT[known.column], 0, (0,))  # its own limits
    yield from _if_argument(TGKILL[known.column], 0, (pid,))  # abort(3) signals itself
    yield _end(REFUSE | errno.ENOSYS)


def _if_argument(number: int, argument: int, values: Iterable[int]) -> Iterator[bytes]:
    """Allow that call where the low half of an argument has one of the values; refuse it with any other."""
    body = [_load(ARGUMENTS_AT + 8 * argument)]
    for value in values:
        body += [_skip_unless(IF_EQUAL, value, 0, otherwise=1), _end(ALLOW)]
    body.append(_end(REFUSE | errno.ENOSYS))
    yield _skip_unless(IF_EQUAL, number, 0, otherwise=len(body))
    yield from body


def _load(offset: int) -> bytes:
    """Read a field of the call into the accumulator."""
    return struct.pack("=HBBI", LOAD, 0, 0, offset)


def _skip_unless(test: int, value: int, then: int, *, otherwise: int) -> bytes:
    """Skip so many instructions after the test: `then` where it holds, else `otherwise`."""
    return struct.pack("=HBBI", test, then, otherwise, value)


def _end(action: int) -> bytes:
    """Decide what becomes of the call."""
    return struct.pack("=HBBI", RETURN, 0, 0, action)
