"""Attention over the pages of many requests: three functions of one signature, and how transformers' layers call them.

Each takes `query` (tokens, heads, size), `keys` and `values` (pages, PAGE, kv heads, size), a `PagedBatch` and the
scale of the scores, and returns (tokens, heads, size). Attention is causal: the last query of a request sees all of
its keys. `gathered` takes keys and values in 8 bits too.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention.varlen import varlen_attn
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, AttentionMaskInterface

from dropscribe.models.vibevoice.runner.attention_choice import FLASH, SDPA, VARLEN
from dropscribe.models.vibevoice.runner.layout import Lengths
from dropscribe.models.vibevoice.runner.pages import pages_for

NAME = "dropscribe_paged"
ANY_KEY, CAUSAL = (-1, -1), (-1, 0)  # windows, left and right
FP8 = torch.float8_e4m3fn  # three bits of mantissa; the largest number is 448


@dataclass(frozen=True, slots=True, eq=False)
class PagedBatch:
    """The requests of one step, and where their tokens are, on the device.

    `cache` (layers, 2, pages, PAGE, kv heads, size); `slots` (tokens,), where in it the new keys go; `table` (requests,
    pages), int32; `q_edges` and `k_edges` (requests + 1,), int32, between the queries and between the keys of the
    requests; `used` (requests,), int32, keys that each has with this step.
    """

    cache: Tensor
    slots: Tensor
    table: Tensor
    q_edges: Tensor
    k_edges: Tensor
    used: Tensor
    lengths: Lengths
    attend: PagedAttention


PagedAttention = Callable[[Tensor, Tensor, Tensor, PagedBatch, float], Tensor]


def flash(query: Tensor, keys: Tensor, values: Tensor, batch: PagedBatch, scale: float) -> Tensor:
    """By the package flash-attn."""
    from flash_attn import flash_attn_varlen_func  # an extra

    found: Tensor = flash_attn_varlen_func(
        query,
        keys,
        values,
        cu_seqlens_q=batch.q_edges,
        cu_seqlens_k=batch.k_edges,
        max_seqlen_q=batch.lengths.longest[0],
        max_seqlen_k=batch.lengths.longest[1],
        softmax_scale=scale,
        causal=batch.lengths.longest[0] > 1,
        block_table=batch.table,
    )
    return found


def varlen(query: Tensor, keys: Tensor, values: Tensor, batch: PagedBatch, scale: float) -> Tensor:
    """By PyTorch's flash kernel.

    It packs the query heads of a key's head where each request has one query and no window is set. It must not split
    the keys: with pages, rows of the output are then left out (pytorch #194167). So a request's numbers do not depend
    on the other requests either.
    """
    kernel: Any = varlen_attn  # which returns a pair if it is asked for more
    found: Tensor = kernel(
        query,
        keys,
        values,
        batch.q_edges,
        None,
        *batch.lengths.longest,
        scale=scale,
        window_size=CAUSAL if batch.lengths.longest[0] > 1 else ANY_KEY,
        enable_gqa=True,
        seqused_k=batch.used,
        block_table=batch.table,
        num_splits=1,
    )
    return found


def gathered(query: Tensor, keys: Tensor, values: Tensor, batch: PagedBatch, scale: float) -> Tensor:
    """By PyTorch's sdpa on copies of the pages: all requests that decode at once, then each of the others."""
    lengths = batch.lengths
    several = lengths.decoding
    found = [_one_query(query[:several], keys, values, batch, scale)] if several else []
    parts = torch.split(query[several:], list(lengths.queries)) if lengths.queries else ()
    for part, table, end in zip(parts, batch.table[several:], lengths.ends, strict=True):
        found.append(_piece(part, keys, values, table, end, scale))
    return torch.cat(found)


def _one_query(query: Tensor, keys: Tensor, values: Tensor, batch: PagedBatch, scale: float) -> Tensor:
    """The query heads of a key's head stand where sdpa expects several queries, so that no key is repeated."""
    table = batch.table[: len(query), : pages_for(batch.lengths.longest[1])]
    k, v = (_read(pages, table, query.dtype).flatten(1, 2).transpose(1, 2) for pages in (keys, values))
    seen = torch.arange(k.shape[2], device=k.device) < batch.used[: len(query), None]
    grouped = query.reshape(len(query), k.shape[1], -1, query.shape[2])
    return scaled_dot_product_attention(grouped, k, v, attn_mask=seen[:, None, None], scale=scale).flatten(1, 2)


def _piece(query: Tensor, keys: Tensor, values: Tensor, table: Tensor, end: int, scale: float) -> Tensor:
    """The last queries of one request with `end` keys; the heads of a key's head stand behind each other."""
    pages = table[: pages_for(end)]
    k, v = (_read(one, pages, query.dtype).flatten(0, 1)[:end].transpose(0, 1)[:, None] for one in (keys, values))
    grouped = query.reshape(len(query), k.shape[0], -1, query.shape[2]).permute(1, 2, 0, 3)
    k, v = (one.expand(-1, grouped.shape[1], -1, -1) for one in (k, v))
    ages = torch.arange(end, device=query.device)
    seen = ages <= ages[end - len(query) :, None]
    found = scaled_dot_product_attention(grouped, k, v, attn_mask=seen, scale=scale)
    return found.permute(2, 0, 1, 3).flatten(1, 2)


def _read(pages: Tensor, which: Tensor, dtype: torch.dtype) -> Tensor:
    """Pages of the cache, in the number format of the computation."""
    if pages.dtype != FP8:
        return pages[which]
    return pages.view(torch.uint8)[which].view(FP8).to(dtype)  # not every device takes 8-bit numbers by index


def write(pages: Tensor, slots: Tensor, fresh: Tensor) -> None:
    """Put new keys or values (tokens, kv heads, size) into their slots (tokens,) of pages, shaped as for attention."""
    if pages.dtype == FP8:
        limit = torch.finfo(FP8).max  # larger numbers would become NaN
        pages, fresh = pages.view(torch.uint8), fresh.clamp(-limit, limit).to(FP8).view(torch.uint8)
    pages.flatten(0, 1).index_copy_(0, slots, fresh)


FUNCTIONS: dict[str, PagedAttention] = {FLASH: flash, VARLEN: varlen, SDPA: gathered}


def use(language: Any) -> None:
    """Let `language`, a language model loaded with sdpa, call `attend` from now on."""
    AttentionInterface.register(NAME, attend)
    AttentionMaskInterface.register(NAME, AttentionMaskInterface()["sdpa"])
    # set_attn_implementation would take the name for a kernel to be fetched from the hub.
    language.config._attn_implementation = NAME  # noqa: SLF001


def attend(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float,
    paged: PagedBatch | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """For transformers' layers: query (1, heads, tokens, size) to (1, tokens, heads, size).

    Without a batch of the runner, as in `generate()`, it is PyTorch's sdpa.
    """
    if paged is None:
        plain: Any = AttentionInterface()["sdpa"]
        output, _ = plain(module, query, key, value, attention_mask, scaling=scaling, **kwargs)
        return output, None
    q, k, v = (tensor[0].transpose(0, 1) for tensor in (query, key, value))
    keys, values = paged.cache[module.layer_idx]
    write(keys, paged.slots, k)
    write(values, paged.slots, v)
    return paged.attend(q, keys, values, paged, scaling)[None], None
