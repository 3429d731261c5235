"""Does a copy of a model hear and answer as its source does? Scores, their limits, and the result. Pure, no torch."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class ModelOutput:
    """What one model made of one recording.

    `features` (tokens, hidden) are its embeddings; `logits` (answer, vocabulary) those before each token of the
    source's answer, given the source's embeddings. `tokens` are its own answer to its own embeddings, and `text` the
    words in it.
    """

    features: NDArray[np.float32]
    logits: NDArray[np.float32]
    tokens: tuple[int, ...]
    text: str


@dataclass(frozen=True, slots=True)
class Parity:
    """How alike two answers to one recording are.

    `encoder` and `decoder` are cosines, on average over the tokens of audio and of the answer; `agreement` is the
    share of the answer's tokens at which both find the same one the likeliest. The source wrote `words` words, to which
    the copy's are `errors` changes away; `same` says that the answers are equal, token for token.
    """

    encoder: float
    decoder: float
    agreement: float
    words: int
    errors: int
    same: bool


@dataclass(frozen=True, slots=True)
class ParityLimits:
    """The least cosines and agreement, and the largest share of words that may be otherwise."""

    encoder: float
    decoder: float
    agreement: float
    words: float
    same: bool = False


LIMITS = {
    "fp32": ParityLimits(0.999, 0.999, 1.0, 0.0, same=True),
    "bf16": ParityLimits(0.998, 0.99, 0.97, 0.05),
    "fp16": ParityLimits(0.998, 0.99, 0.97, 0.05),
    "int8": ParityLimits(0.998, 0.98, 0.95, 0.10),
    "nf4": ParityLimits(0.998, 0.98, 0.90, 0.10),
    "int4": ParityLimits(0.998, 0.98, 0.90, 0.10),
}


@dataclass(frozen=True, slots=True)
class Score:
    """One line of the result: `value` has to be at least, or for `at_most` at most, `limit`."""

    name: str
    value: float
    limit: float
    at_most: bool = False

    @property
    def passed(self) -> bool:
        """It is within its limit; NaN never is."""
        return self.value <= self.limit if self.at_most else self.value >= self.limit


def compare(source: ModelOutput, copy: ModelOutput) -> Parity:
    """How alike they are."""
    said, read = (normalize(answer.text) for answer in (source, copy))
    return Parity(
        encoder=cosine(source.features, copy.features),
        decoder=cosine(source.logits, copy.logits),
        agreement=float((source.logits.argmax(-1) == copy.logits.argmax(-1)).mean()),
        words=len(said),
        errors=edits(said, read),
        same=source.tokens == copy.tokens,
    )


def judge(found: Sequence[Parity], limits: ParityLimits) -> list[Score]:
    """The worst recording's cosines and agreement, and the words of all, each beside its limit."""
    figures = [*map(attrgetter("encoder", "decoder", "agreement"), found)]
    encoder, decoder, agreement = np.min(figures, axis=0)  # or NaN
    words, errors, same_ones = (sum(map(attrgetter(name), found)) for name in ("words", "errors", "same"))
    scores = [
        Score("encoder, cosine", float(encoder), limits.encoder),
        Score("decoder, cosine", float(decoder), limits.decoder),
        Score("next token, agreement", float(agreement), limits.agreement),
        Score("words that differ", errors / max(1, words), limits.words, at_most=True),
    ]
    same = Score("transcripts that are equal", same_ones / len(found), 1.0)
    return [*scores, same] if limits.same else scores


def cosine(one: NDArray[Any], other: NDArray[Any]) -> float:
    """Of the vectors of both, any floats of shape (count, size), on average; 0 where they are not as many."""
    if one.shape != other.shape:
        return 0.0
    first, second = one.astype(np.float64), other.astype(np.float64)
    lengths = np.linalg.norm(first, axis=-1) * np.linalg.norm(second, axis=-1)
    return float(((first * second).sum(-1) / lengths).mean())


def normalize(text: str) -> list[str]:
    """Its words, in lower case and without punctuation.

    >>> normalize("Well, it's Monday!")
    ['well', "it's", 'monday']
    """
    return re.findall(r"\w+(?:'\w+)*", text.lower())


def edits(said: Sequence[str], read: Sequence[str]) -> int:
    """The least number of words to change, leave out or add (V. Levenshtein, 1966), in a row of memory.

    >>> edits("we meet on monday".split(), "we will meet monday".split())
    2
    """
    row = list(range(len(read) + 1))
    for index, word in enumerate(said, 1):
        before, row[0] = row[0], index
        for at, other in enumerate(read, 1):
            before, row[at] = row[at], min(row[at] + 1, row[at - 1] + 1, before + (word != other))
    return row[-1]
