"""WebVTT subtitles: voice tags name the speakers, a NOTE holds what the reader must know."""

from __future__ import annotations

from dropscribe.core.types import Transcript
from dropscribe.worker.outputs.cues import Cue, cues
from dropscribe.worker.outputs.text import MARK, blocks, legend, remarks, timestamp


def render(transcript: Transcript) -> str:
    """The header, a NOTE where there is something to note, and all cues."""
    notes = [*remarks(transcript), *legend(transcript, MARK)]
    note = "\n".join(["NOTE", *notes]).replace("-->", "\u2192") if notes else ""
    return blocks("WEBVTT", note, *map(_block, cues(transcript)))


def _block(cue: Cue) -> str:
    """A cue in WebVTT; players take who speaks from its tag."""
    times = f"{timestamp(cue.start_ms, '.')} --> {timestamp(cue.end_ms, '.')}"
    voice = f"<v {_escape(cue.label)}>" if cue.label else ""
    return f"{times}\n{voice}" + "\n".join(map(_escape, cue.lines))


def _escape(text: str) -> str:
    """Text in which players see no tags.

    >>> _escape("a < b & c")
    'a &lt; b &amp; c'
    """
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
