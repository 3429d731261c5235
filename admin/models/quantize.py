"""`dropscribe models quantize`: a quantized copy of a checkpoint, with progress, and what was written."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from dropscribe.admin.context import Context
from dropscribe.admin.models import pytorch
from dropscribe.admin.terminal import render
from dropscribe.admin.terminal.progress import byte_progress
from dropscribe.models.checkpoints.copy_check import CopyRun, without_running
from dropscribe.models.vibevoice import parts
from dropscribe.models.vibevoice.parts import ModelPart

if TYPE_CHECKING:
    from dropscribe.models.vibevoice.checkpoint import Copy


def quantize(
    context: Context,
    source: str,
    destination: Path,
    *,
    precision: str,
    only: Collection[ModelPart],
    skip: Collection[ModelPart],
    device: str,
    revision: str,
    run: bool,
    as_json: bool,
) -> None:
    """Write the copy and say what it is. Raises UsageError and ModelUnavailableError."""
    chosen = parts.choose(only, skip)
    warnings: list[str] = []
    with byte_progress(context.err) as tell:
        tell("starting PyTorch", 0, 0)
        with pytorch.needed_by("vibevoice", "gpu"):
            from dropscribe.models import copy_run
            from dropscribe.models.vibevoice.checkpoint import write_quantized
        copy = write_quantized(
            source,
            destination,
            precision,
            parts=chosen,
            device=device,
            revision=revision,
            tell=tell,
            warn=partial(context.warn_and_keep, warnings),
            try_out=copy_run.on_this_machine(context.settings) if run else without_running,
        )
    context.answer(
        lambda: asdict(copy) | {"folder": str(copy.folder), "warnings": warnings},
        lambda: context.say(_sentence(copy)),
        as_json=as_json,
    )


def _sentence(copy: Copy) -> str:
    """What was written, and how far it was checked."""
    return (
        f"{copy.folder} is in {copy.precision}: {copy.quantized} modules of {', '.join(copy.parts)} "
        f"quantized, {render.size(copy.size)}, in {render.duration(copy.seconds)}; "
        f"its files were read back and these modules counted; {CopyRun(copy.checked, copy.not_run)}; "
        "set DROPSCRIBE_MODEL to use it"
    )
