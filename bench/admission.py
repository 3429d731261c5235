"""How many files a second are admitted: found, seen to stand still, made jobs in the store, announced in Redis.

Run as `python -m bench.admission`; takes about a minute. Beside it stands a bare loop over the same files that walks,
stats and hashes, which a folder watcher without a store would do. With PostgreSQL's programs installed, the same is
measured on a private server of it, which syncs to disk as SQLite does.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from bench import tree
from bench.machine import Machine, private
from bench.table import Row, print_rates
from dropscribe.core.errors import UnstorableError
from dropscribe.core.mounts import filesystem_of
from dropscribe.core.queue import Doorbell
from dropscribe.core.routing import CPU_QUEUE
from dropscribe.scheduler.watching import admission
from dropscribe.scheduler.watching.file_events import FileEventWatcher
from dropscribe.scheduler.watching.folder_rules import Folders
from dropscribe.scheduler.watching.joining import WholeRecording
from dropscribe.scheduler.watching.root_watch import RootWatch
from dropscribe.store import jobs
from tests.servers import find_postgresql, private_postgresql

FILE_BYTES = 4096  # small, so that the store is measured and not the disk


def main(argv: Sequence[str] | None = None) -> int:
    """Make the files, measure each way in turn, print the table."""
    options = tree.parse(argv, "bench.admission", __doc__, files=20_000)
    with tempfile.TemporaryDirectory(prefix="dropscribe-admission-", dir=options.directory) as name:
        inbox = Path(name) / "inbox"
        tree.make(inbox, options.files, size=FILE_BYTES)
        print(f"{options.files:,} files of {FILE_BYTES:,} bytes on {filesystem_of(inbox)}")
        rows = [_walk_and_hash(inbox)]
        with private(Path(name) / "sqlite") as machine:
            rows.append(_admitted("SQLite", machine, inbox))
        with _postgresql() as url:
            if url:
                with private(Path(name) / "postgresql", database_url=url) as machine:
                    rows.append(_admitted("PostgreSQL", machine, inbox))
    print_rates("files", rows)
    return 0


@contextmanager
def _postgresql() -> Iterator[str]:
    """URL of a private server, or nothing where it is not installed."""
    programs = find_postgresql()
    if programs is None:
        yield ""
        return
    with private_postgresql(programs, fsync=True) as url:
        yield url


def _walk_and_hash(inbox: Path) -> Row:
    began = time.perf_counter()
    taken = [_hashed(Path(folder) / name) for folder, _, names in os.walk(inbox) for name in names]
    return Row("bare loop: os.walk, stat, SHA-256", len(taken), time.perf_counter() - began)


def _hashed(path: Path) -> tuple[int, int, str]:
    seen = path.stat()
    with path.open("rb") as file:
        return seen.st_size, seen.st_mtime_ns, hashlib.file_digest(file, "sha256").hexdigest()


def _admitted(name: str, machine: Machine, inbox: Path) -> Row:
    """Two looks, as a file is complete once it was seen twice without a change."""
    settings = machine.settings.model_copy(update={"stable_seconds": 0.0, "stable_seconds_network": 0.0})
    doorbell = Doorbell(settings)
    bell = FileEventWatcher()

    def admit(
        root: str, whole: Sequence[WholeRecording], gone: Collection[str], folders: Folders
    ) -> Mapping[str, UnstorableError]:
        return admission.admit(machine.database, doorbell, folders, root, whole, gone).refused

    watch = RootWatch(inbox, settings, bell, partial(jobs.known, machine.database), admit, frozenset())
    try:
        began = time.perf_counter()
        watch.look(time.monotonic())
        watch.look(time.monotonic())
        seconds = time.perf_counter() - began
        return Row(f"dropscribe: jobs in {name}, messages in Redis", doorbell.depth(CPU_QUEUE), seconds)
    finally:
        watch.close()
        doorbell.close()


if __name__ == "__main__":
    raise SystemExit(main())
