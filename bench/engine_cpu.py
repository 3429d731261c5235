"""The engine beside `generate()` on a tiny checkpoint and a CPU: what batching itself gains, and what it costs.

Run as `python -m bench.engine_cpu`; takes about a minute. The same comparison as `bench.gpu`, with whole answers and
one thread. Of a model so small the Python around it takes most of the time, so that the ratios say nothing about a
GPU; they show when that Python becomes slower.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch

from bench.gpu import Report, compare
from bench.roofline import HEADER, Work
from bench.serving import Clock, Meter, Subject, measure_card
from dropscribe.models.vibevoice import loader
from dropscribe.models.vibevoice.dimensions import ModelDimensions
from dropscribe.models.vibevoice.memory_plan import Precision
from tests.tiny.checkpoint import random_checkpoint

TRAINED = Path(__file__).parent.parent / "tests" / "tiny" / "checkpoint"
CPU = torch.device("cpu")


def main(argv: Sequence[str] | None = None) -> int:
    """Compare and print; 1 when something could not be measured."""
    options = _parse(argv)
    torch.set_num_threads(1)  # more only slow down so small a model
    with tempfile.TemporaryDirectory(prefix="dropscribe-engine-") as folder:
        source = options.checkpoint or random_checkpoint(Path(folder))
        loaded = loader.load(str(source), options.precision, device=CPU)
        geometry = ModelDimensions.from_config(loader.read_config(str(source)))
    clock, meter = Clock(options.seconds), Meter(CPU)
    subject = Subject(
        model=loaded.model,
        geometry=geometry,
        precision=Precision(options.precision),
        flash=False,
        memory=meter.available(),
        steps=None,
        clock=clock,
        meter=meter,
    )
    name = str(options.checkpoint or "random weights")
    report = Report(options.json, checkpoint=name, torch=torch.__version__, threads=torch.get_num_threads())
    report.say(HEADER)
    compare(subject, report, measure_card(CPU), Work.of(geometry, options.length), options.chunks)
    return 1 if report.facts["failures"] else 0


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.engine_cpu", description=(__doc__ or "").partition("\n")[0])
    add = parser.add_argument
    trained = TRAINED if (TRAINED / "config.json").is_file() else None
    add("--checkpoint", type=Path, default=trained, help="a folder; random weights where there is no trained one")
    add("--precision", choices=[str(precision) for precision in Precision], default="fp32", help="number format")
    add("--chunks", type=int, nargs="+", metavar="N", default=[1, 4, 16], help="how many at once")
    add("--length", type=float, default=20.0, help="seconds of each chunk")
    add("--seconds", type=float, default=300.0, help="stop after so long; what was measured until then is kept")
    add("--json", type=Path, metavar="FILE", help="keep all numbers there")
    return parser.parse_args(argv)


if __name__ == "__main__":
    raise SystemExit(main())
