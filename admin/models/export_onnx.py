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
from dropscribe.models.checkpoints.copy_check import CopyRun, without_running

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
    run: bool,
    as_json: bool,
) -> None:
    """Write the graphs and say what they are. Raises UsageError and ModelUnavailableError."""
    new_folder.vacant(destination)  # PyTorch takes long to start, only for a name that is taken
    with byte_progress(context.err) as tell:
        tell("starting PyTorch", 0, 0)
        with pytorch.needed_by("exporting", "gpu,onnx"):
            from dropscribe.models import copy_run
            from dropscribe.models.onnx import export as exporting
        exported = exporting.export(
            source,
            destination,
            dtype,
            encoder_dtype=encoder,
            block_size=block_size,
            revision=revision,
            tell=tell,
            try_out=copy_run.on_this_machine(context.settings) if run else without_running,
        )
    context.answer(
        lambda: _document(exported), lambda: context.out.print(render.facts(_facts(exported))), as_json=as_json
    )


def _document(exported: Exported) -> dict[str, Any]:
    """The export as docs/cli.md describes it."""
    facts = exported.manifest.document() | {"folder": str(exported.folder), "size": exported.manifest.size}
    told = ("source_weights", "seconds", "checked", "not_run")
    return facts | {name: getattr(exported, name) for name in told}


def _facts(exported: Exported) -> Sequence[tuple[str, str]]:
    """What the export is, for people."""
    manifest = exported.manifest
    blocks = f" in blocks of {manifest.block_size}" if manifest.block_size else ""
    return (
        ("export", str(exported.folder)),
        ("language model", f"{manifest.dtype}{blocks}"),
        ("encoders", manifest.encoder_dtype),
        ("weights", f"{render.size(manifest.weights)}, of {render.size(exported.source_weights)}"),
        ("took", render.duration(exported.seconds)),
        ("state", str(CopyRun(exported.checked, exported.not_run))),
        ("to use it", f"DROPSCRIBE_ENGINE=onnx DROPSCRIBE_MODEL={exported.folder}"),
    )
