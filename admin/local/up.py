"""`dropscribe up`: everything on one machine, supervised, with live progress, until Ctrl-C or until all is done.

The same processes as in a fleet: a private Redis, a scheduler, a CPU worker, a model worker for each GPU (or one).
"""

from __future__ import annotations

import fcntl
import logging
import os
import signal
import socket
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from itertools import chain
from operator import attrgetter
from pathlib import Path
from typing import Any, TextIO

from dropscribe.admin.local import private_redis
from dropscribe.admin.local.activity import ActivityReporter, transcripts_folder
from dropscribe.admin.local.model_workers import ModelWorkers
from dropscribe.admin.local.supervisor import Child, GaveUpError, Supervisor
from dropscribe.admin.state import exit_status, fleet_status, report, status_view
from dropscribe.admin.state.fleet_status import Status
from dropscribe.admin.state.report import Report
from dropscribe.core import gpus, logs
from dropscribe.core.errors import DropscribeError, StoreUnavailableError, UsageError
from dropscribe.core.hotwords import context_of
from dropscribe.core.routing import wish_of
from dropscribe.core.settings import Settings, variable
from dropscribe.core.settings_loading import as_environment, load
from dropscribe.models import registry
from dropscribe.models.checkpoints import fetch
from dropscribe.models.choice import ModelChoice
from dropscribe.scheduler.scanning import roots, scanner
from dropscribe.scheduler.scanning.scanner import FolderState
from dropscribe.store import commands, fleet, queries, recovery
from dropscribe.store.fleet import list_workers
from dropscribe.store.queries import Job
from dropscribe.store.roots import WatchedRoot, forget_roots, of_host
from dropscribe.store.session import Database, open_database

log = logging.getLogger(__name__)

REDIS = "redis"
GOES_ON = "what is not finished goes on with the next `dropscribe up`"
TICK_SECONDS = 0.5
RECONCILE_SECONDS = "5"  # nobody else's load to spare here, and somebody watching
SCHEDULER_GRACE = 10.0  # seconds
WORKER_GRACE = 20.0
REDIS_GRACE = 5.0


def up(folders: list[Path], overrides: Mapping[str, Any], *, until_drained: bool, as_json: bool) -> int:
    """Run the whole system over `folders`; returns the exit status. `overrides` are settings that options say."""
    settings = load(overrides=overrides)
    environment = as_environment(settings, overrides=overrides)
    logs.configure(settings.model_copy(update={"log_format": "text", "log_level": "warning"}))
    choices, places = examined(settings, folders, there=until_drained)
    with (
        only_one(settings.home),
        stop_signals() as stop,
        closing(open_database(settings.database, where="up")) as database,
    ):
        forget_roots(database, socket.gethostname())
        if settings.sqlite_file:  # no other host can work on it: what is owned was left by a crash
            recovery.expire_all(database, settings.lost_attempts)
        named = [] if until_drained else as_named(folders)
        system = System(settings, database, choices, places, stop, report.make(as_json=as_json), environment, named)
        return system.run(until_drained=until_drained)


def examined(
    settings: Settings, folders: list[Path], *, there: bool = False
) -> tuple[list[ModelChoice], list[FolderState]]:
    """What `up` would run, over which folders. Raises what is wrong with them, as far as no restart would mend it.

    `there`: the folders have to be there and readable.
    """
    context_of(settings)  # the scheduler would end over a hotwords file that is not there
    choices = registry.choose_all(settings)
    for chosen in choices:
        chosen.spec.require()  # no start of its worker could mend that
    places = scanner.places(folders)  # a share that hangs must not keep the others from being watched
    roots.check_roots([*map(attrgetter("path"), places)], Path)
    require_folders(places, there=there)
    return choices, places


def as_named(folders: Sequence[Path]) -> list[Path]:
    """The absolute paths of folders, in which links stay links: they are followed where they lead by then."""
    return [folder.expanduser().absolute() for folder in folders]


def require_folders(places: Sequence[FolderState], *, there: bool) -> None:
    """Raise UsageError for a file, and with `there` for a folder that could never be drained.

    That is one that is missing, or that this user may not read.
    """
    for place in places:
        if refusal := _refusal(place, there=there):
            raise refusal


