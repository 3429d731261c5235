"""How a fleet scales: one ten-hour recording and thousands of short ones over 1 to 32 model workers, and what each
chunk costs Redis and PostgreSQL.

Run as `python -m bench.scale`; takes about twenty minutes (`--quick`: three). Redis, PostgreSQL (with fsync) and the
workers are real processes on this machine. The store holds `--history` jobs that ended before, 100,000 of them. The
model is scripted: it sleeps as long as the figure given by `--rtfx` says, as a GPU keeps its worker's CPU idle. Perfect
scaling is the sum of all that sleep over the number of workers; what is missing to it is the product's own cost, and on
a machine of few cores, the cores'.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import redis
import soundfile
from sqlalchemy import func, select, text

from bench.machine import Machine, private
from bench.space import multiply
from dropscribe.core.audio import SAMPLE_RATE
from dropscribe.core.queue import Doorbell, redis_url
from dropscribe.core.routing import TRANSCRIBE
from dropscribe.core.types import PENDING_CHUNKS, Media, Span
from dropscribe.store import chunk_plans, fleet, jobs, queries
from dropscribe.store.fleet import list_workers
from dropscribe.store.jobs import NewJob
from dropscribe.store.session import Database, open_database
from dropscribe.store.tables import chunks
from dropscribe.worker import chunking
from tests.integration import store_steps as steps
from tests.servers import find_postgresql, private_postgresql

RTFX = 196.0  # of bf16 on an H200 with 16 chunks of 5 minutes, as bench/roofline.py bounds it; nobody measured it yet
CHUNK_SECONDS = 300.0
SHORT_SECONDS = 30.0
FLEETS = (1, 40, 400, 4000)  # GPUs
UTTERANCE = Span(0.0, 8.0)  # of speech in every ten seconds, for the chunk plan


@dataclass(frozen=True, slots=True)
class Load:
    """What servers and workers did up to a moment: transactions, commands, seconds of CPU."""

    transactions: int
    commands: int
    database_cpu: float
    redis_cpu: float
    worker_cpu: float


@dataclass(frozen=True, slots=True)
class Row:
    """One run: how many workers, chunks, seconds from the first message to the last commit, seconds slept in all."""

    workers: int
    chunks: int
    seconds: float
    slept: float
    load: Load

    @property
    def efficiency(self) -> float:
        """Part of perfect scaling."""
        return self.slept / self.workers / self.seconds


def main(argv: Sequence[str] | None = None) -> int:
    """Measure each in turn, print the tables."""
    options = _parse(argv)
    programs = find_postgresql()
    if programs is None:
        raise SystemExit("this needs PostgreSQL's programs (initdb, pg_ctl); install postgresql")
    if options.quick:
        options.hours, options.recordings, options.workers = 2.5, 250, [1, 4, 16]
    print(f"a model that sleeps for a {options.rtfx:g}th of the audio; PostgreSQL with fsync, Redis, real workers")
    print(f"a history of {options.history:,} jobs")
    rows: dict[str, list[Row]] = {"long": [], "short": []}
    with private_postgresql(programs, fsync=True) as server:
        _fill(server, options.history)
        for count in options.workers:
            for kind, measured in rows.items():
                with ExitStack() as stack:
                    measured.append(_measure(stack, _copy(server, f"{kind}{count}"), kind, count, options))
                    _tell(measured[-1], kind)
    _print(f"one recording of {options.hours:g} hours, chunks of {CHUNK_SECONDS / 60:.0f} minutes", rows["long"])
    _print(f"{options.recordings} recordings of {SHORT_SECONDS:.0f} seconds", rows["short"])
    _reckon({kind: measured[-1] for kind, measured in rows.items()}, options.rtfx)
    return 0


def _fill(server: str, history: int) -> None:
    """Make jobs that ended, in the database from which each run gets a copy."""
    with closing(open_database(server)) as database:
        job = steps.admit(database, "recording-000000.wav")
        for chunk in steps.prepare(database, job):
            steps.read(database, chunk)
        steps.finish(database, job)
        multiply(database, history)
        with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(text("VACUUM ANALYZE"))


def _copy(server: str, name: str) -> str:
    """URL of a copy of the server's database, of that name."""
    with (
        closing(Database(server.replace("/postgres?", "/template1?"))) as database,
        database.engine.connect() as outside,
    ):
        outside.execution_options(isolation_level="AUTOCOMMIT").execute(
            text(f"CREATE DATABASE {name} TEMPLATE postgres")
        )
    return server.replace("/postgres?", f"/{name}?")


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench.scale", description=__doc__.splitlines()[0] if __doc__ else ""
    )
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2, 4, 8, 16, 32], help="fleet sizes")
    parser.add_argument("--hours", type=float, default=10, help="length of the long recording")
    parser.add_argument("--recordings", type=int, default=2000, help="how many short ones")
    parser.add_argument("--rtfx", type=float, default=RTFX, help="seconds of audio a worker reads in a second")
    parser.add_argument("--history", type=int, default=100_000, help="jobs that ended before")
    parser.add_argument("--quick", action="store_true", help="a quarter of the long one, 250 short ones, 1 to 16")
    return parser.parse_args(argv)


