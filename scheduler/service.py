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
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from functools import partial
from pathlib import Path

from dropscribe.core import logs, metrics
from dropscribe.core.errors import SchemaError, SettingsError, StoreError, UnstorableError, UsageError
from dropscribe.core.hotwords import context_of
from dropscribe.core.queue import Doorbell
from dropscribe.core.settings import Settings
from dropscribe.scheduler.duties import archiver, reconciler
from dropscribe.scheduler.duties.metrics import StoreCollector
from dropscribe.scheduler.duties.notifier import Notifier
from dropscribe.scheduler.duties.status_page import StatusPage
from dropscribe.scheduler.scanning import roots
from dropscribe.scheduler.scanning.process import ScannerStoppedError
from dropscribe.scheduler.scanning.scan import Observation
from dropscribe.scheduler.scanning.scanner import Scanner, at_once
from dropscribe.scheduler.watching import admission
from dropscribe.scheduler.watching.file_events import FileEventWatcher
from dropscribe.scheduler.watching.folder_rules import Folders
from dropscribe.scheduler.watching.replacement import admit_replaced
from dropscribe.scheduler.watching.root_watch import RootWatch
from dropscribe.store import fleet, jobs
from dropscribe.store.roots import forget_root, forget_roots, report_roots
from dropscribe.store.session import Database, open_database

log = logging.getLogger(__name__)

MAX_WAIT = 5.0  # seconds between two looks at the clock


class Scheduler:
    """Watches roots until it is told to stop."""

    def __init__(self, settings: Settings, database: Database, folders: Sequence[Path], name: str) -> None:
        """`folders` are made absolute; raises UsageError when they overlap or a setting does not fit."""
        self._settings = settings
        self._database = database
        self._doorbell = Doorbell(settings)
        self._name = name
        self._stop = threading.Event()
        self._notifier = Notifier(settings, database)
        self._watches = self._watch(folders, _kept_out(settings))

    def run(self) -> None:
        """Work until `stop`."""
        with metrics.served(self._settings, StoreCollector(self._database, self._settings)) as url:
            self._run(url)

    def _run(self, metrics_at: str) -> None:
        fleet.register(
            self._database,
            self._name,
            host=socket.gethostname(),
            pid=os.getpid(),
            role="scheduler",
            state="ready",
            metrics=metrics_at,
        )
        forget_roots(self._database, socket.gethostname())
        self._notifier.begin()
        with ThreadPoolExecutor(2 + len(self._watches)) as threads:
            tending = [threads.submit(self._tend, watch) for watch in self._watches]
            tending.append(threads.submit(self._notifier.run, self._stop))
            tending.append(threads.submit(self._reconcile_for_ever))
            try:
                wait(tending, return_when=FIRST_EXCEPTION)
            finally:
                self.stop()
        # Now nothing new comes in and what was mended is complete, so the entry goes.
        self._doorbell.close()
        self._forgivingly(lambda: fleet.leave(self._database, self._name))
        for one in tending:
            one.result()

    def stop(self) -> None:
        """End `run` soon; for signal handlers too."""
        self._stop.set()
        for watch in self._watches:
            watch.bell.ring()

    def _watch(self, folders: Sequence[Path], exclude: frozenset[Path]) -> list[RootWatch]:
        deadline = self._settings.scan_deadline_seconds
        scanners = [Scanner(deadline=deadline, stop=self._stop) for _ in folders]
        places = at_once(Scanner.resolve, scanners, folders)
        try:
            roots.check_roots(folders, dict(zip(folders, places, strict=True)).__getitem__)
        except UsageError:
            for scanner in scanners:
                scanner.close()
            raise
        known = partial(jobs.known, self._database)
        watches = [
            RootWatch(
                place,
                self._settings,
                FileEventWatcher(exclude=exclude),
                known,
                self._admit,
                exclude,
                scanner,
                link=folder.expanduser().absolute(),
            )
            for folder, place, scanner in zip(folders, places, scanners, strict=True)
        ]
        for watch in watches:
            watch.others = partial(_beside, watch, watches)
        return watches

    def _admit(
        self, root: str, complete: Mapping[str, Observation], gone: Collection[str], folders: Folders
    ) -> Mapping[str, UnstorableError]:
        return admission.admit(self._database, self._doorbell, folders, root, complete, gone, stop=self._stop).refused

    def _tend(self, watch: RootWatch) -> None:
        """Each root has a thread of its own, so that one which hangs stops no other."""
        page = StatusPage(self._database)
        try:
            while not self._stop.is_set():
                if watch.next_look <= time.monotonic():
                    before = watch.report.path
                    self._forgivingly(partial(watch.look, time.monotonic()))
                    if watch.report.path != before:
                        self._forgivingly(partial(forget_root, self._database, socket.gethostname(), before))
                    self._forgivingly(partial(admit_replaced, self._database, self._doorbell, watch))
                    self._forgivingly(lambda: report_roots(self._database, [watch.report]))
                self._forgivingly(partial(archiver.put_away, self._database, watch))
                self._forgivingly(partial(page.update, watch, time.monotonic()))
                if watch.bell.wait(min(MAX_WAIT, watch.next_look - time.monotonic())):
                    watch.rung()
        except ScannerStoppedError:
            log.info("stopped while scanning %s", watch.path)
        finally:
            watch.close()

    def _reconcile_for_ever(self) -> None:
        beat = min(self._settings.reconcile_seconds, self._settings.renew_seconds)
        vigil = reconciler.ClockGuard(2 * self._settings.renew_seconds)
        parts = (self._database, self._doorbell, self._settings, self._name, vigil)
        while True:
            self._forgivingly(self._database.require_schema)
            self._forgivingly(lambda: fleet.heartbeat(self._database, self._name))
            self._forgivingly(lambda: reconciler.reconcile(*parts))
            if self._stop.wait(beat):
                return

    def _forgivingly(self, step: Callable[[], object]) -> None:
        """A store that is away comes back; until then nothing is admitted and nothing is lost.

        The same holds for a hotwords file that somebody moves or breaks meanwhile. Raises SchemaError.
        """
        try:
            step()
        except SchemaError:  # another version has taken over
            raise
        except StoreError as error:
            log.warning("%s", error)
        except SettingsError as error:
            log.warning("%s; new recordings wait until then", error)


def _beside(watch: RootWatch, watches: Sequence[RootWatch]) -> list[Path]:
    """The folders of the others; one that strays watches none, so that two links can change places."""
    return [one.path for one in watches if one is not watch and not one.strays]


def _kept_out(settings: Settings) -> frozenset[Path]:
    """Our own directories; one of them may lie on a share that hangs."""
    ours = [settings.home, settings.spool_dir, *([settings.results] if settings.results else [])]
    scanner = Scanner()
    try:
        return frozenset(map(scanner.resolve, ours))
    finally:
        scanner.close()


def run(settings: Settings, folders: Sequence[Path], *, name: str | None = None) -> int:
    """Watch until SIGTERM or SIGINT; returns the exit status. Raises UsageError or StoreError at start."""
    named = name or f"{socket.gethostname()}-scheduler-{secrets.token_hex(3)}"
    logs.configure(settings, named)
    context_of(settings)  # a hotwords file that is not there is a mistake to be told now
    database = open_database(settings.database, where="scheduler")
    try:
        scheduler = Scheduler(settings, database, folders, named)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: scheduler.stop())
        scheduler.run()
        return 0
    finally:
        database.close()
