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

from dropscribe.core import bucket_names, logs, metrics, sandbox
from dropscribe.core.bucket_names import BucketFolder
from dropscribe.core.errors import SchemaError, SettingsError, StoreError, UnstorableError, UsageError
from dropscribe.core.hotwords import context_of
from dropscribe.core.orders import Orders
from dropscribe.core.queue import Doorbell
from dropscribe.core.settings import Settings
from dropscribe.scheduler.duties import archiver, notifier, reconciler
from dropscribe.scheduler.duties.metrics import StoreCollector
from dropscribe.scheduler.duties.retention import RetentionDuty
from dropscribe.scheduler.duties.status_page import StatusPage
from dropscribe.scheduler.scanning import roots
from dropscribe.scheduler.scanning.process import ScannerStoppedError
from dropscribe.scheduler.scanning.scanner import Scanner, at_once, own_folders
from dropscribe.scheduler.watching import admission
from dropscribe.scheduler.watching.bucket_watch import BucketWatch
from dropscribe.scheduler.watching.file_events import FileEventWatcher
from dropscribe.scheduler.watching.folder_mark import FolderMark
from dropscribe.scheduler.watching.folder_rules import Folders
from dropscribe.scheduler.watching.joining import WholeRecording
from dropscribe.scheduler.watching.replacement import admit_replaced
from dropscribe.scheduler.watching.root_watch import RootWatch
from dropscribe.store import fleet, jobs, parts
from dropscribe.store.roots import forget_root, forget_roots, report_roots
from dropscribe.store.session import Database, open_database

log = logging.getLogger(__name__)

MAX_WAIT = 5.0  # seconds between two looks at the clock


class Scheduler:
    """Watches roots until it is stopped."""

    def __init__(self, settings: Settings, database: Database, folders: Sequence[Path], name: str) -> None:
        """`folders` are made absolute, except those in buckets.

        Raises UsageError when they overlap or a setting does not fit.
        """
        self._settings = settings
        self._database = database
        self._doorbell = Doorbell(settings)
        self._name = name
        self._stop = threading.Event()
        self._channels = notifier.channels(settings)
        self._retention = RetentionDuty(settings, database, name)
        local, buckets = bucket_names.apart(folders)
        bucket_names.check_apart(buckets)
        self._buckets = [*map(self._watch_bucket, buckets)]
        self._watches = self._watch(local, own_folders(settings))

    def run(self) -> None:
        """Work until `stop`."""
        with metrics.served(self._settings, StoreCollector(self._database, self._settings)) as url:
            self._run(url)

    def _run(self, metrics_at: str) -> None:
        """Work until `stop`, or until a thread fails; then leave in order, and raise what failed."""
        fleet.register(
            self._database,
            self._name,
            host=socket.gethostname(),
            pid=os.getpid(),
            role="scheduler",
            state="ready",
            metrics=metrics_at,
        )
        known = [watch.report.path for watch in self._watches] + [watch.report.path for watch in self._buckets]
        forget_roots(self._database, socket.gethostname(), known)  # until they are looked at again
        notifier.begin(self._database, self._channels)
        senders = [notifier.Notifier(self._database, channel) for channel in self._channels]
        tasks: list[Callable[[], None]] = [partial(self._retention.run, self._stop), self._reconcile_for_ever]
        tasks += [partial(sender.run, self._stop) for sender in senders]
        tasks += [partial(self._tend, watch) for watch in self._watches]
        tasks += [partial(self._tend_bucket, watch) for watch in self._buckets]
        with ThreadPoolExecutor(len(tasks)) as threads:
            tending = [*map(threads.submit, tasks)]
            try:
                wait(tending, return_when=FIRST_EXCEPTION)
            finally:
                self.stop()
        # Now nothing new comes in and what was fixed is complete, so the entry goes.
        self._doorbell.close()
        self._forgivingly(lambda: fleet.leave(self._database, self._name))
        for one in tending:
            one.result()

    def stop(self) -> None:
        """End `run` soon."""
        self._stop.set()
        for watch in self._watches:
            watch.bell.ring()

    def _watch(self, folders: Sequence[Path], exclude: frozenset[Path]) -> list[RootWatch]:
        """A watch for each folder. Raises UsageError where folders overlap, and leaves no process behind then."""
        deadline = self._settings.scan_deadline_seconds
        scanners = [Scanner(deadline=deadline, stop=self._stop) for _ in folders]
        places = at_once(Scanner.resolve, scanners, folders)
        try:
            roots.check_roots(folders, dict(zip(folders, places, strict=True)).__getitem__, exclude)
        except UsageError:
            for scanner in scanners:
                scanner.close()
            raise
        known, store = partial(jobs.known, self._database), fleet.store_id(self._database)
        watches = [
            RootWatch(
                path=place,
                settings=self._settings,
                bell=FileEventWatcher(exclude=exclude),
                known=known,
                admit=self._admit,
                standings=partial(parts.standings, self._database),
                exclude=exclude,
                scanner=scanner,
                link=folder.expanduser().absolute(),
                mark=FolderMark(store),
            )
            for folder, place, scanner in zip(folders, places, scanners, strict=True)
        ]
        for watch in watches:
            watch.others = partial(_beside, watch, watches)
        return watches

    def _watch_bucket(self, folder: BucketFolder) -> BucketWatch:
        """A watch for a folder in a bucket. Raises UsageError where buckets cannot be used here."""
        known = partial(jobs.known, self._database)
        return BucketWatch(folder, self._settings, self._database, known, self._admit, self._stop)

    def _admit(
        self, root: str, whole: Sequence[WholeRecording], gone: Collection[str], folders: Folders
    ) -> Mapping[str, UnstorableError]:
        """Make jobs of complete recordings; returns those that the store cannot hold."""
        return admission.admit(self._database, self._doorbell, folders, root, whole, gone, stop=self._stop).refused

    def _tend(self, watch: RootWatch) -> None:
        """Each root has a thread of its own, so that one which hangs stops no other."""
        page = StatusPage(self._database, self._settings.silence_seconds)
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

    def _tend_bucket(self, watch: BucketWatch) -> None:
        """Look until `stop`; what was seen is in the store, as of any other folder."""
        while not self._stop.is_set():
            self._forgivingly(partial(watch.look, time.monotonic()))
            self._forgivingly(lambda: report_roots(self._database, [watch.report]))
            self._stop.wait(watch.rest)

    def _reconcile_for_ever(self) -> None:
        """Say that this process lives and fix what crashes left, every few seconds until `stop`."""
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
            log.warning("%s; new recordings wait until this is fixed", error)


def _beside(watch: RootWatch, watches: Sequence[RootWatch]) -> list[Path]:
    """The folders of the others; one that strays watches none, so that two links can change places."""
    return [one.path for one in watches if one is not watch and not one.strays]


def run(settings: Settings, folders: Sequence[Path], *, name: str | None = None) -> int:
    """Watch until SIGTERM or SIGINT; returns the exit status. Raises UsageError or StoreError at start."""
    sandbox.hide()
    named = name or f"{socket.gethostname()}-scheduler-{secrets.token_hex(3)}"
    logs.configure(settings, named)
    context_of(settings)  # a missing hotwords file is a mistake that is reported now
    database = open_database(settings.database, where="scheduler")
    try:
        scheduler = Scheduler(settings, database, folders, named)
        with Orders(lambda _: scheduler.stop()) as orders:
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, orders.give)
            scheduler.run()
        return 0
    finally:
        database.close()
