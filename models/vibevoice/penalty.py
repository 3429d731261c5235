"""Repetition penalty for continuous batching, on the words of each answer alone.

transformers drops its own there, since that one needs the whole sequence of every request; it would also see the
prompt, with ids of soft tokens that are no words.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import torch
from torch import Tensor
from transformers.generation.continuous_batching.cb_logits_processors import ContinuousBatchingLogitsProcessor
from transformers.generation.continuous_batching.requests import FutureRequestState, RequestState


class RepetitionPenalty(ContinuousBatchingLogitsProcessor):
    """Divides the positive and multiplies the negative scores of words that the answer already has.

    `seen` has a row for each request of a batch and a column for each word. Rows are kept from step to step; the
    one that was not used for longest goes to a new request.
    """

    supported_kwargs: dict[str, type] = {}  # noqa: RUF012  # declared so by transformers
    ignored_kwargs = ()

    def __init__(self, penalty: float, shape: tuple[int, int], device: torch.device) -> None:
        """`shape` is (most requests in a batch, vocabulary)."""
        self._penalty = penalty
        self._seen = torch.zeros(shape, dtype=torch.bool, device=device)
        self._rows: OrderedDict[str, int] = OrderedDict((f"free-{row}", row) for row in range(shape[0]))

    def fill_defaults(self, int32_tensor: Tensor) -> None:
        """Padding looks at the first row; what it scores is thrown away."""
        int32_tensor.zero_()

    def prepare_tensor_args(self, requests_with_new_token: list[FutureRequestState]) -> Tensor:
        """Bring the rows of these requests up to date and return their numbers, int32 of shape (requests,)."""
        return torch.tensor([self._row(future.state) for future in requests_with_new_token], dtype=torch.int32)

    def __call__(self, scores: Tensor, tensor_arg: Tensor) -> Tensor:
        """Penalize scores of shape (requests, vocabulary) by the rows `tensor_arg`, int32 of shape (requests,).

        A score above zero is divided by the penalty, one below is multiplied with it (N. Keskar et al.: CTRL, 2019).
        """
        seen = self._seen[tensor_arg[: scores.size(0)].long()]
        return torch.where(seen, torch.where(scores < 0, scores * self._penalty, scores / self._penalty), scores)

    def _row(self, state: RequestState) -> int:
        words = state.to_generation_output().generated_tokens
        row = self._rows.pop(state.request_id, None)
        if row is None:
            _, row = self._rows.popitem(last=False)
            self._seen[row] = False
        else:
            words = words[-1:]
        self._rows[state.request_id] = row
        if words:
            self._seen[row, torch.tensor(words, device=self._seen.device)] = True
        return row


def add_repetition_penalty(manager: Any, penalty: float, shape: tuple[int, int]) -> None:
    """Add the penalty to a ContinuousBatchingManager that has not been warmed up yet."""
    processors = manager.logit_processor
    processors.logits_processor.append(RepetitionPenalty(penalty, shape, manager.model.device))
    processors.tensors_required += 1
    processors.do_processing = True
