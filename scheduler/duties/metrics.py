"""What a scheduler tells Prometheus of the fleet, from the store. docs/metrics.md lists it all."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from dropscribe.core.errors import StoreError
from dropscribe.core.event_kinds import EventKind
from dropscribe.core.old_names import CHECKS
from dropscribe.core.safe_text import printable
from dropscribe.core.settings import Settings
from dropscribe.core.types import ACTIVE_STATES, FINAL_STATES, JobPhase, JobState
from dropscribe.store import metrics_queries, notifications
from dropscribe.store.event_cursor import EventCursor
from dropscribe.store.metrics_queries import Figures
from dropscribe.store.session import Database

log = logging.getLogger(__name__)

KINDS = ("recordings", "pending", "not_media", "ignored")  # of files in a folder
UNFINISHED_PHASES = (JobPhase.WAITING, JobPhase.PREPARING, JobPhase.TRANSCRIBING, JobPhase.FINISHING)
LOOK_SECONDS = 5.0  # scrapes closer together share one look into the store
STEPS = {
    "prepare": "preparing",
    "transcribe": EventKind.TRANSCRIBING,
    "finish": "finishing",
}  # and the event that begins it


@dataclass
class Totals:
    """What happened since this process first looked; events by kind, failed rules, seconds of audio."""

    events: Counter[str] = field(default_factory=Counter)
    rules: Counter[str] = field(default_factory=Counter)
    audio: float = 0.0
    _cursor: EventCursor | None = None

    def catch_up(self, database: Database) -> None:
        """Count the events that came since the look before. Raises StoreError."""
        self._cursor = self._cursor or EventCursor.at_end(database)
        upto = self._cursor.upto()
        if upto > self._cursor.after:
            found = metrics_queries.happened(database, self._cursor.after, upto)
            self.events.update(found.events)
            self.rules.update(found.rules)
            self.audio += found.audio
            self._cursor.after = upto


class StoreCollector(Collector):
    """Looks into the store when it is scraped, but at most every `LOOK_SECONDS`; a store that is away gives no figures.

    Many may scrape at once: the first one looks and the others wait for what it finds.
    """

    def __init__(self, database: Database, settings: Settings, *, clock: Callable[[], float] = time.monotonic) -> None:
        """Looks at nothing yet."""
        self._database = database
        self._silence = settings.silence_seconds
        self._clock = clock
        self._lock = threading.Lock()
        self._totals = Totals()
        self._looked = -LOOK_SECONDS
        self._figures: Figures | None = None

    def collect(self) -> list[Metric]:
        """All families; those of the store are empty while it is away."""
        with self._lock:
            if self._clock() - self._looked >= LOOK_SECONDS:
                self._look()
                self._looked = self._clock()
            return [*_store(self._figures), *_folders(self._figures), *_happened(self._totals)]

    def _look(self) -> None:
        """Ask the store; of one that is away, nothing is known until the next time."""
        try:
            self._totals.catch_up(self._database)
            self._figures = metrics_queries.figures(self._database, self._silence)
        except StoreError as error:
            log.warning("no metrics of the fleet: %s", error)
            self._figures = None


def _store(found: Figures | None) -> Iterator[Metric]:
    """The fleet's jobs, audio and workers; of a store that is away, only that it is."""
    yield GaugeMetricFamily("dropscribe_store_up", "1 if the database answered, else 0.", float(found is not None))
    jobs = GaugeMetricFamily("dropscribe_jobs", "Jobs in each state.", labels=["state"])
    oldest = GaugeMetricFamily(
        "dropscribe_oldest_job_age_seconds", "Time since the oldest job in this state was admitted.", labels=["state"]
    )
    phases = GaugeMetricFamily("dropscribe_phase_jobs", "Unfinished jobs: waiting, and in progress.", labels=["phase"])
    audio = GaugeMetricFamily(
        "dropscribe_backlog_audio_seconds", "Audio of prepared jobs that no model has transcribed yet."
    )
    parts = GaugeMetricFamily(
        "dropscribe_phase_audio_seconds",
        "That audio: of jobs that wait, and of those transcribed now.",
        labels=["phase"],
    )
    left = GaugeMetricFamily("dropscribe_time_left_seconds", "Time until that audio is transcribed; absent if unknown.")
    old_audio = GaugeMetricFamily(
        "dropscribe_waiting_audio_seconds", "The old name of dropscribe_backlog_audio_seconds."
    )
    paused = GaugeMetricFamily("dropscribe_paused", "1 while the fleet is paused.")
    full = GaugeMetricFamily("dropscribe_spool_full", "1 while preparing pauses because the spool is full.")
    untold = GaugeMetricFamily("dropscribe_waiting_notifications", "Notifications that are not delivered yet.")
    workers = GaugeMetricFamily("dropscribe_workers", "Processes by role and state.", labels=["role", "state"])
    if found:
        for state in JobState:
            jobs.add_metric([state], found.jobs.get(state, 0))
        for state in sorted(ACTIVE_STATES):
            oldest.add_metric([state], found.oldest.get(state, 0.0))
        counted = found.backlog.phases(found.jobs)
        for phase in UNFINISHED_PHASES:
            phases.add_metric([phase], counted.get(phase, 0))
        audio.add_metric([], found.backlog.audio_seconds)
        old_audio.add_metric([], found.backlog.audio_seconds)
        parts.add_metric([JobPhase.WAITING], found.backlog.waiting_seconds)
        parts.add_metric([JobPhase.TRANSCRIBING], found.backlog.transcribing_seconds)
        if found.time_left is not None:
            left.add_metric([], found.time_left)
        paused.add_metric([], found.paused)
        full.add_metric([], found.spool_full)
        untold.add_metric([], found.notifications)
        for (role, condition), count in sorted(found.workers.items()):
            workers.add_metric([role, condition], count)
    yield from (jobs, phases, oldest, audio, parts, left, old_audio, paused, full, untold, workers)


