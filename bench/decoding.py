"""What it costs to decode one recording in a process of its own, beside PyAV in one process for all of them.

Run as `python -m bench.decoding`; takes about a minute. All write the FLAC of the spool. The rival decodes, resamples
and writes, and does no more: no limits, no sandbox, no level, no look at whether the file is whole.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import av
import numpy as np
import soundfile

from dropscribe.core.audio import SAMPLE_RATE
from dropscribe.worker.preparing.decode import DecodeLimits, decode, new_zygote
from tests.e2e.harness import speech

LENGTHS = (1.0, 10.0, 60.0)  # s
RECORDINGS = {1.0: 40, 10.0: 20, 60.0: 8}  # of each length, so that none takes much longer than the others

Decoder = Callable[[Path, Path], object]


@dataclass(frozen=True, slots=True)
class Cost:
    """CPU seconds of one recording, of this process and the children that it has awaited."""

    name: str
    seconds: float


def main(argv: Sequence[str] | None = None) -> int:
    """Measure each length, print a table for it."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.decoding", description=__doc__.splitlines()[0] if __doc__ else ""
    )
    parser.add_argument("--share", type=float, default=1.0, help="of the recordings of each length")
    share = parser.parse_args(argv).share
    with tempfile.TemporaryDirectory(prefix="dropscribe-decoding-") as name:
        for length in LENGTHS:
            source = speech(Path(name, f"{length:.0f}.wav"), length)
            _print(length, [*_costs(source, max(1, round(RECORDINGS[length] * share)))])
    return 0


def _costs(source: Path, count: int) -> Iterator[Cost]:
    zygote = new_zygote()
    if zygote is None:
        raise SystemExit("this system has no zygotes")
    start = partial(decode, limits=DecodeLimits(), label=source.name)
    with closing(zygote):
        forked = partial(decode, limits=DecodeLimits(), label=source.name, zygote=zygote)
        yield _measured("PyAV in one process for all", by_pyav, source, count)
        yield _measured("decoder forked by a zygote", forked, source, count)
        yield _measured("decoder started as a program", start, source, count)


def _measured(name: str, decoder: Decoder, source: Path, count: int) -> Cost:
    """The first is not counted: it imports, and starts the zygote."""
    target = source.with_suffix(".flac")
    decoder(source, target)
    before = _cpu_seconds()
    for _ in range(count):
        decoder(source, target)
    return Cost(name, (_cpu_seconds() - before) / count)


def _cpu_seconds() -> float:
    spent = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in spent)


def by_pyav(source: Path, target: Path) -> None:
    """As a program without children would do it."""
    resampler = av.AudioResampler(format="s16", layout="mono", rate=SAMPLE_RATE)
    with av.open(str(source)) as container, soundfile.SoundFile(target, "w", SAMPLE_RATE, 1, "PCM_16") as file:
        for frame in container.decode(audio=0):
            for resampled in resampler.resample(frame):
                file.write(resampled.to_ndarray().reshape(-1))
        for rest in resampler.resample(None):
            file.write(np.ravel(rest.to_ndarray()))


def _print(length: float, costs: Sequence[Cost]) -> None:
    """The ratios refer to the first row."""
    print(f"\n{f'a recording of {length:.0f} s':52}{'CPU, ms':>22}{'ratio':>9}")
    for cost in costs:
        print(f"{cost.name:52}{cost.seconds * 1000:22,.1f}{cost.seconds / costs[0].seconds:8.2f}x", flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
