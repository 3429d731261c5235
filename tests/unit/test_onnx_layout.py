"""The manifest of an export, and how long a chunk its machine can take."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from dropscribe.core.errors import ModelUnavailableError
from dropscribe.models.gpu.allowance import CUDA_CONTEXT
from dropscribe.models.onnx import layout, memory_budget
from dropscribe.models.onnx.layout import File, Graph, Manifest, Port
from dropscribe.models.vibevoice.dimensions import PUBLISHED
from dropscribe.models.vibevoice.prompt import Wording

GB = 10**9
PORTS = (Port("audio", "float", (1, "3200*tokens")),)
MANIFEST = Manifest(
    source="a/b",
    revision="c0ffee",
    dtype="int4",
    encoder_dtype="fp16",
    block_size=32,
    opset=20,
    hop=3200,
    vocabulary=528,
    ends=(520,),
    wording=Wording("plain", "{context}", "<s>", 525),
    graphs={"encoder": Graph("encoder.onnx", PORTS, PORTS)},
    files={"encoder.onnx": File(5, "aa"), "decoder.onnx.data": File(7 * GB, "bb")},
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(tmp_path, MANIFEST.document())
    (tmp_path / "encoder.onnx").write_bytes(b"12345")
    with (tmp_path / "decoder.onnx.data").open("wb") as file:
        file.truncate(7 * GB)
    return tmp_path


def write(folder: Path, document: object) -> None:
    (folder / layout.MANIFEST).write_text(json.dumps(document))


def test_what_was_written_is_read(folder: Path) -> None:
    assert layout.is_export(folder)
    assert layout.read(folder) == MANIFEST
    assert layout.problems(folder, MANIFEST) == []
    assert MANIFEST.weights == 7 * GB


def test_what_is_not_whole_is_named(folder: Path) -> None:
    (folder / "encoder.onnx").write_bytes(b"1234")
    (folder / "decoder.onnx.data").unlink()
    found = layout.problems(folder, MANIFEST)
    assert [problem.split(";")[0] for problem in found] == [
        "encoder.onnx has 4 bytes and should have 5",
        "decoder.onnx.data is not there",
    ]


def test_a_folder_without_a_manifest_is_refused_with_the_command_that_makes_one(tmp_path: Path) -> None:
    assert not layout.is_export(tmp_path)
    with pytest.raises(ModelUnavailableError, match="is not an ONNX export; write one: dropscribe models export"):
        layout.read(tmp_path)


@pytest.mark.parametrize("document", [[], {"format": 1}, {"format": 1, "ends": 3}, MANIFEST.document() | {"new": 1}])
def test_a_manifest_of_another_shape_is_refused(tmp_path: Path, document: object) -> None:
    write(tmp_path, document)
    with pytest.raises(ModelUnavailableError, match=r"cannot be read: .*; export it again"):
        layout.read(tmp_path)


def test_a_manifest_of_another_format_is_refused(tmp_path: Path) -> None:
    write(tmp_path, MANIFEST.document() | {"format": 2})
    with pytest.raises(ModelUnavailableError, match="of format 2, and this version reads format 1"):
        layout.read(tmp_path)


def test_half_an_hour_is_read_where_there_is_room() -> None:
    assert memory_budget.longest_chunk(PUBLISHED, MANIFEST, 64 * GB, 0) == 1800


def test_chunks_are_shorter_where_there_is_less() -> None:
    shorter = memory_budget.longest_chunk(PUBLISHED, MANIFEST, 20 * GB, 0)
    assert 60 <= shorter < 1800
    assert (
        memory_budget.taken(PUBLISHED, MANIFEST, shorter)
        <= 20 * GB
        < memory_budget.taken(PUBLISHED, MANIFEST, shorter + 30)
    )


@pytest.mark.parametrize(("memory", "wanted"), [(8 * GB, 0), (20 * GB, 1800)])
def test_what_does_not_fit_is_refused_with_the_numbers(memory: int, wanted: float) -> None:
    with pytest.raises(ModelUnavailableError, match=r"take .* GB and this worker may take .* GB"):
        memory_budget.longest_chunk(PUBLISHED, MANIFEST, memory, wanted)


def test_more_at_once_have_shorter_chunks_each() -> None:
    alone, three = (memory_budget.longest_chunk(PUBLISHED, MANIFEST, 30 * GB, 0, slots) for slots in (1, 3))
    assert three < alone
    assert memory_budget.taken(PUBLISHED, MANIFEST, three, 3) <= 30 * GB


def test_weights_that_are_computed_with_in_fp32_take_their_room_again() -> None:
    sizes = [memory_budget.taken(PUBLISHED, replace(MANIFEST, dtype=dtype), 60) for dtype in ("fp32", "int4", "fp16")]
    assert sizes == sorted(sizes)


def test_on_a_gpu_weights_are_there_once_and_a_context_besides() -> None:
    halves = replace(MANIFEST, dtype="fp16")
    on_cpu, on_gpu = (memory_budget.taken(PUBLISHED, halves, 60, on_gpu=on_gpu) for on_gpu in (False, True))
    assert on_cpu - on_gpu == 2 * halves.weights - CUDA_CONTEXT
