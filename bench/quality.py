"""What each number format costs: size, load time, speed, word error rate and speaker accuracy, on the tiny checkpoint.

Run as `python -m bench.quality`; takes some minutes. Every form is made by dropscribe's own commands and read by the
engine that serves it, one window at a time, in a process of its own; all read the same windows of a conversation that
training never heard. Speed is the audio's length over the time that reading it took, and its ratio to fp32.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from dropscribe.core.audio import SAMPLE_RATE
from dropscribe.core.settings import Settings
from dropscribe.core.settings_loading import load
from dropscribe.core.types import RawTranscript, SegmentKind
from dropscribe.models import registry
from dropscribe.models.base import TranscribeRequest
from dropscribe.models.vibevoice import loader, memory_plan
from dropscribe.models.vibevoice.dimensions import ModelDimensions
from dropscribe.models.vibevoice.memory_plan import Precision, Saving
from dropscribe.models.vibevoice.transcriber import VibeVoice
from tests.tiny.conversation import conversation
from tests.tiny.evaluate import score, windows

SOURCE = Path(__file__).parent.parent / "tests" / "tiny" / "checkpoint"
WINDOW = 25.0  # s


@dataclass(frozen=True, slots=True)
class Form:
    """A way to keep and to serve the checkpoint: `make` are the words of `dropscribe models`, none for the source."""

    name: str
    make: tuple[str, ...] = ()
    engine: str = "vibevoice"
    precision: str = "fp32"
    fp8_cache: bool = False  # as on the smallest cards, where a CPU never takes it by itself


FORMS = (
    Form("fp32"),
    Form("fp32, cache fp8", fp8_cache=True),
    Form("bf16", ("convert", "--dtype", "bf16"), precision="bf16"),
    Form("fp16, mixed", ("convert", "--dtype", "fp16"), precision="fp16"),
    Form("fp16, pure", ("convert", "--dtype", "fp16", "--no-mixed"), precision="fp16"),
    Form("int8", ("quantize", "--precision", "int8", "--no-run"), precision="int8"),
    Form("nf4", ("quantize", "--precision", "nf4", "--no-run"), precision="nf4"),
    Form("nf4, cache fp8", ("quantize", "--precision", "nf4", "--no-run"), precision="nf4", fp8_cache=True),
    Form("ONNX fp32", ("export", "--dtype", "fp32", "--no-run"), engine="onnx"),
    Form("ONNX fp16", ("export", "--dtype", "fp16", "--no-run"), engine="onnx"),
    Form("ONNX int4", ("export", "--dtype", "int4", "--no-run"), engine="onnx"),
)


@dataclass(frozen=True, slots=True)
class Row:
    """Bytes of weights, seconds to load, seconds of audio read in a second, shares of words and of turns."""

    size: int
    load: float
    rtfx: float
    wer: float
    attributed: float


def main(argv: Sequence[str] | None = None) -> int:
    """Make and measure every form, print the table."""
    options = _parse(argv)
    if options.one:
        print(json.dumps(asdict(_measure(FORMS[options.one - 1], options.folder, options.minutes))))
        return 0
    print(f"{'':16}{'size':>10}{'load':>9}{'RTFx':>8}{'ratio':>8}{'WER':>8}{'speakers':>10}")
    first: Row | None = None
    with tempfile.TemporaryDirectory(prefix="dropscribe-quality-") as scratch:
        for number, form in enumerate(FORMS, 1):
            row = _apart(number, form, Path(scratch) / str(number), options.minutes)
            first = first or row
            print(
                f"{form.name:16}{row.size / 1e6:7.2f} MB{row.load:7.1f} s{row.rtfx:8.1f}{row.rtfx / first.rtfx:7.2f}x"
                f"{row.wer:8.1%}{row.attributed:10.1%}",
                flush=True,
            )
    return 0


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.quality", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=5, help="length of the conversation")
    parser.add_argument("--one", type=int, default=0, help=argparse.SUPPRESS)  # for the processes that it starts
    parser.add_argument("--folder", type=Path, default=SOURCE, help=argparse.SUPPRESS)
    return parser.parse_args(argv)


def _apart(number: int, form: Form, folder: Path, minutes: float) -> Row:
    """In a process of its own: no form finds what another one has loaded."""
    if form.make:
        verb, *options = form.make
        made = [sys.executable, "-m", "dropscribe", "models", verb, str(SOURCE), str(folder), *options]
        subprocess.run(made, check=True, capture_output=True)
    chosen = folder if form.make else SOURCE
    command = [sys.executable, "-W", "ignore", "-m", "bench.quality", "--one", str(number), "--folder", str(chosen)]
    told = subprocess.run([*command, "--minutes", str(minutes)], check=True, stdout=subprocess.PIPE, text=True).stdout
    return Row(**json.loads(told.splitlines()[-1]))


def _measure(form: Form, folder: Path, minutes: float) -> Row:
    recordings = windows(conversation(minutes, seed=3), WINDOW)
    precision = form.precision if form.engine == "vibevoice" else "auto"  # an export has its own
    given = {"ENGINE": form.engine, "MODEL": str(folder), "PRECISION": precision, "MODEL_SLOTS": "1"}
    settings = load({f"DROPSCRIBE_{name}": value for name, value in given.items()})
    begun = time.monotonic()
    model = _with_fp8_cache(form, settings) if form.fp8_cache else registry.create(form.engine, settings)
    loaded = time.monotonic()
    answers = [_as_json(model.transcribe(recording.audio, TranscribeRequest())) for recording in recordings]
    read = time.monotonic()
    model.close()
    result = score(recordings, answers)
    audio = sum(recording.audio.size for recording in recordings) / SAMPLE_RATE
    return Row(_size(folder), loaded - begun, audio / (read - loaded), result.wer, result.attributed)


def _with_fp8_cache(form: Form, settings: Settings) -> VibeVoice:
    geometry = ModelDimensions.from_config(loader.read_config(settings.model))
    saving, precision = Saving.FP8_CACHE, Precision(form.precision)
    plan = memory_plan.plan(memory_plan.GIB, geometry, precision, memory_plan.MIN_CHUNK, 1, saving=saving)
    loaded = loader.load(settings.model, form.precision, device=torch.device("cpu"), saving=saving)
    return VibeVoice(loaded, plan, settings)


def _as_json(told: RawTranscript) -> str:
    """As the model wrote it."""
    spoken = [segment for segment in told.segments if segment.kind is SegmentKind.SPEECH]
    keys = ("Start", "End", "Speaker", "Content")
    return json.dumps([dict(zip(keys, (s.start, s.end, s.speaker, s.text), strict=True)) for s in spoken])


def _size(folder: Path) -> int:
    """Of weights and graphs; the rest is the same everywhere."""
    kept = {".safetensors", ".onnx", ".data"}
    return sum(path.stat().st_size for path in folder.iterdir() if path.suffix in kept or ".onnx" in path.name)


if __name__ == "__main__":
    raise SystemExit(main())
