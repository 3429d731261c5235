"""SubRip subtitles: numbered cues, comma before the milliseconds."""

from __future__ import annotations

import re
from itertools import starmap

from dropscribe.core.types import Transcript
from dropscribe.worker.outputs.cues import Cue, cues
from dropscribe.worker.outputs.text import has_several_speakers, timestamp

WORD_JOINER = "\u2060"  # takes no room; libass advises it after a backslash that is to be seen
BRACES = str.maketrans("{}", "()")  # between braces are codes: `{\an8}` of ASS, `{y:i}` of MicroDVD
CODES = re.compile(r"<(?=\S|[^>]*>)|\\(?=[Nnh])")  # where tags (`<i>`) and line breaks of ASS (`\N`) begin


def render(transcript: Transcript) -> str:
    """All cues; speakers are named in the text where there are several. SubRip has no room for remarks."""
    named = has_several_speakers(transcript)
    return "\n".join(starmap(_block, enumerate(cues(transcript, with_names=named), start=1)))


def _block(number: int, cue: Cue) -> str:
    """A cue in SubRip."""
    times = f"{timestamp(cue.start_ms, ',')} --> {timestamp(cue.end_ms, ',')}"
    text = "\n".join(cue.lines).replace("-->", "\u2192").translate(BRACES)
    inert = CODES.sub(f"\\g<0>{WORD_JOINER}", text)  # SubRip has no escapes: what players obey is broken up or replaced
    return "\n".join([str(number), times, inert, ""])