def _refusal(place: FolderState, *, there: bool) -> UsageError | None:
    if there and place.is_denied:
        return UsageError(
            f"{place.path} cannot be drained: {place.reason}", remedy="let this user read it, or name another"
        )
    if place.is_folder or not place.answers:
        return None
    if place.exists:
        return UsageError(f"{place.path} is a file, not a folder", remedy="name the folder that it lies in")
    return UsageError(f"{place.path} is not a folder", remedy="create it, or correct the path") if there else None


@contextmanager
def only_one(home: Path) -> Iterator[None]:
    """Let one `up` at a time use this home. Raises DropscribeError when there is another."""
    try:
        home.mkdir(parents=True, exist_ok=True, mode=0o700)
        file = (home / "up.lock").open("a+", encoding="ascii")
    except OSError as error:
        raise DropscribeError(f"cannot use {home}: {error.strerror}", remedy="set DROPSCRIBE_HOME elsewhere") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise DropscribeError(
                f"another `dropscribe up` (process {_pid(file)}) uses {home}", remedy="stop it, or set DROPSCRIBE_HOME"
            ) from error
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


def _pid(file: TextIO) -> str:
    file.seek(0)
    return file.read().strip() or "unknown"


@contextmanager
def stop_signals() -> Iterator[threading.Event]:
    """An event that SIGINT and SIGTERM set; a second Ctrl-C interrupts."""
    stop = threading.Event()

    def handle(number: int, _frame: object) -> None:
        if stop.is_set() and number == signal.SIGINT:
            raise KeyboardInterrupt
        stop.set()

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@dataclass
class System:
    """The processes of one machine, with settings by `environment`, and what is shown of them."""

    settings: Settings
    database: Database
    choices: Sequence[ModelChoice]
    places: Sequence[FolderState]
    stop: threading.Event
    report: Report
    environment: Mapping[str, str] = field(default_factory=dict)
    named: Sequence[Path] = ()  # the folders as they were named: links are followed where they lead by then
    activity: ActivityReporter = field(init=False)
    models: ModelWorkers = field(init=False)

    def __post_init__(self) -> None:
        self.activity = ActivityReporter(self.database, self.report)
        self.models = ModelWorkers(self.settings, self.choices, self.report.say)

    @property
    def folders(self) -> list[Path]:
        """What is watched."""
        return [*map(attrgetter("path"), self.places)]

    def run(self, *, until_drained: bool) -> int:
        """Start everything, show progress until stopped or drained, then stop everything in order; the exit status."""
        log_dir = self.settings.home / "logs"
        log_dir.mkdir(exist_ok=True)
        supervisor = Supervisor(log_dir, self._environment(), self._died)
        groups: list[list[Child]] = []
        try:
            with self.report:
                self._start(supervisor, groups)
                drained = self._attend(supervisor, *groups[1], until_drained=until_drained)
        finally:
            if self.stop.is_set():
                self.report.say(f"stopping; {GOES_ON}")
            # Nothing new comes in, then workers give back what they have, then the queue goes.
            self._stop(supervisor, groups)
        if not until_drained:
            return 0
        found = exit_status.latest_jobs(self.database, self.folders)
        own = self._own(fleet_status.gather(self.database, self.settings))
        for root in filter(status_view.leaves_out, own):
            self.report.say(status_view.what_was_seen(root))
        self.report.summary(found)
        return _status_of(found, own) if drained else exit_status.INTERRUPTED_EXIT

    def _environment(self) -> dict[str, str]:
        # The engine as it is set, `auto` too: it is part of what a recording is known by, to `submit` as well.
        hurried = {variable("reconcile_seconds"): RECONCILE_SECONDS}
        return {
            **gpus.device_order(),
            **({} if "reconcile_seconds" in self.settings.model_fields_set else hurried),
            **self.environment,
        }

    def _start(self, supervisor: Supervisor, groups: list[list[Child]]) -> None:
        """Redis first, since all others need it; then workers, then the scheduler that gives them work."""
        groups += [[], [], []]
        if not self.settings.redis_url:
            groups[0].append(supervisor.start(REDIS, "exec", *private_redis.server_command(self.settings)))
            private_redis.wait_until_up(self.settings)
        groups[1].append(self._cpu_worker(supervisor))
        self.models.start(supervisor)
        name = f"{socket.gethostname()}-scheduler"
        groups[2].append(supervisor.start(name, "scheduler", name, *map(str, self.named or self.folders)))
        self._announce()

    def _cpu_worker(self, supervisor: Supervisor) -> Child:
        name = f"{socket.gethostname()}-cpu"
        return supervisor.start(name, "cpu", name, may_end=True)

    def _announce(self) -> None:
        for place in self.places:
            self.activity.begin(place, transcripts_folder(self.settings.results))
        names = ", ".join(dict.fromkeys(choice.spec.name for choice in self.choices))
        self.report.say(f"engine {names}; logs in {self.settings.home / 'logs'}; stop with Ctrl-C")
        for choice in self.choices:
            self.report.say(choice.sentence)

    def _attend(self, supervisor: Supervisor, *cpu: Child, until_drained: bool) -> bool:
        """True if every recording is through, False if `up` was stopped or every worker was asked to end."""
        while not self.stop.wait(TICK_SECONDS):
            if self._tend(supervisor) and until_drained:
                return True
            if all(map(attrgetter("ended"), (*cpu, *self.models.children))):
                self.report.say(f"all workers have ended, so `up` ends too; {GOES_ON}")
                break
        return False

    def _tend(self, supervisor: Supervisor) -> bool:
        """Restart what died, and show the current state; True when nothing is left to do."""
        try:
            supervisor.tend()
            return self._report()
        except GaveUpError as error:
            self.models.go_on_without(supervisor, error)
        except StoreUnavailableError as error:  # it comes back, and the workers can wait for it
            log.warning("%s", error)
        return False

    def _report(self) -> bool:
        """Show the current state; True when nothing is left to do."""
        now = fleet_status.gather(self.database, self.settings)
        self._begin_stranded_anew(now)
        drained = exit_status.is_drained(self._own(now), self.folders, now.unfinished)
        drained = drained and exit_status.all_archived(self.database, self.folders)
        self.activity.report(self._own(now))
        for one in fetch.running():
            self.report.fetching(one.step, one.done, one.total)
        self.report.update(now)
        return drained

    def _begin_stranded_anew(self, now: Status) -> None:
        """Where no other machine takes part, what waits for a model of an earlier `up` is transcribed by one of now."""
        at_work = {worker.id: worker.queues for worker in now.alive if worker.role == "model" and worker.queues}
        ours = set(map(attrgetter("name"), self.models.living))
        if not self.settings.sqlite_file or not at_work or not ours.issubset(at_work):
            return
        for job in queries.bound_to_others(self.database, {*chain.from_iterable(at_work.values())}):
            if commands.begin_anew(self.database, job.id):
                self.report.say(
                    f"{job.path} was begun by {wish_of(job.model_queue)}, which does not run now; "
                    "it is transcribed from its beginning"
                )

    def _own(self, now: Status) -> list[WatchedRoot]:
        """Folders as this run's scheduler reported them, not an earlier one's."""
        return of_host(socket.gethostname(), now.roots)

    def _died(self, name: str) -> bool:
        """A child died: its work is free at once. True when it had been at work."""
        if name == REDIS:
            return True
        recovery.expire_of(self.database, name, self.settings.lost_attempts)
        states = {worker.id: worker.state for worker in list_workers(self.database)}
        fleet.leave(self.database, name)
        return states.get(name, "loading") != "loading"

    def _stop(self, supervisor: Supervisor, groups: Sequence[list[Child]]) -> None:
        redis, workers, scheduler = [groups[0], [*groups[1], *self.models.children], groups[2]]
        for group, grace in ((scheduler, SCHEDULER_GRACE), (workers, WORKER_GRACE), (redis, REDIS_GRACE)):
            supervisor.stop(group, grace)
        for child in workers:  # in case one had to be killed
            recovery.release_all(self.database, child.name)
            fleet.leave(self.database, child.name)


def _status_of(found: Sequence[Job], own: Sequence[WatchedRoot]) -> int:
    return exit_status.of_jobs(
        map(attrgetter("state"), found), exit_status.waiting_recordings(own), exit_status.unread_folders(own)
    )
