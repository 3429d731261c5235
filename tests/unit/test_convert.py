"""Converting a checkpoint: which format each tensor gets, what is refused, and that every number arrives."""

from __future__ import annotations

import json
import shutil
import struct
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import safetensors.torch
import torch
from hypothesis import given
from hypothesis import strategies as st

from dropscribe.core.errors import ModelUnavailableError, UsageError
from dropscribe.models import inventory
from dropscribe.models.checkpoints import convert, convert_check, convert_plan, safetensors_files
from dropscribe.models.checkpoints.convert import Copied
from dropscribe.models.checkpoints.convert_plan import Rules
from dropscribe.models.checkpoints.safetensors_files import Tensor

FP16 = Rules("fp16")
# As the published checkpoints call theirs: speech recognition, and speech synthesis in the original layout.
KEPT = [
    "language_model.layers.0.input_layernorm.weight",
    "language_model.layers.27.self_attn.q_norm.weight",
    "acoustic_tokenizer_encoder.conv_layers.0.stage.1.ffn_norm.weight",
    "model.acoustic_tokenizer.encoder.stages.2.0.gamma",
    "model.acoustic_tokenizer.encoder.stages.2.0.ffn_gamma",
    "transformer.ln_f.bias",
    "encoder.ln1.weight",
    "decoder.rms.weight",
]
CONVERTED = [
    "lm_head.bias",
    "language_model.layers.0.self_attn.q_proj.bias",
    "acoustic_tokenizer_encoder.conv_layers.0.conv.conv.bias",
    "transforms.0.bias",
    "vulnerable.bias",
]


def tell(*_: object) -> None:
    pass


def write(folder: Path, weights: dict[str, torch.Tensor], name: str = "model.safetensors", **config: Any) -> Path:
    folder.mkdir(exist_ok=True)
    safetensors.torch.save_file(weights, folder / name, {"format": "pt"})
    (folder / "config.json").write_text(json.dumps({"model_type": "other", "torch_dtype": "float32"} | config))
    return folder


