"""Attention over many requests of different length by PyTorch's own flash kernel, without the flash-attn package.

Transformers' continuous batching knows flash-attn, and a dense mask over the whole cache for all else, whose cost
grows with the requests that run at once. This one needs no mask.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention.varlen import varlen_attn
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface
from transformers.generation.continuous_batching.cache import PagedAttentionCache
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, flash_attention_mask

NAME = "flash_varlen_torch"  # transformers makes no mask for a name with "flash" in it


def use(model: Any) -> None:
    """Let `model`, a causal language model loaded with sdpa, compute attention so from now on."""
    AttentionInterface.register(NAME, attend)
    AttentionMaskInterface.register(NAME, flash_attention_mask)
    # Not by set_attn_implementation, which takes every such name for a kernel to be fetched from the hub.
    model.config._attn_implementation = NAME  # noqa: SLF001


def attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    cache: PagedAttentionCache | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Causal attention for transformers: a query of shape (1, heads, tokens, size) to (1, tokens, heads, size).

    The tokens of all requests stand one after the other. Outside of continuous batching it is PyTorch's sdpa.
    """
    if cache is None:
        output, _ = sdpa_attention_forward(module, query, key, value, attention_mask, scaling=scaling, **kwargs)
        return output, None
    key, value = cache.update(key, value, int(module.layer_idx), kwargs)  # type: ignore[arg-type]  # a module's int
    q, k, v = (tensor[0].transpose(0, 1) for tensor in (query, key, value))
    q_edges, k_edges = kwargs["cu_seq_lens_q"].to(torch.int32), kwargs["cu_seq_lens_k"]
    kernel = varlen_attn if query.is_cuda else _one_by_one
    longest = (kwargs["max_length_q"], kwargs["max_length_k"])
    packed: Any = kernel(q, k, v, q_edges, k_edges, *longest, scale=scaling, window_size=(-1, 0), enable_gqa=True)
    return packed[None], None


def _one_by_one(
    query: Tensor, key: Tensor, value: Tensor, q_edges: Tensor, k_edges: Tensor, *_: int, scale: float | None, **__: Any
) -> Tensor:
    """What the kernel computes, where it cannot run."""
    output = torch.zeros_like(query)
    for (q0, q1), (k0, k1) in zip(pairwise(q_edges.tolist()), pairwise(k_edges.tolist()), strict=True):
        q, k, v = (tensor.transpose(0, 1)[None] for tensor in (query[q0:q1], key[k0:k1], value[k0:k1]))
        mask = torch.ones(q1 - q0, k1 - k0, dtype=torch.bool).tril((k1 - k0) - (q1 - q0))
        one = scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=scale, enable_gqa=True)
        output[q0:q1] = one[0].transpose(0, 1)
    return output
