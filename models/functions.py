"""What `dropscribe models` does, from Python: convert, quantize, export and validate a checkpoint.

    from dropscribe import models

    copy = models.convert("microsoft/VibeVoice-ASR-HF", "/srv/models/vibevoice-fp16", dtype="fp16")
    print(copy.folder, copy.weights)

A source is a folder or an id that is in the cache, a destination a folder that is absent or empty. Nothing is there
under its name before it is whole. What the caller might not want is a warning; what cannot be done raises a
`dropscribe.DropscribeError` whose message says what to do. Each function imports what it needs when it is called.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from dropscribe.models.progress import Tell, ignore

if TYPE_CHECKING:
    from dropscribe.core.settings import Settings
    from dropscribe.models.base import Audio
    from dropscribe.models.checkpoints.convert import Copied
    from dropscribe.models.checkpoints.copy_check import Try
    from dropscribe.models.onnx.export import Exported
    from dropscribe.models.validation import ValidationResult
    from dropscribe.models.vibevoice.checkpoint import Copy
    from dropscribe.models.vibevoice.parts import ModelPart


def convert(
    source: str | Path,
    destination: str | Path,
    *,
    dtype: Literal["fp16", "bf16", "fp32"],
    keep_fp32: Iterable[str] = (),
    mixed: bool = True,
    revision: str = "",
    progress: Tell = ignore,
) -> Copied:
    """Write a copy of a checkpoint of any architecture in another number format, in less than 1 GB of memory.

    `keep_fp32` are globs, or words in the names of tensors that stay in fp32; `mixed` keeps normalization weights and
    layer scales so. `progress(what, bytes done, bytes in all)` is called often. Raises UsageError and
    ModelUnavailableError.
    """
    from dropscribe.models.checkpoints import convert as converting
    from dropscribe.models.checkpoints.convert_plan import Rules

    rules = Rules(dtype, mixed, tuple(keep_fp32))
    return converting.convert(str(source), Path(destination), rules, revision=revision, tell=progress, warn=_warn)


def quantize(
    source: str | Path,
    destination: str | Path,
    *,
    precision: Literal["int8", "nf4"],
    only: Iterable[ModelPart | str] = (),
    skip: Iterable[ModelPart | str] = (),
    device: Literal["auto", "cpu", "cuda"] = "auto",
    revision: str = "",
    run: bool = True,
    progress: Tell = ignore,
) -> Copy:
    """Write a quantized copy of a checkpoint of VibeVoice-ASR, in about 1 GB of memory, except for running it.

    Without `only`, that is the language model's layers; `skip` takes parts out again. `run` has the copy loaded as a
    worker would, by the current settings, where this machine can hold it; see `checked` and `not_run` of the answer.
    Raises UsageError, ModelError, QuantizationError, and ValueError for a part that there is not.
    """
    from dropscribe.models.vibevoice import parts
    from dropscribe.models.vibevoice.checkpoint import write_quantized

    chosen = parts.choose([*map(parts.ModelPart, only)], [*map(parts.ModelPart, skip)])
    return write_quantized(
        str(source),
        Path(destination),
        precision,
        parts=chosen,
        tell=progress,
        warn=_warn,
        device=device,
        revision=revision,
        try_out=_try_out(run=run),
    )


def export(
    source: str | Path,
    destination: str | Path,
    *,
    dtype: Literal["fp32", "fp16", "int4"],
    encoder: Literal["fp32", "fp16"] | None = None,
    block_size: int = 32,
    revision: str = "",
    run: bool = True,
    progress: Tell = ignore,
) -> Exported:
    """Write a checkpoint of VibeVoice-ASR as ONNX graphs, for the engine `onnx`; weights are streamed.

    `encoder` is the format of the audio encoders, fp16 if not given (with fp32, fp32). Under int4, `block_size` weights
    share a scale. `run` is as for `quantize`. Raises UsageError and ModelError.
    """
    from dropscribe.models.onnx import export as exporting

    return exporting.export(
        str(source),
        Path(destination),
        dtype,
        encoder_dtype=encoder or "",
        block_size=block_size,
        revision=revision,
        tell=progress,
        try_out=_try_out(run=run),
    )


def validate(
    source: str | Path, copy: str | Path, recordings: Sequence[Audio], *, settings: Settings | None = None
) -> ValidationResult:
    """Hold an export or a copy against its source on recordings: float32 of shape (samples,), mono, 24 kHz.

    `settings`: the current ones if not given. Returns the scores, and whether they are within their limits (`passed`).
    Raises UsageError, ModelUnavailableError and ModelError.
    """
    from dropscribe.core.settings_loading import load
    from dropscribe.models import validation
    from dropscribe.models.checkpoints import hub_cache

    reference, candidate = (hub_cache.locate(str(place))[0] for place in (source, copy))
    return validation.validate(reference, candidate, recordings, settings or load(), lambda _step: None)


def _try_out(*, run: bool) -> Try:
    """What is done with a copy before it gets its name: loaded and run, or nothing."""
    from dropscribe.core.settings_loading import load
    from dropscribe.models import copy_run
    from dropscribe.models.checkpoints.copy_check import without_running

    return copy_run.on_this_machine(load()) if run else without_running


def _warn(sentence: str) -> None:
    """Warn the caller of the function."""
    warnings.warn(sentence, UserWarning, stacklevel=4)
