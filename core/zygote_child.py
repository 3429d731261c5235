"""Inside a zygote: waits for the descriptors of a child, forks it, tells its process id.

A zygote holds nothing of what its children are asked: those read that themselves. Its only descriptor that leads
anywhere is its socket, which each child closes at once.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

from dropscribe.core import sandbox, system_calls
from dropscribe.core.child_process import die_with_parent

READY = b"ready"
GO_ON = b"f"  # what comes with the descriptors of a child: standard input, output and errors
MAX_REPLY = 64  # bytes
STANDARD_STREAMS = 3
TASKS = Path("/proc/self/task")  # the threads of this process


def serve(run: Callable[[str], None]) -> None:
    """Fork a child for each that is asked for, until nobody asks any more; `run` is given the request in the child.

    The socket is standard input. Raises RuntimeError if anything has started a thread, which no fork would survive.
    """
    die_with_parent(signal.SIGKILL)
    sandbox.hide()
    if len([*TASKS.iterdir()]) > 1:
        raise RuntimeError("a library has started threads, so it cannot fork")
    with socket.socket(fileno=sys.stdin.fileno()) as control:
        control.send(READY)
        while _forked_for(control, run):
            pass


def _forked_for(control: socket.socket, run: Callable[[str], None]) -> bool:
    """Wait for one request and fork its child; False at the end."""
    asked, descriptors, _, _ = socket.recv_fds(control, MAX_REPLY, STANDARD_STREAMS)
    if len(descriptors) != STANDARD_STREAMS:
        return False
    pid = _fork()
    if pid == 0:
        _be_child(descriptors, run)
    for fd in descriptors:
        os.close(fd)
    control.send(str(pid).encode("ascii"))
    return bool(asked)


def _fork() -> int:
    """The id of the child, 0 in the child, or the negative number of an error."""
    try:
        return system_calls.fork_sibling()
    except OSError as error:
        return -(error.errno or 1)


def _be_child(descriptors: list[int], run: Callable[[str], None]) -> None:
    """Never returns, so that nothing of the zygote runs twice."""
    status = 1
    try:
        for standard, fd in enumerate(descriptors):
            os.dup2(fd, standard)  # standard input was the socket
            os.close(fd)
        os.setsid()
        if request := _request():
            run(request)
        sys.stdout.flush()
        status = 0
    except BaseException:  # noqa: BLE001 (whatever it is, the parent hears of it and this process ends)
        traceback.print_exc()
        sys.stderr.flush()
    finally:
        os._exit(status)


def _request() -> str:
    """All of standard input; nothing where the parent was gone before it asked."""
    with open(0, "rb", closefd=False) as question:
        return question.read().decode("ascii")
