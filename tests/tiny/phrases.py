"""The closed vocabulary, and the texts that are spoken for training and kept back for evaluation."""

from __future__ import annotations

import random
import zlib

DIGITS = tuple("zero one two three four five six seven eight nine".split())
WORDS = tuple(
    "yes no stop go left right up down open close red green blue black white door window water house tree "
    "dog bird fish morning evening please thank hello again paper".split()
)
HELD_OUT_SHARE = 8  # one text in eight is never spoken in training
LONGEST = 4  # words of one turn


def is_held_out(text: str) -> bool:
    """Whether a text belongs to the evaluation only. Single words cannot: there are only ten of them."""
    return " " in text and zlib.crc32(text.encode()) % HELD_OUT_SHARE == 0


def sample_texts(count: int, *, held_out: bool, seed: int, vocabulary: tuple[str, ...] = DIGITS) -> list[str]:
    """`count` texts of one to four words, drawn from `seed`; the two sides of `held_out` share no text but words."""
    draw = random.Random(seed)
    return [_sample(draw, draw.randint(1, LONGEST), held_out, vocabulary) for _ in range(count)]


def _sample(draw: random.Random, length: int, held_out: bool, vocabulary: tuple[str, ...]) -> str:
    while True:
        text = " ".join(draw.choices(vocabulary, k=length))
        if length == 1 or is_held_out(text) == held_out:
            return text
