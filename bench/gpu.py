"""How fast VibeVoice-ASR runs on this GPU, and in how much memory: dropscribe's engine beside `generate()`.

Run as `python -m bench.gpu [--precision int8] [--quick] [--seconds 540] [--json FILE]`; needs no network. The model
has the published shape (8.33 B parameters) and random weights, made on the device, and every answer as many tokens
as it is told, 6 for each second of audio. Of a recording is measured: its encoding, the reading of its prompt, and
some steps of its answer, from the middle of it, where as much is in the cache as on average over the whole; `--full`
writes whole answers. A row's RTFx is the audio over the time that all of this takes, one after the other. Each line
is printed when it is measured, and FILE is written again with it.

Random weights hardly ever need LLM.int8's columns for outliers, so that real int8 is somewhat slower.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
import transformers

from bench.random_model import TINY, build
from bench.roofline import HEADER, Card, Memory, Rates, Row, Work, known_card, roofline, step_floor
from bench.serving import (
    Clock,
    Meter,
    OutOfTimeError,
    Subject,
    batched_rates,
    encoder_speed,
    measure_card,
    padded_rates,
    profile_steps,
    single_rates,
)
from dropscribe.core.errors import ModelError, ModelFatalError, ModelUnavailableError
from dropscribe.models.vibevoice import loader, memory_plan
from dropscribe.models.vibevoice.dimensions import PUBLISHED, ModelDimensions
from dropscribe.models.vibevoice.generation import CancelledError
from dropscribe.models.vibevoice.memory_plan import Precision
from dropscribe.models.vibevoice.runner.attention_choice import ATTENTIONS, AttentionChoice

STEPS, QUICK_STEPS = 128, 32  # of an answer that are measured
SINGLE, PADDED, BATCHED = "generate(), one at a time", "generate(), padded batch", "dropscribe"


class Report:
    """Prints what is measured as soon as it is, and keeps it in a file."""

    def __init__(self, path: Path | None, **facts: Any) -> None:
        self._path = path
        self.facts: dict[str, Any] = {**facts, "rows": [], "memory": [], "kernels": [], "failures": []}
        self.say(", ".join(f"{name} {value}" for name, value in facts.items()))

    def say(self, text: str) -> None:
        """Print, and write the file again."""
        print(text, flush=True)
        if self._path:
            part = self._path.with_name(f"{self._path.name}.part")
            part.write_text(json.dumps(self.facts, indent=1) + "\n")
            part.replace(self._path)

    def row(self, row: Row) -> None:
        """One line of the table."""
        self.facts["rows"].append(row.facts())
        self.say(str(row))

    def memory(self, name: str, parts: Sequence[Memory]) -> None:
        """A line for each part that was taken."""
        for part in parts:
            if part.measured:
                self.facts["memory"].append({"of": name, **asdict(part), "ratio": part.ratio})
                self.say(f"{part}  ({name})")

    def kernels(self, name: str, lines: Sequence[str]) -> None:
        """What the profiler saw."""
        self.facts["kernels"].append({"of": name, "lines": list(lines)})
        self.say("\n".join([f"  a decode step of {name}:", *lines]))

    def failure(self, name: str, why: str) -> None:
        """What could not be measured."""
        self.facts["failures"].append({"of": name, "why": why})
        self.say(f"{name}: {why}")

    @contextmanager
    def attempt(self, name: str) -> Iterator[None]:
        """What goes wrong within is told, and the next one is tried; a lost GPU ends everything."""
        try:
            yield
        except (OutOfTimeError, CancelledError):
            self.failure(name, "not measured, the time is up")
        except ModelFatalError:
            raise
        except (ModelError, ModelUnavailableError, torch.OutOfMemoryError) as error:
            self.failure(name, str(error).partition("\n")[0])


def compare(subject: Subject, report: Report, card: Card, work: Work, chunks: Sequence[int]) -> None:
    """All engines on one length; ratios are those of RTFx to `generate()` one at a time."""
    name = f"{subject.precision}, {work.seconds / 60:g} min"
    speed, rival = math.inf, math.nan

    def row(engine: str, count: int, rates: Rates) -> Row:
        floor = step_floor(card, subject.geometry, subject.precision, rates.requests, work.middle)
        one = Row(str(subject.precision), engine, count, work, speed, rates, floor)
        roof = roofline(card, subject.geometry, subject.precision, rates.requests, work)
        return replace(one, ratio=one.rtfx / rival, roof=roof)

    with report.attempt(f"{name}, encoder"):
        speed, parts = encoder_speed(subject, work)
        report.memory(name, parts)
    with report.attempt(f"{name}, {SINGLE}"):
        rates = single_rates(subject, work)
        rival = row(SINGLE, 1, rates).rtfx
        report.row(row(SINGLE, 1, rates))
    for count in chunks:
        with report.attempt(f"{name}, {BATCHED}, {count} chunks"):
            rates, parts = batched_rates(subject, work, count)
            report.row(row(BATCHED, count, rates))
            report.memory(f"{name}, {rates.requests} slots", parts)
        if count == 1:
            continue
        with report.attempt(f"{name}, {PADDED}, {count} chunks"):
            report.row(row(PADDED, count, padded_rates(subject, work, count)))


def main(argv: Sequence[str] | None = None) -> int:
    """Measure what is asked for; 1 when something of it could not be measured."""
    options = _parse(argv)
    device = torch.device(options.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        sys.stderr.write("PyTorch finds no CUDA device; `--device cpu --tiny` tries this program without one\n")
        return 2
    meter, clock = Meter(device), Clock(options.seconds)
    name = torch.cuda.get_device_name(device) if meter.on_gpu else "CPU"
    memory = meter.available()
    card = known_card(name) or measure_card(device)
    report = Report(
        options.json,
        device=name,
        memory_gb=round(memory / 1e9, 2),
        bandwidth_tbs=round(card.bandwidth / 1e12, 3),
        bf16_tflops=round(card.flops / 1e12, 1),
        torch=torch.__version__,
        transformers=transformers.__version__,
        steps=options.steps,
    )
    for precision in map(Precision, options.precision):
        with report.attempt(str(precision)):
            measure(options, precision, memory, clock, meter, report, card)
    return 1 if report.facts["failures"] else 0


def measure(
    options: argparse.Namespace,
    precision: Precision,
    memory: int,
    clock: Clock,
    meter: Meter,
    report: Report,
    card: Card,
) -> None:
    """One precision: its weights, its rows, its kernels."""
    clock.check()
    geometry = TINY if options.tiny else PUBLISHED
    meter.reset()
    began = time.monotonic()
    attention = choose_attention(options.attention, precision, meter.device, geometry)
    model = build(geometry, precision, meter.device)
    meter.sync()
    report.say(
        f"\n{precision}: made in {time.monotonic() - began:.1f} s; "
        f"attention: {attention.name}, since {attention.reason}"
    )
    report.memory(str(precision), [Memory("weights", memory_plan.weights(geometry, precision), meter.held())])
    subject = Subject(model, geometry, precision, attention, memory, options.steps, clock, meter)
    report.say(HEADER)
    works = [Work.of(geometry, 60 * minutes) for minutes in options.minutes]
    for work in works:
        compare(subject, report, card, work, options.chunks)
    if options.profile:
        with report.attempt(f"{precision}, profile"):
            lines = profile_steps(subject, works[0], options.chunks[-1])
            report.kernels(f"{precision}, {options.minutes[0]:g} min, {options.chunks[-1]} chunks", lines)


def choose_attention(
    asked: str, precision: Precision, device: torch.device, geometry: ModelDimensions
) -> AttentionChoice:
    """As the loader chooses."""
    return loader.attention_on(device, asked, loader.dtype_of(str(precision), device), geometry)


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.gpu", description=(__doc__ or "").partition("\n")[0])
    add = parser.add_argument
    known = [str(precision) for precision in Precision]
    add("--precision", nargs="+", choices=known, default=["bf16", "int8", "nf4"], help="which, in this order")
    add("--chunks", type=int, nargs="+", metavar="N", default=[1, 4, 16, 64], help="how many at once")
    add("--minutes", type=float, nargs="+", metavar="N", default=[5.0, 15.0], help="how long each chunk is")
    add("--steps", type=int, default=STEPS, help="tokens of each answer that are measured (default %(default)s)")
    add("--full", action="store_const", dest="steps", const=None, help="measure whole answers; takes hours")
    add("--attention", choices=["auto", *ATTENTIONS], default="auto", help="as DROPSCRIBE_VIBEVOICE_ATTENTION")
    add("--seconds", type=float, default=86_400.0, help="stop after so long; what was measured until then is kept")
    add("--profile", action="store_true", help="also print the kernels of a decode step, first length, last of CHUNKS")
    add("--quick", action="store_true", help="bf16 alone, 1 and 16 chunks of 5 minutes, fewer steps")
    add("--json", type=Path, metavar="FILE", help="keep all numbers there")
    add("--device", default="cuda", help="PyTorch's name of the device")
    add("--tiny", action="store_true", help="a model of 0.5 M parameters: whether the program runs, not how fast")
    options = parser.parse_args(argv)
    if options.quick:
        quick = {"precision": ["bf16"], "chunks": [1, 16], "minutes": [5.0], "steps": QUICK_STEPS}
        parser.set_defaults(**quick)
        options = parser.parse_args(argv)
    return options


if __name__ == "__main__":
    raise SystemExit(main())