def _folders(found: Figures | None) -> Iterator[Metric]:
    """Each watched folder as its scheduler reported it last."""
    labels = ["folder", "host"]
    online = GaugeMetricFamily("dropscribe_folder_online", "1 if the watched folder can be read.", labels=labels)
    files = GaugeMetricFamily(
        "dropscribe_folder_files", "Files at the last scan: all recordings, and others.", labels=[*labels, "kind"]
    )
    age = GaugeMetricFamily("dropscribe_folder_scan_age_seconds", "Time since the last scan.", labels=labels)
    length = GaugeMetricFamily("dropscribe_folder_scan_seconds", "How long the last scan took.", labels=labels)
    for root in found.roots if found else ():
        # Bytes that are not text stay distinct: equal labels of two folders would break the page.
        path = root.path.encode("utf-8", "backslashreplace").decode()
        names = [printable(path), printable(root.host)]
        online.add_metric(names, root.online)
        for kind, count in zip(KINDS, (root.files, root.pending, root.not_media, root.ignored), strict=True):
            files.add_metric([*names, kind], count)
        age.add_metric(names, root.age)
        length.add_metric(names, root.scan_seconds)
    yield from (online, files, age, length)


def _happened(totals: Totals) -> Iterator[Metric]:
    """What happened since this process began to count."""
    ended = CounterMetricFamily("dropscribe_jobs_ended", "Jobs that came to a final state.", labels=["state"])
    for state in FINAL_STATES:
        ended.add_metric([state], totals.events[state])
    yield ended
    attempts = CounterMetricFamily("dropscribe_attempts", "Steps that a worker started.", labels=["step"])
    for step, kind in STEPS.items():
        attempts.add_metric([step], totals.events[kind])
    yield attempts
    yield CounterMetricFamily("dropscribe_retries", "Steps that failed and are tried again.", totals.events["retry"])
    yield CounterMetricFamily("dropscribe_lease_expiries", "Steps lost with their worker.", totals.events["lost"])
    told = CounterMetricFamily("dropscribe_notifications", "Notifications by result.", labels=["result"])
    for result, kind in ((notifications.DELIVERED, "notified"), (notifications.GIVEN_UP, "not_notified")):
        told.add_metric([result], totals.events[kind])
    yield told
    yield from _failed_checks(totals.rules)
    yield CounterMetricFamily(
        "dropscribe_transcribed_audio_seconds", "Audio of recordings whose transcript was written.", totals.audio
    )


def _failed_checks(rules: Mapping[str, int]) -> Iterator[Metric]:
    """Failed quality checks, under their current names and under those that they had before."""
    failed = CounterMetricFamily(
        "dropscribe_failed_quality_checks", "Outputs of the model that failed a quality check.", labels=["check"]
    )
    old = CounterMetricFamily(
        "dropscribe_failed_checks", "The old name of dropscribe_failed_quality_checks_total.", labels=["rule"]
    )
    before = {new: name for name, new in CHECKS.items()}
    for check, count in sorted(rules.items()):
        failed.add_metric([check], count)
        old.add_metric([before.get(check, check)], count)
    yield from (failed, old)
