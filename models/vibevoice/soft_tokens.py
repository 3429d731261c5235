"""Audio as tokens: an embedding layer with a side table, whose rows are addressed by ids past the vocabulary.

Continuous batching takes token ids only. The embeddings of a recording are written into free rows of the table;
the ids of those rows then stand in the prompt where the recording belongs.

A row serves one recording after another, so the same ids soon mean another recording. Whatever takes equal ids
for equal content must be off: prefix sharing above all. And the ids are no words: penalties must not see them.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from dropscribe.core.errors import ModelError


class SoftTokens(nn.Module):
    """The language model's embedding, which it replaces, and `capacity` rows beside it.

    The table is allocated whole, since CUDA graphs keep its address: growing it would leave them with the old
    one. `allocate` and `free` may be called from any thread.
    """

    table: Tensor

    def __init__(self, embedding: nn.Embedding, capacity: int) -> None:
        """`capacity` in rows, 7.5 for each second of audio that is in work at the same time."""
        super().__init__()
        self.embedding = embedding
        self.vocabulary = embedding.num_embeddings
        weight = embedding.weight
        table = torch.zeros(capacity, weight.shape[1], dtype=weight.dtype, device=weight.device)
        self.register_buffer("table", table, persistent=False)
        self._free = list(range(capacity))
        self._used: set[int] = set()
        self._lock = threading.Lock()

    @property
    def weight(self) -> Tensor:
        """The words' embeddings, of shape (vocabulary, hidden), in the model's dtype."""
        return self.embedding.weight

    @property
    def capacity(self) -> int:
        """Rows in all."""
        return self.table.shape[0]

    @property
    def used(self) -> int:
        """Rows that are taken."""
        return len(self._used)

    def forward(self, ids: Tensor) -> Tensor:
        """Embeddings of shape (..., hidden) of ids, int64 of shape (...).

        Below the vocabulary's size they are words, from there on rows of the table.
        """
        # Both are looked up and one is chosen: no shape depends on the data, which CUDA graphs need.
        words = self.embedding(ids.clamp(max=self.vocabulary - 1))
        rows = self.table[(ids - self.vocabulary).clamp(min=0)]
        return torch.where((ids >= self.vocabulary).unsqueeze(-1), rows, words)

    def allocate(self, embeddings: Tensor) -> list[int]:
        """Store embeddings of shape (count, hidden); their ids in order. Raises ModelError when there is no room."""
        rows = self._take(len(embeddings))
        with torch.no_grad():
            index = torch.tensor(rows, dtype=torch.long, device=self.table.device)
            self.table.index_copy_(0, index, embeddings.to(self.table))
        if self.table.is_cuda:
            torch.cuda.current_stream(self.table.device).synchronize()  # the model reads them on its own stream
        return [self.vocabulary + row for row in rows]

    def free(self, ids: Iterable[int]) -> None:
        """Give rows back. Raises ValueError when one of them is not taken."""
        rows = [identity - self.vocabulary for identity in ids]
        with self._lock:
            if strange := set(rows) - self._used:
                raise ValueError(f"{len(strange)} soft tokens are freed that were not taken")
            self._used.difference_update(rows)
            self._free.extend(rows)

    def _take(self, count: int) -> list[int]:
        with self._lock:
            if count > len(self._free):
                raise ModelError(
                    f"no room for {count} audio tokens: {len(self._free)} of {self.capacity} are free",
                    remedy="shorten DROPSCRIBE_CHUNK_SECONDS",
                )
            rows = self._free[:count]
            del self._free[:count]
            self._used.update(rows)
        return rows


def install(model: Any, capacity: int) -> SoftTokens:
    """Put soft tokens in the place of the embedding of `model`, a VibeVoiceAsrForConditionalGeneration."""
    soft = SoftTokens(model.get_input_embeddings(), capacity)
    model.set_input_embeddings(soft)
    return soft
