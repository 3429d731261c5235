"""WebVTT subtitles: voice tags name the speakers, a NOTE holds what the reader must know."""

from __future__ import annotations

from dropscribe.core.types import Transcript
from dropscribe.worker.outputs.cues import Cue, cues
from dropscribe.worker.outputs.text import MARK, legend, remarks, timestamp


def render(transcript: Transcript) -> str:
    """The header, a NOTE where there is something to note, and all cues."""
    note = "\n".join(["NOTE", *remarks(transcript), *legend(transcript, MARK)]).replace("-->", "\u2192")
    blocks = ["WEBVTT", note if note != "NOTE" else "", *(_block(cue) for cue in cues(transcript))]
    return "\n".join(f"{block}\n" for block in blocks if block)


def _block(cue: Cue) -> str:
    times = f"{timestamp(cue.start_ms, '.')} --> {timestamp(cue.end_ms, '.')}"
    voice = f"<v {_escape(cue.label)}>" if cue.label else ""
    return f"{times}\n{voice}" + "\n".join(_escape(line) for line in cue.lines)


def _escape(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
