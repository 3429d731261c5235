"""From the text that VibeVoice-ASR writes to segments, while it streams. Takes whatever comes and never raises.

The answer should be `[{"Start":0.0,"End":7.5,"Speaker":0,"Content":"..."}, ...]`. Known to come too: a word before
it, code fences, other names for the keys, times and speakers as text, no speaker, several speakers in one content,
sounds in brackets, unescaped quotes, an end in the middle.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, chain, compress, pairwise, repeat
from operator import attrgetter

from dropscribe.core.types import Segment, SegmentKind
from dropscribe.models.vibevoice.json_stream import ObjectReader, State

FIELDS = {
    "start": ("start", "starttime", "begin"),
    "end": ("end", "endtime", "stop"),
    "speaker": ("speaker", "speakerid"),
    "content": ("content", "text", "transcript"),
}
_FIELD_OF = {name: field for field, names in FIELDS.items() for name in names}

_TIME = re.compile(
    r"(?:(?:(\d{1,4}):)?(\d{1,4}):)?(\d+(?:[.,]\d*)?|[.,]\d+)\s*(?:s|sec|seconds)?", re.ASCII | re.IGNORECASE
)
_SPEAKER = re.compile(r"(?:[a-z]+[\s_#-]*)?(\d{1,4})(?:\.0*)?", re.ASCII | re.IGNORECASE)
_NAMED = re.compile(r"\[?speaker[\s_#-]*(\d{1,4})\]?\s*[:\uff1a]\s*", re.ASCII | re.IGNORECASE)
# A content that is nothing but one bracket is a sound, whatever its name; within words only the known names are.
_SOUND = re.compile(r"\[[^\W\d_][\w /,'-]{0,60}\]")
_SOUND_WITHIN = re.compile(
    r"(\[(?:silence|music|noise|laughter|applause|(?:environmental|human|background) (?:sounds?|noises?)"
    r"|unintelligible(?: speech)?)\])",
    re.IGNORECASE,
)
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")


@dataclass(frozen=True, slots=True)
class Parsed:
    """What an answer said. `complete`: its array was closed. `error` says what could not be read, or is empty."""

    segments: tuple[Segment, ...]
    complete: bool
    error: str = ""


class StreamParser:
    """Reads an answer piece by piece; the pieces may be cut anywhere, and it never matters where."""

    def __init__(self) -> None:
        """Nothing is read yet."""
        self._reader = ObjectReader(lambda key: _field(key) == "content")
        self._segments: list[Segment] = []
        self._last_end = 0.0
        self._blank = True
        self._untimed = 0

    @property
    def last_end(self) -> float:
        """The largest end of a complete segment so far, in seconds: how far the model has read."""
        return self._last_end

    def feed(self, text: str) -> list[Segment]:
        """Read on; the segments that are complete now."""
        self._blank = self._blank and not text.strip()
        fresh = [*chain.from_iterable(map(self._segments_of, self._reader.feed(text)))]
        self._segments += fresh
        return fresh

    def take_content(self) -> str:
        """What was said in the contents since the last call, as it grows; a newline ends each content."""
        heard = "".join(self._reader.heard)
        self._reader.heard.clear()
        return heard

    def finish(self) -> Parsed:
        """All that was read."""
        complete = self._reader.state is State.AFTER
        return Parsed(tuple(self._segments), complete, self._error(complete))

    def _error(self, complete: bool) -> str:
        """What is wrong with the answer; empty if nothing is."""
        if self._blank:
            return "the output is empty"
        problems = {
            "the output holds no segment": not self._segments and not complete,
            f"segments that cannot be read: {self._reader.broken}": self._reader.broken,
            f"segments without a start or an end: {self._untimed}": self._untimed,
        }
        return "; ".join(compress(problems, problems.values()))

    def _segments_of(self, values: dict[str, str]) -> list[Segment]:
        """One object's segments: none where nothing was said. Unknown times are taken from the neighbours."""
        fields = {field: value for key, value in values.items() if (field := _field(key))}
        content = _clean(fields.get("content", ""))
        start, end = _seconds(fields.get("start", "")), _seconds(fields.get("end", ""))
        self._untimed += bool(content) and (start is None or end is None)
        start = self._last_end if start is None else start
        end = max(start, self._last_end) if end is None else end
        self._last_end = max(self._last_end, end)
        return list(_spread(list(_turns(content, speaker_of(fields.get("speaker", "")))), start, end))


def parse(text: str) -> Parsed:
    """Read a whole answer."""
    parser = StreamParser()
    parser.feed(text)
    return parser.finish()


def speaker_of(text: str) -> int | None:
    """A speaker's number: `0`, `Speaker 1`, `SPEAKER_02`, `3.0`; None for anything else."""
    found = _SPEAKER.fullmatch(text.strip())
    return int(found[1]) if found else None


def _field(key: str) -> str:
    """The field that a key means, however it is spelled; empty for none."""
    return _FIELD_OF.get(re.sub(r"[\W_]", "", key).lower(), "")


def _seconds(text: str) -> float | None:
    """Seconds: `1.50`, `1,5 s`, `00:01:02.5`; None for anything else."""
    text = text.strip()
    if found := _TIME.fullmatch(text):
        hours, minutes, seconds = found.groups(default="0")
        value = 3600 * int(hours) + 60 * int(minutes) + float(seconds.replace(",", "."))
    else:
        try:
            value = float(text)  # a sign, an exponent
        except ValueError:
            return None
    return value if math.isfinite(value) else None


def _clean(text: str) -> str:
    """Text that any file and database takes: no control characters; surrogates are joined or replaced."""
    joined = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return _CONTROL.sub("", joined).strip()


@dataclass(frozen=True, slots=True)
class _Turn:
    text: str
    speaker: int | None
    kind: SegmentKind


def _turns(content: str, speaker: int | None) -> Iterator[_Turn]:
    """The parts of one content. A new line is a new voice: nobody knows whose, unless it is named."""
    for line in _stripped(re.split(r"[\r\n]+", content)):
        named = _NAMED.match(line)
        voice, said = (int(named[1]), line[named.end() :]) if named else (speaker, line)
        turns = [*map(_turn, _stripped(_parts(said)), repeat(voice))]
        yield from turns
        if SegmentKind.SPEECH in map(attrgetter("kind"), turns):
            speaker = None


def _stripped(texts: Iterable[str]) -> Iterator[str]:
    """Without blanks around them, and without those that have nothing else."""
    return filter(None, map(str.strip, texts))


def _parts(line: str) -> list[str]:
    """The sounds and the words in a line.

    >>> _parts("[Music]")
    ['[Music]']
    """
    return [line] if _SOUND.fullmatch(line) else _SOUND_WITHIN.split(line)


def _turn(text: str, speaker: int | None) -> _Turn:
    """A piece of a line: a sound, or words."""
    return _Turn(text, speaker, SegmentKind.EVENT if _SOUND.fullmatch(text) else SegmentKind.SPEECH)


def _spread(turns: Sequence[_Turn], start: float, end: float) -> Iterator[Segment]:
    """The turns one after the other, each as long as its share of the characters."""
    edges = [*accumulate(map(len, map(attrgetter("text"), turns)), initial=0)]
    shares = [read / edges[-1] for read in edges if turns]
    times = [start * (1 - share) + end * share for share in shares]
    for turn, (begin, finish) in zip(turns, pairwise(times), strict=True):
        yield Segment(
            start=begin,
            end=finish,
            text=turn.text,
            speaker=turn.speaker,
            kind=turn.kind,
        )
