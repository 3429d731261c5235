"""Selective quantization: the linears of the chosen parts and nothing else, and a check that it is so.

Encoders that are quantized by mistake give gibberish and a quantized projector merges all speakers, while word
error rates on easy audio hardly show it. So what is quantized is counted after loading, name by name.
"""

from __future__ import annotations

import importlib.util
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Any

import torch
from bitsandbytes.nn.modules import Linear4bit, Linear8bitLt
from torch import nn
from transformers import BitsAndBytesConfig

from dropscribe.core.errors import ModelUnavailableError
from dropscribe.models.vibevoice import parts as parts_
from dropscribe.models.vibevoice.parts import SAFE_PARTS, ModelPart

RECORD = "dropscribe_quantized"  # in a config.json: what this program quantized, `parts` and names of `modules`
SKIP_LISTS = (
    "llm_int8_skip_modules",
    "modules_to_not_convert",
    "ignore",
)  # in configs, by the libraries that made them
NAMES_SHOWN = 6  # of a longer list of modules, in an error
# By what transformers reads the formats of others; as they are imported, and as they are installed.
PACKAGES = {
    "awq": ("gptqmodel",),
    "gptq": ("gptqmodel", "optimum"),
    "compressed-tensors": ("compressed_tensors",),
    "torchao": ("torchao",),
}


class QuantizationError(ModelUnavailableError):
    """Other modules are quantized than should be; the checkpoint or the program is wrong."""


@dataclass(frozen=True, slots=True)
class QuantizationReport:
    """What is quantized of a model that was loaded, how many modules of each part, and what speaks against it."""

    modules: Mapping[ModelPart, int]
    doubts: tuple[str, ...]

    @property
    def parts(self) -> tuple[ModelPart, ...]:
        """The parts of which something is quantized, in their order."""
        return tuple(self.modules)

    def described(self, precision: str) -> str:
        """For people: `42 modules of language-model in nf4`; empty where nothing is quantized."""
        return ", ".join(f"{number} modules of {part} in {precision}" for part, number in self.modules.items())


def config(precision: str, dtype: torch.dtype, parts: Collection[ModelPart] = SAFE_PARTS) -> BitsAndBytesConfig | None:
    """How to quantize these parts for `precision`, computing in `dtype`; None where nothing is quantized."""
    skipped = parts_.skipped(parts)
    if precision == "int8":
        return BitsAndBytesConfig(load_in_8bit=True, llm_int8_skip_modules=skipped)
    if precision == "nf4":
        return BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=dtype,
            llm_int8_skip_modules=skipped,
        )
    return None


def require_packages(source: str, method: str) -> None:
    """Raises ModelUnavailableError when a checkpoint's format needs packages that are not installed."""
    if lacking := [name for name in PACKAGES.get(method, ()) if importlib.util.find_spec(name) is None]:
        installable = " ".join(name.replace("_", "-") for name in lacking)
        raise ModelUnavailableError(
            f"{source} is quantized by {method}, which needs more packages",
            remedy=f"pip install {installable}, or use a checkpoint in bf16 or in bitsandbytes' formats",
        )


def intended(model: nn.Module, parts: Collection[ModelPart] = SAFE_PARTS) -> frozenset[str]:
    """Names of the modules to quantize: the linears of these parts."""
    return frozenset(
        name
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and parts_.part_of(name) in parts
    )


def quantized_modules(model: nn.Module) -> dict[str, str]:
    """Names of the modules that bitsandbytes quantized, and how: `int8`, `nf4` or `fp4`."""
    kinds = ((name, _kind(module)) for name, module in model.named_modules())
    return {name: kind for name, kind in kinds if kind}


def verify(model: nn.Module, precision: str, parts: Collection[ModelPart] = SAFE_PARTS) -> None:
    """Raises QuantizationError unless exactly the linears of these parts are quantized, and to `precision`."""
    wanted = intended(model, parts) if precision in {"int8", "nf4"} else frozenset()
    verify_names(quantized_modules(model), wanted, precision)


def verify_names(found: Mapping[str, str], wanted: Collection[str], precision: str) -> None:
    """Raises QuantizationError with the difference, name by name, unless these modules are quantized to `precision`."""
    wrong = [f"{name} ({found[name]})" for name in set(wanted) & found.keys() if found[name] != precision]
    faults = [
        _list("not quantized, but should be", set(wanted) - found.keys()),
        _list("quantized, but should not be", found.keys() - set(wanted)),
        _list(f"not in {precision}", wrong),
    ]
    if any(faults):
        difference = "; ".join(filter(None, faults))
        raise QuantizationError(
            f"quantization to {precision} went wrong: {difference}", remedy="use an unquantized checkpoint"
        )


