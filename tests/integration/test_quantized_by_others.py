"""Checkpoints that others quantized load by their own configs, and what is quantized of them is looked at."""

from __future__ import annotations

import importlib.util
import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoProcessor, BitsAndBytesConfig, VibeVoiceAsrForConditionalGeneration

from dropscribe.core.errors import ModelUnavailableError
from dropscribe.core.settings import Settings
from dropscribe.models.checkpoints import hub_cache
from dropscribe.models.vibevoice import loader, meta_model, parts, quantize, transcriber
from dropscribe.models.vibevoice.memory_plan import Precision
from dropscribe.models.vibevoice.parts import ModelPart
from dropscribe.models.vibevoice.quantize import QuantizationError

CPU = torch.device("cpu")
LINEARS = 4 * 7  # layers; q, k, v, o, gate, up and down
Model: Any = VibeVoiceAsrForConditionalGeneration


def bitsandbytes(source: Path, folder: Path, chosen: tuple[ModelPart, ...]) -> None:
    config = BitsAndBytesConfig(load_in_8bit=True, llm_int8_skip_modules=parts.skipped(chosen))
    _save(Model.from_pretrained(source, dtype=torch.bfloat16, quantization_config=config), source, folder)


def torchao(source: Path, folder: Path, chosen: tuple[ModelPart, ...]) -> None:
    pytest.importorskip("torchao", exc_type=ImportError)
    from torchao.quantization import Int8WeightOnlyConfig
    from transformers import TorchAoConfig

    config = TorchAoConfig(Int8WeightOnlyConfig(), modules_to_not_convert=parts.skipped(chosen))
    _save(Model.from_pretrained(source, dtype=torch.bfloat16, quantization_config=config), source, folder)


def compressed_tensors(source: Path, folder: Path, chosen: tuple[ModelPart, ...]) -> None:
    pytest.importorskip("compressed_tensors")
    from compressed_tensors.compressors import ModelCompressor
    from compressed_tensors.quantization import (
        QuantizationArgs,
        QuantizationConfig,
        QuantizationScheme,
        apply_quantization_config,
    )

    model = Model.from_pretrained(source, dtype=torch.bfloat16)
    form = QuantizationArgs(num_bits=8, type="int", symmetric=True, strategy="group", group_size=32)
    scheme = QuantizationScheme(targets=sorted(quantize.intended(model, chosen)), weights=form)
    apply_quantization_config(model, QuantizationConfig(config_groups={"all": scheme}, format="pack-quantized"))
    for name in quantize.intended(model, chosen):
        module = model.get_submodule(name)
        groups = module.weight.data.view(len(module.weight), -1, form.group_size)
        module.weight_scale.data = (groups.abs().amax(-1) / 127).to(module.weight_scale.dtype)
    compressor = ModelCompressor.from_pretrained_model(model, quantization_format="pack-quantized")
    compressor.compress_model(model)
    _save(model, source, folder)
    compressor.update_config(folder)


def _save(model: Any, source: Path, folder: Path) -> None:
    model.save_pretrained(folder)
    AutoProcessor.from_pretrained(source).save_pretrained(folder)


def with_quantization(source: Path, folder: Path, **quantization: object) -> str:
    copy = Path(shutil.copytree(source, folder / "copy"))
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps(config | {"quantization_config": quantization}))
    return str(copy)


MAKERS = {"int8": bitsandbytes, "torchao": torchao, "compressed-tensors": compressed_tensors}
by_all = pytest.mark.parametrize(("method", "make"), MAKERS.items())
Make = Callable[[Path, Path, tuple[ModelPart, ...]], None]


