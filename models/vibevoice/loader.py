"""A checkpoint becomes a model in memory: layout, precision and attention chosen, named and checked."""

from __future__ import annotations

import importlib.util
import logging
import time
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import (
    AutoProcessor,
    GenerationConfig,
    PretrainedConfig,
    VibeVoiceAsrConfig,
    VibeVoiceAsrForConditionalGeneration,
)
from transformers.utils import logging as transformers_log

from dropscribe.core.error_translation import translated
from dropscribe.core.errors import ModelDoesNotFitError, ModelUnavailableError
from dropscribe.core.mappings import said
from dropscribe.models import engine_errors
from dropscribe.models.checkpoints import hub_cache
from dropscribe.models.vibevoice import offloading, quantize
from dropscribe.models.vibevoice.dimensions import ModelDimensions
from dropscribe.models.vibevoice.memory_plan import Saving
from dropscribe.models.vibevoice.parts import SAFE_PARTS, ModelPart
from dropscribe.models.vibevoice.runner import attention as paged_attention
from dropscribe.models.vibevoice.runner import attention_check, attention_choice
from dropscribe.models.vibevoice.runner.attention_choice import KERNEL_CAPABILITY, AttentionChoice

log = logging.getLogger(__name__)

CHECKPOINT = "microsoft/VibeVoice-ASR-HF"
MODEL_TYPE = "vibevoice_asr"


@dataclass(frozen=True, slots=True)
class Loaded:
    """A model ready to be used, and facts about it.

    `revision` is the commit on the hub, empty for a folder. `attention` is the function that was chosen, and why.
    `quantized` are the parts of the model that are. Loading took `seconds`; on a GPU the process then held
    `memory_held` bytes of its memory, and `memory_free` were free; both are 0 on a CPU.
    """

    model: Any
    processor: Any
    source: str
    revision: str
    precision: str
    quantized: tuple[ModelPart, ...]
    attention: str
    attention_reason: str
    seconds: float
    memory_held: int = 0
    memory_free: int = 0


def read_config(source: str, revision: str = "") -> dict[str, Any]:
    """The config.json of a checkpoint: a local folder, or a hub id at a revision (empty: its main branch).

    Raises ModelUnavailableError when there is none, or of a model or layout that is not ours.
    """
    if Path(source).expanduser().is_absolute() and not Path(source).expanduser().is_dir():
        raise ModelUnavailableError(f"{source} is not a folder", remedy="name a checkpoint's (DROPSCRIBE_MODEL)")
    with translated((OSError, ValueError), into=partial(_not_readable, source)):
        config, _ = PretrainedConfig.get_config_dict(_place(source), revision=revision or None)
    if not config:
        raise _not_readable(source, FileNotFoundError("it has no config.json"))
    _check_layout(source, config)
    return dict(config)


def _place(source: str) -> str:
    """The folder of a checkpoint, or its id."""
    folder = Path(source).expanduser()
    return str(folder) if folder.is_dir() else source


def _not_readable(source: str, error: Exception) -> ModelUnavailableError:
    """The error for a checkpoint that cannot be read."""
    first = str(error).strip().partition("\n")[0]
    return ModelUnavailableError(
        f"cannot read the checkpoint {source}: {first}",
        remedy=f"check its name (DROPSCRIBE_MODEL), or fetch it: hf download {CHECKPOINT}",
    )


def _check_layout(source: str, config: Mapping[str, Any]) -> None:
    """Raise ModelUnavailableError for a checkpoint of another model, or in its original layout."""
    kind = config.get("model_type")
    if kind == MODEL_TYPE:
        return
    if kind == "vibevoice":
        raise ModelUnavailableError(
            f"{source} is in the original layout, which workers cannot load",
            remedy=f"make a copy (dropscribe models quantize, or export), or use {CHECKPOINT}",
        )
    raise ModelUnavailableError(f"{source} holds a model of type {kind or 'unknown'}", remedy=f"use {CHECKPOINT}")


def half(device: torch.device) -> torch.dtype:
    """The 16-bit format that a device computes in: bf16, which cannot overflow, where it is built in."""
    if device.type == "cuda" and torch.cuda.get_device_capability(device) < KERNEL_CAPABILITY:
        return torch.float16
    return torch.bfloat16


def dtype_of(precision: str, device: torch.device) -> torch.dtype:
    """What is not quantized is kept and computed in."""
    fixed = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}
    return fixed.get(precision) or half(device)


def attention_on(device: torch.device, asked: str, dtype: torch.dtype, geometry: ModelDimensions) -> AttentionChoice:
    """The attention function for a device and what is computed in; a kernel has been tried there.

    Raises ModelUnavailableError as `choose`.
    """

    def problem(name: str) -> str:
        """Why a kernel must not be used here; empty if it may."""
        attend, like = paged_attention.FUNCTIONS[name], torch.zeros(0, dtype=dtype, device=device)
        found = attention_check.problem(attend, geometry.heads, geometry.kv_heads, geometry.head_dim, like)
        torch.cuda.empty_cache()  # the plan asks next what is free
        return found

    return attention_choice.choose(
        asked,
        torch.cuda.get_device_capability(device) if device.type == "cuda" else None,
        in_16_bits=dtype.itemsize == 2,
        flash_installed=importlib.util.find_spec("flash_attn") is not None,
        problem=problem,
    )


