"""A VibeVoice-ASR of any shape with random weights, made on the device itself: for measuring, without a checkpoint."""

from __future__ import annotations

import logging
from typing import Any

import torch
from torch import Tensor, nn
from transformers import (
    Qwen2Config,
    VibeVoiceAcousticTokenizerEncoderConfig,
    VibeVoiceAsrConfig,
    VibeVoiceAsrForConditionalGeneration,
)
from transformers.integrations import bitsandbytes

from dropscribe.models.vibevoice import loader, quantize
from dropscribe.models.vibevoice.dimensions import EncoderDimensions, ModelDimensions
from dropscribe.models.vibevoice.memory_plan import Precision
from dropscribe.models.vibevoice.runner import attention

TINY = ModelDimensions(
    layers=2,
    hidden=128,
    heads=4,
    kv_heads=2,
    head_dim=32,
    intermediate=192,
    vocabulary=512,
    encoders=(EncoderDimensions(64, filters=2, depths=(0, 0, 0, 0, 0, 1, 1)),) * 2,
)


def config_of(geometry: ModelDimensions) -> VibeVoiceAsrConfig:
    """The config of a checkpoint of this shape."""
    acoustic, semantic = (
        VibeVoiceAcousticTokenizerEncoderConfig(
            channels=shape.channels,
            hidden_size=shape.latent,
            kernel_size=shape.kernel,
            num_filters=shape.filters,
            downsampling_ratios=list(shape.ratios),
            depths=list(shape.depths),
            ffn_expansion=shape.expansion,
        )
        for shape in geometry.encoders
    )
    text = Qwen2Config(
        vocab_size=geometry.vocabulary,
        hidden_size=geometry.hidden,
        intermediate_size=geometry.intermediate,
        num_hidden_layers=geometry.layers,
        num_attention_heads=geometry.heads,
        num_key_value_heads=geometry.kv_heads,
        max_position_embeddings=131_072,
        tie_word_embeddings=False,
    )
    return VibeVoiceAsrConfig(
        acoustic_tokenizer_encoder_config=acoustic, semantic_tokenizer_encoder_config=semantic, text_config=text
    )


def build(geometry: ModelDimensions, precision: Precision, device: torch.device) -> Any:
    """A model of that shape with random weights on `device`, quantized and checked as the loader does it."""
    dtype = loader.dtype_of(str(precision), device)
    config = config_of(geometry)
    with torch.device("meta"):
        model: Any = VibeVoiceAsrForConditionalGeneration(config)
    model.to(dtype)
    # It would tell at every call that int8 is multiplied in fp16.
    logging.getLogger("bitsandbytes.autograd._functions").setLevel(logging.ERROR)
    quantization = quantize.config(str(precision), dtype)
    if quantization is not None:
        bitsandbytes.replace_with_bnb_linear(model, quantization.llm_int8_skip_modules, quantization)
    for name, module in model.named_modules():
        for parameter in list(module.named_parameters(recurse=False)):
            _fill(model, name, module, *parameter, dtype=dtype, device=device)
    language = model.model.language_model
    with device:
        language.rotary_emb = type(language.rotary_emb)(config.text_config)  # its frequencies are not weights
    attention.use(language)
    quantize.verify(model, str(precision))
    return model.eval().requires_grad_(requires_grad=False)


def _fill(
    model: Any, path: str, module: nn.Module, name: str, old: Tensor, *, dtype: torch.dtype, device: torch.device
) -> None:
    """Weights of deviation 1/sqrt(fan-in), biases 0, norms and scales 1: the signal keeps its size."""
    value = torch.empty(old.shape, dtype=dtype, device=device)
    if old.dim() == 1:
        value.fill_(0.0 if name == "bias" else 1.0)
    else:
        value.normal_(0.0, (old.numel() / old.shape[0]) ** -0.5)
    quantizer = _quantizer(old)
    new = quantizer.convert({f"{path}.{name}": value}, model=model)[f"{path}.{name}"] if quantizer else value
    setattr(module, name, new if quantizer else nn.Parameter(new, requires_grad=False))


def _quantizer(parameter: Tensor) -> Any:
    """What transformers quantizes a weight with when it loads one of this class; None for plain ones."""
    kinds: dict[str, Any] = {"Int8Params": bitsandbytes.Bnb8bitQuantize, "Params4bit": bitsandbytes.Bnb4bitQuantize}
    kind = kinds.get(type(parameter).__name__)
    return kind(None) if kind else None
