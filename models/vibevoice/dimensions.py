"""The shape of a VibeVoice-ASR checkpoint, read from its config: how many numbers, of what kind. Pure, no torch."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import accumulate
from operator import mul
from typing import Any

from dropscribe.core.audio import SAMPLE_RATE
from dropscribe.core.errors import ModelUnavailableError
from dropscribe.models.vibevoice.parts import SAFE_PARTS, ModelPart


@dataclass(frozen=True, slots=True)
class EncoderDimensions:
    """An audio encoder: a stem and one stage for each ratio, each halving the rate by it and doubling the channels."""

    latent: int
    filters: int = 32
    channels: int = 1
    kernel: int = 7
    expansion: int = 4
    ratios: tuple[int, ...] = (2, 2, 4, 5, 5, 8)
    depths: tuple[int, ...] = (3, 3, 3, 3, 3, 3, 8)

    @property
    def hop(self) -> int:
        """Samples that become one token."""
        samples: int = math.prod(self.ratios)
        return samples

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels of the stem and of each stage."""
        return tuple(self.filters * 2**stage for stage in range(len(self.ratios) + 1))

    @property
    def parameters(self) -> int:
        """Trained numbers."""
        widths = self.widths
        inputs = (self.channels, *widths)
        kernels = (self.kernel, *(2 * ratio for ratio in self.ratios), self.kernel)
        outputs = (*widths, self.latent)
        convolutions = sum(map(_convolution, inputs, outputs, kernels))
        return convolutions + sum(depth * self._block(width) for depth, width in zip(self.depths, widths, strict=True))

    @property
    def linears(self) -> Iterator[tuple[int, int, int]]:
        """Number, inputs and outputs of the linears of each shape."""
        for depth, width in zip(self.depths, self.widths, strict=True):
            yield depth, width, self.expansion * width
            yield depth, self.expansion * width, width

    @property
    def largest_part(self) -> int:
        """Trained numbers of the largest block or convolution: what is moved at once where it lies elsewhere."""
        widths = self.widths
        shrinking = max(map(_convolution, widths, widths[1:], (2 * ratio for ratio in self.ratios)))
        return max(shrinking, *(self._block(width) for depth, width in zip(self.depths, widths, strict=True) if depth))

    def _block(self, width: int) -> int:
        """Two norms and two layer scales, a convolution for each channel, and the feed-forward part."""
        inner = self.expansion * width
        return 4 * width + width * (self.kernel + 1) + 2 * width * inner + inner + width

    def live(self, samples: int) -> int:
        """Numbers alive at the worst moment: two expanded tensors of a feed-forward part, its input and two copies."""
        rates = accumulate((1, *self.ratios), mul)
        widest: int = max(-(-samples // rate) * width for rate, width in zip(rates, self.widths, strict=True))
        return widest * (2 * self.expansion + 3)


def _convolution(inputs: int, outputs: int, kernel: int) -> int:
    return inputs * outputs * kernel + outputs


@dataclass(frozen=True, slots=True)
class ModelDimensions:
    """The shape of a checkpoint, named as in its config."""

    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    intermediate: int
    vocabulary: int
    encoders: tuple[EncoderDimensions, ...]
    quantized: tuple[ModelPart, ...] = SAFE_PARTS  # where the precision is one of quantized weights

    @classmethod
    def from_config(cls, config: Mapping[str, Any], quantized: tuple[ModelPart, ...] = SAFE_PARTS) -> ModelDimensions:
        """Read a checkpoint's config.json. Raises ModelUnavailableError when it is of another kind of model."""
        try:
            text = config["text_config"]
            heads, hidden = int(text["num_attention_heads"]), int(text["hidden_size"])
            return cls(
                layers=int(text["num_hidden_layers"]),
                hidden=hidden,
                heads=heads,
                kv_heads=int(text.get("num_key_value_heads") or heads),
                head_dim=int(text.get("head_dim") or hidden // heads),
                intermediate=int(text["intermediate_size"]),
                vocabulary=int(text["vocab_size"]),
                encoders=(
                    _encoder(config["acoustic_tokenizer_encoder_config"]),
                    _encoder(config["semantic_tokenizer_encoder_config"]),
                ),
                quantized=quantized,
            )
        except (KeyError, TypeError, ValueError, AttributeError, ZeroDivisionError) as error:
            raise ModelUnavailableError(
                f"the config is not that of a VibeVoice-ASR checkpoint ({type(error).__name__}: {error})",
                remedy="use microsoft/VibeVoice-ASR-HF or one in its layout",
            ) from error

    def linears(self, part: ModelPart) -> tuple[int, int]:
        """Weights of a part's linears, which quantization makes smaller, and their outputs."""
        shapes = list(self._linears(part))
        return sum(count * inputs * outputs for count, inputs, outputs in shapes), sum(
            count * outputs for count, _, outputs in shapes
        )

    def _linears(self, part: ModelPart) -> Iterator[tuple[int, int, int]]:
        """Number, inputs and outputs of the linears of one shape."""
        if part is ModelPart.LANGUAGE_MODEL:
            heads, kv_heads = self.heads * self.head_dim, self.kv_heads * self.head_dim
            yield self.layers, self.hidden, heads
            yield 2 * self.layers, self.hidden, kv_heads
            yield self.layers, heads, self.hidden
            yield 2 * self.layers, self.hidden, self.intermediate
            yield self.layers, self.intermediate, self.hidden
        elif part is ModelPart.HEAD:
            yield 1, self.hidden, self.vocabulary
        elif part is ModelPart.PROJECTOR:
            for encoder in self.encoders:
                yield 1, encoder.latent, self.hidden
                yield 1, self.hidden, self.hidden
        else:
            yield from self.encoders[part is ModelPart.SEMANTIC_ENCODER].linears

    @property
    def parameters(self) -> int:
        """All trained numbers."""
        biases_and_norms = self.layers * ((self.heads + 2 * self.kv_heads) * self.head_dim + 2 * self.hidden)
        embeddings = 2 * self.vocabulary * self.hidden  # at the input and at the output; never tied
        projector = sum(self.hidden * (encoder.latent + self.hidden + 3) for encoder in self.encoders)
        encoders = sum(encoder.parameters for encoder in self.encoders)
        return (
            self.linears(ModelPart.LANGUAGE_MODEL)[0]
            + biases_and_norms
            + self.hidden
            + embeddings
            + projector
            + encoders
        )

    @property
    def hop(self) -> int:
        """Samples that become one token."""
        return self.encoders[0].hop

    def audio_tokens(self, seconds: float) -> int:
        """Tokens that a chunk's audio takes: 7.5 a second in the published checkpoint."""
        return math.ceil(seconds * SAMPLE_RATE / self.hop)


def _encoder(config: Mapping[str, Any]) -> EncoderDimensions:
    """What the config leaves out has the default of transformers' class, which is the published shape."""
    usual = EncoderDimensions(latent=64)
    return EncoderDimensions(
        latent=int(config.get("hidden_size", usual.latent)),
        filters=int(config.get("num_filters", usual.filters)),
        channels=int(config.get("channels", usual.channels)),
        kernel=int(config.get("kernel_size", usual.kernel)),
        expansion=int(config.get("ffn_expansion", usual.expansion)),
        ratios=tuple(map(int, config.get("downsampling_ratios", usual.ratios))),
        depths=tuple(map(int, config.get("depths", usual.depths))),
    )


PUBLISHED = ModelDimensions(
    layers=28,
    hidden=3584,
    heads=28,
    kv_heads=4,
    head_dim=128,
    intermediate=18_944,
    vocabulary=152_064,
    encoders=(EncoderDimensions(latent=64), EncoderDimensions(latent=128)),
)
"""microsoft/VibeVoice-ASR-HF: 8,330,325,888 parameters."""
