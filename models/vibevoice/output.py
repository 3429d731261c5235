"""One answer while it streams: tokens to text, text to segments, and an eye on loops."""

from __future__ import annotations

from collections.abc import Callable

from tokenizers import Tokenizer
from tokenizers.decoders import DecodeStream

from dropscribe.core.types import FinishReason, Segment
from dropscribe.models.vibevoice.generation import Stop
from dropscribe.models.vibevoice.loops import MAX_GRAM, LoopDetector
from dropscribe.models.vibevoice.parsing import StreamParser

STUCK_TOKENS = 256  # the same 1 to 8 over and over for so long, wherever it is: 32 times and more


class StreamedOutput:
    """Listens to the tokens of one request; `progress` hears how many seconds of the audio are read."""

    def __init__(self, tokenizer: Tokenizer, progress: Callable[[float], None]) -> None:
        """`tokenizer` is the checkpoint's."""
        self._tokenizer = tokenizer
        self._stream = DecodeStream(skip_special_tokens=True)
        self._parser = StreamParser()
        self._loops = LoopDetector()
        self._progress = progress
        self._tail: list[int] = []
        self.looped = False

    def listen(self, tokens: list[int]) -> bool:
        """Take the next tokens; False when the answer is caught in a loop."""
        pieces = (self._stream.step(self._tokenizer, token) for token in tokens)
        segments = self._parser.feed("".join(filter(None, pieces)))
        if segments:
            self._progress(self._parser.last_end)
        self._tail = [*self._tail, *tokens][-STUCK_TOKENS:]
        self.looped = self.looped or self._loops.feed(self._parser.take_content()) or _is_stuck(self._tail)
        return not self.looped

    def end(self, stop: Stop) -> tuple[tuple[Segment, ...], FinishReason]:
        """The complete segments, and how the answer ended; complete only when the model said so itself."""
        parsed = self._parser.finish()
        if self.looped:
            return parsed.segments, FinishReason.LOOP
        if stop is Stop.CANCELLED:
            return parsed.segments, FinishReason.CANCELLED
        return parsed.segments, FinishReason.COMPLETE if parsed.complete else FinishReason.TRUNCATED


def _is_stuck(tail: list[int]) -> bool:
    """Do the last tokens repeat a few of them without end?"""
    if len(tail) < STUCK_TOKENS:
        return False
    return any(tail[period:] == tail[:-period] for period in range(1, MAX_GRAM + 1))
