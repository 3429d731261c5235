"""Tab-separated values for spreadsheets and scripts: one row a segment, times in milliseconds, the confidence last."""

from __future__ import annotations

from collections.abc import Callable

from dropscribe.core.types import Segment, Transcript
from dropscribe.worker.outputs.text import clean, labeller, milliseconds

HEADER = "start\tend\tspeaker\ttext\tconfidence"

# What makes a cell a formula in a spreadsheet, also in its full-width form (OWASP, CSV Injection), and the quotation
# mark, from which on spreadsheets swallow everything up to the next one, or run what follows it.
TRIGGERS = tuple('=+-@\uff1d\uff0b\uff0d\uff20"')


def render(transcript: Transcript) -> str:
    """A header and a row for each segment. Nothing is quoted: no field holds a tab or a line break."""
    label = labeller(transcript)
    rows = [HEADER, *(_row(segment, label) for segment in transcript.segments)]
    return "".join(f"{row}\n" for row in rows)


def _row(segment: Segment, label: Callable[[Segment], str]) -> str:
    """A line of the table."""
    start, end = milliseconds(segment.start), milliseconds(segment.end)
    return f"{start}\t{end}\t{_cell(label(segment))}\t{_cell(clean(segment.text))}\t{_figure(segment.confidence)}"


def _figure(confidence: float | None) -> str:
    """A confidence with three decimals; empty where there is none.

    >>> _figure(0.91234), _figure(None)
    ('0.912', '')
    """
    return "" if confidence is None else f"{confidence:.3f}"


def _cell(text: str) -> str:
    """Text that a spreadsheet takes for text.

    >>> _cell("=1+2"), _cell("one two")
    ("'=1+2", 'one two')
    """
    return f"'{text}" if text.startswith(TRIGGERS) else text
