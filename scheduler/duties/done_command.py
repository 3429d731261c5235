"""A command of the operator that runs when a transcript is there: without a shell, for a limited time.

It gets what happened as JSON on its standard input. What it prints is read so that it never waits for a reader, and
forgotten except for its end, which tells why it failed. Whatever it has started ends with it.
"""

from __future__ import annotations

import json
import logging
import os
import select
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from typing import IO, Any

from dropscribe.core import on_done
from dropscribe.core.error_translation import translated
from dropscribe.core.safe_text import printable
from dropscribe.core.settings import Settings
from dropscribe.scheduler.duties.channel import CutShortError, DeliveryError, UndeliverableError
from dropscribe.store.notifications import COMMAND, Notification
from dropscribe.store.queries import Job

log = logging.getLogger(__name__)

KEPT = ("PATH", "HOME", "USER", "LANG", "LC_ALL", "TZ", "TMPDIR")  # of our environment, which holds secrets
TAIL = 500  # bytes of what it printed last
BLOCK = 65_536
ENDING = 10.0  # seconds that the kernel may take to end it
LOOK = 0.05  # seconds between two looks at a command that runs


class DoneCommand:
    """Runs the command that the operator's tables name for a job's folder."""

    name = COMMAND

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.tries = settings.on_done_tries
        self.seconds = settings.on_done_seconds

    def switches(self) -> set[str]:
        """See `NotificationChannel`."""
        return {COMMAND} if any(on_done.KEY in table for table in self._settings.folders.values()) else set()

    def wants(self, job: Job, one: Notification, /) -> bool:
        """Where there is a transcript, and a command for the folder."""
        return one.state in on_done.STATES and bool(on_done.command(self._settings.folders, job.source))

    def send(self, _one: Notification, document: Mapping[str, Any], stop: threading.Event, /) -> str:
        """See `NotificationChannel`."""
        words = on_done.command(self._settings.folders, document["source"])
        values = {name: str(document[name]) for name in on_done.OF_THE_JOB}
        values |= {file["format"]: file["path"] for file in document["files"]}
        try:
            filled = on_done.filled(words, values)
        except KeyError as error:
            raise UndeliverableError(f"there is no {error.args[0]} file to give to {words[0]}") from error
        run(filled, json.dumps(document).encode(), self.seconds, stop)
        return ""


def run(words: Sequence[str], document: bytes, seconds: float, stop: threading.Event) -> None:
    """Run the command to its end.

    Raises DeliveryError unless it ends by itself, in time, with status 0, and CutShortError where `stop` ended it.
    """
    reading, writing = os.pipe()
    with open(reading, "rb", buffering=0) as output:  # noqa: PTH123 (a descriptor)
        os.set_blocking(reading, False)
        try:
            process = _started(words, document, writing)
        finally:
            os.close(writing)
        try:
            said = _followed(process, output, time.monotonic() + seconds, stop)
            status = process.poll()
        finally:
            _end(process)
    if status is None and stop.is_set():
        raise CutShortError(f"{words[0]} was ended because the scheduler stops")
    if status != 0:
        why = f"was ended after {seconds:.0f} s" if status is None else f"ended with status {status}"
        raise DeliveryError(": ".join(filter(None, (f"{words[0]} {why}", said))))


def _started(words: Sequence[str], document: bytes, output: int) -> subprocess.Popen[bytes]:
    """The command, with the document in a file: one that does not read it keeps nobody waiting."""
    with tempfile.TemporaryFile() as told:
        told.write(document)
        told.seek(0)
        with translated((OSError, ValueError), into=lambda error: DeliveryError(f"cannot run {words[0]}: {error}")):
            return subprocess.Popen(  # noqa: S603 (the operator's own words, no shell)
                words,
                stdin=told,
                stdout=output,
                stderr=output,
                env={name: os.environ[name] for name in KEPT if name in os.environ},
                cwd="/",
                start_new_session=True,
            )


def _followed(process: subprocess.Popen[bytes], output: IO[bytes], deadline: float, stop: threading.Event) -> str:
    """What it printed last, once it has ended or must be ended."""
    tail = b""
    while process.poll() is None and time.monotonic() < deadline and not stop.is_set():
        block = output.read(BLOCK)  # None while there is nothing
        tail = (tail + (block or b""))[-TAIL:]
        if block == b"":  # it has closed its output, and goes on
            stop.wait(LOOK)
        else:
            select.select([output], [], [], LOOK)
    return printable((tail + (output.read(BLOCK) or b""))[-TAIL:].decode(errors="replace").strip())


def _end(process: subprocess.Popen[bytes]) -> None:
    """End it with all that it started. A process that became another user's, as by sudo, goes on."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(ENDING)
    except ProcessLookupError:
        process.wait()
    except (PermissionError, subprocess.TimeoutExpired) as error:
        process.poll()
        log.warning("a command of on_done goes on, because it cannot be ended: %s", error)
