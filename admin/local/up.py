"""`dropscribe up`: everything on one machine, supervised, with live progress, until Ctrl-C or until all is done.

The same processes as in a fleet: a private Redis, a scheduler, a CPU worker, a model worker for each GPU (or one).
"""

from __future__ import annotations

import fcntl
import logging
import os
import shlex
import signal
import socket
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field, replace
from itertools import chain
from operator import attrgetter
from pathlib import Path
from typing import Any, TextIO

import typer

from dropscribe.admin.local import browser, private_redis
from dropscribe.admin.local.activity import ActivityReporter, transcripts_folder
from dropscribe.admin.local.model_workers import ModelWorkers
from dropscribe.admin.local.server_child import SERVER, ServerChild
from dropscribe.admin.local.supervisor import Child, GaveUpError, Supervisor
from dropscribe.admin.state import exit_status, fleet_status, report, status_view
from dropscribe.admin.state.fleet_status import Status
from dropscribe.admin.state.report import Report
from dropscribe.admin.terminal import render
from dropscribe.core import bucket_names, gpus, logs, private_state, sandbox
from dropscribe.core.bucket_client import Bucket
from dropscribe.core.bucket_names import BucketFolder
from dropscribe.core.error_translation import explained
from dropscribe.core.errors import BucketAwayError, DropscribeError, StoreUnavailableError, UsageError
from dropscribe.core.hotwords import context_of
from dropscribe.core.orders import Orders
from dropscribe.core.routing import wish_of
from dropscribe.core.s3_settings import S3
from dropscribe.core.settings import Settings, variable
from dropscribe.core.settings_file import CONFIG_VARIABLE, NO_FILE
from dropscribe.core.settings_loading import as_environment, load
from dropscribe.models import registry
from dropscribe.models.checkpoints import fetch
from dropscribe.models.choice import ModelChoice
from dropscribe.scheduler.scanning import roots, scanner
from dropscribe.scheduler.scanning.scanner import FolderState
from dropscribe.store import commands, fleet, queries, recovery
from dropscribe.store.fleet import list_workers
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


@dataclass(frozen=True, slots=True)
class Expected:
    """What is expected of the folders: to be drained, and else whether one that does not exist is waited for.

    `may_ask` says that a person is there who may have it created.
    """

    drained: bool = False
    awaited: bool = False
    may_ask: bool = False


def up(folders: list[Path], overrides: Mapping[str, Any], *, until_drained: bool, as_json: bool, awaits: bool) -> int:
    """Run the whole system over `folders`; returns the exit status. `overrides` are settings that options say.

    `awaits`: folders that do not exist are waited for.
    """
    sandbox.hide()
    local, buckets = bucket_names.apart(folders)
    settings = load(overrides=overrides, watched=scanner.real_paths(local))
    environment = as_environment(settings, overrides=overrides)
    logs.configure(settings.model_copy(update={"log_format": "text", "log_level": "warning"}))
    private_state.keep(settings.home)
    may_ask = not as_json and sys.stdin.isatty() and sys.stderr.isatty()
    expected = Expected(until_drained, awaits, may_ask)
    choices, places = examined(settings, local, expected)
    places += examined_buckets(settings, buckets, expected)
    with (
        only_one(settings.home),
        stop_signals() as stop,
        closing(open_database(settings.database, where="up")) as database,
    ):
        forget_roots(database, socket.gethostname())
        if settings.sqlite_file:  # no other host can work on it: what is owned was left by a crash
            recovery.expire_all(database, settings.lost_attempts)
        named = [] if until_drained else as_named(folders)
        system = System(
            settings=settings,
            database=database,
            choices=choices,
            places=places,
            stop=stop,
            report=report.make(as_json=as_json),
            environment=environment,
            named=named,
            # What runs until all is done is for a script or a moment, unless somebody wants the page.
            serves=settings.serve and (not until_drained or "serve" in settings.model_fields_set),
            is_watched=not as_json and browser.is_at_hand(os.environ, at_terminal=sys.stdout.isatty()),
        )
        return system.run(until_drained=until_drained)


