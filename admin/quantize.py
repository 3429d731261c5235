"""`dropscribe models quantize`: a quantized copy of a checkpoint, with progress, and what was written."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from admin import render
from admin.context import Context
from core.errors import ModelUnavailableError

if TYPE_CHECKING:
    from models.vibevoice.checkpoint import Copy


def quantize(
    context: Context, source: str, destination: Path, *, precision: str, device: str, revision: str, as_json: bool
) -> None:
    """Write the copy and say what it is. Raises UsageError and ModelUnavailableError."""
    with progress(context) as tell:
        copy = _write(source, destination, precision, device=device, revision=revision, tell=tell)
    if as_json:
        render.write_json(asdict(copy) | {"folder": str(copy.folder)})
        return
    context.out.print(
        f"{render.safe(str(copy.folder))} is in {copy.precision}: {copy.quantized} modules quantized, "
        f"{render.size(copy.size)}, checked, in {render.duration(copy.seconds)}; set DROPSCRIBE_MODEL to use it",
        soft_wrap=True,
    )


def _write(
    source: str, destination: Path, precision: str, *, device: str, revision: str, tell: Callable[[str], None]
) -> Copy:
    tell("starting PyTorch")
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # it has advice on serving from a CPU
    try:
        from models.vibevoice.checkpoint import write_quantized
    except ImportError as error:
        raise ModelUnavailableError(f"vibevoice needs more packages: {error}; pip install 'dropscribe[gpu]'") from error
    return write_quantized(source, destination, precision, device=device, revision=revision, tell=tell)


@contextmanager
def progress(context: Context) -> Iterator[Callable[[str], None]]:
    """Where to tell what is being done: on a terminal with the time it takes, else a line for each step."""
    if not context.err.is_terminal:
        yield lambda step: context.err.print(render.safe(step), soft_wrap=True)
        return
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn())
    with Progress(*columns, console=context.err, transient=True) as shown:
        task = shown.add_task("")
        yield lambda step: shown.reset(task, description=render.safe(step))
