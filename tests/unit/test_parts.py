"""The parts of the model: which are chosen, what is skipped for them, what is said against them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers.quantizers.quantizers_utils import should_convert_module

from dropscribe.core.errors import SettingsError, UsageError
from dropscribe.core.settings import Settings
from dropscribe.core.settings_loading import load
from dropscribe.models.vibevoice import parts
from dropscribe.models.vibevoice.parts import ModelPart
from dropscribe.models.vibevoice.settings import VibeVoiceSettings

MODULES: dict[str, ModelPart | None] = {
    "model.language_model.layers.27.mlp.down_proj": "language-model",
    "model.language_model.layers.3.self_attn.q_proj.weight": "language-model",
    "model.acoustic_tokenizer_encoder.conv_layers.4.stage.0.ffn.linear1": "acoustic-encoder",
    "model.semantic_tokenizer_encoder.conv_layers.4.stage.0.ffn.linear1": "semantic-encoder",
    "model.multi_modal_projector.acoustic_linear_1": "projector",
    "lm_head": "head",
    "lm_head.weight": "head",
    "model.language_model.embed_tokens": None,
    "model.language_model.layers_norm": None,
    "lm_header": None,
}


@pytest.mark.parametrize(("module", "part"), MODULES.items())
def test_a_module_belongs_to_a_part_by_its_full_name(module: str, part: ModelPart | None) -> None:
    assert parts.part_of(module) == part


@given(st.sets(st.sampled_from(parts.PARTS), min_size=1))
def test_transformers_converts_with_the_skip_list_what_is_in_a_chosen_part(chosen: set[ModelPart]) -> None:
    skipped = parts.skipped(chosen)
    for module, part in MODULES.items():
        if part:
            assert should_convert_module(module, skipped) == (part in chosen)


def test_the_language_model_alone_is_chosen_unless_somebody_says_otherwise() -> None:
    assert parts.choose([], []) == ("language-model",)
    assert parts.choose(["head", "projector"], []) == ("projector", "head")
    assert parts.choose(list(parts.PARTS), ["acoustic-encoder", "semantic-encoder"]) == (
        "language-model",
        "projector",
        "head",
    )
    assert parts.choose([], ["head"]) == ("language-model",)
    with pytest.raises(UsageError, match="nothing is left to quantize"):
        parts.choose(["head"], ["head"])


def test_nothing_speaks_against_the_default_and_something_against_all_else() -> None:
    assert list(parts.doubts(parts.SAFE_PARTS)) == []
    assert len(list(parts.doubts(parts.PARTS))) == len(parts.PARTS) - 1


def test_the_setting_takes_parts_with_commas_between_and_is_part_of_the_digest() -> None:
    assert load({}).of(VibeVoiceSettings).quantize == ("language-model",)
    chosen = load({"DROPSCRIBE_VIBEVOICE_QUANTIZE": "head, language-model"})
    assert set(chosen.of(VibeVoiceSettings).quantize) == {"head", "language-model"}
    assert chosen.digest() != Settings().digest()
    assert chosen.digest() == load({"DROPSCRIBE_VIBEVOICE_QUANTIZE": "language-model,head"}).digest()
    with pytest.raises(SettingsError, match="DROPSCRIBE_VIBEVOICE_QUANTIZE"):
        load({"DROPSCRIBE_VIBEVOICE_QUANTIZE": "encoder"})
