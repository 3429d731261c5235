"""`dropscribe models export`: a checkpoint as ONNX graphs, with progress, and what was written."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dropscribe.admin.context import Context
from dropscribe.admin.models import pytorch
from dropscribe.admin.terminal import render
from dropscribe.admin.terminal.progress import byte_progress
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
        with pytorch.needed_by("exporting", "gpu,onnx"):
            from dropscribe.models.onnx import export as exporting
        exported = exporting.export(
            source,
            destination,
            dtype,
            encoder_dtype=encoder,
            block_size=block_size,
            revision=revision,
            tell=tell,
        )
    context.answer(
        lambda: _document(exported), lambda: context.out.print(render.facts(_facts(exported))), as_json=as_json
    )


def _document(exported: Exported) -> dict[str, Any]:
    facts = exported.manifest.document() | {"folder": str(exported.folder), "size": exported.manifest.size}
    return facts | {"source_weights": exported.source_weights, "seconds": exported.seconds}


def _facts(exported: Exported) -> Sequence[tuple[str, str]]:
    manifest = exported.manifest
    blocks = f" in blocks of {manifest.block_size}" if manifest.block_size else ""
    return (
        ("export", str(exported.folder)),
        ("language model", f"{manifest.dtype}{blocks}"),
        ("encoders", manifest.encoder_dtype),
        ("weights", f"{render.size(manifest.weights)}, of {render.size(exported.source_weights)}"),
        ("took", render.duration(exported.seconds)),
        ("to use it", f"DROPSCRIBE_ENGINE=onnx DROPSCRIBE_MODEL={exported.folder}"),
    )
