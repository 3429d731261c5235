"""One piece of several recordings at once on the device: states, CUDA graphs, a stream beside the language model's."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from operator import attrgetter
from typing import Any

import torch
from torch import Tensor

from dropscribe.core.audio import SAMPLE_RATE
from dropscribe.models import engine_errors
from dropscribe.models.base import Audio
from dropscribe.models.vibevoice.streamed_encoder import StreamedEncoder, compiled, fastest

log = logging.getLogger(__name__)


class EncoderStep:
    """The encoders with a row for each of some recordings. One thread at a time may use it."""

    def __init__(self, model: Any, rows: int, piece_seconds: float) -> None:
        """`model` is a VibeVoiceAsrForConditionalGeneration; audio is encoded where its head lies.

        Raises RuntimeError if memory runs out.
        """
        device: torch.device = model.lm_head.weight.device
        self._encode = StreamedEncoder(model, device)
        self.hop = self._encode.hop
        self.piece_tokens = max(1, int(piece_seconds * SAMPLE_RATE) // self.hop)  # a cut within a token would tear it
        on_gpu = device.type == "cuda"
        stream: Any = torch.cuda.Stream  # without types
        self._stream: torch.cuda.Stream | None = stream(device) if on_gpu else None
        shape = (rows, self.piece_tokens * self.hop)
        self._host = torch.zeros(shape, pin_memory=on_gpu)
        self._graphs: dict[int, tuple[torch.cuda.CUDAGraph, Tensor]] = {}
        with self._on_stream(), torch.no_grad():
            self._samples = torch.zeros(shape, device=device, dtype=self._encode.dtype)
            self._states = self._samples.new_zeros(rows, self._encode.state_size)
            if on_gpu and not self._encode.moves:  # moving the weights takes longer than what these save
                plain = self._encode
                self._encode, hindrance = fastest(model, device, self._samples.normal_(0, 0.1), compiled())
                if hindrance:
                    log.warning("audio is encoded operation by operation: %s", hindrance)
                self._graphs = captured(self._run, {1, rows}, self._stream)
                if not self._graphs:  # then pieces have any length, and each would be compiled again
                    self._encode = plain

    def begin(self, row: int) -> None:
        """A recording starts in that row."""
        with self._on_stream():
            self._states[row] = 0

    def move(self, source: int, target: int) -> None:
        """The recording of one row goes on in another."""
        with self._on_stream():
            self._states[target] = self._states[source]

    @torch.no_grad()
    def run(self, pieces: Sequence[Audio]) -> list[Tensor]:
        """Embeddings (tokens, hidden) of the next piece (samples,) of each recording, that of row 0 first.

        All have as many tokens as the longest piece or more; what is behind the end of a piece is to be cut off. Raises
        RuntimeError as PyTorch does.
        """
        rows = next((size for size in sorted(self._graphs) if size >= len(pieces)), len(pieces))
        self._host[:rows] = 0
        for row, piece in zip(self._host, pieces, strict=False):
            row[: piece.size] = torch.from_numpy(piece)
        tokens = math.ceil(max(map(attrgetter("size"), pieces)) / self.hop)
        with self._on_stream():
            self._samples[:rows].copy_(self._host[:rows], non_blocking=True)
            found = self._replay(rows) if self._graphs else self._run(rows, tokens)
            kept = [embeddings.clone() for embeddings in found[: len(pieces)]]
            if self._stream:
                self._stream.synchronize()  # other streams use them, and the next pieces are written over these
        return kept

    def _on_stream(self) -> AbstractContextManager[Any]:
        return torch.cuda.stream(self._stream)

    def _run(self, rows: int, tokens: int = 0) -> Tensor:
        samples = self._samples[:rows, : (tokens or self.piece_tokens) * self.hop]
        return self._encode(samples, self._states[:rows])

    def _replay(self, rows: int) -> Tensor:
        graph, found = self._graphs[rows]
        graph.replay()
        return found


def captured(
    run: Callable[[int], Tensor], sizes: set[int], stream: torch.cuda.Stream | None
) -> dict[int, tuple[torch.cuda.CUDAGraph, Tensor]]:
    """CUDA graphs of `run` for so many rows, with what they return; none if a layer cannot be captured."""
    graphs, pool = {}, torch.cuda.graph_pool_handle()
    try:
        for rows in sorted(sizes, reverse=True):  # the largest first: the others fit into its memory
            run(rows)  # what is set up on first use must not be captured
            graph = torch.cuda.CUDAGraph()
            # The language model's thread may use the device meanwhile, and must not make the capture fail.
            with torch.cuda.graph(graph, pool, stream, capture_error_mode="thread_local"):
                found = run(rows)
            graphs[rows] = graph, found
    except RuntimeError as error:
        if engine_errors.is_sticky(error) or engine_errors.is_out_of_memory(error):
            raise
        log.warning("audio is encoded without CUDA graphs: %s", str(error).partition("\n")[0])
        return {}
    return graphs
