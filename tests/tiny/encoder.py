"""The encoders' arithmetic as matrix products over channels-last frames: a backward pass that a CPU can afford.

The functions work on the modules of transformers and their own parameters, so that nothing is to be exported: what is
trained through `encode` is what `VibeVoiceAsrForConditionalGeneration` runs. Up to the first block the encoder is a
chain of convolutions without a nonlinearity; it is collapsed to one filterbank before it meets the samples. That is
exact as long as the chain's inner biases are zero (transformers pads every layer with zeros): `freeze_inner_biases`.
"""

from __future__ import annotations

import itertools
import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from tests.tiny.synthesis import SAMPLE_RATE

Module = Any  # of transformers: an nn.Module whose parts its type does not name
FILTER_STEPS = 300  # of Adam, until the factors reproduce the wanted filters
RESPONSE = 0.3  # deviation of the filters' output: small beside the energies that the first block adds to it
SHARPNESS = 3.0  # of the rectifiers: GELU of three times x is nearly three times the positive part of x


def front_end(encoder: Module) -> list[Module]:
    """The convolutions from the samples to the first stage that has a block."""
    convs: list[Module] = [encoder.stem.conv.conv]
    assert not len(encoder.stem.stage), "the stem must be without blocks"
    for layer in encoder.conv_layers:
        convs.append(layer.conv.conv)
        if len(layer.stage):
            return convs
    raise ValueError("an encoder without any block")


def freeze_inner_biases(encoder: Module) -> None:
    for conv in front_end(encoder)[:-1]:
        nn.init.zeros_(conv.bias)
        conv.bias.requires_grad_(False)


def freeze_quick_stages(encoder: Module) -> None:
    """Train only the last stage from here on: the others run at eight times its rate and take most of a step."""
    for part in (encoder.stem, *encoder.conv_layers[:-1]):
        part.requires_grad_(False)


def filterbank(convs: list[Module]) -> tuple[Tensor, int]:
    """The chain as one filter a channel: (channels, taps), and its hop in samples."""
    taps, hop = convs[0].weight[:, 0], 1
    for before, conv in itertools.pairwise(convs):
        hop *= before.stride[0]
        width = taps.shape[1]
        size = conv.kernel_size[0]
        moved = [functional.pad(conv.weight[:, :, k] @ taps, (k * hop, (size - 1 - k) * hop)) for k in range(size)]
        assert moved[0].shape[1] == width + (size - 1) * hop
        taps = torch.stack(moved).sum(0)
    return taps, hop * convs[-1].stride[0]


def _downsample(frames: Tensor, conv: Module) -> Tensor:
    """A causal convolution whose kernel is twice its stride: (batch, time, in) to (batch, time / stride, out)."""
    stride, channels = conv.stride[0], frames.shape[-1]
    blocks = functional.pad(frames, (0, 0, stride, 0)).reshape(frames.shape[0], -1, stride * channels)
    weight = conv.weight.permute(2, 1, 0).reshape(2, stride * channels, -1)
    mixed: Tensor = blocks[:, :-1] @ weight[0] + blocks[:, 1:] @ weight[1] + conv.bias
    return mixed


def _depthwise(frames: Tensor, conv: Module) -> Tensor:
    size, time = conv.kernel_size[0], frames.shape[1]
    padded = functional.pad(frames, (0, 0, size - 1, 0))
    weight = conv.weight[:, 0].to(frames.dtype)
    mixed: Tensor = conv.bias.to(frames.dtype) + padded[:, :time] * weight[:, 0]
    for k in range(1, size):
        mixed = torch.addcmul(mixed, padded[:, k : k + time], weight[:, k])
    return mixed


def _head(frames: Tensor, conv: Module) -> Tensor:
    size, time = conv.kernel_size[0], frames.shape[1]
    padded = functional.pad(frames, (0, 0, size - 1, 0))
    stacked = torch.cat([padded[:, k : k + time] for k in range(size)], dim=-1)
    weight = conv.weight.permute(0, 2, 1).reshape(conv.out_channels, -1)
    return functional.linear(stacked, weight, conv.bias)


