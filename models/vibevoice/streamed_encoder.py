"""The audio encoders of VibeVoice-ASR with few passes over memory: many recordings side by side, piece by piece.

The weights are those of transformers' modules, which compute the same. They go over each block's tensor 78 times,
because each norm, product and sum is a separate operation, between copies that swap time and channels. Here tensors are
(rows, time, channels) throughout, and each operation is one kernel of PyTorch or of its compiler: 22 passes.

A convolution needs what came before its piece. Each row, one recording, has a state for that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import chain, pairwise
from operator import attrgetter, mul
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import conv2d, rms_norm

WIDTHS = 32  # of tensors, for each of which the compiler makes a kernel: two encoders have at most so many


class Joins(NamedTuple):
    """Two ways to compute the operations of a block: each by itself, or several as one.

    `add_and_norm` gives the sum of x and of y times a scale, and its norm, by (rows, time, channels), the same,
    (channels), the norm's weight and epsilon. `feed` is the feed-forward part by its module and (rows, time, channels).
    """

    add_and_norm: Callable[[Tensor, Tensor, Tensor, Tensor, float], tuple[Tensor, Tensor]]
    feed: Callable[[Any, Tensor], Tensor]


def add_and_norm(x: Tensor, y: Tensor, scale: Tensor, weight: Tensor, epsilon: float) -> tuple[Tensor, Tensor]:
    """`x + scale * y`, and that normed: two kernels, as PyTorch has them."""
    total = torch.addcmul(x, y, scale)
    return total, rms_norm(total, total.shape[-1:], weight, epsilon)


def feed(part: Any, normed: Tensor) -> Tensor:
    """Two products and the gelu between them: three kernels."""
    found: Tensor = part(normed)
    return found


EACH_BY_ITSELF = Joins(add_and_norm, feed)


def _rounded_once(x: Tensor, y: Tensor, scale: Tensor, weight: Tensor, epsilon: float) -> tuple[Tensor, Tensor]:
    total = torch.addcmul(x.float(), y.float(), scale.float())
    size = torch.rsqrt(total.square().mean(-1, keepdim=True) + epsilon)
    return total.to(x.dtype), (total * size * weight.float()).to(x.dtype)


def gelu_within(part: Any, normed: Tensor) -> Tensor:
    """In 16 bits, the gelu as the end of the first product, which then writes its wide output once: two kernels.

    On a GPU this gelu is the tanh form, which changes embeddings by a fortieth of what rounding to bf16 does.
    """
    if normed.dtype == torch.float32:
        return feed(part, normed)
    first = part.linear1
    # PyTorch has no public name for it; `fastest` tries it before it is used.
    wide = torch._addmm_activation(first.bias, normed.flatten(0, 1), first.weight.t(), use_gelu=True)  # noqa: SLF001
    found: Tensor = part.linear2(wide).unflatten(0, normed.shape[:2])
    return found


def compiled() -> Joins:
    """Several operations as one. Sum and norm are joined by PyTorch's compiler when they are first called with a width.

    That raises what the compiler does where a C++ compiler or Triton is not there.
    """
    compile_: Any = torch.compile  # whose types lack the limit
    options = {"compile_threads": 1}  # a worker has no children that compile on
    joined = compile_(_rounded_once, dynamic=False, fullgraph=True, recompile_limit=WIDTHS, options=options)
    return Joins(joined, gelu_within)


class _Convolution(nn.Module):
    """A causal convolution of transformers; `state` (rows, padding, channels) is what came before the piece."""

    def __init__(self, padded: Any) -> None:
        super().__init__()
        self.conv = padded.conv
        self.padding = int(padded.left_pad)
        # The memory order of the channels-last kernels, in the place of the other one.
        weight = self.conv.weight
        weight.data = weight.data.transpose(1, 2).contiguous().transpose(1, 2)

    def forward(self, x: Tensor, state: Tensor) -> Tensor:
        """From (rows, time, channels) to (rows, time / stride, channels); `state` becomes that of the next piece.

        The piece is padded with zeros without a copy of it. The first outputs, which reach into the padding, are then
        computed once more with the state.
        """
        stride = self.conv.stride[0]
        first = -(-self.padding // stride)
        beginning = torch.cat([state, x[:, : first * stride]], dim=1)
        found = self._convolve(x, self.padding)[:, : x.shape[1] // stride]
        found[:, :first] = self._convolve(beginning, 0)
        ending = x if x.shape[1] >= self.padding else beginning
        state.copy_(ending[:, ending.shape[1] - self.padding :])
        return found

    def _convolve(self, x: Tensor, padding: int) -> Tensor:
        rows, time, channels = x.shape
        # On processors with AMX, convolutions of oneDNN in bf16 return nonsense for some shapes (torch 2.13).
        dtype = torch.float32 if x.device.type == "cpu" else x.dtype
        as_image = x.to(dtype).reshape(rows, 1, time, channels).permute(0, 3, 1, 2)
        weight, bias = self.conv.weight.to(dtype).unsqueeze(2), self.conv.bias.to(dtype)
        stride, groups = (1, self.conv.stride[0]), self.conv.groups
        found = conv2d(as_image, weight, bias, stride, (0, padding), groups=groups)
        return found.permute(0, 2, 3, 1).flatten(1, 2).to(x.dtype)


class _Unit(nn.Module):
    """A part of an encoder that is computed, and may be moved, as a whole; `following` is the norm of the next block.

    It takes (rows, time, channels), the same normed, and its state; and returns the like for the next unit, where
    nothing is normed if no block follows.
    """

    def __init__(self, convolution: Any, following: Any) -> None:
        super().__init__()
        self.convolution = _Convolution(convolution)
        self.following = following

    @property
    def state_shape(self) -> tuple[int, int]:
        """Steps of time and channels that it remembers."""
        return self.convolution.padding, int(self.convolution.conv.in_channels)


class _Downsampling(_Unit):
    """The stem, the beginning of a stage, or the head."""

    def forward(self, x: Tensor, _normed: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        x = self.convolution(x, state)
        return x, self.following and rms_norm(x, x.shape[-1:], self.following.weight, self.following.variance_epsilon)


class _Block(_Unit):
    """A convolution for each channel, and a feed-forward part."""

    def __init__(self, block: Any, following: Any, joins: Joins) -> None:
        super().__init__(block.mixer, following)
        self.norm, self.ffn, self.gamma, self.ffn_gamma = block.ffn_norm, block.ffn, block.gamma, block.ffn_gamma
        self._joins = joins

    def forward(self, x: Tensor, normed: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        mixed = self.convolution(normed, state)
        x, normed = self._joins.add_and_norm(x, mixed, self.gamma, self.norm.weight, self.norm.variance_epsilon)
        fed = self._joins.feed(self.ffn, normed)
        if self.following is None:
            return torch.addcmul(x, fed, self.ffn_gamma), x
        return self._joins.add_and_norm(x, fed, self.ffn_gamma, self.following.weight, self.following.variance_epsilon)


def _units(encoder: Any, joins: Joins) -> Iterator[_Unit]:
    """An encoder of transformers, one thing after the other."""
    for stage in (encoder.stem, *encoder.conv_layers):
        norms = [*map(attrgetter("norm"), stage.stage), None]
        yield _Downsampling(stage.conv, norms[0])
        for block, (_, following) in zip(stage.stage, pairwise(norms), strict=True):
            yield _Block(block, following, joins)
    yield _Downsampling(encoder.head, None)


class StreamedEncoder:
    """Both encoders and the projector of a model. The caller keeps the states and sees to it that one thread computes.

    Where the weights lie elsewhere than on the device, each part of them is moved there for its turn.
    """

    def __init__(self, model: Any, device: torch.device, joins: Joins = EACH_BY_ITSELF) -> None:
        """`model` is a VibeVoiceAsrForConditionalGeneration, `device` where to compute, `joins` how."""
        encoders = (model.model.acoustic_tokenizer_encoder, model.model.semantic_tokenizer_encoder)
        weight = encoders[0].head.conv.weight
        self.hop = int(model.config.acoustic_tokenizer_encoder_config.hop_length)
        self.device, self.dtype = device, weight.dtype
        self.moves = weight.device != device
        self._units = [[*_units(encoder, joins)] for encoder in encoders]
        self._projector = model.model.multi_modal_projector
        if self.moves and device.type == "cuda":
            for weight in (weight for encoder in encoders for weight in encoder.parameters()):
                weight.data = weight.data.pin_memory()  # which a card fetches at the speed of its bus
        self._shapes = [*map(attrgetter("state_shape"), chain.from_iterable(self._units))]

    @property
    def state_size(self) -> int:
        """Numbers that are kept of one recording from piece to piece."""
        return sum(mul(*shape) for shape in self._shapes)

    @torch.no_grad()
    def __call__(self, samples: Tensor, states: Tensor) -> Tensor:
        """Samples (rows, hop * tokens) to embeddings (rows, tokens, hidden), both on the device.

        `states` (rows, state_size) are zeros before the first piece of a recording, and become those of the next piece.
        """
        cut = iter(torch.split(states, [mul(*shape) for shape in self._shapes], dim=1))
        shapes = iter(self._shapes)
        latents = []
        for units in self._units:
            x = normed = samples.unsqueeze(-1)
            for unit in units:
                x, normed = self._run(unit, x, normed, next(cut).view(len(x), *next(shapes)))
            latents.append(x)
        found: Tensor = self._run(self._projector, *latents)
        return found

    def _run(self, unit: nn.Module, *arguments: Tensor) -> Any:
        if not self.moves:
            return unit(*arguments)
        weights = {name: weight.to(self.device, non_blocking=True) for name, weight in unit.state_dict().items()}
        return functional_call(unit, weights, arguments)


TOLERANCE = 0.02  # of the embeddings' size; in 16 bits two to three digits are kept


def fastest(model: Any, device: torch.device, samples: Tensor, joins: Joins) -> tuple[StreamedEncoder, str]:
    """An encoder that computes by `joins` where that runs and is right, and otherwise one that does not, and why.

    Both encode `samples` (rows, hop * tokens) on the device, and are compared.
    """
    plain = StreamedEncoder(model, device)
    other = StreamedEncoder(model, device, joins)
    states = samples.new_zeros(len(samples), plain.state_size)
    try:
        expected, found = (one(samples, states.clone()).float() for one in (plain, other))
    except Exception as error:  # noqa: BLE001  # whatever the compiler lacks on this machine
        return plain, _reason(error)
    error_size = float((found - expected).norm() / expected.norm())
    if not error_size <= TOLERANCE:  # NaN does not agree either
        return plain, f"it computes wrong numbers on this card (off by {error_size:.1%})"
    return other, ""


def _reason(error: Exception) -> str:
    """The first line of an error that says something.

    >>> _reason(RuntimeError("backend='inductor' raised:\\nRuntimeError: no C++ compiler was found\\n\\nSet ..."))
    'RuntimeError: no C++ compiler was found'
    """
    lines = (line.strip() for line in str(error).splitlines())
    return next((line for line in lines if line and not line.endswith(":")), type(error).__name__)
