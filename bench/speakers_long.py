"""Memory and CPU time of telling forty people apart in a recording of ten hours.

Run as `python -m bench.speakers_long [HOURS]`; `bench.speakers` starts it as a process of its own, since the peak of
memory is the process's. The embeddings are synthetic: forty directions at random, six of them in each stretch of five
minutes, and noise about each as much as real sub-windows have. They are written and loaded as in the spool. Before
that, the real encoder embeds a sample again and again for a whole stretch, so that its memory is in the peak.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
import soundfile

from dropscribe.core.types import Segment, Span
from dropscribe.models.speakers import encoder as speaker_encoder
from dropscribe.worker.diarizing.clustering import cluster
from dropscribe.worker.diarizing.diarize import diarize
from dropscribe.worker.diarizing.embed import embed, load, save
from dropscribe.worker.diarizing.sub_windows import SECONDS, STEP
from dropscribe.worker.merging import speaker_linking
from dropscribe.worker.merging.overlaps import ChunkOutcome
from dropscribe.worker.merging.speaker_embeddings import SpeakerEmbeddings, unit
from dropscribe.worker.preparing import decode

SAMPLE = Path(__file__).parents[1] / "samples" / "meeting.wav"
STATUS = Path("/proc/self/status")
LIMITS = decode.DecodeLimits(max_seconds=60, memory_mb=2048, cpu_seconds=60)
STRETCH = 300.0  # s
PEOPLE = 40
PRESENT = 6  # of them in one stretch
TURN = 20  # sub-windows, 15 s
NOISE = 0.06  # of each of 192 numbers: a sub-window is 0.77 like the mean of its person

T = TypeVar("T")
People = list[int]  # who speaks in each sub-window of a stretch


def main(argv: Sequence[str] | None = None) -> int:
    """Embed a stretch, link the whole recording in both ways, print what it took."""
    hours = _parse(argv).hours
    count = round(hours * 3600 / STRETCH)
    with tempfile.TemporaryDirectory(prefix="dropscribe-speakers-") as folder:
        _embed_once(Path(folder) / "stretch.flac", min(STRETCH, hours * 360))
        _tell(f"{hours:g} hours, {PEOPLE} synthetic people: peak after embedding a stretch")
        draw = np.random.default_rng(1)
        centers = unit(draw.normal(size=(PEOPLE, 192)))
        people = [_write(Path(folder) / str(number), number, draw, centers) for number in range(count)]
        files = [Path(folder) / str(number) for number in range(count)]
        _tell("after making all stretches")
        (voices, found), seconds = _timed(lambda: diarize([load(file) for file in files]))
        _tell(f"after linking by voices, {len(found)} people in {len(voices.turns)} turns", seconds)
        parts = [_part(number, one) for number, one in enumerate(people)]
        linked, seconds = _timed(lambda: _by_labels(parts, files))
        _tell(f"after linking labels, {linked.count} people in {sum(len(part.segments) for part in parts)}", seconds)
    return 0


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    about = (__doc__ or "").partition("\n")[0]
    parser = argparse.ArgumentParser(prog="python -m bench.speakers_long", description=about)
    parser.add_argument("hours", nargs="?", type=float, default=10)
    return parser.parse_args(argv)


def _tell(what: str, seconds: float | None = None) -> None:
    # Not by getrusage, whose figure a process inherits from the one that started it.
    [line] = [line for line in STATUS.read_text(encoding="utf-8").splitlines() if line.startswith("VmHWM")]
    peak = int(line.split()[1]) * 1024 / 1e6  # kB
    took = "" if seconds is None else f"{seconds:7.2f} CPU s"
    print(f"{what:76}{peak:7.0f} MB{took}", flush=True)


def _timed(work: Callable[[], T]) -> tuple[T, float]:
    began = time.process_time()
    return work(), time.process_time() - began


def _embed_once(path: Path, seconds: float) -> None:
    decode.decode(SAMPLE, path, LIMITS, label=SAMPLE.name)
    samples, rate = soundfile.read(path, dtype="float32")
    soundfile.write(path, np.resize(samples, round(seconds * rate)), rate)
    whole = Span(0.0, seconds)
    embed(path, [whole], whole, speaker_encoder.load(lambda *_: None), lambda: None)


def _write(path: Path, number: int, draw: np.random.Generator, centers: np.ndarray) -> People:
    """A stretch without a pause, as `embed` leaves it in the spool; returns who speaks in each sub-window."""
    begins = STRETCH * number + np.arange(0, STRETCH - SECONDS, STEP)
    present = draw.choice(PEOPLE, size=PRESENT, replace=False)
    who = np.repeat(draw.choice(present, size=len(begins) // TURN + 1), TURN)[: len(begins)]
    vectors = unit(centers[who] + draw.normal(scale=NOISE, size=(len(who), centers.shape[1])))
    save(path, SpeakerEmbeddings(np.stack([begins, begins + SECONDS], axis=1), vectors, cluster(vectors)))
    return [int(one) for one in who]


def _part(number: int, people: People) -> ChunkOutcome:
    """A window over the stretch, of which a model tells who speaks by labels of its own."""
    window = Span(STRETCH * number, STRETCH * (number + 1))
    labels = {person: label for label, person in enumerate(dict.fromkeys(people))}
    turns = [(at, people[at]) for at in range(0, len(people), TURN)]
    segments = [
        Segment(window.start + at * STEP, window.start + (at + TURN) * STEP, "said", labels[person])
        for at, person in turns
    ]
    return ChunkOutcome(window, window, tuple(segments))


def _by_labels(parts: Sequence[ChunkOutcome], files: Sequence[Path]) -> speaker_linking.Voices:
    heard = SpeakerEmbeddings.joined([load(file) for file in files])
    return speaker_linking.link_by_embeddings(speaker_linking.link(parts), parts, heard)[0]


if __name__ == "__main__":
    raise SystemExit(main())