def examined(
    settings: Settings, folders: list[Path], expected: Expected
) -> tuple[list[ModelChoice], list[FolderState]]:
    """What `up` would run, over which folders. Raises what is wrong with them, as far as no restart would fix it."""
    sandbox.check(settings.sandbox)
    context_of(settings)  # the scheduler would end over a hotwords file that is not there
    choices = registry.choose_all(settings)
    for chosen in choices:
        chosen.spec.require()  # no start of its worker could fix that
    places = scanner.places(folders)  # a share that hangs must not keep the others from being watched
    roots.check_roots([*map(attrgetter("path"), places)], Path, scanner.own_folders(settings))
    return choices, [_required(place, expected) for place in places]


def examined_buckets(settings: Settings, folders: Sequence[BucketFolder], expected: Expected) -> list[FolderState]:
    """The folders of buckets as they can be watched. Raises UsageError where they overlap, or one cannot be listed.

    One that is awaited may be out of reach.
    """
    bucket_names.check_apart(folders)
    found = [_bucket_state(settings, folder) for folder in folders]
    for place in found:
        if place.reason and not expected.awaited:
            raise UsageError(place.reason, remedy="with --wait-for-folders, `up` waits for it")
    return found


def _results_of(settings: Settings, folder: Path) -> Path | str | None:
    """Under what the transcripts of a watched folder appear; None for beside the recordings."""
    if not bucket_names.is_in_bucket(folder):
        return settings.results
    results = settings.of(S3).results
    return BucketFolder(BucketFolder.parse(folder).bucket, results).url if results else None


def _bucket_state(settings: Settings, folder: BucketFolder) -> FolderState:
    """Whether the folder can be listed. Raises UsageError where no bucket can."""
    reason = ""
    try:
        Bucket(settings, folder.bucket).answers(folder)
    except BucketAwayError as error:
        reason = str(error)
    return FolderState(Path(folder.url), answers=True, exists=True, is_folder=True, reason=reason)


def as_named(folders: Sequence[Path]) -> list[Path]:
    """The absolute paths of folders, in which links stay links: they are followed where they lead by then."""
    return [one if bucket_names.is_in_bucket(one) else one.expanduser().absolute() for one in folders]


def _required(place: FolderState, expected: Expected) -> FolderState:
    """The folder as it can be watched. Raises UsageError if it is not a folder, is missing or cannot be read."""
    if expected.may_ask and place.answers and not (place.exists or expected.awaited):
        return _created(place)
    if refusal := _refusal(place, expected):
        raise refusal
    return place


def _created(place: FolderState) -> FolderState:
    """The folder, which somebody wants to be created. Raises UsageError where nobody does, or it cannot be."""
    if not typer.confirm(f"{place.path} does not exist. Create it?", err=True):
        raise _missing(place)
    with explained(OSError, UsageError, f"cannot create {place.path}", remedy="correct the path"):
        place.path.mkdir(parents=True)
    return replace(place, exists=True, is_folder=True, reason="")


def _missing(place: FolderState) -> UsageError:
    """The error for a folder that does not exist."""
    return UsageError(
        f"{place.path} does not exist",
        remedy=f"create it (mkdir -p {shlex.quote(str(place.path))}), correct the path, or mount the share; "
        "with --wait-for-folders, `up` waits for it as `dropscribe watch` does",
    )


def _refusal(place: FolderState, expected: Expected) -> UsageError | None:
    """Why `up` does not begin with this folder; None where it does, or waits for the folder."""
    if expected.drained and place.is_denied:
        return UsageError(
            f"{place.path} cannot be drained: {place.reason}", remedy="let this user read it, or name another"
        )
    if place.is_folder or not place.answers:
        return None
    if place.exists:
        file, folder = shlex.quote(str(place.path)), shlex.quote(str(place.path.parent))
        return UsageError(
            f"{place.path} is a file, not a folder",
            remedy=f"name its folder (dropscribe up {folder}), "
            f"or submit only this file while an `up` runs (dropscribe submit {file} --wait)",
        )
    return None if expected.awaited and not expected.drained else _missing(place)


