"""Weights on their way from a checkpoint into the file beside a graph: exact, in pieces, or refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
import torch
from safetensors.torch import save_file

from dropscribe.core.errors import ModelUnavailableError
from dropscribe.models.checkpoints import convert, hub_cache, safetensors_files
from dropscribe.models.onnx import export, int4, weights
from dropscribe.models.onnx.graphs import Built, Form, Weight
from dropscribe.models.vibevoice import transformers_view
from dropscribe.models.vibevoice.dimensions import ModelDimensions
from tests.integration.original import TINY, write_original

ROWS, COLUMNS, BLOCK = 50, 96, 32


def built(**forms: tuple[ir.DataType, tuple[int, ...], str, Form]) -> Built:
    """A graph that hands its weights out as they are."""
    found = []
    for name, (dtype, shape, source, form) in forms.items():
        value = ir.Value(name=name, type=ir.TensorType(dtype), shape=ir.Shape(shape))
        found.append(Weight(value, source, form))
    values = [weight.value for weight in found]
    graph = ir.Graph([], values, nodes=[], initializers=values, opset_imports={"": 20}, name="graph")
    return Built("graph.onnx", ir.Model(graph, ir_version=10), tuple(found))


def stored(
    folder: Path, **tensors: torch.Tensor
) -> dict[str, tuple[safetensors_files.Shard, safetensors_files.Tensor]]:
    save_file(tensors, folder / "model.safetensors")
    shard = safetensors_files.read(folder / "model.safetensors")
    return {tensor.name: (shard, tensor) for tensor in shard.tensors}


def noise(*shape: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(0).normal(0, 0.1, shape).astype(np.float32))


def written(folder: Path) -> dict[str, np.ndarray]:
    values = ir.load(folder / "graph.onnx").graph.initializers.values()
    return {str(value.name): value.const_value.numpy() for value in values if value.const_value}


def test_numbers_arrive_in_the_wanted_format_whatever_the_size_of_the_pieces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = noise(ROWS, COLUMNS).to(torch.bfloat16)
    graph = built(
        half=(ir.DataType.FLOAT16, (ROWS, COLUMNS), "a", Form.PLAIN),
        full=(ir.DataType.FLOAT, (ROWS,), "b", Form.PLAIN),
        packed=(ir.DataType.UINT8, (ROWS, 3, BLOCK // 2), "c", Form.PACKED),
        scales=(ir.DataType.FLOAT, (ROWS, 3), "c", Form.SCALES),
    )
    monkeypatch.setattr(weights, "PIECE", 7 * COLUMNS)
    read: list[int] = []
    weights.write(graph, tmp_path, stored(tmp_path, a=given, b=noise(ROWS), c=given.clone()), BLOCK, read.append)
    found = written(tmp_path)
    packed, scales = int4.quantize(given.float().numpy(), BLOCK)
    np.testing.assert_array_equal(found["half"], given.to(torch.float16).numpy())
    np.testing.assert_array_equal(found["full"], noise(ROWS).numpy())
    np.testing.assert_array_equal(found["packed"], packed)
    np.testing.assert_array_equal(found["scales"], scales)
    assert (sum(read), len(read)) == (2 * given.nbytes + 4 * ROWS, 17)


@pytest.mark.parametrize("form", [Form.PLAIN, Form.PACKED])
@pytest.mark.parametrize("wrong", [1e6, float("nan")])
def test_numbers_that_do_not_fit_are_refused(tmp_path: Path, form: Form, wrong: float) -> None:
    given = noise(ROWS, COLUMNS)
    given[3, 4] = wrong if form is Form.PLAIN else float("inf")
    graph = built(
        one=(ir.DataType.FLOAT16, (ROWS, COLUMNS), "a", form),
        other=(ir.DataType.FLOAT, (ROWS, 3), "a", Form.SCALES if form is Form.PACKED else Form.PLAIN),
    )
    with pytest.raises(ModelUnavailableError, match=r"a has numbers up to .*cannot hold; export it with"):
        weights.write(graph, tmp_path, stored(tmp_path, a=given), BLOCK, lambda _: None)


def test_an_export_of_the_original_layout_has_the_weights_and_the_shape_of_the_same_model(tmp_path: Path) -> None:
    """Graphs are made of the config alone, and filled with what is found here under the names of their parameters."""
    original = convert.examine(str(write_original(tmp_path / "original")), "")
    with transformers_view.of(original) as view:
        found = contents(export._stored(view))
        assert dimensions(view.folder) == dimensions(TINY)
    assert found == contents(export._stored(convert.examine(str(TINY), "")))


def contents(stored: export.Stored) -> dict[str, bytes]:
    return {name: b"".join(map(bytes, pieces(shard, tensor))) for name, (shard, tensor) in stored.items()}


def pieces(shard: safetensors_files.Shard, tensor: safetensors_files.Tensor) -> list[memoryview]:
    found = convert.pieces(shard, tensor, bytearray(tensor.size))
    return [piece.view(torch.uint8).numpy().data for piece in found]


def dimensions(folder: Path) -> ModelDimensions:
    return ModelDimensions.from_config(hub_cache.read_config(folder))