def _norm(frames: Tensor, norm: Module) -> Tensor:
    return functional.rms_norm(frames, frames.shape[-1:], norm.weight.to(frames.dtype), norm.variance_epsilon)


def _block(frames: Tensor, block: Module) -> Tensor:
    gamma, ffn_gamma = block.gamma.to(frames.dtype), block.ffn_gamma.to(frames.dtype)
    frames = frames + _depthwise(_norm(frames, block.norm), block.mixer.conv) * gamma
    added: Tensor = block.ffn(_norm(frames, block.ffn_norm)) * ffn_gamma
    return frames + added


def encode(encoder: Module, audio: Tensor) -> Tensor:
    """(batch, samples), a multiple of 3200, to latents (batch, samples / 3200, hidden); equal to `encoder.forward`."""
    convs = front_end(encoder)
    with torch.autocast("cpu", enabled=False):
        taps, hop = filterbank(convs)
    windows = functional.pad(audio, (taps.shape[1] - hop, 0)).unfold(1, taps.shape[1], hop)
    frames = windows @ taps.T + convs[-1].bias
    first = len(convs) - 2  # the stage that ends the front end
    for index, layer in enumerate(encoder.conv_layers):
        if index > first:
            frames = _downsample(frames, layer.conv.conv)
        if index >= first:
            for block in layer.stage:
                frames = _block(frames, block)
    return _head(frames, encoder.head.conv)


def gabor_filters(channels: int, taps: int) -> Tensor:
    """Pairs of cosine and sine under a Hann window, centres on the mel scale from 100 Hz to 7 kHz."""
    mels = torch.linspace(_mel(100), _mel(7000), channels // 2)
    centres = 700 * (10 ** (mels / 2595) - 1)
    clock = (torch.arange(taps) - taps / 2) / SAMPLE_RATE
    phase = 2 * math.pi * centres[:, None] * clock
    return torch.cat([phase.cos(), phase.sin()]) * torch.hann_window(taps)


def _mel(hertz: float) -> float:
    return 2595 * math.log10(1 + hertz / 700)


def start_as_filterbank(encoder: Module, audio: Tensor) -> float:
    """Fit the front end's factors to Gabor filters whose response to `audio` has deviation one.

    Returns the relative error of the fit, which is small but not zero: the factors have few channels.
    """
    convs = front_end(encoder)
    taps, hop = filterbank(convs)
    wanted = gabor_filters(*taps.shape)
    response = audio.unfold(1, wanted.shape[1], hop) @ wanted.T
    wanted = wanted * RESPONSE / response.std(dim=(0, 1))[:, None]
    scale = wanted.pow(2).mean().sqrt()
    weights = [conv.weight for conv in convs]
    optimizer = torch.optim.Adam(weights, lr=0.02)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, FILTER_STEPS)
    for _ in range(FILTER_STEPS):
        optimizer.zero_grad()
        error = ((filterbank(convs)[0] - wanted / scale) ** 2).mean()
        torch.autograd.backward(error)
        optimizer.step()
        schedule.step()
    with torch.no_grad():
        for weight in weights:
            weight.mul_(scale ** (1 / len(weights)))
    return float(error.detach().sqrt())


@torch.no_grad()
def start_as_rectifier(encoder: Module) -> None:
    """Let the first block add |cosine| + |sine| of every pair of filters to the pair's first channel, less their mean.

    What tells words apart is the energy in bands; a block that starts at random needs hundreds of steps to find that.
    """
    block = next(block for layer in encoder.conv_layers for block in layer.stage)
    channels = block.norm.weight.numel()
    eye = torch.eye(channels)
    nn.init.zeros_(block.mixer.conv.weight)
    block.ffn.linear1.weight[: 2 * channels] = SHARPNESS * torch.cat([eye, -eye])
    half = eye[: channels // 2, : channels // 2]
    pairs = torch.cat([half, half], dim=1)
    gain = 1 / (SHARPNESS * block.ffn_gamma[0])
    block.ffn.linear2.weight[: channels // 2, : 2 * channels] = gain * torch.cat([pairs, pairs], dim=1)
    block.ffn.linear2.bias[: channels // 2] = -2 * math.sqrt(2 / math.pi) / block.ffn_gamma[0]
