"""How fast recordings and chunks go through everything around a model, beside a Celery task that does nothing.

Run as `python -m bench.throughput`; takes about a minute. The model is scripted and takes no time; scheduler, workers,
store (SQLite) and Redis are the real ones, each in its process. Moments are read from the store.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import redis
import soundfile
from sqlalchemy import func, select

from bench import bare
from bench.decoding import by_pyav
from bench.machine import PATIENCE, Machine, private
from bench.table import Row, print_rates
from dropscribe.core.mounts import filesystem_of
from dropscribe.core.queue import Doorbell, redis_url
from dropscribe.core.routing import TRANSCRIBE
from dropscribe.core.types import JobState
from dropscribe.store import queries
from dropscribe.store.roots import list_roots
from dropscribe.store.tables import chunks, events, jobs
from dropscribe.worker.service import MAX_CPU_THREADS
from tests.e2e.harness import speech

CHUNK_SECONDS = 1.0
RECORDING_SECONDS = 1.0
BLOCK_SECONDS = 10.0  # of the long recording, which repeats them
WORK_SECONDS = 0.02  # of a task that keeps its worker from listening for a while, as every real one does
FEW_MESSAGES = 10  # such tasks; Celery's threads without prefetching take up to a second for each
LONG = "long.wav"
SETTINGS = {
    "engine": "scripted",
    "speech_detector": "energy",
    "speakers": "off",  # the speaker encoder is a model too
    "stable_seconds": "0",
    "chunk_seconds": str(CHUNK_SECONDS),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Measure each in turn, print the tables."""
    options = _parse(argv)
    with tempfile.TemporaryDirectory(prefix="dropscribe-throughput-", dir=options.directory) as name:
        folder = Path(name)
        print(f"a model that takes no time; SQLite and everything else on {filesystem_of(folder)}")
        settings = SETTINGS | {"cpu_slots": str(min(os.cpu_count() or 1, MAX_CPU_THREADS))}
        with private(folder, **settings) as machine:
            empty = [_bare(machine, kind, options.messages) for kind in ("ours", "prefetch")]
            few = min(options.messages, FEW_MESSAGES)
            working = [_bare(machine, kind, few, WORK_SECONDS) for kind in ("threads", "prefetch", "ours")]
            recordings, chunked = _product(machine, folder / "inbox", options)
            decoding = _decoding(machine, folder / "inbox", min(options.recordings, 50))
    print_rates("messages", [empty[0], chunked, *empty[1:]])
    print_rates(f"{WORK_SECONDS * 1000:.0f} ms tasks", working)
    print_rates("recordings", [decoding, recordings])
    return 0


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench.throughput", description=__doc__.splitlines()[0] if __doc__ else ""
    )
    parser.add_argument("--recordings", type=int, default=100, help="short recordings, a second each")
    parser.add_argument("--chunks", type=int, default=1000, help="length of the long recording, in chunks")
    parser.add_argument("--messages", type=int, default=2000, help="messages to each bare Celery worker")
    parser.add_argument("--directory", type=Path, help="where to work")
    return parser.parse_args(argv)


def _bare(machine: Machine, kind: str, count: int, work: float = 0.0) -> Row:
    """From the first message sent to the last executed."""
    # A program that `exec` starts has no settings of its own, so `env` gives it those of this machine.
    told = (f"{name}={value}" for name, value in machine.supervisor.environment.items())
    command = ["env", *told, sys.executable, "-m", "bench.bare", kind, str(count), str(work)]
    child = machine.start(f"bare-{kind}", "exec", *command)
    doorbell = Doorbell(machine.settings)
    with redis.Redis.from_url(redis_url(machine.settings), socket_timeout=None) as client:
        _hear(client, bare.READY_KEY)
        before, began = machine.cpu_seconds(), time.time()
        for number in range(count):
            doorbell.ring(TRANSCRIBE, f"bare.{number}")
        seconds = _hear(client, bare.DONE_KEY) - began
    if not work:
        _print_cpu(f"a bare task {bare.KINDS[kind].title}", before, machine.cpu_seconds(), count)
    doorbell.close()
    machine.stop(child)
    return Row(f"bare task {bare.KINDS[kind].title}", count, seconds)


