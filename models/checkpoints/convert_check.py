"""Is a converted checkpoint what its source was, as far as its number format can tell? Every number is compared.

Rounding to the nearest leaves half a unit in the last place. More than that is a fault: of the disk, of the memory, or
of this program.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import starmap
from operator import attrgetter
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open

from dropscribe.core.errors import ModelUnavailableError
from dropscribe.models.checkpoints import safetensors_files
from dropscribe.models.checkpoints.convert import TORCH, pieces
from dropscribe.models.checkpoints.safetensors_files import Shard, Tensor
from dropscribe.models.progress import Tell

PIECE = 4_000_000  # bytes of the wider of two tensors; computed with, some 20 times as much memory


@dataclass(frozen=True, slots=True)
class Difference:
    """The largest differences over all numbers of all tensors; `relative` only where the copy's are normal numbers."""

    absolute: float = 0.0
    relative: float = 0.0
    tensor: str = ""  # where the largest relative one is


def compare(source: Path, copy: Path, tell: Tell) -> Difference:
    """Read a source and its copy side by side.

    Raises ModelUnavailableError when the copy lacks a tensor, or one differs by more than rounding explains.
    """
    worst, done = Difference(), 0
    shards = [*map(safetensors_files.read, safetensors_files.files(source))]
    total = sum(map(attrgetter("size"), shards))
    for shard in shards:
        written = safetensors_files.read(copy / shard.path.relative_to(source))
        # By the library that everybody else reads it with.
        with safetensors_files.whole(written.path, SafetensorError, OSError), safe_open(written.path, "pt") as file:
            list(file.keys())
        found = {(tensor.name, tensor.shape): tensor for tensor in written.tensors}
        for tensor in shard.tensors:
            other = found.get((tensor.name, tensor.shape))
            if other is None:
                raise ModelUnavailableError(
                    f"the copy lacks {tensor.name}", remedy=f"check the disk {copy.parent} and try again"
                )
            worst = _worse(worst, _compare(shard, tensor, written, other))
            done += tensor.size
            tell("comparing", done, total)
    return worst


def _worse(one: Difference, other: Difference) -> Difference:
    """The larger of both differences, each by its own measure."""
    largest = max(one, other, key=lambda difference: difference.relative)
    return Difference(max(one.absolute, other.absolute), largest.relative, largest.tensor)


def _compare(shard: Shard, tensor: Tensor, written: Shard, other: Tensor) -> Difference:
    """How much a tensor differs from its copy. Raises ModelUnavailableError for more than rounding explains."""
    if tensor.dtype not in TORCH:
        return _compare_bytes(shard, tensor, written, other)
    wide = max(TORCH[tensor.dtype].itemsize, TORCH[other.dtype].itemsize)
    sides = [
        pieces(of, one, bytearray(PIECE // wide * TORCH[one.dtype].itemsize))
        for of, one in ((shard, tensor), (written, other))
    ]
    absolute = relative = 0.0
    for mine, theirs in zip(*sides, strict=True):
        found = _errors(mine, theirs)
        if found is None:
            raise ModelUnavailableError(
                f"{tensor.name} differs by more than rounding", remedy="check the disk, and try again"
            )
        absolute, relative = max(absolute, found[0]), max(relative, found[1])
    return Difference(absolute, relative, tensor.name if relative else "")


def _errors(mine: torch.Tensor, theirs: torch.Tensor) -> tuple[float, float] | None:
    """The largest absolute and relative error; None where it is more than rounding.

    The difference is exact in `work`: two numbers that are this close differ by one that their own format can hold.
    """
    work = torch.float64 if torch.float64 in {mine.dtype, theirs.dtype} else torch.float32
    format_ = torch.finfo(theirs.dtype)
    exact, rounded = mine.to(work), theirs.to(work)
    error = (exact - rounded).abs()
    if bool(error.isnan().any()):  # of infinite numbers, too; to look first is quicker by far
        error[(exact == rounded) | (exact.isnan() & rounded.isnan())] = 0.0
    size = exact.abs().nan_to_num()
    if not bool((error <= size * (format_.eps / 2) + format_.smallest_normal * format_.eps / 2).all()):
        return None
    normal = error * (size >= format_.smallest_normal)
    return float(error.max()), float((normal / size.clamp(min=format_.smallest_normal)).max())


def _compare_bytes(shard: Shard, tensor: Tensor, written: Shard, other: Tensor) -> Difference:
    """The same of other tensors, which must not differ at all."""
    sides = (pieces(of, one, bytearray(PIECE)) for of, one in ((shard, tensor), (written, other)))
    if tensor.size != other.size or not all(starmap(torch.equal, zip(*sides, strict=True))):
        raise ModelUnavailableError(f"{tensor.name} reads back differently", remedy="check the disk, and try again")
    return Difference()
