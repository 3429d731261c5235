"""A process that has imported what the members of a fleet need, and forks them: most of a start is imports.

What is forked does from then on what `python -m dropscribe.admin.local.child` does. Nothing here has threads.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

IMPORTED = (
    "celery.apps.worker",
    "celery.concurrency.thread",
    "celery.worker.consumer",
    "dropscribe.admin.local.child",
    "dropscribe.core.redis_transport",
    "dropscribe.core.settings_loading",
    "dropscribe.models.registry",
    "dropscribe.models.scripted.transcriber",
    "dropscribe.scheduler.scanning.scanner",
    "dropscribe.scheduler.service",
    "dropscribe.worker.preparing.decode",
    "dropscribe.worker.preparing.vad",
    "dropscribe.worker.service",
    "psycopg",
    "sqlalchemy.dialects.postgresql.psycopg",
    "sqlalchemy.dialects.sqlite.pysqlite",
)
LARGEST = 1 << 18  # bytes of a request


class Nursery:
    """Starts members by a process of its own, and asks it how they ended."""

    def __init__(self) -> None:
        self._line, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            command = [sys.executable, "-P", __file__, str(theirs.fileno())]
            self._process = subprocess.Popen(command, pass_fds=[theirs.fileno()])

    def fork(self, arguments: Sequence[str], environment: Mapping[str, str], log: Path) -> Forked:
        """A member, in a session of its own, that writes to the file `log`."""
        asked = {"arguments": list(arguments), "environment": dict(environment), "log": str(log)}
        return Forked(self, self._ask(asked))

    def ended(self, pid: int) -> int | None:
        """How one has ended, as `subprocess` counts; None if it has not."""
        status: int | None = self._ask({"ended": pid})
        return status

    def close(self) -> None:
        """End it."""
        self._line.close()
        self._process.wait()

    def _ask(self, asked: Mapping[str, object]) -> Any:
        self._line.sendall(json.dumps(asked).encode())
        return json.loads(self._line.recv(LARGEST))


class Forked:
    """A member that was forked, with what `subprocess.Popen` has of it."""

    def __init__(self, nursery: Nursery, pid: int) -> None:
        self._nursery = nursery
        self.pid = pid
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """See `subprocess`."""
        if self.returncode is None:
            self.returncode = self._nursery.ended(self.pid)
        return self.returncode

    def wait(self, timeout: float = float("inf")) -> int:
        """See `subprocess`."""
        until = time.monotonic() + timeout
        while (status := self.poll()) is None:
            if time.monotonic() > until:
                raise subprocess.TimeoutExpired(f"member {self.pid}", timeout)
            time.sleep(0.01)
        return status

    def terminate(self) -> None:
        """See `subprocess`."""
        self._send(signal.SIGTERM)

    def kill(self) -> None:
        """See `subprocess`."""
        self._send(signal.SIGKILL)

    def _send(self, number: int) -> None:
        if self.poll() is None:  # then its number is nobody else's
            os.kill(self.pid, number)


def serve(line: socket.socket) -> list[str]:
    """Fork anyone who is asked for, until the line is closed; in what was forked, returns its arguments."""
    while request := line.recv(LARGEST):
        asked = json.loads(request)
        if (pid := asked.get("ended")) is not None:
            done, status = os.waitpid(pid, os.WNOHANG)
            answer = os.waitstatus_to_exitcode(status) if done else None
        elif (answer := os.fork()) == 0:
            line.close()
            return become(asked)
        line.sendall(json.dumps(answer).encode())
    os._exit(0)


def become(asked: Mapping[str, Any]) -> list[str]:
    """Be in the surroundings that the test wants; returns the arguments."""
    os.setsid()
    os.environ.clear()
    os.environ.update(asked["environment"])
    nothing = os.open(os.devnull, os.O_RDONLY)
    log = os.open(asked["log"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    for ours, theirs in ((nothing, 0), (log, 1), (log, 2)):
        os.dup2(ours, theirs)
        os.set_inheritable(theirs, True)
    os.close(nothing)
    os.close(log)
    return list(asked["arguments"])


def main() -> int:
    """The process itself, and what is forked from it."""
    for name in IMPORTED:
        importlib.import_module(name)
    assert threading.active_count() == 1, threading.enumerate()
    from dropscribe.admin.local import child

    sys.argv[1:] = serve(socket.socket(fileno=int(sys.argv[1])))
    return child.main(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
