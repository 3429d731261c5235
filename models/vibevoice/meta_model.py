"""A VibeVoice-ASR without its numbers: which modules there are, and which tensors of a checkpoint fill them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import nn
from transformers import BitsAndBytesConfig, VibeVoiceAsrConfig, VibeVoiceAsrForConditionalGeneration
from transformers.conversion_mapping import get_model_conversion_mapping
from transformers.core_model_loading import WeightConverter, WeightRenaming, rename_source_key
from transformers.integrations.bitsandbytes import replace_with_bnb_linear


def build(config: Mapping[str, Any]) -> Any:
    """The model of a config.json with all weights on the meta device, where they take no memory; not quantized."""
    plain = {key: value for key, value in config.items() if key != "quantization_config"}
    architecture: Any = VibeVoiceAsrForConditionalGeneration
    with torch.device("meta"):
        return architecture(VibeVoiceAsrConfig.from_dict(plain))


def build_quantized(config: Mapping[str, Any]) -> Any:
    """The same with the layers in place that transformers puts there for the config's bitsandbytes quantization."""
    model = build(config)
    quantization = BitsAndBytesConfig.from_dict(dict(config["quantization_config"]))
    skipped = quantization.llm_int8_skip_modules
    replace_with_bnb_linear(model, skipped, quantization, pre_quantized=True)
    return model


def names(model: nn.Module, tensors: Iterable[str]) -> dict[str, str]:
    """What the model calls each tensor of a checkpoint, by the rules that transformers loads it with."""
    rules = get_model_conversion_mapping(model)  # type: ignore[arg-type]
    renamings = [rule for rule in rules if isinstance(rule, WeightRenaming)]
    converters = [rule for rule in rules if isinstance(rule, WeightConverter)]
    known, prefix = model.state_dict(), str(model.base_model_prefix)
    found = {}
    for tensor in tensors:
        name, _ = rename_source_key(tensor, renamings, converters, prefix, known)
        found[tensor] = tensor if name not in known and tensor in known else name
    return found
