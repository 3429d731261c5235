"""From a prompt to tokens: what every engine offers, and the plain one, which reads one request at a time.

Two engines give the same tokens: `Reference` here, by transformers' `generate()`, and `Runner` in `runner/`, in which
requests join and leave while others run.
"""

from __future__ import annotations

import threading
import time
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor
from transformers import (
    AutoModelForCausalLM,
    LogitsProcessorList,
    RepetitionPenaltyLogitsProcessor,
    StoppingCriteria,
    StoppingCriteriaList,
)

from dropscribe.models import engine_errors
from dropscribe.models.vibevoice.generation import Decoding, Generation, Stop, TokenListener, TokenSink

POLL_SECONDS = 0.1  # between two looks at whether a request that waits was cancelled


class Engine(Protocol):
    """Serves the language model to as many threads as want to."""

    def generate(
        self, prompt: Tensor, max_new_tokens: int, on_tokens: TokenListener, cancel: threading.Event
    ) -> Generation:
        """Continue a prompt of embeddings (tokens, hidden), of words and audio alike, by at most `max_new_tokens`.

        `on_tokens` is called in this thread with the tokens that are new, several at once; when it wants no more, some
        further ones may have been chosen meanwhile. `cancel` takes effect within a decode step. Raises ModelError and
        ModelFatalError.
        """
        ...

    def close(self) -> None:
        """Stop serving; no call may follow."""
        ...


def language_model(model: Any) -> Any:
    """The language model within `model` as a causal one of its own: the same weights, none copied."""
    with torch.device("meta"):  # attention is set up already, and not to be checked again
        causal = AutoModelForCausalLM.from_config(deepcopy(model.config.text_config), attn_implementation="eager")
    causal.config = model.config.text_config
    causal.model = model.model.language_model
    causal.lm_head = model.lm_head
    return causal.eval()


@dataclass
class _Listening(StoppingCriteria):
    """Ends `generate()` when no more is wanted, and keeps when the first token came."""

    ear: TokenSink
    first: float = 0.0

    def __call__(self, input_ids: Tensor, *_: Any, **__: Any) -> Tensor:
        """Does the answer end here? transformers asks after each token."""
        self.first = self.first or time.monotonic()
        stop = not self.ear.take(input_ids[0].tolist()) or self.ear.cancel.is_set()
        return torch.full((len(input_ids),), stop, device=input_ids.device)


class Reference:
    """One request at a time through `generate()`: slow and simple, what the other engine is held against."""

    def __init__(self, model: Any, decoding: Decoding) -> None:
        """`model` is a VibeVoiceAsrForConditionalGeneration."""
        self._model = language_model(model)
        self._decoding = decoding
        self._lock = threading.Lock()

    def generate(
        self, prompt: Tensor, max_new_tokens: int, on_tokens: TokenListener, cancel: threading.Event
    ) -> Generation:
        """See `Engine`; waits until the requests before are done."""
        while not self._lock.acquire(timeout=POLL_SECONDS):
            if cancel.is_set():
                return Generation((), Stop.CANCELLED)
        try:
            return self._generate(prompt, max_new_tokens, TokenSink(on_tokens, cancel))
        except RuntimeError as error:  # PyTorch's; GPU errors have no other class in common
            raise engine_errors.translate(error) from error
        finally:
            self._lock.release()

    def close(self) -> None:
        """Nothing runs between requests."""

    def _penalty(self) -> LogitsProcessorList:
        """What makes repetitions less likely."""
        # Given embeddings instead of ids, generate() shows it the answer alone.
        penalty = self._decoding.repetition_penalty
        return LogitsProcessorList([] if penalty == 1.0 else [RepetitionPenaltyLogitsProcessor(penalty)])

    def _generate(self, prompt: Tensor, max_new_tokens: int, ear: TokenSink) -> Generation:
        """The answer to a prompt, token by token, until it ends or nobody wants it."""
        if ear.cancel.is_set():
            return Generation((), Stop.CANCELLED)
        listening = _Listening(ear)
        began = time.monotonic()
        with torch.no_grad():
            embeddings = prompt[None].to(self._model.model.embed_tokens.weight)
            self._model.generate(
                inputs_embeds=embeddings,
                attention_mask=torch.ones(embeddings.shape[:2], dtype=torch.long, device=embeddings.device),
                generation_config=self._decoding.config(max_new_tokens),
                logits_processor=self._penalty(),
                stopping_criteria=StoppingCriteriaList([listening]),
            )
        decode = time.monotonic() - listening.first
        return Generation(tuple(ear.tokens), ear.reason(self._decoding.eos), listening.first - began, decode)
