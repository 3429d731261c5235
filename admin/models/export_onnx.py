"""`dropscribe models export`: a checkpoint as ONNX graphs, with progress, and what was written."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from dropscribe.admin.context import Context
from dropscribe.admin.terminal import render
from dropscribe.admin.terminal.progress import byte_progress
from dropscribe.core.errors import ModelUnavailableError
from dropscribe.models.checkpoints import new_folder

if TYPE_CHECKING:
    from dropscribe.models.onnx.export import Exported


def export(
    context: Context,
    source: str,
    destination: Path,
    *,
    dtype: str,
    encoder: str,
    block_size: int,
    revision: str,
    as_json: bool,
) -> None:
    """Write the graphs and say what they are. Raises UsageError and ModelUnavailableError."""
    new_folder.vacant(destination)  # PyTorch takes long to start, only for a name that is taken
    with byte_progress(context.err) as tell:
        tell("starting PyTorch", 0, 0)
        logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # it has advice on serving from a CPU
        try:
            from dropscribe.models.onnx import export as exporting
        except ImportError as error:
            raise ModelUnavailableError(
                f"exporting needs more packages: {error}", remedy="pip install 'dropscribe[gpu,onnx]'"
            ) from error
        exported = exporting.export(
            source,
            destination,
            dtype,
            encoder_dtype=encoder,
            block_size=block_size,
            revision=revision,
            tell=tell,
        )
    if as_json:
        facts = exported.manifest.document() | {"folder": str(exported.folder), "size": exported.manifest.size}
        render.write_json(facts | {"source_weights": exported.source_weights, "seconds": exported.seconds})
        return
    _say(context, exported)


def _say(context: Context, exported: Exported) -> None:
    manifest = exported.manifest
    blocks = f" in blocks of {manifest.block_size}" if manifest.block_size else ""
    rows = (
        ("export", str(exported.folder)),
        ("language model", f"{manifest.dtype}{blocks}"),
        ("encoders", manifest.encoder_dtype),
        ("weights", f"{render.size(manifest.weights)}, of {render.size(exported.source_weights)}"),
        ("took", render.duration(exported.seconds)),
        ("to use it", f"DROPSCRIBE_ENGINE=onnx DROPSCRIBE_MODEL={exported.folder}"),
    )
    facts = render.facts()
    for name, what in rows:
        facts.add_row(name, render.safe(what))
    context.out.print(facts)