def _measure(stack: ExitStack, url: str, kind: str, count: int, options: argparse.Namespace) -> Row:
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="dropscribe-scale-")))
    script = json.dumps({"realtime_factor": options.rtfx})
    machine = stack.enter_context(private(folder, database_url=url, engine="scripted", scripted_script=script))
    names = [f"model-{number}" for number in range(count)]
    for name in names:
        machine.start(name, "model", name)
    machine.wait_until(lambda: _ready(machine) >= count, progress=lambda: _ready(machine))
    lengths = [options.hours * 3600] if kind == "long" else [SHORT_SECONDS] * options.recordings
    waiting = _plan(machine, folder, lengths)
    before, began = _load(machine), time.time()
    doorbell = Doorbell(machine.settings)
    for chunk in waiting:
        doorbell.ring(TRANSCRIBE, chunk)
    machine.wait_until(lambda: _left(machine) == 0, progress=lambda: _left(machine))
    doorbell.close()
    after = _load(machine)
    with machine.database.read() as connection:
        query = select(func.count(), func.max(chunks.c.finished_at), func.sum(chunks.c.end - chunks.c.start))
        read, finished, audio = connection.execute(query.where(chunks.c.finished_at >= began)).one()
    spent = Load(*(one - other for one, other in zip(_values(after), _values(before), strict=True)))
    return Row(count, read, finished - began, audio / options.rtfx, spent)


def _ready(machine: Machine) -> int:
    return sum(worker.state == "ready" for worker in list_workers(machine.database))


def _plan(machine: Machine, folder: Path, lengths: Sequence[float]) -> list[str]:
    """Enter recordings as if they had been prepared; returns the chunks to send messages for."""
    machine.settings.spool_dir.mkdir(parents=True, exist_ok=True)
    silence = folder / "silence.flac"
    _write_silence(silence, lengths[0])
    found = [NewJob("/", f"{number}.wav", 1, number, "digest", "normal") for number in range(len(lengths))]
    window = fleet.capacity(machine.database, machine.settings.silence_seconds).window
    waiting: list[str] = []
    for job_id, seconds in zip(jobs.admit(machine.database, found), lengths, strict=True):
        (machine.settings.spool_dir / f"{job_id}.flac").hardlink_to(silence)
        claim = jobs.claim_prepare(machine.database, job_id, "bench", 3600)
        if claim is None:
            raise SystemExit(f"{job_id} is not to be had: {queries.job(machine.database, job_id)}")
        jobs.lead_or_follow(machine.database, claim, hashlib.sha256(job_id.encode()).hexdigest())
        speech = [Span(at + UTTERANCE.start, at + UTTERANCE.end) for at in np.arange(0.0, seconds, 10.0).tolist()]
        plan = chunking.plan(speech, seconds, CHUNK_SECONDS, overlap=machine.settings.overlap_seconds)
        result = chunk_plans.Prepared(seconds, Media("wav"), "none", plan, speech)
        waiting += chunk_plans.prepared(machine.database, claim, result, window=window).transcribe
    return waiting


