"""A checkpoint of VibeVoice-ASR as ONNX graphs: whole and on the disk under its name, or not at all.

The graphs are traced without weights, which are then streamed into the files beside them: memory does not depend on
the size of the model.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from operator import itemgetter
from pathlib import Path
from typing import Any

from transformers import VibeVoiceAsrConfig

from dropscribe.core.error_translation import translated
from dropscribe.core.errors import ModelUnavailableError, UsageError
from dropscribe.models.checkpoints import convert, new_folder, sizes
from dropscribe.models.checkpoints.convert import SourceCheckpoint
from dropscribe.models.checkpoints.copy_check import CopyRun, Try, without_running
from dropscribe.models.checkpoints.safetensors_files import Shard, Tensor
from dropscribe.models.onnx import graphs, layout, weights
from dropscribe.models.onnx.graphs import Built, Form
from dropscribe.models.onnx.layout import Graph, Manifest, Port
from dropscribe.models.progress import Tell
from dropscribe.models.vibevoice import loader, transformers_view
from dropscribe.models.vibevoice.prompt import Wording

MARGIN = 20_000_000  # bytes: graphs, tokenizer, and what a disk rounds up
Stored = Mapping[str, tuple[Shard, Tensor]]
COPIED = ("config.json", "generation_config.json")


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written: where, what it says of itself, and how many seconds it took.

    It is `checked` if it ran, else `not_run` says why not.
    """

    folder: Path
    manifest: Manifest
    source_weights: int
    seconds: float
    checked: bool = False
    not_run: str = ""


def export(
    name: str,
    destination: Path,
    dtype: str,
    *,
    encoder_dtype: str = "",
    block_size: int = 32,
    revision: str = "",
    tell: Tell,
    try_out: Try = without_running,
) -> Exported:
    """Write the graphs of a checkpoint: its folder, or an id that is in the cache.

    `dtype` is fp32, fp16 or int4; `encoder_dtype` fp32 or fp16, by default fp16 unless `dtype` is fp32. `tell` hears of
    the progress; `try_out` runs the export before it gets its name. Raises UsageError for a source that is not here or
    a destination that is taken, ModelUnavailableError when the source cannot be used, the disk is too small or the copy
    cannot be written, and ModelError where the export does not run.
    """
    began = time.monotonic()
    target = new_folder.vacant(destination)
    source = convert.examine(name, revision)
    if target.is_relative_to(source.folder):
        raise UsageError(f"{destination} lies in {name} itself", remedy="name another folder")
    formats = {
        "dtype": dtype,
        "encoder_dtype": encoder_dtype or ("fp32" if dtype == "fp32" else "fp16"),
        "block_size": block_size if dtype == "int4" else 0,
    }
    with transformers_view.of(source) as served:
        manifest, run = _make(served, target, formats, tell, try_out)
        return Exported(
            folder=target,
            manifest=manifest,
            source_weights=served.size,
            seconds=time.monotonic() - began,
            checked=run.checked,
            not_run=run.not_run,
        )


def _make(
    source: SourceCheckpoint, target: Path, formats: dict[str, Any], tell: Tell, try_out: Try
) -> tuple[Manifest, CopyRun]:
    """Trace the graphs, write them with their weights into a new folder, run them and give that its name."""
    loader.read_config(str(source.folder))
    tell("tracing the graphs", 0, 0)
    stored = _stored(source)
    built = graphs.build(source.folder, **formats)
    _require(built, stored, source.name)
    new_folder.require_room(target.parent, sizes.total(built) + MARGIN)
    processor = loader.read_processor(str(source.folder))
    manifest = _describe(source, processor, built, **formats)
    with new_folder.beside(target) as folder:
        with translated(OSError, into=partial(new_folder.unwritable, target)):
            manifest = _write(manifest, processor, source, folder, built, stored, tell)
        tell("running it", 0, 0)
        run = try_out(folder)
        new_folder.settle(folder, target)
    return manifest, run


def _stored(source: SourceCheckpoint) -> Stored:
    """The tensors of a checkpoint by the names that their parameters have in the model."""
    found = {tensor.name: (shard, tensor) for shard in source.weights for tensor in shard.tensors}
    names = graphs.parameter_names(source.folder, found)
    return {parameter: found[name] for parameter, name in names.items()}


def _require(built: Sequence[Built], stored: Stored, name: str) -> None:
    """Raises ModelUnavailableError when a parameter is not stored, or has another shape than the config says."""
    wanted = {weight.source: weight for graph in built for weight in graph.weights}
    if lacking := [source for source in wanted if source not in stored]:
        raise ModelUnavailableError(
            f"{name} lacks {len(lacking)} weights, the first {lacking[0]}", remedy="fetch it again"
        )
    for source, weight in wanted.items():
        _, tensor = stored[source]
        if weight.form is Form.PLAIN and tensor.shape != weight.shape:
            raise ModelUnavailableError(
                f"{tensor.name} of {name} has the shape {tensor.shape}, and its config says {weight.shape}",
                remedy="fetch it again",
            )


def _describe(source: SourceCheckpoint, processor: Any, built: Sequence[Built], **formats: Any) -> Manifest:
    """All but the files."""
    config: Any = VibeVoiceAsrConfig.from_pretrained(source.folder)
    return Manifest(
        source=source.name,
        revision=source.revision,
        opset=layout.OPSET,
        hop=config.acoustic_tokenizer_encoder_config.hop_length,
        vocabulary=config.text_config.vocab_size,
        ends=loader.ends(loader.read_generation(str(source.folder)), processor.tokenizer),
        wording=Wording.of(processor),
        graphs={graph.file.removesuffix(".onnx"): _ports(graph) for graph in built},
        **formats,
    )


def _ports(built: Built) -> Graph:
    """A graph as the manifest has it."""
    graph = built.model.graph
    inputs, outputs = (tuple(map(_port, values)) for values in (graph.inputs, graph.outputs))
    return Graph(built.file, inputs, outputs)


def _port(value: Any) -> Port:
    """An input or output of a graph; sizes that vary are named."""
    shape = tuple(one if isinstance(one, int) else str(one.value) for one in value.shape)
    return Port(value.name, value.dtype.name.lower(), shape)


def _write(
    manifest: Manifest,
    processor: Any,
    source: SourceCheckpoint,
    folder: Path,
    built: Sequence[Built],
    stored: Stored,
    tell: Tell,
) -> Manifest:
    """Everything into a folder; returns the manifest with its files."""
    processor.save_pretrained(folder)
    for path in filter(Path.is_file, map(source.folder.joinpath, COPIED)):
        shutil.copyfile(path, folder / path.name)
    done, total = 0, sizes.total(map(itemgetter(1), stored.values()))

    def read(count: int) -> None:
        """Count the bytes that were read, and report them."""
        nonlocal done
        done += count
        tell("writing", done, total)

    for graph in built:
        weights.write(graph, folder, stored, manifest.block_size, read)
    tell("hashing", 0, 0)
    manifest = replace(manifest, files=layout.describe(folder))
    (folder / layout.MANIFEST).write_text(json.dumps(manifest.document(), indent=2) + "\n", encoding="utf-8")
    return manifest
