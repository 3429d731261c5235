"""Landlock: a process gives up every file that it does not name, TCP, and signals to others (landlock(7)).

What was given up never comes back, and holds for every thread and process that is started afterwards. The few calls
are made by number, which is the same on every processor: the packages that wrap them are young.
"""

from __future__ import annotations

import os
import stat
import struct
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from dropscribe.core import system_calls

CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446  # numbers of the system calls
ASK_VERSION = 1  # a flag of the first
PATH_BENEATH = 1  # the kind of rule that names a file, or a folder with all below it

# Rights to files, by their bits in linux/landlock.h, and the version of Landlock that brought them.
WRITE_FILE, READ_FILE, READ_DIR, REMOVE_FILE, MAKE_REG = 1 << 1, 1 << 2, 1 << 3, 1 << 5, 1 << 8
TRUNCATE = 1 << 14
RIGHTS_OF_VERSION = {1: (1 << 13) - 1, 2: 1 << 13, 3: TRUNCATE, 5: 1 << 15}
TCP = 0b11  # to listen and to connect, since version 4
SCOPES = 0b11  # abstract unix sockets and signals beyond this process, since version 6
ATTRIBUTE_BYTES = {1: 8, 4: 16, 6: 24}  # of what describes a ruleset, by version

OF_A_FILE = WRITE_FILE | READ_FILE | TRUNCATE  # the rights that make sense for one
TO_READ = READ_FILE | READ_DIR
TO_WRITE = TO_READ | WRITE_FILE | TRUNCATE | MAKE_REG | REMOVE_FILE


def version() -> int:
    """The version of the kernel's Landlock; 0 where it has none."""
    with suppress(OSError):  # not built in, or not switched on
        return system_calls.call(CREATE_RULESET, None, 0, ASK_VERSION)
    return 0


def restrict(read: Iterable[Path], write: Iterable[Path]) -> None:
    """Leave this thread, and what it starts, only these files and what lies in these folders. Raises OSError.

    A path that cannot be reached is passed over. Nothing may be executed. New privileges must have been given up.
    """
    # Every right to files that this version knows: what is not allowed by a rule is forbidden.
    handled = sum(rights for since, rights in RIGHTS_OF_VERSION.items() if since <= version())
    ruleset = _ruleset(handled)
    try:
        for rights, paths in ((TO_READ, read), (TO_WRITE, write)):
            for path in paths:
                with suppress(OSError):  # not there, or on a disk that fails: then nothing of it is allowed
                    _allow(ruleset, path, rights & handled)
        system_calls.call(RESTRICT_SELF, ruleset, 0)
    finally:
        os.close(ruleset)


def _ruleset(handled: int) -> int:
    """A descriptor of an empty ruleset, in the layout that this version of the kernel knows."""
    there = version()
    size = max(size for since, size in ATTRIBUTE_BYTES.items() if since <= there)
    attributes = struct.pack("=QQQ", handled, TCP, SCOPES)[:size]
    return system_calls.call(CREATE_RULESET, attributes, size, 0)


def _allow(ruleset: int, path: Path, rights: int) -> None:
    """Add a rule to the ruleset: these rights to the path, and to all below it. Raises OSError."""
    fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        is_folder = stat.S_ISDIR(os.fstat(fd).st_mode)
        rule = struct.pack("=Qi", rights if is_folder else rights & OF_A_FILE, fd)
        system_calls.call(ADD_RULE, ruleset, PATH_BENEATH, rule, 0)
    finally:
        os.close(fd)
