"""From a checkpoint's config to ONNX graphs without a single weight: what is traced has shapes and no numbers."""

from __future__ import annotations

import logging
import math
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from itertools import product
from operator import attrgetter
from pathlib import Path
from typing import Any

import onnx_ir as ir
import torch
from onnx_ir.passes.common import ClearMetadataAndDocStringPass
from onnxscript import optimizer
from torch import Tensor, nn
from torch.export import Dim
from transformers import VibeVoiceAsrConfig, VibeVoiceAsrForConditionalGeneration
from transformers.conversion_mapping import get_model_conversion_mapping
from transformers.core_model_loading import rename_source_key

from dropscribe.core.error_translation import explained
from dropscribe.core.errors import ModelUnavailableError
from dropscribe.models.checkpoints import sizes
from dropscribe.models.onnx import layout, modules

DTYPES = {"fp32": torch.float32, "fp16": torch.float16}
TRACED = 2  # length of what varies while it is traced; 0 and 1 would be taken for constants


class Form(StrEnum):
    """What becomes of a parameter: itself, or the numbers and the scales of 4 bits."""

    PLAIN = "plain"
    PACKED = "packed"
    SCALES = "scales"


@dataclass(frozen=True, slots=True)
class Weight:
    """An initializer without numbers, and the parameter of the model that they are made of."""

    value: Any  # an onnx_ir.Value, whose dtype and shape are known
    source: str
    form: Form

    @property
    def dtype(self) -> ir.DataType:
        """Of the numbers."""
        dtype: ir.DataType = self.value.dtype
        return dtype

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the tensor."""
        shape: tuple[int, ...] = self.value.shape.numpy()
        return shape

    @property
    def size(self) -> int:
        """Bytes."""
        return math.prod(self.shape) * int(self.dtype.itemsize)


@dataclass(frozen=True, slots=True)
class Built:
    """A graph, whose weights have no values yet, and what it is called."""

    file: str
    model: ir.Model
    weights: tuple[Weight, ...]

    @property
    def size(self) -> int:
        """Bytes of the weights."""
        return sizes.total(self.weights)


def build(folder: Path, dtype: str, encoder_dtype: str, block_size: int) -> tuple[Built, Built]:
    """The encoder's and the decoder's graph of a checkpoint."""
    config = VibeVoiceAsrConfig.from_pretrained(folder)
    return _encoder(hollow(config, DTYPES[encoder_dtype])), _decoder(config, dtype, block_size)


def parameter_names(folder: Path, stored: Iterable[str]) -> dict[str, str]:
    """Under which of the `stored` names of a checkpoint the parameters of the model are to be found."""
    model = hollow(VibeVoiceAsrConfig.from_pretrained(folder), torch.float32)
    renamings: Any = get_model_conversion_mapping(model)
    state = model.state_dict()
    return {rename_source_key(name, renamings, [], model.base_model_prefix, state)[0]: name for name in stored}


def hollow(config: VibeVoiceAsrConfig, dtype: torch.dtype) -> Any:
    """A model with shapes and no numbers."""
    make: Any = VibeVoiceAsrForConditionalGeneration
    with torch.device("meta"):
        model = make(config).to(dtype)
    language = model.model.language_model
    language.rotary_emb = type(language.rotary_emb)(config.text_config)  # its frequencies are not weights
    return model.eval().requires_grad_(requires_grad=False)


def _encoder(model: Any) -> Built:
    """The encoders as one graph: sound in, embeddings and the state for the next piece out."""
    encoder = modules.SpeechEncoderModule(model)
    hop = int(model.config.acoustic_tokenizer_encoder_config.hop_length)
    dtype = model.dtype
    arguments = (_shape(1, TRACED * hop), _shape(sum(encoder.sizes), dtype=dtype))
    varying = ({1: hop * Dim("tokens")}, None)
    names = (["audio", "state"], ["embeddings", "next_state"])
    return _trace(layout.ENCODER, encoder, arguments, varying, names, model)


def _decoder(config: VibeVoiceAsrConfig, dtype: str, block_size: int) -> Built:
    """The language model as a graph: tokens and sound in, logits and a longer cache out."""
    model = hollow(config, DTYPES.get(dtype, torch.float32))
    if dtype == "int4":
        modules.use_int4(model.model.language_model.layers, block_size)
        model.get_input_embeddings().half()
        model.lm_head.half()
    decoder = modules.DecoderModule(model, DTYPES.get(dtype, torch.float32))
    text: Any = config.text_config
    head = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    layers = text.num_hidden_layers
    past = [_shape(TRACED, text.num_key_value_heads, TRACED + 1, head, dtype=decoder.dtype) for _ in range(2 * layers)]
    integers = torch.int64
    arguments = (
        _shape(TRACED, TRACED, dtype=integers),
        _shape(TRACED, text.hidden_size),
        _shape(TRACED, TRACED + TRACED + 1, dtype=integers),
        _shape(TRACED, TRACED, dtype=integers),
        _shape(TRACED, dtype=integers),
        past,
    )
    batch, new, length = Dim("batch"), Dim("new"), Dim("past")
    tokens = {0: batch, 1: new}
    varying = (
        tokens,
        {0: Dim("rows")},
        {0: batch, 1: Dim.DYNAMIC},
        tokens,
        {0: Dim("kept")},
        [{0: batch, 2: length}] * (2 * layers),
    )
    caches = [f"{layer}.{part}" for layer, part in product(range(layers), ("key", "value"))]
    names = (
        ["input_ids", "speech", "attention_mask", "position_ids", "keep", *map("past.{}".format, caches)],
        ["logits", *map("present.{}".format, caches)],
    )
    return _trace(layout.DECODER, decoder, arguments, varying, names, model)


def _shape(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """An example of an input, which takes no memory."""
    return torch.empty(shape, dtype=dtype, device="meta")


def _trace(
    file: str,
    module: nn.Module,
    arguments: tuple[Any, ...],
    varying: tuple[Any, ...],
    names: tuple[list[str], list[str]],
    model: Any,
) -> Built:
    """A module as a graph without weights, and where in the checkpoint each weight comes from.

    `arguments` are examples of its inputs, `varying` the sizes in them that are not fixed.
    Raises ModelUnavailableError where PyTorch cannot trace it.
    """
    inputs, outputs = names
    sources = _sources(module, model)
    with _quiet():
        with explained(
            torch.onnx.OnnxExporterError, ModelUnavailableError, f"PyTorch cannot trace {file} of this checkpoint"
        ):
            program: Any = torch.onnx.export(
                module.eval(),
                arguments,
                dynamo=True,
                opset_version=layout.OPSET,
                optimize=False,  # it would look at the numbers of the weights
                dynamic_shapes=varying,
                input_names=inputs,
                output_names=outputs,
                verbose=False,
            )
        graph = program.model.graph
        for name in sources.keys() & graph.initializers.keys():
            graph.initializers[name].const_value = None
        optimizer.optimize_ir(program.model)
        ClearMetadataAndDocStringPass()(program.model)  # stack traces, with the paths of this machine
    weights = (Weight(value, *sources[name]) for name, value in graph.initializers.items() if name in sources)
    return Built(file, program.model, tuple(weights))


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence the exporter's messages for its developers: skipped steps and deprecations."""
    loggers = [*map(logging.getLogger, ("torch.onnx", "onnx_ir", "onnxscript"))]
    levels = [*map(attrgetter("level"), loggers)]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _sources(module: nn.Module, model: Any) -> dict[str, tuple[str, Form]]:
    """For each weight of a traced module, by which parameter of the model it is made, and how."""
    names = {id(tensor): name for name, tensor in model.state_dict(keep_vars=True).items()}
    return {name: _source(names[id(tensor)]) for name, tensor in module.state_dict(keep_vars=True).items()}


def _source(name: str) -> tuple[str, Form]:
    """The parameter that a weight of a graph is made of, and in which form."""
    stem, _, last = name.rpartition(".")
    if last in {Form.PACKED, Form.SCALES}:
        return f"{stem}.weight", Form(last)
    return name, Form.PLAIN