@by_all
def test_a_checkpoint_of_others_loads_and_answers_nearly_as_its_source(
    method: str, make: Make, checkpoint: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    make(checkpoint, tmp_path, (ModelPart.LANGUAGE_MODEL,))
    assert hub_cache.quantization(loader.read_config(str(tmp_path))) == method
    with caplog.at_level(logging.WARNING, logger=loader.__name__):
        loaded = loader.load(str(tmp_path), method, device=CPU)
    assert (loaded.precision, loaded.quantized) == (method, (ModelPart.LANGUAGE_MODEL,))
    assert [record.message for record in caplog.records] == []
    assert set(quantize.foreign_modules(loaded.model, method)) == quantize.intended(loaded.model)
    ids = torch.arange(40)[None]
    with torch.no_grad():
        found = loaded.model(input_ids=ids).logits
        wanted = loader.load(str(checkpoint), "bf16", device=CPU).model(input_ids=ids).logits
    assert 0 < (found - wanted).norm() / wanted.norm() < 0.05


@by_all
def test_a_quantized_encoder_or_projector_of_others_is_refused_unless_it_is_asked_for(
    method: str, make: Make, checkpoint: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    chosen = (ModelPart.LANGUAGE_MODEL, ModelPart.PROJECTOR)
    make(checkpoint, tmp_path, chosen)
    expected = r"^4 quantized, but should not be: model\.multi_modal_projector\.acoustic_linear_1, .*"
    with pytest.raises(
        QuantizationError, match=expected + "set DROPSCRIBE_VIBEVOICE_QUANTIZE=language-model,projector if"
    ):
        loader.load(str(tmp_path), method, device=CPU)
    with caplog.at_level(logging.WARNING, logger=loader.__name__):
        loaded = loader.load(str(tmp_path), method, device=CPU, parts=chosen)
    assert loaded.quantized == chosen
    assert "quantizing projector is unsafe" in caplog.text


@by_all
def test_a_quantized_head_of_others_and_layers_left_out_are_told(
    method: str, make: Make, checkpoint: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    make(checkpoint, tmp_path, (ModelPart.HEAD,))
    with caplog.at_level(logging.WARNING, logger=loader.__name__):
        assert loader.load(str(tmp_path), method, device=CPU).quantized == (ModelPart.HEAD,)
    assert f"of the language model's linears, {LINEARS} not quantized: model.language_model.layers.0" in caplog.text
    assert "quantizing head is unsafe" in caplog.text


@pytest.mark.parametrize(
    ("method", "package"), [("awq", "gptqmodel"), ("gptq", "gptqmodel"), ("compressed-tensors", "compressed-tensors")]
)
def test_packages_that_a_format_needs_are_named(
    method: str, package: str, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    source = with_quantization(checkpoint, tmp_path, quant_method=method, bits=4)
    with pytest.raises(ModelUnavailableError, match=f"quantized by {method}, .*; pip install {package}"):
        loader.load(source, method, device=CPU)


def test_a_method_that_transformers_does_not_know_and_passes_over_is_refused(checkpoint: Path, tmp_path: Path) -> None:
    source = with_quantization(checkpoint, tmp_path, quant_method="squeeze")
    with pytest.raises(QuantizationError, match="nothing of the model is quantized, against its config"):
        loader.load(source, "squeeze", device=CPU)


def test_a_precision_that_the_checkpoint_does_not_have_is_refused(checkpoint: Path, tmp_path: Path) -> None:
    source = with_quantization(checkpoint, tmp_path, quant_method="gptq", bits=4)
    with pytest.raises(ModelUnavailableError, match="comes in gptq, not in nf4; set DROPSCRIBE_PRECISION=auto"):
        loader.load(source, "nf4", device=CPU)


@pytest.mark.parametrize(
    ("quantization", "precision"),
    [
        ({"quant_method": "gptq", "bits": 4}, Precision.NF4),
        ({"quant_method": "awq", "bits": 8}, Precision.INT8),
        ({"quant_method": "torchao", "quant_type": {"default": {"_type": "Int8WeightOnlyConfig"}}}, Precision.INT8),
        ({"quant_method": "torchao", "quant_type": {"default": {"_type": "Float8WeightOnlyConfig"}}}, Precision.BF16),
        ({"quant_method": "compressed-tensors", "bits": 4}, Precision.BF16),
    ],
)
def test_memory_is_planned_by_the_bits_where_they_are_known(
    quantization: dict[str, Any], precision: Precision, checkpoint: Path, tmp_path: Path
) -> None:
    source = with_quantization(checkpoint, tmp_path, **quantization)
    assert transcriber.make_plan(Settings(model=source), CPU).precision is precision


SKIPPED = ["acoustic_tokenizer_encoder", "semantic_tokenizer_encoder", "multi_modal_projector", "lm_head"]


def test_a_copy_whose_skip_list_lacks_the_prefix_is_refused_and_told_why(checkpoint: Path) -> None:
    quantization = BitsAndBytesConfig(load_in_8bit=True, llm_int8_skip_modules=SKIPPED).to_dict()
    config = loader.read_config(str(checkpoint)) | {"quantization_config": quantization}
    why = "skip list matches nothing, as these lack the prefix model.: " + ", ".join(SKIPPED[:3])
    with pytest.raises(QuantizationError, match=f"18 quantized, but should not be: model.acoustic.*{why}; use another"):
        quantize.check(meta_model.build_quantized(config), config, "int8", parts.SAFE_PARTS)


def test_the_same_copy_with_a_whole_skip_list_is_accepted_by_the_count(checkpoint: Path) -> None:
    skipped = parts.skipped(parts.SAFE_PARTS)
    quantization = BitsAndBytesConfig(load_in_8bit=True, llm_int8_skip_modules=skipped).to_dict()
    config = loader.read_config(str(checkpoint)) | {"quantization_config": quantization}
    found = quantize.check(meta_model.build_quantized(config), config, "int8", parts.SAFE_PARTS)
    assert found.modules == {ModelPart.LANGUAGE_MODEL: LINEARS}
