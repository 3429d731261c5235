"""Quantized a piece at a time, a weight is to the bit what bitsandbytes makes of it in one go."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from bitsandbytes.nn import Linear4bit, Linear8bitLt
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from dropscribe.models.vibevoice import bnb_packing

CPU = torch.device("cpu")


def whole(weight: torch.Tensor, precision: str) -> dict[str, torch.Tensor]:
    """A layer's state after bitsandbytes has quantized it."""
    rows, columns = weight.shape
    layer: nn.Module
    if precision == "int8":
        layer = Linear8bitLt(columns, rows, bias=False, has_fp16_weights=False)
    else:
        layer = Linear4bit(columns, rows, bias=False, compress_statistics=True, quant_type="nf4")
    layer.weight.data = weight.clone()
    return layer.to(CPU).state_dict()


@pytest.mark.parametrize("precision", ["int8", "nf4"])
@given(
    rows=st.integers(1, 40),
    columns=st.integers(1, 100),
    most=st.integers(1, 700),
    dtype=st.sampled_from([torch.bfloat16, torch.float16]),
    source=st.sampled_from([torch.bfloat16, torch.float16, torch.float32]),
    seed=st.integers(0, 2**32 - 1),
)
def test_the_pieces_make_the_whole(
    precision: str, rows: int, columns: int, most: int, dtype: torch.dtype, source: torch.dtype, seed: int
) -> None:
    weight = torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed)).to(source)

    def pieces(numbers: int) -> Iterator[torch.Tensor]:
        yield from weight.flatten().split(numbers)

    expected = whole(weight.to(dtype), precision)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bnb_packing, "MOST", most)
        found = bnb_packing.pack(pieces, tuple(weight.shape), precision, dtype, CPU)
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert found[name].dtype == tensor.dtype
        assert torch.equal(found[name], tensor), name