def _hear(client: Any, key: str) -> float:
    """The moment that the bare worker tells, in seconds since the epoch."""
    heard = client.blpop(key, timeout=PATIENCE)
    if heard is None:
        raise SystemExit(f"the bare Celery worker did not answer within {PATIENCE:.0f} s")
    return float(heard[1])


def _product(machine: Machine, inbox: Path, options: argparse.Namespace) -> tuple[Row, Row]:
    """Short recordings from admission to their transcripts, then the chunks of a long one."""
    inbox.mkdir()
    written = inbox.with_name("written")
    written.mkdir()
    sounds = [
        speech(written / f"{number:05d}.wav", RECORDING_SECONDS, seed=number) for number in range(options.recordings)
    ]
    machine.start_workers()
    machine.start("scheduler", "scheduler", "scheduler", str(inbox))
    machine.wait_until(lambda: list_roots(machine.database))
    before = machine.cpu_seconds()
    for sound in sounds:
        sound.rename(inbox / sound.name)
    _wait_for_jobs(machine, options.recordings)
    recordings = _from_admission(machine)
    total = _print_cpu("a recording", before, machine.cpu_seconds(), options.recordings)
    print(f"two free cores do {2 / total:.1f} recordings a second")
    before = machine.cpu_seconds()
    _write_long(inbox / LONG, options.chunks * CHUNK_SECONDS)
    _wait_for_jobs(machine, options.recordings + 1)
    _print_cpu("a chunk, where cpu prepares and finishes all", before, machine.cpu_seconds(), options.chunks)
    return recordings, _from_plan(machine)


def _print_cpu(what: str, before: Mapping[str, float], after: Mapping[str, float], count: int) -> float:
    """What one of so many takes of each process, which says more than time where others compute too; the sum in s."""
    spent = {name: (seconds - before[name]) / count for name, seconds in after.items()}
    each = ", ".join(f"{name} {seconds * 1000:.2f}" for name, seconds in spent.items())
    print(f"CPU of {what}, ms: {sum(spent.values()) * 1000:.1f} ({each})")
    return sum(spent.values())


def _write_long(path: Path, seconds: float) -> None:
    block, rate = soundfile.read(speech(path.with_name(".block.wav"), BLOCK_SECONDS), dtype=np.float32)
    part = path.with_name(".long.part")
    soundfile.write(
        part, np.tile(block, int(np.ceil(seconds / BLOCK_SECONDS)))[: int(seconds * rate)], rate, format="WAV"
    )
    part.replace(path)


def _wait_for_jobs(machine: Machine, count: int) -> None:
    def ended() -> int:
        return queries.count_by_state(machine.database).get(JobState.DONE, 0)

    machine.wait_until(lambda: ended() >= count, progress=lambda: (ended(), queries.backlog(machine.database)))


def _from_admission(machine: Machine) -> Row:
    query = select(func.count(), func.max(jobs.c.finished_at) - func.min(jobs.c.created_at))
    with machine.database.read() as connection:
        count, seconds = connection.execute(query).one()
    return Row(f"recording of {RECORDING_SECONDS:.0f} s, from admission to its five files", count, seconds)


def _from_plan(machine: Machine) -> Row:
    """The plan is committed directly before the first message is sent."""
    long = select(jobs.c.id).where(jobs.c.path == LONG).scalar_subquery()
    planned = select(events.c.at).where(events.c.job_id == long, events.c.kind == "prepared").scalar_subquery()
    query = select(func.count(), func.max(chunks.c.finished_at) - planned).where(chunks.c.job_id == long)
    with machine.database.read() as connection:
        count, seconds = connection.execute(query).one()
    return Row("chunk, from its message to its committed text", count, seconds)


def _decoding(machine: Machine, inbox: Path, count: int) -> Row:
    """Decoding alone, by PyAV in as many threads of this process as the CPU worker has: it starts no other process."""
    sources = sorted(inbox.glob("*.wav"))[:count]
    target = machine.settings.scratch_dir
    began = time.monotonic()
    with ThreadPoolExecutor(machine.settings.cpu_slots) as pool:
        decoded = [pool.submit(by_pyav, source, target / f"{source.stem}.flac") for source in sources]
        for future in decoded:
            future.result()
    return Row("decoding alone, by PyAV in threads of one process", len(sources), time.monotonic() - began)


if __name__ == "__main__":
    raise SystemExit(main())
