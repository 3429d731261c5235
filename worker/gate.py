"""Is this answer to be believed? Pure checks of one chunk's transcript against its audio."""

from __future__ import annotations

from collections.abc import Iterable

from core.types import Ended, RawTranscript, Span

SLACK = 0.5  # seconds a segment may stick out of its chunk: models round their times
SILENT_ANSWER = 5.0  # seconds of detected speech that an answer without a word cannot have overheard

ENDINGS = {
    Ended.TRUNCATED: "the model's answer breaks off",
    Ended.LOOP: "the model repeated itself",
}


def check(result: RawTranscript, duration: float, speech: Iterable[Span]) -> tuple[str, ...]:
    """Reasons not to trust the answer to a chunk of `duration` seconds; empty when it passes.

    `speech` is where speech was detected, in the chunk's time.
    """
    reasons = []
    if result.ended in ENDINGS:
        reasons.append(ENDINGS[result.ended])
    if any(s.start < -SLACK or s.end > duration + SLACK or s.end < s.start for s in result.segments):
        reasons.append("the answer has times outside its chunk")
    heard = sum(span.duration for span in speech)
    if not result.segments and heard >= SILENT_ANSWER:
        reasons.append(f"no word was read in {heard:.0f} s of detected speech")
    return tuple(reasons)
