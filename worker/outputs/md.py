"""Markdown (CommonMark) for wikis and notebooks: a paragraph for each turn; what is said is never markup."""

from __future__ import annotations

import re

from dropscribe.core.types import Transcript
from dropscribe.worker.outputs.text import blocks, clock, facts, legend, remarks, title
from dropscribe.worker.outputs.turns import Turn, turns

# What would begin markup within a line; a tag or an entity only where it looks like one, so that "R&D < 5" stays.
_MARKUP = re.compile(r"[\\`*_\[\]~$]|<(?=[a-zA-Z/!?])|&(?=#?\w+;)")


def render(transcript: Transcript) -> str:
    """A heading, facts, remarks as a quotation, and paragraphs `**HH:MM:SS Speaker 1:** text`."""
    heading = "# " + escape(title(transcript)).replace("#", "\\#")
    known = "\n".join(f"- {fact}: {escape(value)}" for fact, value in facts(transcript))
    quoted = "\n".join(f"> - {escape(remark)}" for remark in (*remarks(transcript), *legend(transcript)))
    return blocks(heading, known, quoted, *map(_paragraph, turns(transcript)))


def escape(text: str) -> str:
    """One line of plain text as Markdown."""
    return _MARKUP.sub(r"\\\g<0>", text)


def _paragraph(turn: Turn) -> str:
    """What one speaker says, in Markdown."""
    who = f" {escape(turn.label)}:" if turn.label else ""
    return f"**{clock(turn.start)}{who}** {escape(turn.text)}"
