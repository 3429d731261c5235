"""One forward pass for many requests: the paged cache on its device, the inputs, CUDA graphs, the choice of tokens.

A step in which every request decodes needs three numbers of each: its last token, its row in the page table, and its
position. All else is computed from them on the device, so that a CUDA graph can replay it.
"""

from __future__ import annotations

import logging
import time
from bisect import bisect_left
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from operator import attrgetter
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dropscribe.models import engine_errors
from dropscribe.models.vibevoice.generation import Decoding
from dropscribe.models.vibevoice.memory_plan import graph_batches
from dropscribe.models.vibevoice.runner.attention import FP8, FUNCTIONS, PagedBatch
from dropscribe.models.vibevoice.runner.attention_choice import SDPA
from dropscribe.models.vibevoice.runner.layout import Lengths, StepLayout
from dropscribe.models.vibevoice.runner.pages import PAGE, pages_for
from dropscribe.models.vibevoice.runner.request import RunnerRequest
from dropscribe.models.vibevoice.runner.scheduler import Sizes, StepBatch

log = logging.getLogger(__name__)


class ModelStep:
    """The language model and its cache. One thread calls all but `place`.

    `waited` are the seconds that this thread has waited for the device.
    """

    def __init__(self, language: Any, head: Any, decoding: Decoding, sizes: Sizes, attention: str) -> None:
        """`language` is a Qwen2Model whose attention is `attention.use`'s, `head` gives logits of its hidden states.

        `attention` names one of the three functions. Raises RuntimeError or MemoryError if the cache does not fit.
        """
        self.waited = 0.0
        self._language, self._head = language, head
        self._embed = language.embed_tokens  # which may lie in the machine's memory
        self._decoding = decoding
        self._attend = FUNCTIONS[attention]
        self._like: Tensor = self._embed.weight.new_empty(0, device=head.weight.device)
        self._device = self._like.device
        on_gpu = self._device.type == "cuda"
        stream: Any = torch.cuda.Stream  # without types
        self._stream: torch.cuda.Stream | None = stream(self._device) if on_gpu else None
        self._can_capture = on_gpu and attention != SDPA  # gathered pages have shapes that depend on the lengths
        self.resize(sizes)

    @torch.no_grad()
    def resize(self, sizes: Sizes) -> None:
        """An empty cache of these sizes, in the place of the one before. Raises as the constructor."""
        self._graphs: _DecodeGraphs | None = None
        self._cache = torch.empty(0)
        if self._stream:
            torch.cuda.empty_cache()
        config, slots, pages = self._language.config, sizes.slots, pages_for(sizes.tokens_per_slot)
        # One page and one row more: those of requests that pad a batch to the size of a CUDA graph.
        head_size = int(getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads)
        shape = (config.num_hidden_layers, 2, slots * pages + 1, PAGE, config.num_key_value_heads, head_size)
        with self._on_stream():
            self._cache = self._like.new_zeros(shape, dtype=FP8 if sizes.fp8_cache else None)
            self._table = self._like.new_zeros((slots + 1, pages), dtype=torch.int32)
            self._table[slots] = slots * pages
            self._edges = torch.arange(slots + 1, dtype=torch.int32, device=self._device)
            penalized = self._decoding.repetition_penalty != 1.0
            self._seen = self._table.new_zeros((slots + 1, config.vocab_size), dtype=torch.bool) if penalized else None
        if self._can_capture and sizes.graphs:
            self._graphs = self._capture(sizes)

    @torch.no_grad()
    def place(self, prompt: Tensor) -> Tensor:
        """A prompt (tokens, hidden) where the steps find it. Any thread may call this."""
        placed = prompt.to(self._like)
        if self._stream:
            torch.cuda.current_stream(placed.device).synchronize()  # steps run on a stream of their own
        return placed

    @torch.no_grad()
    def admit(self, request: RunnerRequest) -> None:
        """Enter a request's pages, and the words that its output already has."""
        with self._on_stream():
            self._table[request.row, : len(request.pages)] = self._to_device(request.pages, torch.int32)
            if self._seen is not None:
                self._seen[request.row] = False
                self._seen[request.row, self._to_device(request.tokens)] = True

    @torch.no_grad()
    def with_tokens(self, request: RunnerRequest) -> Tensor:
        """The request's prompt followed by its tokens, (tokens, hidden), for computing both again.

        It is the same prompt where no token is new.
        """
        prompt: Tensor = request.prompt
        if new := request.tokens[request.recomputed :]:
            with self._on_stream():
                prompt = torch.cat([prompt, self._words(new)])
        return prompt

    @torch.no_grad()
    def run(self, batch: StepBatch) -> list[int]:
        """The next token of each request of `batch.choosing()`. After an error of PyTorch it can be run again."""
        with self._on_stream():
            chosen = self._mixed(batch) if batch.pieces else self._decode(batch.decoding)
            began = time.perf_counter()
            tokens: list[int] = chosen.tolist()
            if self._stream and not tokens:
                self._stream.synchronize()  # a prompt may be freed before the next step
            self.waited += time.perf_counter() - began
        return tokens

    def _on_stream(self) -> AbstractContextManager[Any]:
        """The stream on which all of this runs."""
        return torch.cuda.stream(self._stream)

    def _to_device(self, numbers: Sequence[int] | np.ndarray[Any, Any], dtype: torch.dtype = torch.long) -> Tensor:
        """Numbers on their way to the device."""
        return torch.as_tensor(numbers, dtype=dtype).to(self._device, non_blocking=True)

    def _decode(self, requests: Sequence[RunnerRequest]) -> Tensor:
        """The next token of each request, (requests,), where all decode."""
        numbers = torch.tensor([(one.tokens[-1], one.row, one.cached) for one in requests])
        words = self._embed(numbers[:, 0]) if self._looks_up_on_host else None
        if self._graphs:
            return self._graphs.run(numbers, words)
        longest = 1 + max(map(attrgetter("cached"), requests))
        return self._decode_on_device(numbers.to(self._device), longest, words)

    @property
    def _looks_up_on_host(self) -> bool:
        """Do the embeddings of words lie outside the device?"""
        return bool(self._embed.weight.device != self._device)

    def _words(self, ids: Sequence[int]) -> Tensor:
        """Embeddings (tokens, hidden) of words, on the device."""
        looked_up: Tensor = self._embed(torch.tensor(ids, dtype=torch.long).to(self._embed.weight.device))
        return looked_up.to(self._device)

    def _decode_on_device(self, numbers: Tensor, longest: int, words: Tensor | None = None) -> Tensor:
        """The next tokens (requests,) by `numbers` (requests, 3); no shape depends on what is in them.

        `words` (requests, hidden) are the embeddings of the last tokens, where they were looked up elsewhere.
        """
        ids, rows, positions = numbers.unbind(1)
        embedded = self._embed(ids) if words is None else words.to(self._device)
        paged = self._paged(rows, rows, positions, self._edges[: len(ids) + 1], Lengths(len(ids), (1, longest)))
        return self._choose(self._forward(embedded, positions, paged), rows)

    def _mixed(self, batch: StepBatch) -> Tensor:
        """The next tokens of all that choose one, (requests,), in a step with pieces of prompts."""
        layout = StepLayout.of(batch)
        rows, positions = self._to_device(layout.rows), self._to_device(layout.positions)
        token_rows, edges = self._to_device(layout.by_token(layout.rows)), self._to_device(layout.edges, torch.int32)
        paged = self._paged(rows, token_rows, positions, edges, layout.lengths())
        words = self._words([one.tokens[-1] for one in batch.decoding])
        prompts = [piece.request.prompt[piece.request.cached :][: piece.count] for piece in batch.pieces]
        hidden = self._forward(torch.cat([words, *prompts]), positions, paged)
        if not layout.chooses.any():
            return positions[:0]
        last = self._to_device(layout.edges[1:][layout.chooses] - 1)
        return self._choose(hidden[last], self._to_device(layout.rows[layout.chooses]))

    def _paged(
        self, rows: Tensor, token_rows: Tensor, positions: Tensor, q_edges: Tensor, lengths: Lengths
    ) -> PagedBatch:
        """For the rows (requests,) of the page table, and the row and position of each token."""
        used = positions[q_edges[1:] - 1] + 1
        pages = self._table[token_rows, positions // PAGE]
        return PagedBatch(
            self._cache,
            slots=pages.long() * PAGE + positions % PAGE,
            table=self._table[rows],
            q_edges=q_edges,
            k_edges=torch.nn.functional.pad(used.cumsum(0, dtype=torch.int32), (1, 0)),
            used=used.int(),
            lengths=lengths,
            attend=self._attend,
        )

    def _forward(self, embeddings: Tensor, positions: Tensor, paged: PagedBatch) -> Tensor:
        """Hidden states (tokens, hidden) of embeddings (tokens, hidden) at positions (tokens,)."""
        output = self._language(
            inputs_embeds=embeddings[None],
            position_ids=positions[None],
            attention_mask={"full_attention": None},  # as it stands, no mask is made
            use_cache=False,
            paged=paged,
        )
        hidden: Tensor = output.last_hidden_state[0]
        return hidden

    def _choose(self, hidden: Tensor, rows: Tensor) -> Tensor:
        """The next tokens (requests,) by the hidden states (requests, hidden) of the requests in these rows.

        The penalty divides scores above zero and multiplies those below (N. Keskar et al.: CTRL, 2019), of the words
        that the output already has.
        """
        scores = self._head(hidden).float()
        penalty, temperature = self._decoding.repetition_penalty, self._decoding.temperature
        if self._seen is not None:
            factors = torch.where(scores < 0, penalty, 1 / penalty)
            scores *= factors.masked_fill_(~self._seen[rows], 1)  # in place: the plan counts three tensors like scores
        if temperature > 0:
            # The largest of p/e, with e drawn from an exponential distribution, is drawn from p.
            scores = (scores / temperature).softmax(-1) / torch.empty_like(scores).exponential_()
        chosen: Tensor = scores.argmax(-1)
        if self._seen is not None:
            self._seen[rows, chosen] = True
        return chosen

    def _capture(self, sizes: Sizes) -> _DecodeGraphs | None:
        """Graphs for all batch sizes; None if a layer cannot be captured."""

        def decode(numbers: Tensor, words: Tensor | None) -> Tensor:
            """A step as it is recorded for a graph."""
            return self._decode_on_device(numbers, sizes.tokens_per_slot, words)

        idle = torch.tensor([(0, sizes.slots, 0)] * sizes.slots)
        words = self._like.new_zeros(sizes.slots, self._embed.weight.shape[1]) if self._looks_up_on_host else None
        try:
            return _DecodeGraphs(decode, graph_batches(sizes.slots), (idle, words), self._stream, self._device)
        except RuntimeError as error:
            if engine_errors.is_sticky(error) or engine_errors.is_out_of_memory(error):
                raise
            log.warning("decoding runs without CUDA graphs: %s", str(error).partition("\n")[0])
            return None


class _DecodeGraphs:
    """A CUDA graph for each of some batch sizes. A batch is padded to the next size with idle requests."""

    def __init__(
        self,
        decode: Callable[[Tensor, Tensor | None], Tensor],
        batches: Sequence[int],
        idle: tuple[Tensor, Tensor | None],
        stream: torch.cuda.Stream | None,
        device: torch.device,
    ) -> None:
        """Capture `decode`, from (requests, 3) to (requests,).

        `idle` (largest batch, 3) are nobody's requests, with their words (largest batch, hidden) on the device where
        these are looked up elsewhere.
        """
        self._batches = sorted(batches)
        self._idle, self._words = idle
        self._host = self._idle.clone().pin_memory()
        self._numbers = self._idle.to(device)
        self._graphs: dict[int, tuple[torch.cuda.CUDAGraph, Tensor]] = {}
        pool = torch.cuda.graph_pool_handle()
        for batch in reversed(self._batches):  # the largest first: the others fit into its memory
            numbers, words = self._numbers[:batch], None if self._words is None else self._words[:batch]
            with torch.cuda.stream(stream):
                decode(numbers, words)  # what is set up on first use must not be captured
            graph = torch.cuda.CUDAGraph()
            # Threads that encode audio at the same time must not make the capture fail.
            with torch.cuda.graph(graph, pool, stream, capture_error_mode="thread_local"):
                chosen = decode(numbers, words)
            self._graphs[batch] = graph, chosen

    def run(self, numbers: Tensor, words: Tensor | None) -> Tensor:
        """The next tokens (requests,) on the device, of requests (requests, 3) on the host, and `words`."""
        count = len(numbers)
        if self._words is not None and words is not None:
            self._words[:count].copy_(words)
        batch = self._batches[bisect_left(self._batches, count)]
        self._host[:count] = numbers
        self._host[count:batch] = self._idle[count:batch]
        self._numbers[:batch].copy_(self._host[:batch], non_blocking=True)
        graph, chosen = self._graphs[batch]
        graph.replay()
        return chosen[:count]