def _write_silence(path: Path, seconds: float) -> None:
    minute = np.zeros(60 * SAMPLE_RATE, dtype=np.int16)
    with soundfile.SoundFile(path, "w", SAMPLE_RATE, 1, "PCM_16") as file:
        for _ in range(int(seconds / 60) + 1):
            file.write(minute)


def _left(machine: Machine) -> int:
    with machine.database.read() as connection:
        query = select(func.count()).select_from(chunks).where(chunks.c.state.in_(PENDING_CHUNKS))
        return int(connection.execute(query).scalar_one())


def _load(machine: Machine) -> Load:
    with machine.database.read() as connection:
        transactions = connection.execute(text("SELECT sum(xact_commit) FROM pg_stat_database")).scalar_one()
    with redis.Redis.from_url(redis_url(machine.settings)) as client:
        info: dict[str, Any] = client.info()
    servers = [p for p in psutil.process_iter(["name"]) if p.info["name"] == "postgres"]
    workers = [child.process for child in machine.supervisor.children if child.name.startswith("model-")]
    return Load(
        transactions=int(transactions),
        commands=info["total_commands_processed"],
        database_cpu=sum(map(_cpu, servers)),
        redis_cpu=info["used_cpu_user"] + info["used_cpu_sys"],
        worker_cpu=sum(_cpu(psutil.Process(process.pid)) for process in workers if process),
    )


def _cpu(process: psutil.Process) -> float:
    """Seconds of CPU, those of children that ended included."""
    try:
        used = process.cpu_times()
    except psutil.NoSuchProcess:
        return 0.0
    return used.user + used.system


def _values(load: Load) -> list[Any]:
    return [load.transactions, load.commands, load.database_cpu, load.redis_cpu, load.worker_cpu]


def _tell(row: Row, kind: str) -> None:
    print(f"  {row.workers:3} workers, {kind}: {row.seconds:.1f} s, {row.efficiency:.0%} of perfect", flush=True)


def _print(title: str, rows: Sequence[Row]) -> None:
    print(f"\n{title}")
    print(
        f"{'workers':>8}{'chunks':>8}{'seconds':>9}{'speed-up':>10}{'of perfect':>12}"
        f"{'transactions':>14}{'commands':>10}{'DB CPU':>9}{'Redis CPU':>11}{'worker CPU':>12}"
    )
    for row in rows:
        load, each = row.load, 1000 / row.chunks
        print(
            f"{row.workers:8}{row.chunks:8}{row.seconds:9.1f}{rows[0].seconds / row.seconds:9.1f}x"
            f"{row.efficiency:12.0%}{load.transactions / row.chunks:14.1f}{load.commands / row.chunks:10.1f}"
            f"{load.database_cpu * each:6.1f} ms{load.redis_cpu * each:8.1f} ms{load.worker_cpu * each:9.1f} ms",
            flush=True,
        )
    print("transactions, commands and CPU are for each chunk")


def _reckon(rows: Mapping[str, Row], rtfx: float) -> None:
    """What fleets need of PostgreSQL and Redis, by the costs of a chunk in the largest fleet that was measured."""
    titles = "".join(f"{count:>9,}" for count in FLEETS)
    print(f"\nreckoned for GPUs that read {rtfx:g} s of audio in a second{'':13}{titles}")
    for kind, row in rows.items():
        load = row.load  # of as much audio as one GPU reads in `row.slept` seconds
        needs = {
            "transactions a second": load.transactions / row.slept,
            "cores of PostgreSQL": load.database_cpu / row.slept,
            "cores of Redis": load.redis_cpu / row.slept,
        }
        for name, of_one in needs.items():
            print(f"{f'{kind} recordings: {name}':60}{''.join(_figure(of_one * count) for count in FLEETS)}")


def _figure(value: float) -> str:
    return f"{value:9,.0f}" if value >= 10 else f"{value:9.2g}"


if __name__ == "__main__":
    raise SystemExit(main())
