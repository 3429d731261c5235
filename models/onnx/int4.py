"""Weights in 4 bits, as ONNX Runtime's MatMulNBits takes them: block-wise, symmetric. Pure numpy.

The weights of a row are cut into blocks. Of each block the number that is farthest from zero becomes -8, so that the
whole range of -8 to 7 is used, and the others are rounded to the nearest step. They are stored plus 8, two to a byte,
the first in the lower half. It is what ONNX Runtime's own quantizer does, bit for bit.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

ZERO = 8  # what stands for 0


def blocks(columns: int, block: int) -> int:
    """Blocks in a row; the last may be padded with zeros.

    >>> blocks(100, 32)
    4
    """
    return -(-columns // block)


def quantize(rows: NDArray[np.float32], block: int) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Weights, float32 of shape (rows, columns), as numbers of 4 bits and scales.

    The numbers are uint8 of shape (rows, blocks, block / 2), two in a byte, the scales float32 of shape (rows, blocks).
    """
    count, columns = rows.shape
    padding = blocks(columns, block) * block - columns
    if padding:
        rows = np.pad(rows, ((0, 0), (0, padding)))
    split = rows.reshape(count, -1, block)
    low, high = split.min(axis=-1), split.max(axis=-1)
    scales = np.where(high > -low, high, low) / np.float32(-ZERO)
    steps = np.divide(np.float32(1), scales, out=np.zeros_like(scales), where=scales != 0)
    numbers = np.floor(split * steps[..., None] + np.float32(ZERO + 0.5)).clip(0, 2 * ZERO - 1).astype(np.uint8)
    return numbers[..., 0::2] | numbers[..., 1::2] << 4, scales


def restore(numbers: NDArray[np.uint8], scales: NDArray[np.float32], columns: int) -> NDArray[np.float32]:
    """The weights that the numbers stand for, float32 of shape (rows, columns)."""
    pairs = np.stack([numbers & 15, numbers >> 4], axis=-1).reshape(*numbers.shape[:2], -1)
    values = (pairs.astype(np.float32) - ZERO) * scales[..., None]
    return values.reshape(len(values), -1)[:, :columns]
