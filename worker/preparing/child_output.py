"""What a child process writes, read up to a bound: it may be in the hands of a stranger, who writes without end."""

from __future__ import annotations

import os
import select
import subprocess
import time
from contextlib import suppress

from dropscribe.core.zygote import ForkedChild

MAX_BYTES = 4 << 20  # of each pipe; the longest answer, of a recording with thousands of holes, takes a tenth
PIPE_BYTES = 1 << 16  # what Linux holds in a pipe


class ChildOutput:
    """Standard output and standard error of a child; beyond the bound, what it writes is dropped."""

    def __init__(self, child: subprocess.Popen[bytes] | ForkedChild) -> None:
        """`child` has both as pipes of its own."""
        self._child = child
        self._open = {pipe.fileno(): pipe for pipe in (child.stdout, child.stderr) if pipe}
        self._written = {pipe: bytearray() for pipe in self._open}
        self._poll = select.poll()
        for pipe in self._open:
            self._poll.register(pipe, select.POLLIN)

    def has_ended(self, seconds: float) -> bool:
        """Read for so long at most; True as soon as the child has closed its pipes and ended."""
        deadline = time.monotonic() + seconds
        while self._open:
            ready = self._poll.poll(max(0.0, deadline - time.monotonic()) * 1000)
            if not ready:
                return False
            for pipe, _ in ready:
                self._take(pipe)
        with suppress(subprocess.TimeoutExpired):
            self._child.wait(max(0.0, deadline - time.monotonic()))
            return True
        return False

    def written(self) -> tuple[bytes, bytes]:
        """To standard output and to standard error, so far."""
        output, errors = self._written.values()
        return bytes(output), bytes(errors)

    def _take(self, pipe: int) -> None:
        """Read a piece from a pipe; the end closes it, and what is too much is thrown away."""
        piece = os.read(pipe, PIPE_BYTES)
        if not piece:
            self._poll.unregister(pipe)
            self._open.pop(pipe).close()
        self._written[pipe] += piece[: MAX_BYTES - len(self._written[pipe])]
