"""Plain text for reading: a paragraph for each turn of a speaker, remarks first."""

from __future__ import annotations

from dropscribe.core.types import Transcript
from dropscribe.worker.outputs.text import blocks, clock, legend, remarks
from dropscribe.worker.outputs.turns import Turn, turns


def render(transcript: Transcript) -> str:
    """Paragraphs `[HH:MM:SS] Speaker 1: text`, a blank line between them."""
    header = "\n".join([*remarks(transcript), *legend(transcript)])
    return blocks(header, *map(_paragraph, turns(transcript)))


def _paragraph(turn: Turn) -> str:
    """What one speaker says, after the time and the name."""
    return f"[{clock(turn.start)}] " + (f"{turn.label}: " if turn.label else "") + turn.text