def sharded(folder: Path) -> Path:
    """Two files and an index."""
    parts = {"a.safetensors": {"one.weight": torch.ones(3, 5)}, "b.safetensors": {"two.norm.weight": torch.ones(7)}}
    for name, weights in parts.items():
        write(folder, weights, name)
    index = {"metadata": {"total_size": 88}, "weight_map": {tensor: n for n, part in parts.items() for tensor in part}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return folder


class Made(NamedTuple):
    copied: Copied
    weights: dict[str, torch.Tensor]
    warnings: list[str]


def convert_to(source: Path, copy: Path, rules: Rules = FP16) -> Made:
    warnings: list[str] = []

    def check(original: Path, folder: Path, _: Copied) -> None:
        convert_check.compare(original, folder, tell)

    copied = convert.convert(str(source), copy, rules, tell=tell, warn=warnings.append, check=check)
    weights = {
        key: value for path in safetensors_files.files(copy) for key, value in safetensors.torch.load_file(path).items()
    }
    return Made(copied, weights, warnings)


def tensor(name: str, *shape: int, dtype: str = "BF16") -> Tensor:
    return Tensor(name, dtype, shape, 0, 0)


@pytest.mark.parametrize("name", KEPT)
def test_normalization_weights_and_layer_scales_are_kept_in_fp32(name: str) -> None:
    assert convert_plan.wanted(tensor(name, 64), FP16) == "F32"
    assert convert_plan.wanted(tensor(name, 64), Rules("fp16", mixed=False)) == "F16"
    assert convert_plan.wanted(tensor(name, 64, 64), FP16) == "F16"  # a matrix is none, whatever it is called


@pytest.mark.parametrize(
    ("pattern", "meant"),
    [
        ("attention", True),
        ("*attention*", True),
        ("attention.*", False),
        ("layers.0.attention.q", True),
        ("heads", False),
    ],
)
def test_a_bare_word_means_all_tensors_with_it_in_their_names(pattern: str, meant: bool) -> None:
    assert convert_plan.matches("model.layers.0.attention.q.weight", pattern) == meant


@pytest.mark.parametrize("name", CONVERTED)
def test_other_vectors_are_converted(name: str) -> None:
    assert convert_plan.wanted(tensor(name, 64), FP16) == "F16"
    assert convert_plan.wanted(tensor(name, 64), Rules("fp16", keep=("*.bias",))) == "F32"


def test_single_numbers_are_kept_and_what_is_no_floating_point_number_is_never_changed() -> None:
    assert convert_plan.wanted(tensor("model.speech_scaling_factor"), FP16) == "F32"
    assert convert_plan.wanted(tensor("bn.num_batches_tracked", dtype="I64"), FP16) == "I64"
    assert convert_plan.wanted(tensor("embed.weight", 4, 4, dtype="I8"), Rules("fp16", keep=("*",))) == "I8"


def test_a_pattern_that_matches_nothing_names_what_there_is(tmp_path: Path) -> None:
    source = write(tmp_path / "source", {"lm_head.weight": torch.ones(2, 2), "embed.weight": torch.ones(2, 2)})
    with pytest.raises(UsageError, match=r"called like model\.lm_head\.\*; there are lm_head\.weight \.\.\."):
        convert_to(source, tmp_path / "copy", Rules("fp16", keep=("embed.*", "model.lm_head.*")))


def test_the_config_names_the_new_dtype_everywhere_and_keeps_the_rest() -> None:
    parts = {"decoder_config": {"torch_dtype": "bfloat16", "hidden_size": 8}, "dtype": "bfloat16"}
    assert convert_plan.with_dtype(parts | {"torch_dtype": None}, "fp16") == {
        "decoder_config": {"torch_dtype": "float16", "hidden_size": 8},
        "dtype": "float16",
        "torch_dtype": None,
    }
    assert convert_plan.with_dtype({"hidden_size": 8}, "fp32") == {"hidden_size": 8, "torch_dtype": "float32"}


def test_a_copy_has_all_files_all_tensors_and_an_index_that_fits(tmp_path: Path) -> None:
    source = sharded(tmp_path / "source")
    (source / "tokenizer").mkdir()
    (source / "tokenizer" / "vocabulary.txt").write_text("one two")
    (source / "pytorch_model.bin").write_bytes(b"the same weights again")
    (source / ".cache").mkdir()
    (source / ".cache" / "lock").touch()
    made = convert_to(source, tmp_path / "copy")
    copy = tmp_path / "copy"
    assert {name: weight.dtype for name, weight in made.weights.items()} == {
        "one.weight": torch.float16,
        "two.norm.weight": torch.float32,
    }
    index = json.loads((copy / "model.safetensors.index.json").read_text())
    assert index["metadata"]["total_size"] == made.copied.weights == 30 + 28
    assert json.loads((copy / "config.json").read_text())["torch_dtype"] == "float16"
    assert (copy / "tokenizer" / "vocabulary.txt").read_text() == "one two"
    assert made.copied.left_out == ("pytorch_model.bin",)
    assert made.warnings == ["left out, because they hold weights in other formats: pytorch_model.bin"]
    assert not (copy / ".cache").exists()
    assert not inventory.examine(copy).problems
    assert sorted(path.name for path in tmp_path.iterdir()) == ["copy", "source"]


def test_what_overflows_stays_as_it_is_and_is_counted_and_named(tmp_path: Path) -> None:
    large = torch.tensor([[1.0, -70_000.0, 65_519.0], [float("inf"), float("nan"), 3e38]])
    source = write(tmp_path / "source", {"large.weight": large, "small.weight": torch.ones(2, 2)})
    made = convert_to(source, tmp_path / "copy", Rules("fp16", mixed=False))
    (overflow,) = made.copied.overflows
    assert (overflow.name, overflow.dtype, overflow.count) == ("large.weight", "F32", 2)
    assert overflow.most == pytest.approx(3e38)
    assert made.weights["large.weight"].nan_to_num(7.0).equal(large.nan_to_num(7.0))
    assert made.weights["small.weight"].dtype == torch.float16
    (warning,) = made.warnings
    assert (
        "1 tensors are too large for fp16 and stay as they are: large.weight (2 of its numbers, up to 3e+38)" in warning
    )


def test_numbers_that_become_zero_are_counted(tmp_path: Path) -> None:
    source = write(tmp_path / "source", {"one.weight": torch.tensor([[1e-9, 0.0, 1e-7, -1e-20]])})
    assert convert_to(source, tmp_path / "copy").copied.vanished == 2


def test_a_copy_that_grows_is_never_made_silently(tmp_path: Path) -> None:
    weights = {"one.weight": torch.ones(8, 8).bfloat16(), "norm.weight": torch.ones(8).bfloat16()}
    source = write(tmp_path / "source", weights)
    made = convert_to(source, tmp_path / "mixed")
    assert made.copied.weights == made.copied.source_weights + 16
    assert "MB larger than its source" in made.warnings[0]
    assert "1 of 2 tensors are in fp32 (--no-mixed avoids this" in made.warnings[0]
    assert convert_to(source, tmp_path / "plain", Rules("fp16", mixed=False)).warnings == []
    assert "larger than its source" in convert_to(source, tmp_path / "wide", Rules("fp32")).warnings[0]


FORMATS = {"fp16": torch.float16, "bf16": torch.bfloat16, "fp32": torch.float32}


@given(
    numbers=st.lists(st.floats(width=32), min_size=1, max_size=60),
    source=st.sampled_from(sorted(FORMATS)),
    wanted=st.sampled_from(sorted(FORMATS)),
)
def test_every_number_is_rounded_as_pytorch_does(
    numbers: list[float], source: str, wanted: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("rounding")
    given_numbers = torch.tensor(numbers).to(FORMATS[source]).reshape(-1, 1)
    # A marker of another format, so that there always is something to convert.
    marker = torch.ones(1, 1, dtype=next(dtype for name, dtype in FORMATS.items() if name != wanted))
    made = convert_to(write(folder / "a", {"x": given_numbers, "y": marker}), folder / "b", Rules(wanted))
    converted = given_numbers.to(FORMATS[wanted])
    overflows = bool((given_numbers.isfinite() & converted.isinf()).any())
    expected = given_numbers if overflows else converted
    assert made.weights["x"].dtype == expected.dtype
    assert torch.equal(made.weights["x"].nan_to_num(7.0), expected.nan_to_num(7.0))


def test_a_tensor_of_many_pieces_arrives_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(convert, "PIECE", 64)
    monkeypatch.setattr(convert_check, "PIECE", 16)
    weights = {"one.weight": torch.arange(1000.0).reshape(10, 100), "empty.weight": torch.ones(0, 4)}
    made = convert_to(write(tmp_path / "source", weights), tmp_path / "copy")
    assert made.weights["one.weight"].equal(weights["one.weight"].half())
    assert made.weights["empty.weight"].shape == (0, 4)


def test_a_fault_in_the_copy_is_found_and_leaves_nothing(tmp_path: Path) -> None:
    source = write(tmp_path / "source", {"one.weight": torch.ones(100, 100)})

    def flip(original: Path, folder: Path, _: Copied) -> None:
        with (folder / "model.safetensors").open("r+b") as file:
            file.seek(-5000, 2)
            file.write(b"\xff\x00")
        convert_check.compare(original, folder, tell)

    with pytest.raises(ModelUnavailableError, match=r"one\.weight differs by more than rounding"):
        convert.convert(str(source), tmp_path / "copy", FP16, tell=tell, warn=tell, check=flip)
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


def test_a_source_without_safetensors_is_refused_with_what_it_has(tmp_path: Path) -> None:
    (tmp_path / "pytorch_model.bin").touch()
    with pytest.raises(ModelUnavailableError, match=r"no safetensors files, but pytorch_model\.bin; load it once with"):
        convert_to(tmp_path, tmp_path.with_name("copy"))
    (tmp_path / "pytorch_model.bin").rename(tmp_path / "notes.txt")
    with pytest.raises(ModelUnavailableError, match=r"is not a checkpoint: it holds notes\.txt; name a folder"):
        convert_to(tmp_path, tmp_path.with_name("copy"))


def test_a_source_that_is_quantized_or_not_complete_is_refused(tmp_path: Path) -> None:
    weights = {"one.weight": torch.ones(2, 2)}
    quantized = write(tmp_path / "quantized", weights, quantization_config={"quant_method": "awq"})
    with pytest.raises(ModelUnavailableError, match=r"is quantized \(awq\); name the checkpoint that it was made from"):
        convert_to(quantized, tmp_path / "copy")
    half = sharded(tmp_path / "half")
    (half / "b.safetensors").unlink()
    with pytest.raises(ModelUnavailableError, match=r"not complete: b\.safetensors is not there .* two\.norm\.weight"):
        convert_to(half, tmp_path / "copy")


def test_a_source_that_has_the_format_already_is_refused(tmp_path: Path) -> None:
    source = write(tmp_path / "source", {"one.weight": torch.ones(2, 2)})
    with pytest.raises(UsageError, match="is in fp32 already; there is nothing to convert"):
        convert_to(source, tmp_path / "copy", Rules("fp32"))


def test_a_place_inside_the_source_is_refused(tmp_path: Path) -> None:
    source = write(tmp_path / "source", {"one.weight": torch.ones(2, 2)})
    with pytest.raises(UsageError, match=r"lies in .* itself; name another folder"):
        convert_to(source, source / "copy")


def test_a_disk_that_is_too_small_is_told_with_the_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = write(tmp_path / "source", {"one.weight": torch.ones(2000, 2000)})
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=5_000_000))
    with pytest.raises(ModelUnavailableError, match=r"has 0\.01 GB free and the copy takes 0\.01 GB; make room"):
        convert_to(source, tmp_path / "copy")
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


