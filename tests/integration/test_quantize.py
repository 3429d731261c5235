"""What is quantized is exactly what should be, and anything else is refused by name."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from dropscribe.core.errors import ModelUnavailableError
from dropscribe.models.checkpoints import hub_cache
from dropscribe.models.vibevoice import loader, parts, quantize
from dropscribe.models.vibevoice.loader import Loaded
from dropscribe.models.vibevoice.quantize import QuantizationError

CPU = torch.device("cpu")
LINEARS = 4 * 7  # layers; q, k, v, o, gate, up and down
SKIPPED = parts.skipped(parts.SAFE_PARTS)


def save(loaded: Loaded, folder: Path) -> None:
    """As others write a quantized checkpoint: without our record."""
    loaded.model.save_pretrained(folder)
    loaded.processor.save_pretrained(folder)


@pytest.mark.parametrize("precision", ["int8", "nf4"])
def test_the_linears_of_the_layers_are_quantized_and_nothing_else(checkpoint: Path, precision: str) -> None:
    model = loader.load(str(checkpoint), precision, device=CPU).model
    found = quantize.quantized_modules(model)
    assert set(found) == quantize.intended(model)
    assert len(found) == LINEARS
    assert set(found.values()) == {precision}
    assert all(name.startswith("model.language_model.layers.") for name in found)


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_nothing_is_quantized_in_the_other_precisions(checkpoint: Path, precision: str) -> None:
    model = loader.load(str(checkpoint), precision, device=CPU).model
    assert quantize.quantized_modules(model) == {}
    assert model.dtype == {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]


@pytest.mark.parametrize("precision", ["int8", "nf4"])
def test_encoders_quantized_by_short_names_are_refused(
    checkpoint: Path, precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    short = ["acoustic_tokenizer_encoder", "semantic_tokenizer_encoder", "lm_head"]
    monkeypatch.setattr(parts, "skipped", lambda _: short)
    with pytest.raises(QuantizationError) as refused:
        loader.load(str(checkpoint), precision, device=CPU)
    assert "18 quantized, but should not be: model.acoustic_tokenizer_encoder.conv_layers" in str(refused.value)
    assert "and 12 more" in str(refused.value)


def test_a_quantized_head_is_refused(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "skipped", lambda _: SKIPPED[:3])
    with pytest.raises(QuantizationError, match="1 quantized, but should not be: lm_head;"):
        loader.load(str(checkpoint), "int8", device=CPU)


def test_layers_left_out_are_refused(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    left_out = "model.language_model.layers.2.mlp.up_proj"
    monkeypatch.setattr(parts, "skipped", lambda _: [*SKIPPED, left_out])
    with pytest.raises(QuantizationError, match=f"1 not quantized, but should be: {left_out};"):
        loader.load(str(checkpoint), "nf4", device=CPU)


def test_another_format_than_the_one_asked_for_is_refused(checkpoint: Path) -> None:
    model = loader.load(str(checkpoint), "int8", device=CPU).model
    with pytest.raises(QuantizationError, match=r"28 not in nf4: .*self_attn\.k_proj \(int8\)"):
        quantize.verify(model, "nf4")
    with pytest.raises(QuantizationError, match="28 quantized, but should not be"):
        quantize.verify(model, "bf16")


@pytest.mark.parametrize("precision", ["int8", "nf4"])
def test_a_saved_quantized_checkpoint_answers_as_the_one_quantized_on_load(
    checkpoint: Path, precision: str, tmp_path: Path
) -> None:
    first = loader.load(str(checkpoint), precision, device=CPU)
    save(first, tmp_path)
    again = loader.load(str(tmp_path), precision, device=CPU)
    assert hub_cache.quantization(loader.read_config(str(tmp_path))) == precision
    ids = torch.arange(40)[None]
    with torch.no_grad():
        before, after = first.model(input_ids=ids).logits, again.model(input_ids=ids).logits
    assert torch.equal(before, after)


def test_a_checkpoint_that_came_wrongly_quantized_is_refused(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(parts, "skipped", lambda _: ["lm_head", *SKIPPED[:2]])
        patch.setattr(quantize, "verify", lambda *_: None)
        save(loader.load(str(checkpoint), "int8", device=CPU), tmp_path)
    with pytest.raises(QuantizationError, match=r"4 quantized, but should not be: model\.multi_modal_projector"):
        loader.load(str(tmp_path), "int8", device=CPU)


def test_a_quantized_checkpoint_has_the_precision_that_it_has(checkpoint: Path, tmp_path: Path) -> None:
    save(loader.load(str(checkpoint), "int8", device=CPU), tmp_path)
    with pytest.raises(ModelUnavailableError, match="comes in int8, not in nf4; set DROPSCRIBE_PRECISION=auto"):
        loader.load(str(tmp_path), "nf4", device=CPU)