def load(
    source: str,
    precision: str,
    *,
    device: torch.device,
    revision: str = "",
    attention: str = "auto",
    parts: Collection[ModelPart] = SAFE_PARTS,
    saving: Saving = Saving.NONE,
) -> Loaded:
    """Load a checkpoint in a precision other than `auto`; one that comes quantized keeps its own.

    `int8` and `nf4` quantize these `parts` of one that does not. Of one that others quantized, they are the parts that
    may be. `saving` is what is left off the card. Raises ModelUnavailableError when the checkpoint, the precision or
    the attention is not available, and QuantizationError when other modules are quantized than should be.
    """
    began = time.monotonic()
    config = read_config(source, revision)
    stored = hub_cache.quantization(config)
    if stored and stored != precision:
        raise ModelUnavailableError(
            f"{source} comes in {stored}, not in {precision}", remedy="set DROPSCRIBE_PRECISION=auto"
        )
    quantize.require_packages(source, stored)
    dtype = dtype_of(precision, device)
    chosen = attention_on(device, attention, dtype, ModelDimensions.from_config(config))
    if saving >= Saving.FP8_CACHE:
        chosen = AttentionChoice(attention_choice.SDPA, "no kernel takes keys and values in fp8")
    commit = "" if Path(_place(source)).is_dir() else str(config.get("_commit_hash") or revision)  # on the hub
    options = {
        "revision": commit or None,  # the weights of the same commit as the config
        "dtype": dtype,  # always named: a quantized checkpoint without it gives other tokens than quantizing on load
        "attn_implementation": {"text_config": "sdpa"},  # the encoders have no attention, and refuse a choice
        "quantization_config": None if stored else quantize.config(precision, dtype, parts),
        "device_map": offloading.device_map(saving, device),
    }
    model, processor = _read(source, said(options))
    offloading.settle(model, saving, device)
    paged_attention.use(model.model.language_model)
    verdict = quantize.check(model, config, precision, parts)
    for doubt in verdict.doubts:
        log.warning("%s: %s", source, doubt)
    if verdict.modules:
        log.info("%s: quantized are %s", source, verdict.described(precision))
    loaded = Loaded(
        model,
        processor,
        source,
        commit,
        precision,
        verdict.parts,
        chosen.name,
        chosen.reason,
        time.monotonic() - began,
        *_memory(device),
    )
    _tell(loaded)
    return loaded


def _read(source: str, options: dict[str, Any]) -> tuple[Any, Any]:
    """The model, and what transformers says of its weights."""
    _hush()
    try:
        reader: Any = VibeVoiceAsrForConditionalGeneration
        model, info = reader.from_pretrained(_place(source), output_loading_info=True, **options)
    except torch.OutOfMemoryError as error:
        raise ModelDoesNotFitError(str(engine_errors.translate(error))) from error
    except (OSError, ValueError, KeyError, ImportError, RuntimeError, SafetensorError) as error:
        raise _not_readable(source, error) from error
    # Transformers would go on with random numbers in the place of weights that are not there.
    if missing := [*info["missing_keys"], *info["mismatched_keys"]]:
        raise lacking(source, missing)
    return model.eval(), read_processor(source, options.get("revision"))


def read_processor(source: str, revision: str | None = None) -> Any:
    """The processor of a checkpoint. Raises ModelUnavailableError when it cannot be read."""
    with translated((OSError, ValueError, KeyError, ImportError), into=partial(_not_readable, source)):
        return AutoProcessor.from_pretrained(_place(source), revision=revision)


def read_generation(source: str) -> GenerationConfig:
    """How a checkpoint says that tokens are chosen; what its config says where it has nothing else."""
    with suppress(OSError):
        return GenerationConfig.from_pretrained(_place(source))
    return GenerationConfig.from_model_config(VibeVoiceAsrConfig.from_pretrained(_place(source)))


def ends(generation: GenerationConfig, tokenizer: Any) -> tuple[int, ...]:
    """The tokens that end an answer."""
    eos = generation.eos_token_id
    return (eos,) if isinstance(eos, int) else tuple(eos or [tokenizer.eos_token_id])


def lacking(source: str, weights: Sequence[Any]) -> ModelUnavailableError:
    """What to say of a checkpoint that has not all weights of its model."""
    return ModelUnavailableError(
        f"{source} lacks {len(weights)} weights, the first {weights[0]}",
        remedy=f"fetch it again: hf download {CHECKPOINT}",
    )


def _hush() -> None:
    """Nobody watches progress bars here, and bitsandbytes tells at every call that int8 is multiplied in fp16."""
    transformers_log.disable_progress_bar()
    logging.getLogger("bitsandbytes.autograd._functions").addFilter(_is_news)


def _is_news(record: logging.LogRecord) -> bool:
    """Is a warning worth to be seen?"""
    return not str(record.msg).startswith("MatMul8bitLt: inputs will be cast")


def _memory(device: torch.device) -> tuple[int, int]:
    """Bytes of the GPU that are held, and that are free; 0 without one."""
    if device.type != "cuda":
        return 0, 0
    free, _ = torch.cuda.mem_get_info(device)
    return torch.cuda.memory_allocated(device), free


def _tell(loaded: Loaded) -> None:
    """Log what was loaded, and how much memory it takes."""
    log.info(
        "loaded %s in %s in %.1f s; attention: %s, since %s; GPU memory: %.2f GB held, %.2f GB free",
        loaded.source,
        loaded.precision,
        loaded.seconds,
        loaded.attention,
        loaded.attention_reason,
        loaded.memory_held / 1e9,
        loaded.memory_free / 1e9,
    )
