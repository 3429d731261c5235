"""What VibeVoice-ASR is asked: the words it was trained with, and how much context they may carry.

The checkpoint's chat template holds the same words; these are for looking at a prompt, and for templates that lack
them. The audio's tokens stand before the request.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dropscribe.core.hotwords import context_text
from dropscribe.models.context import check_context

if TYPE_CHECKING:
    from tokenizers import Tokenizer

SYSTEM = "You are a helpful assistant that transcribes audio input into text output in JSON format."
KEYS = "Start time, End time, Speaker ID, Content"
FRAME_TOKENS = 128  # tokens of a prompt beside audio and context: about 60 of the words above, the rest the template's
CONTEXT_MARK = "{context}"  # stands in a wording where the context belongs
CONTEXT_TOKENS = 2048  # most tokens of context: some 500 names; more only draws the model away from the audio


def request(seconds: float, context: str = "") -> str:
    """The user's words after the audio."""
    audio = f"This is a {seconds:.2f} seconds audio"
    if context:
        return f"{audio}, with extra info: {context}\n\nPlease transcribe it with these keys: {KEYS}"
    return f"{audio}, please transcribe it with these keys: {KEYS}"


@dataclass(frozen=True, slots=True)
class Wording:
    """A request as a checkpoint's own processor words it.

    `plain` and `with_context` are the whole prompt as text, with `duration` where the seconds and `CONTEXT_MARK` where
    the context belongs. The token `place` stands where the audio belongs.
    """

    plain: str
    with_context: str
    duration: str
    place: int

    @classmethod
    def of(cls, processor: Any) -> Wording:
        """Ask a VibeVoiceAsrProcessor.

        Without tokenizing, it neither reads the audio nor makes it louder or softer; a chunk is as loud as the whole
        recording needs, and one of its own level would merge voices.
        """
        import numpy as np

        silence = np.zeros(1, dtype=np.float32)
        plain, with_context = (
            processor.apply_transcription_request(silence, prompt=context, tokenize=False)[0]
            for context in (None, CONTEXT_MARK)
        )
        return cls(plain, with_context, processor.audio_duration_token, processor.audio_token_id)

    def tokens(self, tokenizer: Tokenizer, seconds: float, context: str = "") -> list[int]:
        """The tokens of a request, with `place` once. Raises SettingsError as `check_context`."""

        def encode(text: str) -> list[int]:
            """The tokens of a text."""
            return tokenizer.encode(text, add_special_tokens=False).ids

        extra = context_text(context)
        check_context(extra, lambda text: len(encode(text)), CONTEXT_TOKENS)
        text = (self.with_context if extra else self.plain).replace(self.duration, f"{seconds:.2f}")
        return encode(text.replace(CONTEXT_MARK, extra))

    def insert(self, words: Sequence[int], audio: Sequence[int]) -> list[int]:
        """The prompt with the tokens of the audio in their place."""
        before, after = self.around(words)
        return [*before, *audio, *after]

    def around(self, words: Sequence[int]) -> tuple[Sequence[int], Sequence[int]]:
        """The prompt's tokens before and after the audio."""
        at = words.index(self.place)
        return words[:at], words[at + 1 :]
