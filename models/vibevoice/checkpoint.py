"""A quantized copy of a checkpoint in a folder: whole and checked under its name, or not at all."""

from __future__ import annotations

import gc
import hashlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from core.errors import ModelUnavailableError, UsageError
from models import placing, quantize, vram
from models.vibevoice import loader
from models.vibevoice.geometry import Geometry
from models.vram import Precision

MARGIN = 64_000_000  # bytes beside the weights: 12 MB of tokenizer, and what the layout of the file takes
READ_BACK = "what was written reads back differently"

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Copy:
    """A copy that was written and read back: `quantized` modules, `size` bytes in all, in `seconds`.

    `revision` is the source's commit on the hub, empty for a folder.
    """

    source: str
    revision: str
    folder: Path
    precision: str
    device: str
    quantized: int
    size: int
    seconds: float


@dataclass(frozen=True, slots=True)
class _Job:
    """What is to be made of what, and where the arithmetic is done."""

    source: str
    revision: str
    precision: str
    device: torch.device


def write_quantized(
    source: str, destination: Path, precision: str, *, tell: Tell, device: str = "auto", revision: str = ""
) -> Copy:
    """Quantize a checkpoint (a folder or a hub id) to `int8` or `nf4` into a folder that is absent or empty.

    It is written under another name beside its own, read back under the same check as any checkpoint, compared bit
    for bit, and only then given its name. `device` is `auto`, `cpu` or `cuda`; auto: the GPU where it has the room.
    `tell` hears what is being done.

    Raises UsageError for a source that is not there or a destination that is taken, ModelUnavailableError when the
    source cannot be used or the device or the disk cannot hold the copy, and QuantizationError when it went wrong.
    """
    began = time.monotonic()
    target = placing.vacant(destination)
    config = _unquantized(source, revision)
    size = vram.weights(Geometry.from_config(config), Precision(precision))
    placing.require_room(target.parent, size + MARGIN)
    job = _Job(source, revision, precision, _device(device, size))
    with placing.beside(target) as folder:
        commit, bits = _write(job, folder, tell)
        tell(f"checking {size / 1e9:.2f} GB")
        quantized = _check(job, folder, bits)
        _settle(folder, target)
    written = sum(file.stat().st_size for file in target.iterdir())
    seconds = time.monotonic() - began
    return Copy(source, commit, target, precision, job.device.type, quantized, written, seconds)


def _unquantized(source: str, revision: str) -> dict[str, Any]:
    """The config of the source. A name that cannot be a hub id is not looked for on the network."""
    folder = Path(source).expanduser()
    if not folder.is_dir() and (folder.is_absolute() or source.count("/") != 1 or source.startswith((".", "~"))):
        raise UsageError(f"{source} is not a folder; name a checkpoint's, or an id such as {loader.CHECKPOINT}")
    config = loader.read_config(source, revision)
    if stored := quantize.stored_precision(config):
        raise ModelUnavailableError(f"{source} is in {stored} already; name the checkpoint that it was made from")
    return config


def _device(asked: str, size: int) -> torch.device:
    """The GPU where there is one with room for the copy, or it is asked for."""
    cpu, cuda = torch.device("cpu"), torch.device("cuda:0")
    if asked == "cpu" or (asked == "auto" and not torch.cuda.is_available()):
        return cpu
    if not torch.cuda.is_available():
        raise ModelUnavailableError("PyTorch sees no GPU; use --device cpu, or see `dropscribe doctor`")
    free, _ = torch.cuda.mem_get_info(cuda)
    if free >= size + vram.CUDA_CONTEXT:
        return cuda
    if asked == "auto":
        return cpu
    raise ModelUnavailableError(
        f"the copy takes {size / 1e9:.2f} GB and the GPU has {free / 1e9:.2f} GB free; free it, or use --device cpu"
    )


def _write(job: _Job, folder: Path, tell: Tell) -> tuple[str, dict[str, str]]:
    """Quantize and write; returns the source's commit and the digests of what was written."""
    tell(f"reading {job.source} in {job.precision} on the {_spoken(job.device)}")
    loaded = loader.load(job.source, job.precision, device=job.device, revision=job.revision, attention="sdpa")
    tell(f"writing to {folder}")
    loader.save(loaded, folder)
    return loaded.revision, digests(loaded.model.state_dict())


def _check(job: _Job, folder: Path, bits: Mapping[str, str]) -> int:
    """Read the copy as a worker would; returns how many of its modules are quantized."""
    _give_memory_back()
    model = loader.load(str(folder), job.precision, device=job.device, attention="sdpa").model
    found = digests(model.state_dict())
    if changed := sorted(name for name in bits.keys() | found.keys() if bits.get(name) != found.get(name)):
        raise ModelUnavailableError(
            f"{READ_BACK}: {len(changed)} tensors, the first {changed[0]}; check the disk {folder.parent} and try again"
        )
    return len(quantize.quantized_modules(model))


def digests(tensors: Mapping[str, torch.Tensor]) -> dict[str, str]:
    """What tells the content of each tensor, its dtype and shape from any other."""
    return {name: _digest(tensor) for name, tensor in tensors.items()}


def _digest(tensor: torch.Tensor) -> str:
    raw = tensor.detach().cpu().contiguous().flatten().view(torch.uint8)
    return f"{tensor.dtype} {tuple(tensor.shape)} {hashlib.sha256(raw.numpy().data).hexdigest()}"


def _give_memory_back() -> None:
    """Of the first model, before the second comes."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _settle(folder: Path, target: Path) -> None:
    try:
        mode = (folder / "config.json").stat().st_mode
        for path in folder.iterdir():
            path.chmod(mode)  # safetensors lets nobody else read the weights, whatever the umask
    except OSError as error:
        raise placing.unwritable(target, error) from error
    placing.settle(folder, target)


def _spoken(device: torch.device) -> str:
    return "GPU" if device.type == "cuda" else "CPU"
