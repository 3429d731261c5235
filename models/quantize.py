"""Selective quantization: the linears of the language model's layers and nothing else, and a check that it is so.

Encoders that are quantized by mistake give gibberish and a quantized projector merges all speakers, while word
error rates on easy audio hardly show it. So what is quantized is counted after loading, name by name.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal

import torch
from bitsandbytes.nn.modules import Linear4bit, Linear8bitLt
from torch import nn
from transformers import BitsAndBytesConfig

from core.errors import ModelUnavailableError

Kind = Literal["int8", "nf4", "fp4"]

PREFIX = "model.language_model.layers."  # of what is to be quantized
# Full names from the model's root: a shorter one matches nothing, silently. Any list here drops the default exception
# of the head, so that it has to be named.
SKIPPED = (
    "model.acoustic_tokenizer_encoder",
    "model.semantic_tokenizer_encoder",
    "model.multi_modal_projector",
    "lm_head",
)
NAMES_SHOWN = 6  # of a longer list of modules, in an error


class QuantizationError(ModelUnavailableError):
    """Other modules are quantized than should be; the checkpoint or the program is wrong."""


def config(precision: str, dtype: torch.dtype) -> BitsAndBytesConfig | None:
    """How to quantize on load for `precision`, computing in `dtype`; None where nothing is quantized."""
    if precision == "int8":
        return BitsAndBytesConfig(load_in_8bit=True, llm_int8_skip_modules=list(SKIPPED))
    if precision == "nf4":
        return BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=dtype,
            llm_int8_skip_modules=list(SKIPPED),
        )
    return None


def stored_precision(config: Mapping[str, Any]) -> Kind | None:
    """In which precision a checkpoint comes, by its config.json; None where it is not quantized.

    Raises ModelUnavailableError when it was quantized by another method than bitsandbytes'.
    """
    stored = config.get("quantization_config")
    if stored is None:
        return None
    if stored.get("load_in_8bit"):
        return "int8"
    if stored.get("load_in_4bit"):
        return "nf4" if stored.get("bnb_4bit_quant_type") == "nf4" else "fp4"
    method = stored.get("quant_method", "an unknown method")
    raise ModelUnavailableError(
        f"the checkpoint is quantized by {method}; use one in bf16, or in bitsandbytes' formats"
    )


def intended(model: nn.Module) -> frozenset[str]:
    """Names of the modules to quantize: the linears of `model.language_model.layers`."""
    return frozenset(
        name for name, module in model.named_modules() if name.startswith(PREFIX) and isinstance(module, nn.Linear)
    )


def quantized_modules(model: nn.Module) -> dict[str, Kind]:
    """Names of the modules that are quantized, and how."""
    kinds = ((name, _kind(module)) for name, module in model.named_modules())
    return {name: kind for name, kind in kinds if kind}


def verify(model: nn.Module, precision: str) -> None:
    """Raises QuantizationError with the difference, name by name, unless exactly the intended modules are quantized."""
    found = quantized_modules(model)
    wanted = intended(model) if precision in {"int8", "nf4"} else frozenset()
    wrong = [name for name in wanted & found.keys() if found[name] != precision]
    faults = [
        _list("not quantized, but should be", wanted - found.keys()),
        _list("quantized, but should not be", found.keys() - wanted),
        _list(f"not in {precision}", (f"{name} ({found[name]})" for name in wrong)),
    ]
    if any(faults):
        difference = "; ".join(filter(None, faults))
        raise QuantizationError(f"quantization to {precision} went wrong: {difference}; use an unquantized checkpoint")


def _kind(module: nn.Module) -> Kind | None:
    if isinstance(module, Linear8bitLt):
        return "int8"
    if isinstance(module, Linear4bit):
        return "nf4" if getattr(module.weight, "quant_type", "") == "nf4" else "fp4"
    return None


def _list(what: str, names: Iterable[str]) -> str:
    ordered = sorted(names)
    if not ordered:
        return ""
    shown = ", ".join(ordered[:NAMES_SHOWN])
    more = f" and {len(ordered) - NAMES_SHOWN} more" if len(ordered) > NAMES_SHOWN else ""
    return f"{len(ordered)} {what}: {shown}{more}"
