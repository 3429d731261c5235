"""What a ten-hour recording costs besides the model: time and memory of preparing, reading and stitching it.

Run as `python -m bench.long`; takes about three minutes. The workers are real processes, held to one core; the
recording is a sample over and over. Its rival is a recording of one hour: neither memory nor the time for each hour
may grow.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from bench.machine import Machine, private
from dropscribe.core.settings import Settings
from dropscribe.core.types import Segment, Span
from dropscribe.store import queries
from dropscribe.store.queries import Job
from dropscribe.worker import chunking
from dropscribe.worker.merging import speaker_linking
from dropscribe.worker.merging.merge_chunks import ChunkOutcome, merge_chunks

SAMPLE = Path(__file__).parents[1] / "samples" / "news.mp3"  # MP3 frames may be put end to end as they are
MEGABYTE = 1_000_000
WATCH_SECONDS = 0.02  # between two looks at the memory of the workers
UTTERANCE = 4.0  # seconds; for stitching, one after the other
SETTINGS = {"engine": "scripted", "stable_seconds": "0", "cpu_slots": "1"}


@dataclass
class Peak:
    """The most memory, in bytes, that processes held together at one moment: their own, shared pages once."""

    bytes: int = 0


def main(argv: Sequence[str] | None = None) -> int:
    """Measure each in turn, print the tables."""
    options = _parse(argv)
    with tempfile.TemporaryDirectory(prefix="dropscribe-long-", dir=options.directory) as name:
        rows = [_read(Path(name) / f"{hours:g}", hours) for hours in (options.hours / 10, options.hours)]
    print(f"\n{'hours':>6}{'preparing':>12}{'x real time':>13}{'CPU worker':>13}{'model worker':>14}")
    for row in rows:
        print(
            f"{row.hours:6g}{row.seconds:10.1f} s{row.hours * 3600 / row.seconds:13.0f}"
            f"{row.cpu_peak / MEGABYTE:10.0f} MB{row.model_peak / MEGABYTE:11.0f} MB"
        )
    print(f"\n{'hours':>6}{'segments':>10}{'stitching':>12}{'for each hour':>15}")
    for hours in (1, 10, 100):
        segments, seconds = _stitched(hours)
        print(f"{hours:6}{segments:10}{seconds:10.2f} s{seconds / hours * 1000:12.1f} ms")
    return 0


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench.long", description=__doc__.splitlines()[0] if __doc__ else ""
    )
    parser.add_argument("--hours", type=float, default=10, help="length of the recording")
    parser.add_argument("--directory", type=Path, help="where to work")
    return parser.parse_args(argv)


@dataclass(frozen=True, slots=True)
class Row:
    """One recording: hours of audio, seconds of preparing it, peaks of memory in bytes."""

    hours: float
    seconds: float
    cpu_peak: int
    model_peak: int


def _read(folder: Path, hours: float) -> Row:
    folder.mkdir()
    with private(folder, **SETTINGS) as machine:
        machine.start_workers()
        inbox = folder / "inbox"
        inbox.mkdir()
        _write(inbox / "long.mp3", hours * 3600)
        workers = {role: _process(machine, role) for role in ("cpu", "model")}
        for process in workers.values():
            process.cpu_affinity([min(os.sched_getaffinity(0))])
        machine.start("scheduler", "scheduler", "scheduler", str(inbox))
        with _watched(workers["cpu"]) as cpu, _watched(workers["model"]) as model:
            job = _done(machine)
    preparing = job.timings["audio_decode"] + job.timings["speech_detection"]
    return Row((job.duration or 0.0) / 3600, preparing, cpu.bytes, model.bytes)


def _write(path: Path, seconds: float) -> None:
    """The sample until it is long enough; renamed when it is whole."""
    sample = SAMPLE.read_bytes()
    info = seconds / _length(SAMPLE)
    part = path.with_suffix(".part")
    with part.open("wb") as file:
        for _ in range(int(info) + 1):
            file.write(sample)
    part.replace(path)


def _length(path: Path) -> float:
    import av

    with av.open(str(path)) as container:
        return float((container.duration or 0) / av.time_base)


def _process(machine: Machine, role: str) -> psutil.Process:
    (child,) = [child for child in machine.supervisor.children if child.name == role]
    if child.process is None:
        raise SystemExit(f"the {role} worker is gone")
    return psutil.Process(child.process.pid)


@contextmanager
def _watched(process: psutil.Process) -> Iterator[Peak]:
    """Look at the process and its children again and again."""
    peak, over = Peak(), threading.Event()

    def watch() -> None:
        while not over.wait(WATCH_SECONDS):
            peak.bytes = max(peak.bytes, _memory(process))

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield peak
    finally:
        over.set()
        thread.join()


def _memory(process: psutil.Process) -> int:
    total = 0
    for one in [process, *process.children(recursive=True)]:
        try:
            total += one.memory_full_info().pss
        except psutil.NoSuchProcess:
            continue
    return total


def _done(machine: Machine) -> Job:
    def found() -> list[Job]:
        return queries.list_jobs(machine.database)

    machine.wait_until(
        lambda: found() and found()[0].state.is_final,
        progress=lambda: (_spooled(machine.settings), [(job.state, job.read) for job in found()]),
    )
    (job,) = found()
    if job.state != "done":
        raise SystemExit(f"{job.path} is {job.state}: {job.reason}")
    return job


def _spooled(settings: Settings) -> int:
    return sum(path.stat().st_size for path in settings.spool_dir.glob("*"))


def _stitched(hours: int) -> tuple[int, float]:
    """How many segments, and how long it takes to make one time line and one set of speakers of them."""
    duration = hours * 3600.0
    speech = [Span(at, at + UTTERANCE - 0.5) for at in _steps(0, duration)]
    parts = [
        ChunkOutcome(
            Span(chunk.start, chunk.end),
            chunk.keep,
            tuple(_utterance(at) for at in _steps(chunk.start, chunk.end - UTTERANCE)),
        )
        for chunk in chunking.plan(speech, duration, 600.0, overlap=30.0)
    ]
    return _timed(lambda: len(merge_chunks(parts, speech, speaker_linking.link(parts)).segments))


def _steps(start: float, end: float) -> list[float]:
    first = -(-start // UTTERANCE) * UTTERANCE
    return [first + UTTERANCE * step for step in range(max(0, int((end - first) / UTTERANCE)))]


def _utterance(at: float) -> Segment:
    number = int(at / UTTERANCE)
    return Segment(at, at + UTTERANCE - 0.5, f"this is utterance number {number} of them all", number % 4)


def _timed(measured: Callable[[], int]) -> tuple[int, float]:
    began = time.perf_counter()
    result = measured()
    return result, time.perf_counter() - began


if __name__ == "__main__":
    raise SystemExit(main())
