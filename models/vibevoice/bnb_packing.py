"""One weight in the number formats of bitsandbytes, a piece at a time, as its layers lay it out in a checkpoint.

The result equals, bit for bit, that of bitsandbytes for the whole weight when a model is quantized on load. int8 scales
each row by itself, and nf4 each run of 64 numbers. Only the scales of nf4 are quantized together.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import torch
from bitsandbytes import functional
from bitsandbytes.functional import QuantState

BLOCK = 64  # numbers of nf4 with a scale of their own; bitsandbytes' default
SCALES = 256  # scales that are quantized together; bitsandbytes' constant
MOST = 4_000_000  # numbers at a time; computed with, some 30 times as many bytes of memory

Pieces = Callable[[int], Iterator[torch.Tensor]]  # the numbers of a weight, flat, so many at a time


def pack(
    pieces: Pieces, shape: tuple[int, ...], precision: str, dtype: torch.dtype, device: torch.device
) -> dict[str, torch.Tensor]:
    """What a checkpoint holds for a linear's weight of this shape: tensors by their names below the module's.

    The numbers are rounded to `dtype` first, the one that the model computes in, as on loading.
    """
    rounded = (piece.to(dtype).to(device) for piece in pieces(_numbers(shape, precision)))
    return _int8(rounded, shape) if precision == "int8" else _nf4(rounded, shape, dtype)


def _numbers(shape: tuple[int, ...], precision: str) -> int:
    """As many as are quantized without regard to others: whole rows, or whole blocks."""
    unit = shape[-1] if precision == "int8" else BLOCK
    return max(1, MOST // unit) * unit


def _int8(pieces: Iterator[torch.Tensor], shape: tuple[int, ...]) -> dict[str, torch.Tensor]:
    """A weight in 8 bits, row by row, as bitsandbytes stores it."""
    weight, scales = torch.empty(shape, dtype=torch.int8), torch.empty(shape[0], dtype=torch.float32)
    at = 0
    for piece in pieces:
        rows, largest, _ = functional.int8_vectorwise_quant(piece.to(torch.float16).view(-1, shape[-1]))
        weight[at : at + len(rows)] = rows
        scales[at : at + len(rows)] = largest
        at += len(rows)
    row_major = torch.tensor(0, dtype=torch.uint8)
    return {"weight": weight, "SCB": scales, "weight_format": row_major}


def _nf4(pieces: Iterator[torch.Tensor], shape: tuple[int, ...], dtype: torch.dtype) -> dict[str, torch.Tensor]:
    """A weight in 4 bits, block by block, as bitsandbytes stores it."""
    weight = torch.empty((-(-math.prod(shape) // 2), 1), dtype=torch.uint8)  # two numbers a byte
    at, scales = 0, []
    for piece in pieces:
        pairs, state = functional.quantize_4bit(piece, blocksize=BLOCK, quant_type="nf4")
        weight[at : at + len(pairs)] = pairs
        scales.append(state.absmax)
        at += len(pairs)
    largest = torch.cat(scales)
    offset = largest.mean()
    nested, outer = functional.quantize_blockwise(largest - offset, blocksize=SCALES)
    whole = QuantState(
        absmax=nested,
        shape=torch.Size(shape),
        code=state.code,
        blocksize=BLOCK,
        quant_type="nf4",
        dtype=dtype,
        offset=offset,
        state2=outer,
    )
    packed = {f"weight.{name}": tensor.cpu() for name, tensor in whole.as_dict(packed=True).items()}
    return {"weight": weight, **packed}
