"""An answer in tokens: how each is chosen, who listens to them, and why no more came. No torch."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformers import GenerationConfig

TokenListener = Callable[[list[int]], bool]  # takes the tokens that are new; False: this is enough


class CancelledError(Exception):
    """The request was cancelled while its audio was read."""


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
        """The same in transformers' terms, except the penalty: each engine has its own, which sees words only.

        At a temperature the token is drawn from all words, as no top_k cuts the tail.
        """
        from transformers import GenerationConfig

        sampling: dict[str, Any] = {"temperature": self.temperature, "top_k": 0, "top_p": 1.0}
        return GenerationConfig(
            max_new_tokens=budget,
            do_sample=self.temperature > 0,
            eos_token_id=list(self.eos),
            pad_token_id=self.pad,
            **(sampling if self.temperature > 0 else {}),
        )


@dataclass(slots=True)
class TokenSink:
    """Hands on the tokens that are new, and remembers why no more are wanted."""

    on_tokens: TokenListener
    cancel: threading.Event
    tokens: list[int] = field(default_factory=list)
    enough: bool = False

    def take(self, tokens: Sequence[int]) -> bool:
        """Hand on what is new in `tokens`, all that were chosen so far; False when no more are wanted."""
        fresh = list(tokens[len(self.tokens) :])
        if fresh and not self.enough:
            self.tokens += fresh
            self.enough = not self.on_tokens(fresh)
        return not self.enough

    def reason(self, eos: tuple[int, ...]) -> Stop:
        """Why the answer ended."""
        if self.enough:
            return Stop.LISTENER
        if self.tokens and self.tokens[-1] in eos:
            return Stop.EOS
        return Stop.CANCELLED if self.cancel.is_set() else Stop.BUDGET

    def is_over(self, max_new_tokens: int, eos: tuple[int, ...]) -> bool:
        """Whether nothing is to be added."""
        return len(self.tokens) >= max_new_tokens or self.reason(eos) is not Stop.BUDGET
