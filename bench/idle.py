"""What waiting costs: CPU use of watching a quiet folder, beside watchdog's PollingObserver on the same files.

With it goes the reconciler, every 20 s, on an SQLite store with a history of 100,000 jobs.

Run as `python -m bench.idle`; takes about a minute. The folder is made in the system's temporary directory, or
where `--directory` says, and removed afterwards.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from watchdog.events import FileSystemEventHandler
from watchdog.observers.polling import PollingObserver

from bench import status, tree
from bench.machine import private
from dropscribe.core.queue import Doorbell
from dropscribe.core.types import JobState
from dropscribe.scheduler.duties.reconciler import reconcile
from dropscribe.scheduler.scanning.roots import Root, open_root
from dropscribe.scheduler.scanning.scan import scan
from dropscribe.scheduler.watching.file_events import FileEventWatcher
from dropscribe.scheduler.watching.stability import Stability

SCAN_PERIOD = 60.0  # seconds; the default of the setting scan_seconds
BELL_SECONDS = 5.0  # the bell sleeps in the kernel, so a short look suffices
SCANS = 5
ROUNDS = 5
HISTORY = 100_000  # jobs
POLLS = {1.0: 6, 10.0: 2}  # period in seconds: how many periods are measured


@dataclass(frozen=True, slots=True)
class Row:
    """One way of watching: user and system seconds per second."""

    name: str
    load: float


def main(argv: Sequence[str] | None = None) -> int:
    """Make the files, measure each way in turn, print the table."""
    options = tree.parse(argv, "bench.idle", __doc__, files=100_000)
    with tempfile.TemporaryDirectory(prefix="dropscribe-idle-", dir=options.directory) as name:
        tree.make(Path(name), options.files)
        root = open_root(Path(name))
        print(f"{options.files:,} files on {root.filesystem}, nothing happening")
        with tempfile.TemporaryDirectory(prefix="dropscribe-idle-", dir=options.directory) as home:
            reconciling = _load_of_reconciler(Path(home))
        rows = [_ours(root, reconciling), *(_polling(root, period, count) for period, count in POLLS.items())]
    _print_table(rows)
    return 0


def _ours(root: Root, reconciling: float) -> Row:
    """The bell's own use, a scan with its evaluation spread over the period between two, and the reconciler's share."""
    with ExitStack() as stack:
        bell = FileEventWatcher()
        stack.callback(bell.stop)
        # The bench compares what runs on local disks, whatever the temporary directory lies on.
        if not bell.start(replace(root, is_network=False)):
            raise SystemExit("inotify has no watches left; raise fs.inotify.max_user_watches")
        waiting = _load(lambda: bell.wait(BELL_SECONDS))
        scanning = _seconds_a_scan(root) / SCAN_PERIOD
    print(f"inotify waits at {waiting:.3%}, a scan takes {scanning * SCAN_PERIOD:.2f} s of CPU")
    named = f"dropscribe: inotify, a scan every {SCAN_PERIOD:.0f} s, reconciler"
    return Row(named, waiting + scanning + reconciling)


def _load_of_reconciler(home: Path) -> float:
    """CPU seconds a second of the reconciler on a store with a long history, of which nothing is under way."""
    costs = []
    with private(home) as machine, closing(Doorbell(machine.settings)) as doorbell:
        settings = machine.settings
        status.fill(settings.home, HISTORY, {JobState.DONE: 1.0})
        for _ in range(ROUNDS + 1):
            start = time.process_time()
            reconcile(machine.database, doorbell, settings, "bench")
            costs.append(time.process_time() - start)
    spent = statistics.median(costs[1:])
    period = min(settings.reconcile_seconds, settings.renew_seconds)
    print(f"a round of the reconciler every {period:.0f} s takes {spent * 1000:.1f} ms of CPU, with {HISTORY:,} jobs")
    return spent / period


def _seconds_a_scan(root: Root) -> float:
    stability = Stability(0)
    costs = []
    for _ in range(SCANS):
        start = time.process_time()
        stability.observe(scan(root.path).files, time.monotonic())
        costs.append(time.process_time() - start)
    return statistics.median(costs)


def _polling(root: Root, period: float, count: int) -> Row:
    """Whole periods only: watchdog pauses for `period` and then takes a snapshot, as it did for its start."""
    observer = PollingObserver(timeout=period)
    observer.schedule(FileSystemEventHandler(), str(root.path), recursive=True)
    with _running(observer) as first_snapshot:
        load = _load(lambda: time.sleep(count * (period + first_snapshot)))
    return Row(f"watchdog PollingObserver every {period:.0f} s", load)


@contextmanager
def _running(observer: PollingObserver) -> Iterator[float]:
    """Yields how many seconds the start took, which takes the first snapshot."""
    start = time.perf_counter()
    observer.start()
    try:
        yield time.perf_counter() - start
    finally:
        observer.stop()
        observer.join()


def _load(wait: Callable[[], object]) -> float:
    """CPU seconds of this process, all threads, per second, while `wait` waits."""
    wall, cpu = time.perf_counter(), time.process_time()
    wait()
    return (time.process_time() - cpu) / (time.perf_counter() - wall)


def _print_table(rows: Sequence[Row]) -> None:
    ours = rows[0].load
    print(f"\n{'':52}{'CPU':>8}{'ratio':>8}")
    for row in rows:
        print(f"{row.name:52}{row.load:8.2%}{row.load / ours:7.1f}x")


if __name__ == "__main__":
    raise SystemExit(main())