@contextmanager
def only_one(home: Path) -> Iterator[None]:
    """Let one `up` at a time use this home. Raises DropscribeError when there is another."""
    with explained(OSError, DropscribeError, f"cannot use {home}", remedy="set DROPSCRIBE_HOME elsewhere"):
        home.mkdir(parents=True, exist_ok=True, mode=0o700)
        file = (home / "up.lock").open("a+", encoding="ascii")
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
    """The process that holds the lock file, by what it wrote into it."""
    file.seek(0)
    return file.read().strip() or "unknown"


@contextmanager
def stop_signals() -> Iterator[threading.Event]:
    """An event that SIGINT and SIGTERM set; a second Ctrl-C interrupts."""
    stop = threading.Event()
    told: list[int] = []

    def handle(number: int, _frame: object) -> None:
        """The first signal asks all to end in order; a second Ctrl-C does not wait for that."""
        if told and number == signal.SIGINT:
            raise KeyboardInterrupt
        told.append(number)
        orders.give(number)

    with Orders(lambda _: stop.set()) as orders:
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
    serves: bool = False
    is_watched: bool = False  # by a person with a browser
    activity: ActivityReporter = field(init=False)
    models: ModelWorkers = field(init=False)
    server: ServerChild = field(init=False)

    def __post_init__(self) -> None:
        self.activity = ActivityReporter(self.database, self.report)
        self.models = ModelWorkers(self.settings, self.choices, self.report.say)
        self.server = ServerChild(self.settings.home, self.report.say)
        if self.is_watched and self.settings.serve_browser:
            self.server.show = browser.show

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
                self._say_what_stops()
            # Nothing new comes in, then workers give back what they have, then the queue goes.
            self._stop(supervisor, groups)
        if not until_drained:
            return 0
        found = exit_status.latest_jobs(self.database, self.folders)
        own = self._own(fleet_status.gather(self.database, self.settings))
        for root in filter(status_view.leaves_out, own):
            self.report.say(status_view.what_was_seen(root))
        self.report.summary(found)
        if not drained:
            return exit_status.INTERRUPTED_EXIT
        waiting, unread = exit_status.waiting_recordings(own), exit_status.unread_folders(own)
        return exit_status.of_jobs(map(attrgetter("state"), found), waiting, unread)

    def _say_what_stops(self) -> None:
        """What becomes of everything that is under way."""
        self.report.say(f"stopping; {GOES_ON}")
        with suppress(StoreUnavailableError):
            for one in queries.under_way(self.database):
                kept = f"{render.duration(one.done)} of {render.duration(one.whole)} is transcribed, which is kept"
                kept = kept if one.done else f"of {render.duration(one.whole)} nothing is transcribed yet"
                begun = render.count(one.running, "chunk")
                self.report.say(f"{one.path}: {kept}; {begun} under way begins again at its start")

    def _environment(self) -> dict[str, str]:
        """The variables for all processes: the settings as they were loaded, and what `up` alone sets."""
        # The engine as it is set, `auto` too: it is part of what a recording is known by, to `submit` as well.
        hurried = {variable("reconcile_seconds"): RECONCILE_SECONDS}
        return {
            CONFIG_VARIABLE: NO_FILE,  # unless there is one, whatever the children find where they start
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
        cpu = f"{socket.gethostname()}-cpu"
        groups[1].append(supervisor.start(cpu, "cpu", cpu, may_end=True))
        self.models.start(supervisor)
        name = f"{socket.gethostname()}-scheduler"
        groups[2].append(supervisor.start(name, "scheduler", name, *map(str, self.named or self.folders)))
        groups[2] += self.server.start(supervisor, wanted=self.serves)
        self._announce()

    def _announce(self) -> None:
        """Say which folders, settings and engines there are."""
        for place in self.places:
            self.activity.begin(place, transcripts_folder(_results_of(self.settings, place.path)))
        names = ", ".join(dict.fromkeys(choice.spec.name for choice in self.choices))
        if self.settings.file:
            self.report.say(f"settings from {self.settings.file}")
        self.report.say(f"engine {names}; logs in {self.settings.home / 'logs'}; stop with Ctrl-C")
        for choice in self.choices:
            self.report.say(choice.sentence)

    def _attend(self, supervisor: Supervisor, *cpu: Child, until_drained: bool) -> bool:
        """True if every job ended, False if `up` was stopped or every worker was asked to end."""
        while not self.stop.wait(TICK_SECONDS):
            if self._tend(supervisor, until_drained=until_drained) and until_drained:
                return True
            if all(map(attrgetter("ended"), (*cpu, *self.models.children))):
                self.report.say(f"all workers have ended, so `up` ends too; {GOES_ON}")
                break
        return False

    def _tend(self, supervisor: Supervisor, *, until_drained: bool) -> bool:
        """Restart what died, and show the current state; True when nothing is left to do.

        Raises GaveUpError for a model worker that cannot start, if all that is left waits for it `until_drained`.
        """
        try:
            supervisor.tend()
            self.server.tell()
            return self._report(until_drained=until_drained)
        except GaveUpError as error:
            if not self.server.go_on_without(error):
                self.models.go_on_without(supervisor, error)
        except StoreUnavailableError as error:  # it comes back, and the workers can wait for it
            log.warning("%s", error)
        return False

    def _report(self, *, until_drained: bool) -> bool:
        """Show the current state; True when nothing is left to do. Raises GaveUpError as `_tend` does."""
        now = fleet_status.gather(self.database, self.settings)
        self._begin_stranded_anew(now)
        if until_drained and self._is_at_work(now) and now.unfinished and now.unserved_jobs >= now.unfinished:
            raise self._nobody_left(now)
        drained = exit_status.is_drained(self._own(now), self.folders, now.unfinished)
        drained = drained and exit_status.all_archived(self.database, self.folders)
        self.activity.report(self._own(now))
        for one in fetch.running():
            self.report.fetching(one.step, one.done, one.total)
        self.report.update(now)
        return drained

    def _begin_stranded_anew(self, now: Status) -> None:
        """Where no other machine takes part, a current model transcribes what waits for one of an earlier `up`."""
        at_work = _at_work(now)
        if not self.settings.sqlite_file or not self._is_at_work(now):
            return
        for job in queries.bound_to_others(self.database, {*chain.from_iterable(at_work.values())}):
            if commands.begin_anew(self.database, job.id):
                self.report.say(
                    f"{job.path} was begun by {wish_of(job.model_queue)}, which does not run now; "
                    "it is transcribed from its beginning"
                )

    def _is_at_work(self, now: Status) -> bool:
        """Is every model worker of this `up` ready, and at least one there?"""
        at_work = _at_work(now)
        return bool(at_work) and set(map(attrgetter("name"), self.models.living)).issubset(at_work)

    def _nobody_left(self, now: Status) -> DropscribeError:
        """Why what is left is never transcribed: the worker for it could not start, or nobody started one."""
        if self.models.given_up:
            return self.models.given_up[-1]
        wishes = " and ".join(filter(None, map(wish_of, now.model_queues)))
        left = render.count(now.unfinished, "recording")
        return DropscribeError(
            f"{left} left, waiting for {wishes}", remedy="run `up` with that, or change the folder's"
        )

    def _own(self, now: Status) -> list[WatchedRoot]:
        """Folders as this run's scheduler reported them, not an earlier one's."""
        return of_host(socket.gethostname(), now.roots)

    def _died(self, name: str) -> bool:
        """A child died: its work is free at once. True when it had been at work."""
        if name == REDIS:
            return True
        if name == SERVER:
            return self.server.died()
        recovery.expire_of(self.database, name, self.settings.lost_attempts)
        states = {worker.id: worker.state for worker in list_workers(self.database)}
        fleet.leave(self.database, name)
        return states.get(name, "loading") != "loading"

    def _stop(self, supervisor: Supervisor, groups: Sequence[list[Child]]) -> None:
        """End the processes in order, and free at once what a killed one owned."""
        redis, workers, scheduler = [groups[0], [*groups[1], *self.models.children], groups[2]]
        for group, grace in ((scheduler, SCHEDULER_GRACE), (workers, WORKER_GRACE), (redis, REDIS_GRACE)):
            supervisor.stop(group, grace)
        for child in workers:  # in case one had to be killed
            recovery.release_all(self.database, child.name)
            fleet.leave(self.database, child.name)


def _at_work(now: Status) -> dict[str, Sequence[str]]:
    """The queues of each model worker that is ready."""
    return {worker.id: worker.queues for worker in now.alive if worker.role == "model" and worker.queues}
