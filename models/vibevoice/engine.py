"""From a prompt to tokens: what every engine offers, and the plain one, which reads one request at a time.

Two engines answer alike, token for token: `Reference` here, by transformers' `generate()`, and `Batched` in
`batching.py`, in which requests join and leave while others run.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol

import torch
from torch import Tensor
from transformers import (
    AutoModelForCausalLM,
    GenerationConfig,
    LogitsProcessorList,
    RepetitionPenaltyLogitsProcessor,
    StoppingCriteria,
    StoppingCriteriaList,
)

from models import faults
from models.vibevoice.soft_tokens import SoftTokens

POLL_SECONDS = 0.1  # between two looks at new tokens: often enough for progress, rarely enough to cost nothing

Listener = Callable[[list[int]], bool]  # takes the tokens that are new; False: this is enough


class Stop(StrEnum):
    """Why a request got no more tokens."""

    EOS = "eos"
    BUDGET = "budget"
    LISTENER = "listener"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class Generation:
    """An answer: its tokens (the one that ends it included), why it ended, seconds to the first token and after."""

    tokens: tuple[int, ...]
    stop: Stop
    prefill: float = 0.0
    decode: float = 0.0


@dataclass(frozen=True, slots=True)
class Decoding:
    """How the next token is chosen: the likeliest at `temperature` 0. `repetition_penalty` sees the answer alone."""

    eos: tuple[int, ...]
    pad: int = 0
    temperature: float = 0.0
    repetition_penalty: float = 1.0

    def config(self, budget: int | None = None) -> GenerationConfig:
        """The same in transformers' terms, but for the penalty: each engine has its own, which sees words only.

        At a temperature the token is drawn from all words, as no top_k cuts the tail.
        """
        sampling: dict[str, Any] = {"temperature": self.temperature, "top_k": 0, "top_p": 1.0}
        return GenerationConfig(
            max_new_tokens=budget,
            do_sample=self.temperature > 0,
            eos_token_id=list(self.eos),
            pad_token_id=self.pad,
            **(sampling if self.temperature > 0 else {}),
        )


class Engine(Protocol):
    """Serves the language model to as many threads as want to."""

    def generate(self, prompt: Sequence[int], budget: int, listen: Listener, cancel: threading.Event) -> Generation:
        """Continue a prompt of words and soft tokens by at most `budget` tokens.

        `listen` is called in this thread. Its answer and `cancel` take effect within a decode step; when this
        returns, no soft token of the prompt is read any more. Raises ModelError and ModelFatalError.
        """
        ...

    def close(self) -> None:
        """Stop serving; no call may follow."""
        ...


def language_model(model: Any) -> Any:
    """The language model within `model` as a causal one of its own: the same weights, none copied."""
    config = deepcopy(model.config.text_config)
    config._attn_implementation = "eager"  # noqa: SLF001  # attention is set up already, and not to be checked again
    with torch.device("meta"):
        causal = AutoModelForCausalLM.from_config(config)
    causal.config = model.config.text_config
    causal.model = model.model.language_model
    causal.lm_head = model.lm_head
    return causal.eval()


@dataclass(slots=True)
class Ear:
    """Hands on the tokens that are new, and remembers why no more are wanted.

    An engine that had to start anew lets the answer go on after `earlier`, the tokens that it got before.
    """

    listen: Listener
    cancel: threading.Event
    tokens: list[int] = field(default_factory=list)
    earlier: tuple[int, ...] = ()
    enough: bool = False

    def take(self, tokens: Sequence[int]) -> bool:
        """Hand on what is new in `tokens`, all that came after `earlier`; False when no more are wanted."""
        fresh = list(tokens[len(self.tokens) - len(self.earlier) :])
        if fresh and not self.enough:
            self.tokens += fresh
            self.enough = not self.listen(fresh)
        return not self.enough

    def turn_over(self) -> None:
        """From here on, what was heard is part of the prompt."""
        self.earlier = tuple(self.tokens)

    def reason(self, eos: tuple[int, ...]) -> Stop:
        """Why the answer ended."""
        if self.enough:
            return Stop.LISTENER
        if self.tokens and self.tokens[-1] in eos:
            return Stop.EOS
        return Stop.CANCELLED if self.cancel.is_set() else Stop.BUDGET

    def is_over(self, budget: int, eos: tuple[int, ...]) -> bool:
        """Whether nothing is to be added."""
        return len(self.tokens) >= budget or self.reason(eos) is not Stop.BUDGET


@dataclass
class _Listening(StoppingCriteria):
    """Ends `generate()` when no more is wanted, and keeps when the first token came."""

    ear: Ear
    first: float = 0.0

    def __call__(self, input_ids: Tensor, *_: Any, **__: Any) -> Tensor:
        self.first = self.first or time.monotonic()
        stop = not self.ear.take(input_ids[0].tolist()) or self.ear.cancel.is_set()
        return torch.full((len(input_ids),), stop, device=input_ids.device)


class Reference:
    """One request at a time through `generate()`: slow and simple, what the other engine is held against."""

    def __init__(self, model: Any, soft: SoftTokens, decoding: Decoding) -> None:
        """`model` is a VibeVoiceAsrForConditionalGeneration whose embedding is `soft`."""
        self._model = language_model(model)
        self._soft = soft
        self._decoding = decoding
        self._lock = threading.Lock()

    def generate(self, prompt: Sequence[int], budget: int, listen: Listener, cancel: threading.Event) -> Generation:
        """See `Engine`; waits until the requests before are done."""
        while not self._lock.acquire(timeout=POLL_SECONDS):
            if cancel.is_set():
                return Generation((), Stop.CANCELLED)
        try:
            return self._generate(prompt, budget, Ear(listen, cancel))
        except RuntimeError as error:  # PyTorch's; GPU errors have no other class in common
            raise faults.translate(error) from error
        finally:
            self._lock.release()

    def close(self) -> None:
        """Nothing runs between requests."""

    def _penalty(self) -> LogitsProcessorList:
        # Given embeddings instead of ids, generate() shows it the answer alone.
        penalty = self._decoding.repetition_penalty
        return LogitsProcessorList([] if penalty == 1.0 else [RepetitionPenaltyLogitsProcessor(penalty)])

    def _generate(self, prompt: Sequence[int], budget: int, ear: Ear) -> Generation:
        if ear.cancel.is_set():
            return Generation((), Stop.CANCELLED)
        listening = _Listening(ear)
        began = time.monotonic()
        with torch.no_grad():
            embeddings = self._soft(torch.tensor([list(prompt)], device=self._soft.table.device))
            self._model.generate(
                inputs_embeds=embeddings,
                attention_mask=torch.ones(embeddings.shape[:2], dtype=torch.long, device=embeddings.device),
                generation_config=self._decoding.config(budget),
                logits_processor=self._penalty(),
                stopping_criteria=StoppingCriteriaList([listening]),
            )
        decode = time.monotonic() - listening.first
        return Generation(tuple(ear.tokens), ear.reason(self._decoding.eos), listening.first - began, decode)
