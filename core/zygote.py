"""A zygote: a process that has imported what its children need, and forks one whenever it is asked to.

A forked child becomes a child of this process, not of the zygote (`core.zygote_child`), so it is awaited, killed and
ended with this process like any other child. A zygote that dies ends none of them.
"""

from __future__ import annotations

import logging
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, suppress
from functools import partial
from typing import IO

from dropscribe.core import child_process, system_calls
from dropscribe.core.zygote_child import GO_ON, MAX_REPLY, READY

log = logging.getLogger(__name__)

MAX_CHILDREN = 100  # of one zygote: they all have its layout of memory, which a stranger shall not learn for long
READY_SECONDS = 30.0  # until it has imported everything, on a machine that is busy
REPLY_SECONDS = 10.0  # until it has forked; it takes a few milliseconds
RETRY_SECONDS = 60.0  # after one that could not be started
KILL_SECONDS = 5.0  # until it has ended
POLL_SECONDS = 0.5  # between two looks at `stop` while one starts
FIRST_PAUSE, LONGEST_PAUSE = 0.0005, 0.05  # s between two looks at whether a child has ended, as `subprocess` does it


class ForkRefusedError(OSError):
    """The system lets this user have no further process, or has no memory for one."""


class ForkedChild:
    """A child that a zygote forked; has what is used of `subprocess.Popen`. `args` tells what it runs."""

    def __init__(self, pid: int, module: str, stdout: IO[bytes], stderr: IO[bytes], failed: Callable[[], None]) -> None:
        """`stdout` and `stderr` are read from its pipes; `failed` is called if it ends with another status than 0."""
        self.pid, self.args = pid, module
        self.stdout, self.stderr = stdout, stderr
        self.returncode: int | None = None
        self._failed = failed
        self._lock = threading.Lock()

    def poll(self) -> int | None:
        """Its exit status, or the negative number of the signal that ended it; None while it runs."""
        with self._lock:
            if self.returncode is None:
                ended, status = os.waitpid(self.pid, os.WNOHANG)
                if ended:
                    self.returncode = os.waitstatus_to_exitcode(status)
                    if self.returncode:
                        self._failed()
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Await its end for so many seconds; returns its status. Raises subprocess.TimeoutExpired."""
        deadline = float("inf") if timeout is None else time.monotonic() + timeout
        pause = FIRST_PAUSE
        while (status := self.poll()) is None:
            if time.monotonic() >= deadline:
                raise subprocess.TimeoutExpired(self.args, timeout or 0.0)
            time.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)
        return status


class Zygote:
    """Forks children that have imported a module already; one for a process, used by all its threads.

    It is started with the first child, and again after `MAX_CHILDREN`, or after one that did not end well: who crashes
    children to find out where something is in memory finds it elsewhere the next time.
    """

    def __init__(self, module: str, env: Mapping[str, str]) -> None:
        """`module` of dropscribe serves when it is run without arguments; `env` is all of its environment."""
        self._module, self._env = module, env
        self._lock = threading.Lock()
        # A child ends with the thread that started its zygote, so that is one which ends with this process.
        self._starter = ThreadPoolExecutor(1, "zygote")
        self._starting: Future[_Process | None] | None = None
        self._retry_at = 0.0

    @property
    def pid(self) -> int | None:
        """The process id of the zygote; None while there is none."""
        with self._lock:
            starting = self._starting
        process = starting.result() if starting and starting.done() else None
        return process.pid if process else None

    def fork(self, request: bytes, stop: threading.Event) -> ForkedChild | None:
        """A new child that reads `request` from its standard input.

        None where there is no zygote: none can be started here or now, or `stop` was set first.
        """
        process = self._awaited(stop)
        if process is None:
            return None
        retire = partial(self._retire, process)
        try:
            child = process.fork(self._module, request, retire)
        except ForkRefusedError as error:  # so would one that took its place
            self._pause(error)
            retire()
            return None
        except OSError as error:
            log.warning("the process that forks decoders has ended (%s); another replaces it", error)
            retire()
            return None
        if process.children >= MAX_CHILDREN:
            retire()
        return child

    def close(self) -> None:
        """End it; children that still run end with it, and nothing is forked any more."""
        with self._lock:
            starting, self._starting, self._retry_at = self._starting, None, float("inf")
        process = starting.result() if starting else None
        if process:
            process.end()
        self._starter.shutdown()

    def _awaited(self, stop: threading.Event) -> _Process | None:
        """The process that forks, started now or before; None where there is none, or no time to wait for it."""
        with self._lock:
            if self._starting is None and time.monotonic() >= self._retry_at:
                self._starting = self._starter.submit(self._start)
            starting = self._starting
        if starting is None:
            return None
        while not (starting.done() or stop.is_set()):
            wait([starting], POLL_SECONDS)
        return starting.result() if starting.done() else None

    def _start(self) -> _Process | None:
        """Start it; where that fails, it is not tried again for a while."""
        try:
            return _Process(self._module, self._env)
        except OSError as error:
            self._pause(error)
            with self._lock:
                self._starting = None
            return None

    def _pause(self, error: OSError) -> None:
        """Start none for a while; say why."""
        log.warning("decoders cannot be forked (%s); each recording starts a process", error)
        with self._lock:
            self._retry_at = max(self._retry_at, time.monotonic() + RETRY_SECONDS)

    def _retire(self, process: _Process) -> None:
        """Have the next child forked by another one."""
        with self._lock:
            starting = self._starting
            if not (starting and starting.done() and starting.result() is process):
                return
            self._starting = None
            self._starter.submit(process.end)


class _Process:
    """One zygote and the socket to it."""

    def __init__(self, module: str, env: Mapping[str, str]) -> None:
        """Start it and wait until it is ready. Raises OSError."""
        self.children = 0
        self._lock = threading.Lock()
        self._control, its_end = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with its_end, ExitStack() as after_failure:
            after_failure.callback(self._control.close)
            nowhere = subprocess.DEVNULL  # it has no descriptor of this process; what it lacks, a child alone will tell
            self._process = child_process.start(module, env=env, stdin=its_end.fileno(), stdout=nowhere, stderr=nowhere)
            self.pid = self._process.pid
            after_failure.callback(self._reap)
            its_end.close()
            self._control.settimeout(READY_SECONDS)
            if self._control.recv(MAX_REPLY) != READY:
                raise OSError("it ended during its start")
            self._control.settimeout(REPLY_SECONDS)
            after_failure.pop_all()

    def fork(self, module: str, request: bytes, failed: Callable[[], None]) -> ForkedChild:
        """A new child; the request is read by that alone, so that its siblings hold none of it. Raises OSError."""
        with ExitStack() as its_ends, ExitStack() as after_failure:
            pipes = [os.pipe() for _ in range(3)]
            (asked, asking), (told, telling), (heard, complaining) = pipes
            for fd in (asked, telling, complaining):
                its_ends.callback(os.close, fd)
            ours = [os.fdopen(fd, mode, buffering=0) for fd, mode in ((asking, "wb"), (told, "rb"), (heard, "rb"))]
            for file in ours:
                after_failure.callback(file.close)
            pid = self._forked((asked, telling, complaining))
            its_ends.close()
            after_failure.pop_all()
        question, output, errors = ours
        with suppress(BrokenPipeError), question:  # it has ended already, and its status tells why
            question.write(request)
        return ForkedChild(pid, module, output, errors, failed)

    def _forked(self, descriptors: tuple[int, int, int]) -> int:
        """The number of a child forked now. Raises OSError."""
        with self._lock:
            socket.send_fds(self._control, [GO_ON], descriptors)
            answer = int(self._control.recv(MAX_REPLY) or b"0")
            self.children += 1
        if answer < 0:
            raise ForkRefusedError(-answer, os.strerror(-answer))
        if answer == 0:
            raise OSError("it has ended")
        return answer

    def end(self) -> None:
        """Its children go on: they are not its own."""
        with self._lock:
            self._control.close()
        self._reap()

    def _reap(self) -> None:
        """End it, and wait for its end as far as that comes."""
        self._process.kill()
        with suppress(subprocess.TimeoutExpired):  # it hangs in a disk
            self._process.wait(KILL_SECONDS)


def is_offered() -> bool:
    """Can zygotes be used on this machine? Elsewhere than on Linux, libraries may run threads that no fork survives."""
    return sys.platform == "linux" and system_calls.can_fork_siblings()
