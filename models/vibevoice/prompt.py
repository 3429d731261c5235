"""What VibeVoice-ASR is asked: the words it was trained with, and how much context they may carry.

The checkpoint's chat template holds the same words; these are for looking at a prompt, and for templates that lack
them. The audio's tokens stand before the request.
"""

from __future__ import annotations

from collections.abc import Callable

from core.errors import SettingsError

SYSTEM = "You are a helpful assistant that transcribes audio input into text output in JSON format."
KEYS = "Start time, End time, Speaker ID, Content"
FRAME_TOKENS = 128  # tokens of a prompt beside audio and context: about 60 of the words above, the rest the template's
CONTEXT_TOKENS = 2048  # most tokens of context: some 500 names; more only draws the model away from the audio


def request(seconds: float, context: str = "") -> str:
    """The user's words after the audio."""
    audio = f"This is a {seconds:.2f} seconds audio"
    if context:
        return f"{audio}, with extra info: {context}\n\nPlease transcribe it with these keys: {KEYS}"
    return f"{audio}, please transcribe it with these keys: {KEYS}"


def check_context(text: str, count: Callable[[str], int], limit: int = CONTEXT_TOKENS) -> int:
    """The number of tokens of a context by `count`. Raises SettingsError when it is over the limit."""
    tokens = count(text)
    if tokens > limit:
        raise SettingsError(
            f"the context has {tokens:,} tokens and {limit:,} are allowed; shorten the context or the hotwords"
        )
    return tokens
