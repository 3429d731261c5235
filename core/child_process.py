"""Starts a module of dropscribe as a process of its own, which ends when its parent says so, or with its parent."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from typing import IO

PR_SET_PDEATHSIG = 1  # linux/prctl.h
PARENT = "PARENT_PROCESS"  # the variable that tells a child whose child it is
KEPT = ("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "TMPDIR", "LANG", "LC_ALL")

Stream = int | IO[bytes] | None  # as `subprocess` takes them; None is the parent's own


def start(
    module: str,
    *arguments: str,
    env: Mapping[str, str],
    stdin: Stream = subprocess.DEVNULL,
    stdout: Stream = None,
    stderr: Stream = None,
    cwd: str | None = None,
) -> subprocess.Popen[bytes]:
    """Run `python -m dropscribe.MODULE ARGUMENTS`. Raises OSError.

    The working directory, perhaps a drop folder, is kept out of the import path (-P). In a session of its own, Ctrl-C
    does not reach the child: its parent ends its children, in order.
    """
    return subprocess.Popen(  # noqa: S603 (our own interpreter and module, no shell)
        [sys.executable, "-P", "-m", f"dropscribe.{module}", *arguments],
        env={**env, PARENT: str(os.getpid())},
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        bufsize=0,  # of pipes: their readers ask for what is there
        cwd=cwd,
        start_new_session=True,
    )


def bare_environment() -> dict[str, str]:
    """The environment of a child that parses what strangers wrote: what it runs by, and no secret."""
    return {name: os.environ[name] for name in KEPT if name in os.environ} | import_path()


def import_path() -> dict[str, str]:
    """What lets a child find the modules that this process finds, also where they are not installed."""
    return {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}


def die_with_parent(number: signal.Signals) -> None:
    """Let the kernel send this process a signal when its parent ends, so that kill -9 leaves nothing behind (Linux).

    A parent that ended before that was asked for is noticed too: then somebody else has adopted this process.
    """
    if sys.platform == "linux":
        import ctypes  # only a child needs it

        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, number)
        if os.environ.get(PARENT, str(os.getppid())) != str(os.getppid()):
            os.kill(os.getpid(), number)
