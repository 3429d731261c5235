"""What VibeVoice-ASR is asked: the words it was trained with, and the names and topics that help it to spell.

The checkpoint's chat template holds the same words; these are for looking at a prompt, and for templates that lack
them. The audio's tokens stand before the request.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence

from core.errors import SettingsError

SYSTEM = "You are a helpful assistant that transcribes audio input into text output in JSON format."
KEYS = "Start time, End time, Speaker ID, Content"
FRAME_TOKENS = 128  # tokens of a prompt beside audio and context: about 60 of the words above, the rest the template's
CONTEXT_TOKENS = 2048  # most tokens of context: some 500 names; more only draws the model away from the audio

_SEPARATOR = r",;\uff0c\u3001\uff1b"  # the comma and the semicolon, and the Chinese and Japanese ones
_COMMENT = re.compile(rf"(?:^|[\s{_SEPARATOR}])#.*")


def request(seconds: float, context: str = "") -> str:
    """The user's words after the audio."""
    audio = f"This is a {seconds:.2f} seconds audio"
    if context:
        return f"{audio}, with extra info: {context}\n\nPlease transcribe it with these keys: {KEYS}"
    return f"{audio}, please transcribe it with these keys: {KEYS}"


def context_text(context: str, hotwords: Sequence[str] = ()) -> str:
    """The extra information as one line: the context, then the terms that it does not name yet."""
    topic = " ".join(context.split())
    terms = ", ".join(term for term in _distinct(hotwords) if not _names(topic, term))
    return "; ".join(part for part in (topic, terms) if part)


def _names(text: str, term: str) -> bool:
    """Does the text hold the term as a word of its own?"""
    return re.search(rf"(?<!\w){re.escape(term)}(?!\w)", text, re.IGNORECASE) is not None


def read_hotwords(text: str) -> tuple[str, ...]:
    """The terms of a hotwords file, in order: one a line, or separated by commas or semicolons.

    A `#` that begins a word begins a comment; within a word it is kept (`C#`). Of terms that differ in nothing but
    case the first is kept.
    """
    lines = (_COMMENT.sub("", line) for line in text.removeprefix("\ufeff").splitlines())
    return _distinct(term for line in lines for term in re.split(f"[{_SEPARATOR}]", line))


def _distinct(terms: Iterable[str]) -> tuple[str, ...]:
    tidy = (" ".join(term.split()) for term in terms)
    first: dict[str, str] = {}
    for term in tidy:
        if term:
            first.setdefault(term.casefold(), term)
    return tuple(first.values())


def check_context(text: str, count: Callable[[str], int], limit: int = CONTEXT_TOKENS) -> int:
    """The number of tokens of a context by `count`. Raises SettingsError when it is over the limit."""
    tokens = count(text)
    if tokens > limit:
        raise SettingsError(
            f"the context has {tokens:,} tokens and {limit:,} are allowed; shorten the context or the hotwords"
        )
    return tokens
