"""One scanner process and its pipes: asked a question, awaited with patience, killed as far as the kernel allows."""

from __future__ import annotations

import json
import os
import select
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, ClassVar, cast

from dropscribe.core import child_process
from dropscribe.core.error_translation import explained
from dropscribe.core.errors import DropscribeError
from dropscribe.scheduler.scanning.roots import RootOfflineError

POLL_SECONDS = 0.5  # between two looks at `stop` while an answer is awaited
REAP_SECONDS = 1.0  # how long a killed process may take to go before it counts as stuck
PIPE_BYTES = 1 << 16  # what Linux holds in a pipe

Message = dict[str, Any]
Take = Callable[[Message], None]


class ScannerStoppedError(DropscribeError):
    """A scan was ended on request."""

    retryable: ClassVar[bool] = True


class SilentError(DropscribeError):
    """The process made no progress."""


class EndedError(DropscribeError):
    """The process is gone."""


class ScanProcess:
    """The process that runs `scan_child`; `where` is the file or directory it came to last, relative to the root."""

    def __init__(self, path: Path) -> None:
        """Start it for the root `path`. Raises RootOfflineError when there is no room for another process."""
        with explained(OSError, RootOfflineError, f"{path} is not scanned", remedy="free some memory or processes"):
            self._process = child_process.start(
                "scheduler.scanning.child",
                env=child_process.bare_environment(),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                cwd="/",  # keeps the share free to be unmounted
            )
        self.pid = self._process.pid
        self._to, self._from = cast(BinaryIO, self._process.stdin), cast(BinaryIO, self._process.stdout)
        os.set_blocking(self._to.fileno(), False)
        self.where = ""
        self.is_stuck = False
        self._lines: deque[bytes] = deque()
        self._tail: list[bytes] = []

    @property
    def is_alive(self) -> bool:
        """False once it has ended; one that hangs counts as alive."""
        return self._process.poll() is None

    def ask(self, request: Message, take: Take, wait: Wait) -> Any:
        """Send a request, hand over its progress to `take`, return the answer.

        Raises RootOfflineError if that is the answer, SilentError and EndedError when there is none, and
        ScannerStoppedError.
        """
        self.where = ""
        try:
            self._send(json.dumps(request).encode("ascii") + b"\n", wait)
            while "at" in (message := self._receive(wait)):
                self.where = message["at"]
                take(message)
        except BrokenPipeError as error:
            raise EndedError("its pipe is broken") from error
        if complaint := message.get("error"):
            raise RootOfflineError(complaint)
        return message["done"]

    def kill(self) -> bool:
        """True when it is gone; False when it hangs in the kernel, where no signal reaches it."""
        self._process.kill()
        self._to.close()
        self._from.close()
        try:
            self._process.wait(REAP_SECONDS)
        except subprocess.TimeoutExpired:
            self.is_stuck = True
        return not self.is_stuck

    def abandon(self) -> None:
        """Wait for it no more, nor complain that nobody waited."""
        if self._process.returncode is None:
            self._process.returncode = -1

    def _send(self, data: bytes, wait: Wait) -> None:
        """Write a request, as fast as the process reads it. Raises SilentError, ScannerStoppedError."""
        while data:
            wait.until(self._to.fileno(), select.POLLOUT)
            data = data[os.write(self._to.fileno(), data) :]

    def _receive(self, wait: Wait) -> Message:
        """The next message of the process. Raises EndedError, SilentError, ScannerStoppedError."""
        while not self._lines:
            wait.until(self._from.fileno(), select.POLLIN)
            piece = os.read(self._from.fileno(), PIPE_BYTES)
            if not piece:
                raise EndedError("its pipe is closed")
            self._sort(piece)
        message: Message = json.loads(self._lines.popleft())
        return message

    def _sort(self, piece: bytes) -> None:
        """Whole lines to `_lines`, the start of the next to `_tail`."""
        first, *others = piece.split(b"\n")
        self._tail.append(first)
        for rest in others:
            self._lines.append(b"".join(self._tail))
            self._tail = [rest]


class Wait:
    """Waits for a pipe: for at most `deadline` seconds at a time, and until `stop` is set."""

    def __init__(self, deadline: float, stop: threading.Event) -> None:
        self._deadline = deadline
        self._stop = stop

    def until(self, pipe: int, ready: int) -> None:
        """Raises SilentError after the deadline, ScannerStoppedError soon after `stop` is set."""
        poll = select.poll()
        poll.register(pipe, ready)
        began = time.monotonic()
        while not poll.poll(min(POLL_SECONDS, self._deadline) * 1000):
            if self._stop.is_set():
                raise ScannerStoppedError("stopped while scanning", remedy="the next start scans again")
            if time.monotonic() - began >= self._deadline:
                raise SilentError(f"no answer for {self._deadline:.0f} s")
