"""What dropscribe adds to Whisper for each recording: CPU and seconds, beside what people write themselves.

Run as `python -m bench.rivals [--lengths 1 60 3600] [--recordings 10]`. Four ways are loaded at once and take turns,
recording by recording, so that what else the machine does burdens all alike: a loop of faster-whisper over the files, a
Celery task with it (`bench.plain`), dropscribe from admission to its five files, and the same with speakers. All read
one checkpoint (Whisper base, in int8) with as many beams. The speech is that of `samples/`, repeated.

Seconds are from the moment that the file is there until its transcript is. CPU is that of all processes of a way.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import av
import numpy as np
import psutil
import soundfile
from celery import Celery
from numpy.typing import NDArray

from bench import plain
from bench.demo import SAMPLES
from bench.machine import Machine, cpu_seconds, private
from dropscribe.core.audio import SAMPLE_RATE
from dropscribe.core.queue import redis_url
from dropscribe.core.settings_loading import load
from dropscribe.core.store_settings import PREFIX
from dropscribe.core.types import FINAL_STATES
from dropscribe.models.whisper import checkpoint
from dropscribe.store import queries
from dropscribe.store.roots import list_roots

MOST_AUDIO = 3600.0  # s of each length for each way, beside the one that warms up
SETTLE_SECONDS = 0.5  # after each recording, for which the others wait
EVERY, PATIENCE = 0.02, 3600.0  # s between two looks at whether a transcript is there, and in all
LENGTHS = (1.0, 60.0)  # s
WARM_SECONDS = 60.0  # the most of a recording that warms up
SETTINGS = {"engine": "whisper", "precision": "int8", "stable_seconds": "0"}

Sound = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Way:
    """One way of transcribing: its row's name, a function that awaits the transcript of a file, its processes' CPU."""

    name: str
    transcribe: Callable[[Path], None]
    cpu: Callable[[], float]


@dataclass(slots=True)
class Spent:
    """What a way took for recordings of one length, in seconds."""

    cpu: float = 0.0
    passed: float = 0.0


def main(argv: Sequence[str] | None = None) -> int:
    """Measure in turns, and print a table for each length."""
    options = _parse(argv)
    speech = _speech()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="dropscribe-rivals-")))
        ways = _ways(stack, folder)
        for length in options.lengths:
            count = max(1, min(options.recordings, int(MOST_AUDIO / length)))
            print_table(length, count, ways, _in_turns(ways, speech, length, count, folder))
    return 0


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.rivals", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--lengths", type=float, nargs="+", default=LENGTHS, metavar="S", help="of recordings (1 60)")
    parser.add_argument("--recordings", type=int, default=10, help="of each length, but of an hour in all at most (10)")
    return parser.parse_args(argv)


def _speech() -> Sound:
    """All that is said in the samples, at 16 kHz."""
    parts = []
    for source in sorted(path for path in SAMPLES.iterdir() if path.suffix in {".m4a", ".wav", ".mp3", ".flac"}):
        with av.open(str(source)) as media:
            convert = av.AudioResampler(format="flt", layout="mono", rate=SAMPLE_RATE)
            frames = [made for frame in media.decode(audio=0) for made in convert.resample(frame)]
            parts += [frame.to_ndarray()[0] for frame in frames]
    return np.concatenate(parts)


def _ways(stack: ExitStack, folder: Path) -> list[Way]:
    """Load all four, and have them stopped with `stack`."""
    found, _ = checkpoint.find(load({f"{PREFIX}ENGINE": "whisper"}))
    model = [str(found), SETTINGS["precision"]]
    machines = [
        stack.enter_context(private(folder / speakers, **SETTINGS, model=model[0], speakers=speakers))
        for speakers in ("off", "auto")
    ]
    broker = redis_url(machines[0].settings).replace("unix://", "redis+socket://")
    return [
        _loop(stack, model),
        _celery(machines[0], broker, model),
        _dropscribe(machines[0], "dropscribe", folder / "inbox"),
        _dropscribe(machines[1], "dropscribe, with speakers", folder / "inbox of speakers"),
    ]


def _loop(stack: ExitStack, model: Sequence[str]) -> Way:
    command = [sys.executable, "-m", "bench.plain", "loop", *model]
    child = stack.enter_context(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
    asked, answers = child.stdin, child.stdout
    assert asked
    assert answers
    _require(answers.readline().strip() == plain.READY, "faster-whisper did not load")

    def transcribe(recording: Path) -> None:
        """Have it read, and wait for the answer."""
        print(recording, file=asked, flush=True)
        _require(answers.readline(), "the loop has ended")

    return Way("faster-whisper in a loop", transcribe, partial(cpu_seconds, psutil.Process(child.pid)))


def _celery(machine: Machine, broker: str, model: Sequence[str]) -> Way:
    child = machine.start("plain", "exec", sys.executable, "-m", "bench.plain", "celery", *model, broker)
    app = Celery("plain", broker=broker)

    def transcribe(recording: Path) -> None:
        """Send a message, and wait for the text."""
        app.send_task(plain.TASK, [str(recording)], queue=plain.QUEUE)
        machine.wait_until(recording.with_name(f"{recording.name}.txt").exists, every=EVERY, patience=PATIENCE)

    return Way("faster-whisper in a Celery task", transcribe, lambda: machine.cpu_seconds()[child.name])


def _dropscribe(machine: Machine, name: str, inbox: Path) -> Way:
    inbox.mkdir()
    machine.start_workers()
    machine.start("scheduler", "scheduler", "scheduler", str(inbox))
    machine.wait_until(lambda: list_roots(machine.database))

    def transcribe(recording: Path) -> None:
        """Drop it, and wait until all its files are written."""
        before = _ended(machine)
        recording.rename(inbox / recording.name)
        machine.wait_until(lambda: _ended(machine) > before, every=EVERY, patience=PATIENCE)

    def cpu() -> float:
        """Of all its processes; the other way that uses its Redis runs at other times."""
        return sum(seconds for process, seconds in machine.cpu_seconds().items() if process != "plain")

    return Way(name, transcribe, cpu)


def _ended(machine: Machine) -> int:
    counts = queries.count_by_state(machine.database)
    return sum(counts.get(state, 0) for state in FINAL_STATES)


def _require(condition: object, problem: str) -> None:
    if not condition:
        raise SystemExit(problem)


def _in_turns(ways: Sequence[Way], speech: Sound, length: float, count: int, folder: Path) -> list[Spent]:
    """Each recording by each way, in turns; the first of each way warms up, and does not count."""
    spent = [Spent() for _ in ways]
    for turn in range(count + 1):
        samples = round((length if turn else min(length, WARM_SECONDS)) * SAMPLE_RATE)
        for number, (way, total) in enumerate(zip(ways, spent, strict=True)):
            # Each way gets another recording: dropscribe would take equal ones for one.
            said = np.roll(speech, -turn * samples) + np.random.default_rng().normal(0, 1e-4, speech.size)
            recording = folder / f"{length:g}s-{turn:03}-{number}.wav"
            soundfile.write(recording, np.resize(said, samples), SAMPLE_RATE)
            before, began = way.cpu(), time.monotonic()
            way.transcribe(recording)
            passed = time.monotonic() - began
            time.sleep(SETTLE_SECONDS)  # what it does after the transcript is its work, too
            if turn:
                total.cpu += way.cpu() - before
                total.passed += passed
    return spent


def print_table(length: float, count: int, ways: Sequence[Way], spent: Sequence[Spent]) -> None:
    """The rival in the first row is what the ratios refer to."""
    title = f"{count} recordings of {length:g} s"
    print(f"\n{title:34}{'CPU s each':>12}{'ratio':>9}{'seconds each':>15}{'ratio':>9}")
    for way, took in zip(ways, spent, strict=True):
        cpu, passed = took.cpu / spent[0].cpu, took.passed / spent[0].passed
        each = f"{took.cpu / count:>12.3f}{cpu:8.3f}x{took.passed / count:15.3f}{passed:8.3f}x"
        print(f"{way.name:34}{each}", flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
