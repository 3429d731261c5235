"""Breaks small recordings of every format at random and shows each to the decoder, under its limits.

`python -m tests.faults.fuzz --cases 5000 --seed 1` prints what became of them. Each case has a process of its own,
which runs what `worker.decode` would start; it is forked from one that has PyAV loaded, since starting Python takes
longer than a case. `--keep FOLDER` keeps the files that did what none may do. Case N of a seed is always the same file.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import re
import resource
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

import av
import soundfile

from dropscribe.core.errors import DropscribeError, SourceError
from dropscribe.worker.preparing import channels, decode, decode_child
from tests.media_files import FORMATS, tone, write

# Rarer codecs and containers beside those of FORMATS, in the same terms.
MORE = {
    "wav adpcm": ("wav", "adpcm_ms", 22050, "mono", False),
    "wav ima": ("wav", "adpcm_ima_wav", 22050, "stereo", False),
    "w64": ("w64", "pcm_s16le", 44100, "stereo", False),
    "au": ("au", "pcm_alaw", 8000, "mono", False),
    "mp2": ("matroska", "mp2", 44100, "stereo", False),
    "eac3": ("mp4", "eac3", 48000, "stereo", False),
    "wma 1": ("asf", "wmav1", 44100, "stereo", False),
    "g722": ("matroska", "adpcm_g722", 16000, "mono", False),
    "mkv opus": ("matroska", "libopus", 48000, "mono", False),
}
SECONDS = 0.4
LIMITS = decode.DecodeLimits(max_seconds=3600, memory_mb=1024, cpu_seconds=20)
LABEL = "talks/broken.xyz"
DEFECTS = {"defect", "hang", "unclear"}
EXTREME = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
LOUDEST_DBFS = 20 * math.log10(channels.LOUDEST)
SENTENCE = re.compile(r"talks/broken\.xyz\W.+; .+|talks/broken\.xyz .+; .+")


@dataclass
class Tally:
    """What became of the cases, and the most that one of them took (seconds of CPU time, MiB)."""

    cases: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    bad: list[str] = field(default_factory=list)
    most_cpu: float = 0.0
    most_mb: float = 0.0
    wall: float = 0.0


def recordings(folder: Path) -> list[bytes]:
    """A sound recording of every format that this PyAV writes."""
    made = []
    for container, codec, rate, layout, picture in (FORMATS | MORE).values():
        if codec in av.codecs_available:
            path = write(folder / "whole", container, codec, rate, layout, picture, samples=tone(SECONDS, rate))
            made.append(path.read_bytes())
    return made


def _cut(data: bytearray, draw: random.Random) -> None:
    del data[draw.randrange(len(data)) :]


def _flip(data: bytearray, draw: random.Random) -> None:
    for _ in range(draw.choice((1, 4, 64))):
        data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)


def _flip_head(data: bytearray, draw: random.Random) -> None:
    for _ in range(draw.choice((1, 3, 8))):
        data[draw.randrange(min(300, len(data)))] ^= 1 << draw.randrange(8)


def _number(data: bytearray, draw: random.Random) -> None:
    """An extreme number, where numbers stand: most often in the head."""
    at = draw.randrange(draw.choice((64, 600, len(data)))) % len(data)
    size = draw.choice((1, 2, 4, 8))
    value = draw.choice(EXTREME) % (1 << 8 * size)
    data[at : at + size] = value.to_bytes(size, draw.choice(("big", "little")))


def _noise(data: bytearray, draw: random.Random) -> None:
    start, end = _slice(data, draw)
    data[start:end] = draw.randbytes(end - start)


def _drop(data: bytearray, draw: random.Random) -> None:
    start, end = _slice(data, draw)
    del data[start:end]


def _repeat(data: bytearray, draw: random.Random) -> None:
    start, end = _slice(data, draw)
    at = draw.randrange(len(data))
    data[at:at] = data[start:end] * draw.choice((1, 2, 30))


def _slice(data: bytearray, draw: random.Random) -> tuple[int, int]:
    start = draw.randrange(len(data))
    return start, start + draw.randrange(1, draw.choice((8, 200, 5000)))


BREAKS: tuple[Callable[[bytearray, random.Random], None], ...] = (
    _cut, _flip, _flip_head, _flip_head, _number, _number, _noise, _drop, _repeat,
)  # fmt: skip


def broken(whole: list[bytes], seed: int, case: int) -> bytes:
    """Case number `case`: one recording broken in one to three ways, at times with the tail of another."""
    draw = random.Random(f"{seed}/{case}")
    data = bytearray(whole[case % len(whole)])
    if draw.random() < 0.1:
        other = draw.choice(whole)
        data = data[: draw.randrange(1, len(data))] + other[draw.randrange(len(other)) :]
    for _ in range(draw.randint(1, 3)):
        if data:
            draw.choice(BREAKS)(data, draw)
    return bytes(data)


def show(source: Path, tally: Tally) -> str:
    """Let the decoder have the file; return what became of it, a name of DEFECTS if that must not be."""
    target = source.with_name("out.flac")
    request = {
        "source": str(source),
        "parts": [],
        "target": str(target),
        "scratch": str(source.parent),
        "limits": asdict(LIMITS),
        "file_bytes": LIMITS.file_bytes,
        "wanted": {},
    }
    child, usage = _forked(json.dumps(request), source.parent)
    tally.most_cpu = max(tally.most_cpu, usage.ru_utime + usage.ru_stime)
    tally.most_mb = max(tally.most_mb, usage.ru_maxrss / 1024)
    outcome, reason = _judged(child, target)
    tally.cases += 1
    tally.outcomes[outcome] += 1
    tally.reasons[reason] += 1
    target.unlink(missing_ok=True)
    return outcome


def _forked(request: str, folder: Path) -> tuple[subprocess.CompletedProcess[bytes], resource.struct_rusage]:
    with tempfile.TemporaryFile(dir=folder) as out, tempfile.TemporaryFile(dir=folder) as err:
        pid = os.fork()
        if pid == 0:
            _be_the_child(request, out.fileno(), err.fileno())
        status, usage = _wait(pid)
        out.seek(0)
        err.seek(0)
        code = os.waitstatus_to_exitcode(status)
        return subprocess.CompletedProcess("decoder", code, out.read(), err.read()), usage


def _be_the_child(request: str, out: int, err: int) -> None:
    code = 1
    try:
        os.dup2(out, 1)
        os.dup2(err, 2)
        with open(1, "w", closefd=False) as sys.stdout:
            decode_child.main(request)
        code = 0
    except BaseException:
        os.write(2, traceback.format_exc().encode())
    finally:
        os._exit(code)


def _wait(pid: int) -> tuple[int, resource.struct_rusage]:
    """Wait; a process that takes longer on the clock than all its CPU time and a minute hangs, and is killed."""
    deadline = time.monotonic() + LIMITS.cpu_seconds + 60
    while True:
        done, status, usage = os.wait4(pid, os.WNOHANG)
        if done:
            return status, usage
        if time.monotonic() > deadline:
            os.kill(pid, signal.SIGUSR2)
            deadline = math.inf
        time.sleep(0.002)


def _judged(child: subprocess.CompletedProcess[bytes], target: Path) -> tuple[str, str]:
    if child.returncode == -signal.SIGUSR2:
        return "hang", "hang"
    if child.returncode > 0:
        return "defect", child.stderr.decode()
    try:
        decoded = decode._interpret(child, LABEL, LIMITS.max_seconds)
    except SourceError as error:
        kind = f"crash {signal.Signals(-child.returncode).name}" if child.returncode < 0 else type(error).__name__
        return (kind if SENTENCE.fullmatch(str(error)) else "unclear"), str(error)
    except DropscribeError:
        return "defect", child.stderr.decode()
    return ("decoded", "") if _is_sound(decoded, target) else ("defect", f"{decoded}")


def _is_sound(decoded: decode.Decoded, target: Path) -> bool:
    found = soundfile.info(target)
    return (
        0 < decoded.duration <= LIMITS.max_seconds
        and found.duration == decoded.duration
        and -120 <= decoded.rms_dbfs <= LOUDEST_DBFS
        and 0 <= decoded.silence_inserted <= decoded.duration
    )


def run(cases: int, seed: int, keep: Path | None = None, first: int = 0) -> Tally:
    """Show `cases` broken recordings to the decoder."""
    tally = Tally()
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        whole = recordings(Path(folder))
        source = Path(folder) / "source-x7"
        for case in range(first, first + cases):
            source.write_bytes(broken(whole, seed, case))
            outcome = show(source, tally)
            if outcome in DEFECTS or outcome.startswith("crash"):
                tally.bad.append(f"seed {seed} case {case}: {outcome}")
                if keep:
                    (keep / f"{seed}-{case}-{outcome.replace(' ', '-')}").write_bytes(source.read_bytes())
        left = {path.name for path in Path(folder).iterdir()} - {"whole", source.name}
    tally.wall = time.monotonic() - began
    if left:
        tally.bad.append(f"left behind: {left}")
    return tally


def lines(tally: Tally) -> Iterator[str]:
    """The tally for people."""
    yield f"{tally.cases} cases in {tally.wall:.0f} s; at most {tally.most_cpu:.1f} s of CPU, {tally.most_mb:.0f} MiB"
    yield from (f"{count:6} {outcome}" for outcome, count in tally.outcomes.most_common())
    yield from tally.bad


def main() -> None:
    """Run as a program; ends with status 1 if anything did what it must not."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--cases", type=int, default=5000)
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--first", type=int, default=0)
    options.add_argument("--keep", type=Path)
    options.add_argument("--reasons", action="store_true", help="show every sentence that was given")
    given = options.parse_args()
    tally = run(given.cases, given.seed, given.keep, given.first)
    print("\n".join(lines(tally)))
    if given.reasons:
        print("\n".join(f"{count:6} {reason}" for reason, count in tally.reasons.most_common()))
    sys.exit(bool(tally.bad))


if __name__ == "__main__":
    main()
