"""Removes what is kept no longer: what was said in recordings, or all that is known of them, by `[retention]`.

One scheduler of the fleet does it, by its own settings, a few jobs at a time. It also overwrites what others removed
from SQLite's files.
"""

from __future__ import annotations

import logging
import threading
import time
from operator import attrgetter

from dropscribe.core import retention
from dropscribe.core.errors import StoreError
from dropscribe.core.retention import Retention, RetentionRule
from dropscribe.core.settings import Settings
from dropscribe.store import fleet, forget, scrubbing
from dropscribe.store.session import Database

log = logging.getLogger(__name__)

ROLE = "retention"
AT_ONCE = 20  # jobs that are looked for and emptied before the role is renewed
POLL_SECONDS = 60.0
LOOK_BACK = 3600.0  # s; what is due may have been written that long after the moment that it bears
WHOLE_HISTORY = 86_400.0  # s after which everything is looked at again, as clocks and folders may have changed


class RetentionDuty:
    """Removes until it is stopped; between two rounds it remembers up to where all is done."""

    def __init__(self, settings: Settings, database: Database, name: str) -> None:
        """`name` is that of this scheduler. Raises SettingsError for a table of a folder that makes no sense."""
        self._rules = retention.rules(settings.of(Retention), settings.folders)
        self._database = database
        self._name = name
        self._done_up_to: dict[RetentionRule, float] = {}
        self._began = time.monotonic()

    def run(self, stop: threading.Event) -> None:
        """Look every minute for what is due, until stopped."""
        while not stop.is_set():
            try:
                self.look(stop)
            except StoreError as error:
                log.warning("nothing is removed by retention now: %s", error)
            stop.wait(POLL_SECONDS)

    def look(self, stop: threading.Event) -> int:
        """Remove all that is due, unless stopped; returns of how many jobs. Raises StoreError."""
        if time.monotonic() - self._began > WHOLE_HISTORY:
            self._done_up_to, self._began = {}, time.monotonic()
        removed = sum(self._carry_out(rule, stop) for rule in self._rules)
        if not stop.is_set() and not scrubbing.is_scrubbed(self._database) and self._is_mine():
            scrubbing.scrub(self._database, stop)  # where somebody reads, the next round does it
        return removed

    def _carry_out(self, rule: RetentionRule, stop: threading.Event) -> int:
        """Remove what this rule is for, the oldest first."""
        removed, since = 0, self._done_up_to.get(rule, 0.0)
        until = self._database.clock() - rule.seconds
        while not stop.is_set() and self._is_mine():
            due = forget.due(self._database, rule, since, until, AT_ONCE)
            number = forget.apply(self._database, rule, [*map(attrgetter("id"), due)])
            removed += number
            if not number:
                self._done_up_to[rule] = until - LOOK_BACK
                break
            since = due[0].ended
        if removed:
            log.info("retention removed data of %d recordings: %s", removed, rule.why)
        return removed

    def _is_mine(self) -> bool:
        """Does this scheduler have the role? One alone in the fleet does."""
        return fleet.hold_role(self._database, ROLE, self._name, 3 * POLL_SECONDS)