def check(
    model: nn.Module, config: Mapping[str, Any], precision: str, parts: Collection[ModelPart]
) -> QuantizationReport:
    """Is quantized what should be, of a model that was loaded with this config.json?

    What is quantized on load: exactly the linears of `parts`. What this program wrote: exactly the modules that it
    recorded. What others quantized: no module of an encoder or the projector, unless it is among `parts`.
    Raises QuantizationError.
    """
    record = config.get(RECORD)
    if config.get("quantization_config") is None:
        verify(model, precision, parts)
        found = quantized_modules(model)
        doubts: Iterable[str] = ()
    elif record:
        found = quantized_modules(model)
        verify_names(found, record["modules"], precision)
        doubts = ()
    else:
        found = foreign_modules(model, precision)
        doubts = _doubts_of_others(model, found, parts, config["quantization_config"])
    present = Counter(map(parts_.part_of, found))
    modules = {part: present[part] for part in parts_.PARTS if part in present}
    return QuantizationReport(modules, (*doubts, *parts_.doubts(tuple(modules))))


def foreign_modules(model: nn.Module, method: str) -> dict[str, str]:
    """Names of the modules that are not what the architecture has in their place: quantized, by whatever method."""
    architecture: Any = type(model)
    with torch.device("meta"):
        plain = architecture(model.config)
    modules = (name.removesuffix(".weight") for name, _ in plain.named_parameters() if name.endswith(".weight"))
    pairs = ((name, type(plain.get_submodule(name)), model.get_submodule(name)) for name in modules)
    return {name: _kind(found) or method for name, kind, found in pairs if not _is_plain(found, kind)}


def _is_plain(module: nn.Module, kind: type[nn.Module]) -> bool:
    """Of that very class, with floating-point numbers of 16 bits or more, which no scheme is going to replace."""
    weight = getattr(module, "weight", None)
    return (
        type(module) is kind
        and isinstance(weight, torch.Tensor)
        and type(weight.data) is torch.Tensor
        and weight.is_floating_point()
        and weight.element_size() > 1
        and getattr(module, "quantization_scheme", None) is None
    )


def _doubts_of_others(
    model: nn.Module, found: Mapping[str, str], parts: Collection[ModelPart], quantization: Mapping[str, Any]
) -> Iterator[str]:
    """Others may leave some layers as they are, and quantize the head. Raises QuantizationError."""
    if not found:
        raise QuantizationError(
            "nothing of the model is quantized, against its config", remedy="use an unquantized checkpoint"
        )
    _refuse_unasked(found, parts, quantization)
    if left := _list("not quantized", intended(model) - found.keys()):
        yield f"of the language model's linears, {left}"
    if others := _list("quantized", (name for name in found if parts_.part_of(name) is None)):
        yield f"of weights that are not a linear of a part, {others}"


def _refuse_unasked(found: Iterable[str], parts: Collection[ModelPart], quantization: Mapping[str, Any]) -> None:
    """Encoders and projector may be quantized only if it was said. Raises QuantizationError."""
    part_of = {name: parts_.part_of(name) for name in found}
    forbidden = [name for name, part in part_of.items() if part in parts_.FORBIDDEN - set(parts)]
    if forbidden:
        asked = ",".join(parts_.in_order([*part_of.values(), *parts]))
        raise QuantizationError(
            _list("quantized, but should not be", forbidden) + _cause(quantization),
            remedy=f"use another checkpoint, or set DROPSCRIBE_VIBEVOICE_QUANTIZE={asked} if you know that it is good",
        )


def _cause(quantization: Mapping[str, Any]) -> str:
    """What of a checkpoint's own config made it so, where that is known."""
    lists = (quantization.get(key) or () for key in SKIP_LISTS)
    if names := parts_.without_root(chain.from_iterable(lists)):
        return f"; the config's skip list matches nothing, as these lack the prefix model.: {', '.join(names)}"
    return ""


def _kind(module: nn.Module) -> str:
    """How a layer is quantized; empty if it is not."""
    if isinstance(module, Linear8bitLt):
        return "int8"
    if isinstance(module, Linear4bit):
        return "nf4" if getattr(module.weight, "quant_type", "") == "nf4" else "fp4"
    return ""


def _list(what: str, names: Iterable[str]) -> str:
    """Some names, as part of a sentence."""
    ordered = sorted(names)
    if not ordered:
        return ""
    shown = ", ".join(ordered[:NAMES_SHOWN])
    more = f" and {len(ordered) - NAMES_SHOWN} more" if len(ordered) > NAMES_SHOWN else ""
    return f"{len(ordered)} {what}: {shown}{more}"
