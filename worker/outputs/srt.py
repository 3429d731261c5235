"""SubRip subtitles: numbered cues, comma before the milliseconds."""

from __future__ import annotations

from core.types import Transcript
from worker.outputs.cues import Cue, cues
from worker.outputs.text import has_several_speakers, timestamp


def render(transcript: Transcript) -> str:
    """All cues; speakers are named in the text where there are several. SubRip has no room for remarks."""
    named = has_several_speakers(transcript)
    return "\n".join(_block(number, cue) for number, cue in enumerate(cues(transcript, with_names=named), start=1))


def _block(number: int, cue: Cue) -> str:
    # An arrow within the text would be read as a line of times.
    lines = [line.replace("-->", "\u2192") for line in cue.lines]
    times = f"{timestamp(cue.start_ms, ',')} --> {timestamp(cue.end_ms, ',')}"
    return "\n".join([str(number), times, *lines, ""])
