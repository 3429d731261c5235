"""Streams the weights of a checkpoint into the file beside a graph, a few million numbers at a time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import onnx_ir as ir
import torch
from numpy.typing import NDArray

from dropscribe.core.errors import ModelUnavailableError
from dropscribe.models.checkpoints.convert import TORCH, pieces
from dropscribe.models.checkpoints.safetensors_files import Shard, Tensor
from dropscribe.models.onnx import int4, layout
from dropscribe.models.onnx.graphs import Built, Form, Weight

PIECE = 4_000_000  # numbers in memory at a time, unless a row is longer; they take some ten times as many bytes
ALIGNMENT = 4096  # bytes; so that the file can be mapped into memory


@dataclass(frozen=True, slots=True)
class Placed:
    """A weight and its first byte in the file."""

    weight: Weight
    offset: int


def arrange(built: Built) -> tuple[list[Placed], int]:
    """Where each weight goes, and the size of the file."""
    placed, at = [], 0
    for weight in built.weights:
        placed.append(Placed(weight, at))
        at += -(-weight.size // ALIGNMENT) * ALIGNMENT
    return placed, at


def write(
    built: Built, folder: Path, stored: Mapping[str, tuple[Shard, Tensor]], block_size: int, tell: Callable[[int], None]
) -> None:
    """Write a graph and its weights; `tell` hears how many bytes of the checkpoint were read since it last did.

    `stored` has the tensors by the model's names. Raises ModelUnavailableError when one cannot be read, or has
    numbers that the wanted format cannot hold.
    """
    placed, size = arrange(built)
    data = built.file + layout.DATA_SUFFIX
    scales = {one.weight.source: one for one in placed if one.weight.form is Form.SCALES}
    with (folder / data).open("wb") as file:
        file.truncate(size)
        for one in placed:
            shard, tensor = stored[one.weight.source]
            if one.weight.form is Form.PLAIN:
                _write_plain(file, shard, tensor, one, tell)
            elif one.weight.form is Form.PACKED:
                _write_int4(file, shard, tensor, (one, scales[one.weight.source]), block_size, tell)
            one.weight.value.const_value = ir.ExternalTensor(
                data,
                one.offset,
                one.weight.size,
                one.weight.dtype,
                shape=ir.Shape(one.weight.shape),
                name=one.weight.value.name,
            )
    ir.save(built.model, folder / built.file)


def _write_plain(file: BinaryIO, shard: Shard, tensor: Tensor, place: Placed, tell: Callable[[int], None]) -> None:
    """Write a tensor as it is, in the number format of its place. Raises ModelUnavailableError."""
    file.seek(place.offset)
    wanted = place.weight.dtype.numpy()
    for piece in pieces(shard, tensor, _buffer(tensor, PIECE)):
        file.write(_rounded(_numbers(piece), wanted, tensor).data)
        tell(piece.nbytes)


def _write_int4(
    file: BinaryIO,
    shard: Shard,
    tensor: Tensor,
    parts: tuple[Placed, Placed],
    block_size: int,
    tell: Callable[[int], None],
) -> None:
    """The numbers and the scales, each to its place."""
    columns = tensor.shape[1]
    ends = [*map(attrgetter("offset"), parts)]
    for piece in pieces(shard, tensor, _buffer(tensor, max(1, PIECE // columns) * columns)):
        rows = _rounded(_numbers(piece), np.dtype(np.float32), tensor).reshape(-1, columns)
        for index, values in enumerate(int4.quantize(rows, block_size)):
            file.seek(ends[index])
            ends[index] += file.write(np.ascontiguousarray(values).data)
        tell(piece.nbytes)


def _buffer(tensor: Tensor, count: int) -> bytearray:
    """Room for so many numbers of a tensor at once, at most for all of them."""
    width = TORCH[tensor.dtype].itemsize if tensor.dtype in TORCH else 1
    return bytearray(min(count * width, tensor.size))


def _numbers(piece: torch.Tensor) -> NDArray[np.float32]:
    """In float32, which numpy knows, as it does not know bf16."""
    return piece.to(torch.float32).numpy()


def _rounded(numbers: NDArray[np.float32], dtype: np.dtype[Any], tensor: Tensor) -> NDArray[Any]:
    """The numbers in another format. Raises ModelUnavailableError where that cannot hold one of them."""
    with np.errstate(over="ignore"):
        rounded = numbers.astype(dtype, copy=False)
    if not np.isfinite(rounded).all():
        most = np.abs(numbers).max()
        raise ModelUnavailableError(
            f"{tensor.name} has numbers up to {most:.3g}, which {dtype} cannot hold",
            remedy="export it with --dtype fp32",
        )
    return rounded
