"""What the formats for people share: safe text, speakers' names, clocks, and the remarks at the top."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from operator import attrgetter, itemgetter
from pathlib import PurePosixPath

from dropscribe.core.clock import clock as shortest_clock
from dropscribe.core.confidence import UNSURE, is_unsure
from dropscribe.core.safe_text import without_escapes
from dropscribe.core.scripts import is_set_solid
from dropscribe.core.spans import total
from dropscribe.core.types import Segment, SegmentKind, Speaker, SpeechTask, Transcript

MARK = "[?]"  # stands before unsure words in subtitles
OPEN, CLOSE = "[?", "?]"  # stand around them in running text

# Controls other than whitespace, and those that turn the direction of what follows them.
_INVISIBLE = re.compile("[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\u202a-\u202e\u2066-\u2069\ufeff]")


def clean(text: str) -> str:
    """One line without control characters and terminal escapes; runs of whitespace become one blank.

    >>> clean("  one" + chr(10) + chr(9) + "two ")
    'one two'
    """
    return " ".join(_INVISIBLE.sub("", without_escapes(text)).split())


def join(before: str, after: str) -> str:
    """Two non-empty pieces of running text as one, with a blank between them where the script has blanks.

    >>> join("one", "two"), join("語", "学")
    ('one two', '語学')
    """
    return before + ("" if is_set_solid(before[-1]) and is_set_solid(after[0]) else " ") + after


def name(speaker: int | None) -> str:
    """What a speaker is called until somebody names them: people count from one.

    >>> name(0), name(None)
    ('Speaker 1', 'Speaker ?')
    """
    return "Speaker ?" if speaker is None else Speaker(speaker).called


def names(transcript: Transcript) -> dict[int, str]:
    """What the speakers that have a name are called, made safe for one line."""
    return {speaker.number: clean(speaker.name) for speaker in transcript.speakers if clean(speaker.name)}


def labeller(transcript: Transcript) -> Callable[[Segment], str]:
    """A function that names a segment's speaker: empty for sounds, and where no speakers were distinguished."""
    anyone = bool(told_apart(transcript))
    called = names(transcript)

    def label(segment: Segment) -> str:
        """What is written before what somebody says; empty where speakers were not distinguished."""
        if not anyone or not segment.is_speech:
            return ""
        return called.get(segment.speaker, name(segment.speaker)) if segment.speaker is not None else name(None)

    return label


def told_apart(transcript: Transcript) -> list[int]:
    """The numbers of those who speak, in order; none where no speakers were distinguished."""
    return sorted(number for number in _speakers(transcript) if number is not None)


def has_several_speakers(transcript: Transcript) -> bool:
    """True when a reader has to see who is speaking."""
    return len(_speakers(transcript)) > 1


def _speakers(transcript: Transcript) -> set[int | None]:
    """The numbers of all who speak; None among them where somebody is not known."""
    return {s.speaker for s in transcript.segments if s.kind is SegmentKind.SPEECH}


def remarks(transcript: Transcript) -> list[str]:
    """What a reader has to know beforehand, a line each; empty for an ordinary transcript."""
    notes = map("Note: {}".format, filter(None, (transcript.engine.notice, *transcript.notes)))
    suspect = map("SUSPECT: {}".format, transcript.reasons)
    uncovered = [
        f"Uncovered speech: {clock(span.start)} to {clock(math.ceil(span.end))}" for span in transcript.uncovered_speech
    ]
    return [*map(clean, (*notes, *suspect, *uncovered))]


def legend(transcript: Transcript, mark: str = f"{OPEN} {CLOSE}") -> list[str]:
    """A line that explains the `mark` of unsure words; none where there are none."""
    unsure = [segment for segment in transcript.segments if is_unsure(segment) and clean(segment.text)]
    if not unsure:
        return []
    seconds = math.ceil(total(map(attrgetter("span"), unsure)))
    return [f"Unsure words: {clock(seconds)}, marked {mark}; the recognizer's confidence in them is below {UNSURE:.0%}"]


def title(transcript: Transcript) -> str:
    """The recording's file name."""
    return clean(PurePosixPath(transcript.source.path).name)


def facts(transcript: Transcript) -> list[tuple[str, str]]:
    """What a reader may want to know of the recording and its reading: names and values."""
    engine, model, precision = transcript.engine.engine, transcript.engine.model, transcript.engine.precision
    reader = model if engine.casefold() in model.casefold() else f"{engine} {model}".rstrip()
    found = {
        "Length": clock(transcript.source.duration),
        "Read on": clean(transcript.created_at[:10]),
        "Read by": clean(f"{reader} ({precision})" if precision != "none" else reader),
        "Job": clean(transcript.job_id),
        "Translated": "into English" if transcript.task is SpeechTask.TRANSLATE else "",
        "Corrected by people": f"revision {transcript.revision}" if transcript.revision else "",
    }
    return [*filter(itemgetter(1), found.items())]


def milliseconds(seconds: float) -> int:
    """Whole milliseconds, never negative: no format can write a time before the beginning.

    >>> milliseconds(1.2346), milliseconds(-1.0)
    (1235, 0)
    """
    return max(0, round(seconds * 1000))


def clock(seconds: float) -> str:
    """`HH:MM:SS`, the second that has begun; hours may have more than two digits.

    >>> clock(3725.9)
    '01:02:05'
    """
    return shortest_clock(seconds, hours=2)


def timestamp(ms: int, separator: str) -> str:
    """`HH:MM:SS` and milliseconds after `separator`, as subtitles write it.

    >>> timestamp(3_725_042, ",")
    '01:02:05,042'
    """
    return f"{clock(ms // 1000)}{separator}{ms % 1000:03}"


def blocks(*texts: str) -> str:
    """The texts that are not empty, with an empty line between them."""
    return "\n".join(f"{text}\n" for text in filter(None, texts))
