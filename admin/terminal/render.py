"""How the command line looks: safe text, figures for people, tables, colours, JSON."""

from __future__ import annotations

import json
import os
import sys
import unicodedata
from datetime import datetime
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from dropscribe.core.safe_text import without_escapes
from dropscribe.core.types import JobState

PIPE_WIDTH = 120  # columns of a table that goes to a file or a pipe, unless COLUMNS says otherwise

STATE_STYLES = {
    JobState.QUEUED: "cyan",
    JobState.PREPARING: "blue",
    JobState.TRANSCRIBING: "blue",
    JobState.FINISHING: "blue",
    JobState.DONE: "green",
    JobState.DUPLICATE: "green",
    JobState.SUSPECT: "yellow",
    JobState.FAILED: "red",
    JobState.PARKED: "red",
    JobState.CANCELLED: "dim",
}

_TURNS_DIRECTION = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def safe(text: str) -> str:
    """One line that a terminal shows as it stands.

    Terminal escapes, control characters and marks that turn the writing direction are dropped, whitespace
    becomes a blank, and an undecodable byte of a file name U+FFFD.
    """
    return "".join(map(_safe_character, without_escapes(text)))


def _safe_character(character: str) -> str:
    if character.isspace():
        return " "
    category = unicodedata.category(character)
    if category == "Cs":
        return "\ufffd"
    return "" if category == "Cc" or character in _TURNS_DIRECTION else character


def duration(seconds: float | None) -> str:
    """Seconds for people, in two units at most: `4.2 s`, `3 min 05 s`, `1 h 02 min`, `2 d 03 h`; `-` for None."""
    if seconds is None:
        return "-"
    if seconds < 9.95:  # what rounds to 10 needs no tenths
        return f"{max(seconds, 0.0):.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    minutes = whole // 60
    if minutes < 24 * 60:
        return f"{minutes // 60} h {minutes % 60:02d} min"
    return f"{minutes // (24 * 60)} d {minutes // 60 % 24:02d} h"


def size(octets: float) -> str:
    """Bytes for people, in decimal units: `950 B`, `1.5 MB`."""
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if octets < 999.5 or unit == "TB":
            break
        octets /= 1000
    return f"{octets:.0f} {unit}" if unit == "B" or octets >= 99.95 else f"{octets:.1f} {unit}"


def moment(epoch: float | None) -> str:
    """A point in time as this machine's local time: `2026-11-20 15:38:02`; `-` for None."""
    if epoch is None:
        return "-"
    return datetime.fromtimestamp(epoch).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def count(number: int, noun: str, plural: str = "") -> str:
    """`1 file`, `2 files`."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def console(*, stderr: bool = False) -> Console:
    """A console that takes text literally; colours only on a terminal, and not where NO_COLOR is set."""
    file = sys.stderr if stderr else sys.stdout
    width = None if file.isatty() else _pipe_width()
    return Console(file=file, width=width, markup=False, emoji=False, highlight=False)


def _pipe_width() -> int:
    columns = os.environ.get("COLUMNS", "")
    return int(columns) if columns.isdecimal() and int(columns) else PIPE_WIDTH


def table(*columns: str, whole: tuple[str, ...] = ("id",), right: tuple[str, ...] = ()) -> Table:
    """An empty table. Columns named in `whole` are never wrapped or cut, those in `right` hold figures."""
    made = Table(box=SIMPLE_HEAD, pad_edge=False, header_style="bold")
    for name in columns:
        figures = name in right
        made.add_column(
            name,
            no_wrap=name in whole or figures,
            justify="right" if figures else "left",
            overflow="fold",
            min_width=8 if name == "id" else None,  # the length of an id
        )
    return made


def facts() -> Table:
    """An empty grid of names and what there is to say about each."""
    made = Table.grid(padding=(0, 2))
    made.add_column(style="bold", no_wrap=True)
    made.add_column(overflow="fold")
    return made


def state(of: JobState) -> Text:
    """A job's state in its colour."""
    return Text(of.value, style=STATE_STYLES[of])


def write_json(document: Any) -> None:
    """Print the one JSON document of a command, in ASCII."""
    sys.stdout.write(json.dumps(document, ensure_ascii=True, allow_nan=False, indent=2) + "\n")
