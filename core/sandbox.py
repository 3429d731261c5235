"""Closes a process off from its machine before it parses what a stranger wrote: it may compute, read and write.

Its files are those that it is given, Python and the libraries. It opens no connection, starts no program and no
process, and reaches no other one. Linux offers three things for it, and each holds where another has a hole: privileges
are given up, Landlock limits files, seccomp limits system calls.
"""

from __future__ import annotations

import os
import resource
import sys
import sysconfig
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from dropscribe.core import landlock, seccomp, system_calls
from dropscribe.core.errors import SandboxError

REQUIRE, TRY, OFF = "require", "try", "off"  # values of the setting `sandbox`
STANDARD = 3  # descriptors: input, output and errors
MAX_OPEN = 1 << 20  # the kernel's usual bound where no limit is set
MAX_DESCRIPTORS = 256  # a recording of many tracks has a file for each
LIBRARIES = ("/usr/lib", "/usr/lib64", "/lib", "/lib64", "/etc/ld.so.cache")
# Capabilities that may stay: who has them may need them for a folder of another account, and Landlock limits them.
CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH = 1 << 1, 1 << 2


def lacks() -> tuple[str, ...]:
    """What this machine's kernel does not offer to close a process off; nothing where it offers all."""
    if sys.platform != "linux":
        return ("Linux",)
    there = {
        "Landlock (Linux 5.13, switched on by lsm=landlock)": landlock.version() > 0,
        "seccomp filters for this processor": seccomp.is_offered(),
    }
    return tuple(name for name, is_there in there.items() if not is_there)


def check(mode: str) -> None:
    """Raise SandboxError where processes must be closed off and this machine cannot do it."""
    if mode == REQUIRE and (missing := lacks()):
        raise SandboxError(
            f"decoders cannot be closed off here: the kernel lacks {' and '.join(missing)}",
            remedy="start one that has it, or set DROPSCRIBE_SANDBOX=try",
        )


def hide() -> None:
    """Keep this process's memory and environment from other processes of the same user, and out of core dumps."""
    if sys.platform == "linux":
        system_calls.prctl(system_calls.PR_SET_DUMPABLE, 0)


def harden() -> None:
    """Hide this process, and let no program that it starts have more privileges than it has itself."""
    hide()
    if sys.platform == "linux":
        system_calls.prctl(system_calls.PR_SET_NO_NEW_PRIVS, 1)


def enter(mode: str, read: Iterable[Path], write: Iterable[Path]) -> None:
    """Close this process off, for good: only these files and folders, no connection, no program, no other process.

    Call it in a separate process with one thread, after its imports and before it parses anything. Descriptors above
    standard error are closed. With `try`, what the kernel lacks is done without; with `off`, nothing is done. Raises
    SandboxError, OSError.
    """
    check(mode)
    if mode == OFF or sys.platform != "linux":
        return
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    os.closerange(STANDARD, min(most, MAX_OPEN))
    resource.setrlimit(resource.RLIMIT_NOFILE, 2 * (min(most, MAX_DESCRIPTORS),))
    harden()
    system_calls.keep_capabilities(CAP_DAC_OVERRIDE | CAP_DAC_READ_SEARCH)
    if landlock.version():
        landlock.restrict([*libraries(), *read], write)
    if seccomp.is_offered():
        seccomp.restrict()


PACKAGE_FOLDERS = frozenset({"site-packages", "dist-packages"})


@cache
def libraries() -> tuple[Path, ...]:
    """What a closed process may read besides: Python with its packages, the system's libraries, our own folders."""
    installed = set(map(sysconfig.get_path, ("stdlib", "platstdlib", "purelib", "platlib")))
    # Packages may lie elsewhere too; what else is in the path may be a checkout with a settings file in it.
    installed |= {entry for entry in sys.path if Path(entry).name in PACKAGE_FOLDERS}
    own = filter(Path.is_dir, Path(__file__).parents[1].iterdir())
    return (*map(Path, sorted(installed) + list(LIBRARIES)), *own)
