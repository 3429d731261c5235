"""What is traced: the speech encoder and the decoder of VibeVoice-ASR, with everything they remember as arguments."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from dropscribe.models.onnx import int4


class _States:
    """The convolutions' memory from one piece of audio to the next, cut from one flat tensor.

    Stands in for transformers' padding cache. The last samples of what is padded are the next piece's padding, also
    where a piece is shorter than the padding.
    """

    def __init__(self, encoder: nn.Module, state: Tensor) -> None:
        self._convolutions = {one.cache_key: one for one in _convolutions(encoder)}
        sizes = [one.in_channels * one.left_pad for one in self._convolutions.values()]
        self._state = dict(zip(self._convolutions, torch.split(state, sizes), strict=True))
        self._next: dict[str, Tensor] = {}

    def update(self, samples: Tensor, key: str, convolution: Any) -> Tensor:
        """The input (1, channels, samples) of a convolution with what came before it."""
        before = self._state[key].reshape(1, convolution.in_channels, convolution.left_pad)
        padded = torch.cat([before, samples], dim=-1)
        self._next[key] = padded[..., padded.shape[-1] - convolution.left_pad :]
        return padded

    def after(self) -> list[Tensor]:
        """The memory for the next piece, in the order in which it is cut."""
        return [self._next[key].reshape(-1) for key in self._convolutions]


def _convolutions(encoder: nn.Module) -> list[Any]:
    """The layers of an encoder that remember the end of the piece before."""
    return [module for module in encoder.modules() if hasattr(module, "cache_key")]


def state_size(encoder: nn.Module) -> int:
    """Numbers that an encoder remembers."""
    return sum(one.in_channels * one.left_pad for one in _convolutions(encoder))


class SpeechEncoderModule(nn.Module):
    """The two audio encoders and the projector; no noise is added to the latents."""

    def __init__(self, model: Any) -> None:
        """`model` is a VibeVoiceAsrForConditionalGeneration."""
        super().__init__()
        self.acoustic = model.model.acoustic_tokenizer_encoder
        self.semantic = model.model.semantic_tokenizer_encoder
        self.projector = model.model.multi_modal_projector
        self.sizes = (state_size(self.acoustic), state_size(self.semantic))

    def forward(self, audio: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Samples (1, hop * tokens) in float32 to embeddings (tokens, hidden) in float32, and the state after them.

        `state` (numbers) is that of the piece before, zeros for the first.
        """
        samples = audio.unsqueeze(1).to(state.dtype)
        acoustic, semantic = map(_States, (self.acoustic, self.semantic), torch.split(state, list(self.sizes)))
        latents = [
            encoder(samples, padding_cache=states).latents
            for encoder, states in ((self.acoustic, acoustic), (self.semantic, semantic))
        ]
        return self.projector(*latents)[0].float(), torch.cat([*acoustic.after(), *semantic.after()])


class _Cache:
    """Keys and values of all layers: those before, and with the new ones. Stands in for transformers' cache."""

    def __init__(self, past: Sequence[Tensor]) -> None:
        self._past = past
        self.present: list[Tensor] = []

    def update(self, key: Tensor, value: Tensor, layer: int, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        """Join new keys and values to the cache of a layer; returns all of them."""
        before = self._past[2 * layer : 2 * layer + 2]
        keys, values = (torch.cat(pair, dim=2) for pair in zip(before, (key, value), strict=True))
        self.present += [keys, values]
        return keys, values


class DecoderModule(nn.Module):
    """The language model, its embeddings and its head. With a past of length 0 it reads a prompt."""

    def __init__(self, model: Any, dtype: torch.dtype) -> None:
        """`model` is a VibeVoiceAsrForConditionalGeneration whose language model computes in `dtype`.

        Embeddings and head may be kept in another format.
        """
        super().__init__()
        self.language = model.model.language_model
        self.head = model.lm_head
        self.dtype = dtype

    def forward(
        self,
        input_ids: Tensor,
        speech: Tensor,
        attention_mask: Tensor,
        position_ids: Tensor,
        keep: Tensor,
        past: list[Tensor],
    ) -> tuple[Tensor, ...]:
        """Tokens (batch, new) to logits (batch, kept, vocabulary) in float32, and keys and values.

        An id past the vocabulary is a row of `speech` (rows, hidden), which has at least one. `attention_mask` (batch,
        past + new) is 0 where there is padding. `keep` (kept) are the indices among the new tokens whose logits are
        wanted. `past` holds a key and a value (batch, heads, past, head size) for each layer, and so does what follows
        the logits, with the new ones.
        """
        cache = _Cache(past)
        hidden = self.language(
            inputs_embeds=self._embed(input_ids, speech),
            attention_mask={"full_attention": _mask(attention_mask, input_ids.shape[1])},
            position_ids=position_ids,
            cache=cache,
            use_cache=True,
        ).last_hidden_state
        weight = self.head.weight.to(self.dtype)
        logits = nn.functional.linear(hidden.index_select(1, keep), weight)
        return logits.float(), *cache.present

    def _embed(self, ids: Tensor, speech: Tensor) -> Tensor:
        """A row for each id: of a word, or beyond the vocabulary, of the sound."""
        table = self.language.embed_tokens
        words = table(ids.clamp(max=table.num_embeddings - 1)).to(self.dtype)
        rows = speech.to(self.dtype)[(ids - table.num_embeddings).clamp(min=0)]
        return torch.where((ids >= table.num_embeddings).unsqueeze(-1), rows, words)


def _mask(attention: Tensor, new: int) -> Tensor:
    """Who sees whom (batch, 1, new, past + new): what came before, without padding.

    Each token sees itself, padding too: of nothing but padding there would be no attention to compute.
    """
    keys = torch.arange(attention.shape[1], device=attention.device)
    queries = keys[attention.shape[1] - new :, None]
    real = attention[:, None, None, :] > 0
    return ((keys <= queries) & real) | (keys == queries)


class Int4Linear(nn.Module):
    """A linear layer whose weights are blocks of 4 bits, for ONNX Runtime alone."""

    packed: Tensor
    scales: Tensor

    def __init__(self, linear: nn.Linear, block: int) -> None:
        """Of the same shape as `linear`, on its device, without its numbers."""
        super().__init__()
        self.bias = linear.bias
        self.block = block
        self.shape = (linear.out_features, linear.in_features)
        many = int4.blocks(linear.in_features, block)
        device = linear.weight.device
        packed = torch.zeros(linear.out_features, many, block // 2, dtype=torch.uint8, device=device)
        self.register_buffer("packed", packed)
        self.register_buffer("scales", torch.zeros(linear.out_features, many, device=device))

    def forward(self, hidden: Tensor) -> Tensor:
        """From shape (..., inputs) to (..., outputs)."""
        outputs, inputs = self.shape
        product = torch.onnx.ops.symbolic(
            "com.microsoft::MatMulNBits",
            (hidden, self.packed, self.scales),
            {"N": outputs, "K": inputs, "bits": 4, "block_size": self.block},
            dtype=hidden.dtype,
            shape=(*hidden.shape[:-1], outputs),
            version=1,
        ).to(hidden.device)  # a placeholder of PyTorch's, which is on the CPU wherever the rest is
        return product if self.bias is None else product + self.bias


def use_int4(layers: nn.Module, block: int) -> None:
    """Put an Int4Linear in the place of every linear layer."""
    for module in list(layers.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, nn.Linear):
                setattr(module, name, Int4Linear(child, block))
