"""`dropscribe models validate`: a copy of a model against its source, on real audio, as a table and an exit code."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import soundfile

from dropscribe.admin.context import Context
from dropscribe.admin.models import pytorch
from dropscribe.admin.terminal import render
from dropscribe.admin.terminal.progress import step_progress
from dropscribe.core.audio import SAMPLE_RATE
from dropscribe.core.errors import UsageError
from dropscribe.models.base import Audio
from dropscribe.models.checkpoints import hub_cache
from dropscribe.worker.preparing.decode import DecodeLimits, decode

if TYPE_CHECKING:
    from dropscribe.models.parity import Score
    from dropscribe.models.validation import ValidationResult

SAMPLES = Path(__file__).resolve().parents[2] / "samples"
DEFAULTS = ("meeting.wav", "weather.flac")  # several voices, and one


def validate(
    context: Context, source: str, copy: Path, files: Sequence[Path], *, seconds: float, as_json: bool
) -> bool:
    """Compare, say how alike they are, and return whether that is enough. Raises UsageError and the model's errors."""
    chosen = list(files) or _samples()
    folder, _ = hub_cache.locate(source)
    target, _ = hub_cache.locate(str(copy))
    with step_progress(context.err) as tell:
        tell("decoding")
        recordings = [_decoded(path, seconds) for path in chosen]
        tell("starting PyTorch")
        with pytorch.needed_by("validating", "gpu,onnx"):
            from dropscribe.models import validation as validating

            verdict = validating.validate(folder, target, recordings, context.settings, tell)
    columns = ("", verdict.precision, f"beside {verdict.reference}", "")
    context.answer(
        lambda: _facts(verdict, source, copy, chosen),
        lambda: context.out.print(render.table(*columns, rows=map(_row, verdict.scores))),
        as_json=as_json,
    )
    return verdict.passed


def _samples() -> list[Path]:
    """The recordings of the repository. Raises UsageError where they are not installed."""
    found = [*filter(Path.is_file, map(SAMPLES.joinpath, DEFAULTS))]
    if not found:
        raise UsageError(
            "the samples of the repository are not installed here", remedy="name a recording by --audio FILE"
        )
    return found


def _decoded(path: Path, seconds: float) -> Audio:
    """The beginning of a recording, as loud as a worker makes it. Raises UsageError and SourceError."""
    if not path.expanduser().is_file():
        raise UsageError(f"{path} is not a file", remedy="name a recording")
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "audio.flac"
        decode(path.expanduser(), target, DecodeLimits(), label=str(path))
        audio: Audio = soundfile.read(target, frames=round(seconds * SAMPLE_RATE), dtype="float32")[0]
    return audio


def _facts(verdict: ValidationResult, source: str, copy: Path, files: Sequence[Path]) -> dict[str, object]:
    """The result as docs/cli.md describes it."""
    return {
        "source": source,
        "copy": str(copy),
        "reference": verdict.reference,
        "precision": verdict.precision,
        "passed": verdict.passed,
        "scores": [asdict(score) | {"passed": score.passed} for score in verdict.scores],
        "recordings": [{"path": str(path)} | asdict(one) for path, one in zip(files, verdict.found, strict=True)],
    }


def _row(score: Score) -> list[str]:
    """A score beside its limit."""
    limit = f"{'at most' if score.at_most else 'at least'} {score.limit:g}"
    return [score.name, f"{score.value:.5f}", limit, "ok" if score.passed else "FALLS SHORT"]
