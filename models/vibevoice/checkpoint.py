"""A quantized copy of a checkpoint: made tensor by tensor in bounded memory; whole and checked, or not there."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from operator import attrgetter, itemgetter
from pathlib import Path
from typing import Any

import torch

from dropscribe.core.error_translation import translated
from dropscribe.core.errors import ModelUnavailableError, UsageError
from dropscribe.models.checkpoints import convert, convert_plan, hub_cache, new_folder, safetensors_files, sizes
from dropscribe.models.checkpoints.convert import SourceCheckpoint, Warn
from dropscribe.models.checkpoints.copy_check import CopyRun, Try, without_running
from dropscribe.models.checkpoints.safetensors_files import Shard, Tensor
from dropscribe.models.checkpoints.shard_writer import Entry, Writer
from dropscribe.models.progress import Tell
from dropscribe.models.vibevoice import bnb_packing, loader, memory_plan, meta_model, quantize, transformers_view
from dropscribe.models.vibevoice import parts as parts_
from dropscribe.models.vibevoice.dimensions import ModelDimensions
from dropscribe.models.vibevoice.memory_plan import Precision
from dropscribe.models.vibevoice.parts import SAFE_PARTS, ModelPart

MARGIN = 64_000_000  # bytes beside the weights: 12 MB of tokenizer, and what the layout of the files takes
DTYPES = {dtype: name for name, dtype in convert.TORCH.items()} | {torch.uint8: "U8", torch.int8: "I8"}
# What quantized modules have, and no others: by them they are counted in the files.
SCALES = {"int8": ".SCB", "nf4": ".weight.absmax"}


@dataclass(frozen=True, slots=True)
class Copy:
    """A copy that was written: `quantized` modules of these `parts`, `size` bytes in `files` of weights and the rest.

    `revision` is the source's commit in the cache, empty for a folder. Its files were read back and its modules
    counted; it is `checked` if it ran, else `not_run` says why not.
    """

    source: str
    revision: str
    folder: Path
    precision: str
    device: str
    parts: tuple[ModelPart, ...]
    quantized: int
    files: int
    size: int
    seconds: float
    checked: bool = False
    not_run: str = ""


@dataclass(frozen=True, slots=True)
class _Job:
    """What is to be made of what: `modules` are to be quantized, `names` what the model calls the tensors."""

    source: SourceCheckpoint
    precision: str
    parts: tuple[ModelPart, ...]
    device: torch.device
    modules: frozenset[str]
    names: Mapping[str, str]
    tensors: tuple[tuple[Shard, Tensor], ...]

    @property
    def dtype(self) -> torch.dtype:
        """Of what is not quantized."""
        return loader.half(self.device)


def write_quantized(
    source: str,
    destination: Path,
    precision: str,
    *,
    parts: tuple[ModelPart, ...] = SAFE_PARTS,
    tell: Tell,
    warn: Warn,
    device: str = "auto",
    revision: str = "",
    try_out: Try = without_running,
) -> Copy:
    """Quantize a checkpoint (a folder, or an id in the cache) to `int8` or `nf4` into a folder that is absent or empty.

    It is written under another name beside its own, read back, counted module by module, run by `try_out`, and only
    then given its name. `device` is `auto`, `cpu` or `cuda`, where the arithmetic is done. `tell` hears of the
    progress, `warn` what speaks against quantizing these parts.

    Raises UsageError for a source that is not there or a destination that is taken, ModelUnavailableError when the
    source cannot be used or the disk cannot hold the copy, QuantizationError when it went wrong, and ModelError where
    the copy does not run.
    """
    began = time.monotonic()
    target = new_folder.vacant(destination)
    examined = convert.examine(source, revision)
    if target.is_relative_to(examined.folder):
        raise UsageError(f"{destination} lies in {source} itself", remedy="name another folder")
    with transformers_view.of(replace(examined, weights=_serving(examined))) as served:
        job = _plan(served, precision, parts, _device(device), target)
        for sentence in parts_.doubts(parts):
            warn(sentence)
        files, run = _make(job, target, tell, try_out)
    size = sizes.of_files(filter(Path.is_file, target.rglob("*")))
    return Copy(
        source=source,
        revision=examined.revision,
        folder=target,
        precision=precision,
        device=job.device.type,
        parts=parts,
        quantized=len(job.modules),
        files=files,
        size=size,
        seconds=time.monotonic() - began,
        checked=run.checked,
        not_run=run.not_run,
    )


def _device(asked: str) -> torch.device:
    """The GPU where there is one: a few hundred megabytes of it are enough."""
    if asked == "cpu":
        return torch.device("cpu")
    if asked == "cuda" and not torch.cuda.is_available():
        raise ModelUnavailableError("PyTorch sees no GPU", remedy="use --device cpu, or see `dropscribe doctor`")
    return torch.device("cuda:0" if torch.cuda.is_available() else "cpu")


def _plan(
    source: SourceCheckpoint, precision: str, parts: tuple[ModelPart, ...], device: torch.device, target: Path
) -> _Job:
    """What is to be written, checked before anything is. Raises ModelUnavailableError."""
    config = loader.read_config(str(source.folder))
    weights = memory_plan.weights(ModelDimensions.from_config(config, parts), Precision(precision))
    new_folder.require_room(target.parent, weights + MARGIN)
    tensors = tuple((shard, tensor) for shard in source.weights for tensor in shard.tensors)
    model = meta_model.build(config)
    names = meta_model.names(model, map(attrgetter("name"), map(itemgetter(1), tensors)))
    if lacking := sorted(model.state_dict().keys() - set(names.values())):
        raise loader.lacking(source.name, lacking)
    return _Job(
        source=source,
        precision=precision,
        parts=parts,
        device=device,
        modules=quantize.intended(model, parts),
        names=names,
        tensors=tensors,
    )


def _make(job: _Job, target: Path, tell: Tell, try_out: Try) -> tuple[int, CopyRun]:
    """Write the copy, prove it, run it and give it its name; returns the number of files with weights too."""
    with new_folder.beside(target) as folder:
        with translated(OSError, into=partial(new_folder.unwritable, target)):
            files = _write(job, folder, tell)
        _prove(job, folder)
        tell("running it", 0, 0)
        run = try_out(folder)
        new_folder.settle(folder, target)
    return files, run


def _serving(source: SourceCheckpoint) -> tuple[Shard, ...]:
    """The files that transformers would read: the single one, else those that the index names."""
    single = source.folder / f"model{safetensors_files.SUFFIX}"
    index = source.folder / f"model{safetensors_files.INDEX_SUFFIX}"
    named = {single}
    if index.is_file() and not single.is_file():
        named = set(map(source.folder.joinpath, safetensors_files.read_index(index)["weight_map"].values()))
    return tuple(shard for shard in source.weights if shard.path in named)


def _write(job: _Job, folder: Path, tell: Tell) -> int:
    """Everything into a folder; returns the number of files with weights."""
    convert.copy_others(job.source, folder, without=safetensors_files.INDEX_SUFFIX)
    (folder / "config.json").write_text(json.dumps(_described(job), indent=2) + "\n", encoding="utf-8")
    writer, progress = Writer(folder), _Progress(tell, sizes.total(map(itemgetter(1), job.tensors)))
    for shard, tensor in job.tensors:
        writer.add(_entries(job, shard, tensor, progress))
    files = writer.close()
    tell("checking", 0, 0)
    writer.check()
    return files


def _described(job: _Job) -> dict[str, Any]:
    """The config.json of the copy: how it is quantized, for transformers, and what, for us."""
    quantization = quantize.config(job.precision, job.dtype, job.parts)
    dtype = "fp16" if job.dtype == torch.float16 else "bf16"
    return convert_plan.with_dtype(hub_cache.read_config(job.source.folder), dtype) | {
        "quantization_config": quantization and quantization.to_dict(),
        quantize.RECORD: {"parts": list(job.parts), "modules": sorted(job.modules)},
    }


class _Progress:
    """How many bytes of the source have been read."""

    def __init__(self, tell: Tell, total: int) -> None:
        self._tell, self._total, self._done = tell, total, 0

    def counted(self, pieces: Iterator[torch.Tensor]) -> Iterator[torch.Tensor]:
        """The same pieces; tells when each is done with."""
        for piece in pieces:
            yield piece
            self._done += piece.nbytes
            self._tell("quantizing", self._done, self._total)


def _entries(job: _Job, shard: Shard, tensor: Tensor, progress: _Progress) -> list[Entry]:
    """What becomes of a tensor of the source."""
    module, _, leaf = job.names[tensor.name].rpartition(".")

    def pieces(numbers: int) -> Iterator[torch.Tensor]:
        """The numbers of a tensor, so many at a time."""
        buffer = bytearray(numbers * max(8, safetensors_files.BITS.get(tensor.dtype, 8)) // 8)
        return progress.counted(convert.pieces(shard, tensor, buffer))

    if leaf == "weight" and module in job.modules:
        made = bnb_packing.pack(pieces, tensor.shape, job.precision, job.dtype, job.device)
        prefix = tensor.name.removesuffix("weight")
        return [_held(prefix + name, part) for name, part in made.items()]
    kept = tensor.dtype not in convert.TORCH  # whole numbers, if ever
    dtype = tensor.dtype if kept else DTYPES[job.dtype]
    size = tensor.size if kept else tensor.count * job.dtype.itemsize

    def blocks() -> Iterator[memoryview]:
        """The bytes of a tensor, in pieces."""
        for piece in pieces(bnb_packing.MOST):
            yield _bytes(piece if kept else piece.to(job.dtype))

    return [
        Entry(
            name=tensor.name,
            dtype=dtype,
            shape=tensor.shape,
            size=size,
            blocks=blocks,
        )
    ]


def _held(name: str, tensor: torch.Tensor) -> Entry:
    """A tensor that is in memory until it is written."""
    return Entry(
        name=name,
        dtype=DTYPES[tensor.dtype],
        shape=tuple(tensor.shape),
        size=tensor.nbytes,
        blocks=lambda: [_bytes(tensor)],
    )


def _bytes(tensor: torch.Tensor) -> memoryview:
    """The bytes of a tensor."""
    return tensor.contiguous().flatten().view(torch.uint8).numpy().data


def _prove(job: _Job, folder: Path) -> None:
    """The files hold what is to be quantized in that form and all else in its own, and a loader will take it so.

    Raises QuantizationError, and ModelUnavailableError when a file is not whole.
    """
    config = hub_cache.read_config(folder)
    model = meta_model.build_quantized(config)
    quantize.verify_names(quantize.quantized_modules(model), job.modules, job.precision)
    mark = SCALES[job.precision]
    held = safetensors_files.tensors(map(safetensors_files.read, safetensors_files.files(folder)))
    weights = (job.names[one.name.removesuffix(mark) + ".weight"] for one in held if one.name.endswith(mark))
    found = {weight.removesuffix(".weight"): job.precision for weight in weights}
    quantize.verify_names(found, job.modules, job.precision)
