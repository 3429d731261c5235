"""Pure: a server's answer in JSON as a transcript. Servers differ in what they leave out."""

from __future__ import annotations

import math
import re
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Mapping, Sequence
from operator import attrgetter
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError

from dropscribe.core.errors import ModelError
from dropscribe.core.types import FinishReason, RawTranscript, Segment, Word

MAX_REPETITIVE = 2.4  # ratio of a text's size to its compressed size above which Whisper itself tries again
_CODE = re.compile(r"[a-z]{2,3}")


def _code(language: object) -> str:
    """A language by its code; some servers give its name instead, or none.

    >>> _code("de"), _code("german"), _code(None)
    ('de', '', '')
    """
    found = _CODE.fullmatch(str(language))
    return found[0] if found else ""


class _Heard(BaseModel):
    model_config = ConfigDict(coerce_numbers_to_str=True)  # some servers number the speakers

    start: float
    end: float
    text: str = ""
    speaker: str | None = None
    avg_logprob: float | None = None
    compression_ratio: float | None = None

    def confidence(self) -> float | None:
        """The mean probability of its tokens; None where the server does not tell."""
        return None if self.avg_logprob is None else round(math.exp(min(0.0, self.avg_logprob)), 3)

    def repeats_itself(self) -> bool:
        """Does the text compress so well that it must be a loop?"""
        return (self.compression_ratio or 0.0) > MAX_REPETITIVE


class _Spoken(BaseModel):
    word: str
    start: float
    end: float


class _Answer(BaseModel):
    text: str = ""
    language: Annotated[str, BeforeValidator(_code)] = ""
    segments: list[_Heard] | None = None
    words: list[_Spoken] | None = None

    def heard(self, duration: float) -> list[_Heard]:
        """What was said within the audio, in order; a text without segments is one segment."""
        found = self.segments or [_Heard(start=0.0, end=duration, text=self.text)]
        said = (one for one in found if one.text.strip() and one.start < duration)
        return sorted(said, key=attrgetter("start"))


def read(body: str, duration: float) -> RawTranscript:
    """The transcript in an answer of type json, verbose_json or diarized_json to `duration` seconds of audio.

    A text without segments is one segment over all of the audio. Speakers are numbered as they appear. A language
    counts where it is given by its code. Raises ModelError for anything but such an answer.

    >>> (segment,) = read('{"text": " Hello.", "language": "en"}', 2.0).segments
    >>> segment.start, segment.end, segment.text
    (0.0, 2.0, 'Hello.')
    """
    try:
        answer = _Answer.model_validate_json(body)
    except ValidationError as error:
        raise ModelError(
            f"the server's answer cannot be read: {error.errors()[0]['msg']}: {body[:80]!r}",
            remedy="check openai.base_url and openai.response_format",
        ) from error
    heard = answer.heard(duration)
    looped = any(map(_Heard.repeats_itself, heard))
    ended = FinishReason.LOOP if looped else FinishReason.COMPLETE
    return RawTranscript(_segments(heard, answer.words or [], duration), ended, language=answer.language)


def _segments(heard: Sequence[_Heard], spoken: Sequence[_Spoken], duration: float) -> tuple[Segment, ...]:
    """Each with its words."""
    words = _words_of(heard, spoken, duration)
    names = dict.fromkeys(map(attrgetter("speaker"), heard))
    numbers = {name: number for number, name in enumerate(filter(None, names))}
    return tuple(
        Segment(
            start=max(0.0, one.start),
            end=min(one.end, duration),
            text=one.text.strip(),
            speaker=numbers.get(one.speaker),
            confidence=one.confidence(),
            words=tuple(words[index]),
        )
        for index, one in enumerate(heard)
    )


def _words_of(said: Sequence[_Heard], spoken: Sequence[_Spoken], duration: float) -> Mapping[int, list[Word]]:
    """The words of each segment by its index: those that begin no earlier, and before the next one begins."""
    starts = [*map(attrgetter("start"), said)]
    found: dict[int, list[Word]] = defaultdict(list)
    for one in spoken:
        within = Word(max(0.0, one.start), min(one.end, duration), one.word.strip())
        found[max(0, bisect_right(starts, (one.start + one.end) / 2) - 1)].append(within)
    return found
