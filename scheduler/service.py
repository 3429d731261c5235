"""The scheduler from start to stop: looks at its roots when the bell rings or their time has come, and reconciles."""

from __future__ import annotations

import logging
import os
import secrets
import signal
import socket
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from pathlib import Path

from core import logs
from core.errors import StoreError
from core.queue import Doorbell
from core.settings import Settings
from scheduler import admission, reconciler, roots
from scheduler.bell import Bell
from scheduler.scan import Observation
from scheduler.watch import RootWatch
from store import fleet, jobs
from store.session import Database, open_database

log = logging.getLogger(__name__)

LONGEST_WAIT = 5.0  # seconds between two looks at the clock


class Scheduler:
    """Watches roots until it is told to stop."""

    def __init__(self, settings: Settings, database: Database, folders: Sequence[Path], name: str) -> None:
        """`folders` are made absolute; raises UsageError when they overlap."""
        roots.check_roots(folders)
        self._settings = settings
        self._database = database
        self._doorbell = Doorbell(settings)
        self._name = name
        self._stop = threading.Event()
        exclude = {settings.home, settings.spool_dir, *([settings.results] if settings.results else [])}
        self._bell = Bell(exclude=exclude)
        self._watches = [self._watch(folder.expanduser().resolve(), frozenset(exclude)) for folder in folders]

    def run(self) -> None:
        """Work until `stop`."""
        fleet.register(
            self._database, self._name, host=socket.gethostname(), pid=os.getpid(), role="scheduler", state="ready"
        )
        fleet.forget_roots(self._database, socket.gethostname())
        mending = threading.Thread(target=self._reconcile_for_ever, name="reconciler")
        mending.start()
        try:
            while not self._stop.is_set():
                self._tend_roots()
                self._rest()
        finally:
            # First nothing new comes in, then what was mended is complete, then the entry goes.
            self._stop.set()
            self._bell.stop()
            mending.join()
            self._doorbell.close()
            self._forgivingly(lambda: fleet.leave(self._database, self._name))

    def stop(self) -> None:
        """End `run` soon; for signal handlers too."""
        self._stop.set()
        self._bell.ring()

    def _watch(self, folder: Path, exclude: frozenset[Path]) -> RootWatch:
        return RootWatch(
            folder, self._settings, self._bell, lambda root: jobs.known(self._database, root), self._admit, exclude
        )

    def _admit(self, root: str, complete: Mapping[str, Observation], gone: Collection[str]) -> None:
        admission.admit(self._database, self._doorbell, self._settings, root, complete, gone)

    def _tend_roots(self) -> None:
        looked = []
        for watch in self._watches:
            if watch.next_look <= time.monotonic() and not self._stop.is_set():
                self._forgivingly(partial(watch.look, time.monotonic()))
                looked.append(watch.report)
        if looked:
            self._forgivingly(lambda: fleet.report_roots(self._database, looked))

    def _rest(self) -> None:
        next_look = min(watch.next_look for watch in self._watches)
        if self._bell.wait(min(LONGEST_WAIT, max(0.0, next_look - time.monotonic()))):
            for watch in self._watches:
                watch.rung()

    def _reconcile_for_ever(self) -> None:
        beat = min(self._settings.reconcile_seconds, self._settings.renew_seconds)
        while True:
            self._forgivingly(lambda: fleet.heartbeat(self._database, self._name))
            self._forgivingly(lambda: reconciler.reconcile(self._database, self._doorbell, self._settings, self._name))
            if self._stop.wait(beat):
                return

    def _forgivingly(self, step: Callable[[], object]) -> None:
        """A store that is away comes back; until then nothing is admitted and nothing is lost."""
        try:
            step()
        except StoreError as error:
            log.warning("%s", error)


def run(settings: Settings, folders: Sequence[Path], *, name: str | None = None) -> int:
    """Watch until SIGTERM or SIGINT; returns the exit status. Raises UsageError or StoreError at start."""
    logs.configure(settings)
    database = open_database(settings.database, where="scheduler")
    try:
        named = name or f"{socket.gethostname()}-scheduler-{secrets.token_hex(3)}"
        scheduler = Scheduler(settings, database, folders, named)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: scheduler.stop())
        scheduler.run()
        return 0
    finally:
        database.close()