def test_a_disk_that_fills_up_leaves_nothing(tmp_path: Path) -> None:
    source = write(tmp_path / "source", {"one.weight": torch.ones(2, 2)})

    def full(step: str, *_: object) -> None:
        if step == "writing":
            raise OSError(28, "No space left on device")

    with pytest.raises(ModelUnavailableError, match=r"cannot write .*copy: No space left on device"):
        convert.convert(str(source), tmp_path / "copy", FP16, tell=full, warn=tell)
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


def entry(begin: int, end: int, **changes: Any) -> dict[str, Any]:
    return {"dtype": "F32", "shape": [(end - begin) // 4], "data_offsets": [begin, end]} | changes


@pytest.mark.parametrize(
    ("header", "body", "fault"),
    [
        ({"a": entry(0, 8)}, 4, r"it has \d+ bytes, and its header says"),
        ({"a": entry(0, 8)}, 12, r"it has \d+ bytes, and its header says"),
        ({"a": entry(0, 8, shape=[3])}, 8, "a has 8 bytes, and its shape takes 12"),
        ({"a": entry(0, 8), "b": entry(12, 16)}, 16, "b begins at 12, and what is before it ends at 8"),
        ({"a": {"dtype": "F32"}}, 0, "its header is not a safetensors header"),
        ({"a": 3}, 0, "its header is not a safetensors header"),
        ([], 0, "its header is not a safetensors header"),
    ],
)
def test_a_broken_file_is_named_with_what_is_wrong(header: Any, body: int, fault: str, tmp_path: Path) -> None:
    text = json.dumps(header).encode()
    (tmp_path / "x.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + bytes(body))
    with pytest.raises(ModelUnavailableError, match=rf"x\.safetensors is broken: {fault}.*; fetch it again"):
        safetensors_files.read(tmp_path / "x.safetensors")


@pytest.mark.parametrize("content", [b"", b"abc", b"version https://git-lfs.github.com", struct.pack("<Q", 9)])
def test_what_is_no_safetensors_file_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "x.safetensors").write_bytes(content)
    with pytest.raises(ModelUnavailableError, match=r"x\.safetensors is broken: it"):
        safetensors_files.read(tmp_path / "x.safetensors")
