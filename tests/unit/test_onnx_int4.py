"""4-bit weights are those of ONNX Runtime's own quantizer, and near what they stand for."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnxruntime.capi import _pybind_state as onnxruntime

from dropscribe.models.onnx import int4


def weights(rows: int, columns: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 0.05, (rows, columns)).astype(np.float32)


@pytest.mark.parametrize(("columns", "block"), [(64, 16), (384, 32), (100, 32), (256, 256)])
def test_numbers_and_scales_are_bit_for_bit_those_of_onnx_runtime(columns: int, block: int) -> None:
    rows = weights(48, columns)
    rows[0], rows[1] = 0, np.abs(rows[1])
    many = int4.blocks(columns, block)
    numbers, scales = np.zeros((48, many, block // 2), np.uint8), np.zeros(48 * many, np.float32)
    none = np.zeros((48, (many + 1) // 2), np.uint8)
    transposed = np.ascontiguousarray(rows.T)  # it takes (inputs, outputs)
    onnxruntime.quantize_matmul_4bits(numbers, transposed, scales, none, block, 48, columns, True)
    packed, found = int4.quantize(rows, block)
    whole = slice(columns // 2)  # what fills up the last block is of no account
    np.testing.assert_array_equal(packed.reshape(48, -1)[:, whole], numbers.reshape(48, -1)[:, whole])
    np.testing.assert_array_equal(found.reshape(-1), scales)


@given(st.integers(1, 5), st.integers(1, 70), st.sampled_from([16, 32]), st.integers(0, 100))
def test_no_weight_is_further_off_than_a_step(rows: int, columns: int, block: int, seed: int) -> None:
    given = weights(rows, columns, seed)
    packed, scales = int4.quantize(given, block)
    step = np.repeat(np.abs(scales), block, axis=1)[:, :columns]
    assert (np.abs(int4.restore(packed, scales, columns) - given) <= step * 1.001).all()


def test_the_weight_that_is_farthest_from_zero_is_kept() -> None:
    given = weights(8, 64)
    packed, scales = int4.quantize(given, 32)
    restored = int4.restore(packed, scales, 64)
    at = np.abs(given.reshape(8, 2, 32)).argmax(-1)[..., None]
    kept = [np.take_along_axis(values.reshape(8, 2, 32), at, -1) for values in (given, restored)]
    np.testing.assert_allclose(*kept, rtol=1e-6)
