"""How the command line looks: safe text, figures for people, tables, colours, JSON."""

from __future__ import annotations

import json
import os
import sys
import unicodedata
from collections.abc import Iterable
from datetime import datetime
from operator import itemgetter
from typing import Any

from rich import filesize
from rich.box import SIMPLE_HEAD
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from dropscribe.core.safe_text import without_escapes
from dropscribe.core.types import JobPhase

PIPE_WIDTH = 120  # columns of a table that goes to a file or a pipe, unless COLUMNS says otherwise

PHASE_STYLES = {
    JobPhase.WAITING: "cyan",
    JobPhase.PREPARING: "blue",
    JobPhase.TRANSCRIBING: "blue",
    JobPhase.FINISHING: "blue",
    JobPhase.DONE: "green",
    JobPhase.DUPLICATE: "green",
    JobPhase.SUSPECT: "yellow",
    JobPhase.FAILED: "red",
    JobPhase.PARKED: "red",
    JobPhase.CANCELLED: "dim",
}

_TURNS_DIRECTION = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_SHOWN_AS = {"Cs": "\ufffd", "Cc": ""}  # by category: half of a surrogate pair, and control characters

# Durations by their larger unit: its seconds and name, then those of the smaller unit beside it.
_UNITS_OF_TIME = ((86_400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s"))


def safe(text: str) -> str:
    """One line that a terminal shows as it stands.

    Terminal escapes, control characters and marks that turn the writing direction are dropped, whitespace
    becomes a blank, and an undecodable byte of a file name U+FFFD.

    >>> safe("talk" + chr(9) + "one" + chr(27) + "[31m.wav")
    'talk one.wav'
    """
    return "".join(map(_safe_character, without_escapes(text)))


def _safe_character(character: str) -> str:
    """What is shown of one character."""
    if character.isspace():
        return " "
    if character in _TURNS_DIRECTION:
        return ""
    return _SHOWN_AS.get(unicodedata.category(character), character)


def duration(seconds: float | None) -> str:
    """Seconds for people, in two units at most: `4.2 s`, `3 min 05 s`, `1 h 02 min`, `2 d 03 h`; `-` for None.

    >>> duration(4.2), duration(185), duration(3720), duration(None)
    ('4.2 s', '3 min 05 s', '1 h 02 min', '-')
    """
    if seconds is None:
        return "-"
    if seconds < 9.95:  # what rounds to 10 needs no tenths
        return f"{max(seconds, 0.0):.1f} s"
    whole = round(seconds)
    for large, unit, small, rest in _UNITS_OF_TIME:
        if whole >= large:
            return f"{whole // large} {unit} {whole % large // small:02d} {rest}"
    return f"{whole} s"


def size(octets: float) -> str:
    """Bytes for people, in decimal units: `950 bytes`, `1.5 MB`.

    >>> size(950), size(1_500_000)
    ('950 bytes', '1.5 MB')
    """
    return filesize.decimal(round(octets))


def size_if_any(octets: float) -> str:
    """See `size`; empty for none, which is not known.

    >>> size_if_any(1_500_000), size_if_any(0)
    ('1.5 MB', '')
    """
    return size(octets) if octets else ""


def share(done: float, total: float) -> str:
    """How many of the bytes are done; `total` is 0 if that is not known, and then nothing is said.

    >>> share(500_000, 1_500_000), share(500_000, 0)
    (', 500.0 kB of 1.5 MB', '')
    """
    return f", {size(done)} of {size(total)}" if total else ""


def speed(rtfx: float | None) -> str:
    """Seconds of audio transcribed per second, `3.5 x`; empty for None.

    >>> speed(3.46), speed(None)
    ('3.5 x', '')
    """
    return f"{rtfx:.1f} x" if rtfx else ""


def moment(epoch: float | None) -> str:
    """A point in time as this machine's local time: `2026-11-20 15:38:02`; `-` for None."""
    if epoch is None:
        return "-"
    return datetime.fromtimestamp(epoch).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def count(number: int, noun: str, plural: str = "") -> str:
    """`1 file`, `2 files`.

    >>> count(1, "file"), count(2000, "file"), count(2, "try", "tries")
    ('1 file', '2,000 files', '2 tries')
    """
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def console(*, stderr: bool = False) -> Console:
    """A console that takes text literally; colours only on a terminal, and not where NO_COLOR is set."""
    file = sys.stderr if stderr else sys.stdout
    width = None if file.isatty() else _pipe_width()
    return Console(file=file, width=width, markup=False, emoji=False, highlight=False)


def _pipe_width() -> int:
    """Columns of output that goes to no terminal: those that COLUMNS names, or many."""
    columns = os.environ.get("COLUMNS", "")
    return int(columns) if columns.isdecimal() and int(columns) else PIPE_WIDTH


def table(
    *columns: str,
    rows: Iterable[Iterable[RenderableType]] = (),
    whole: tuple[str, ...] = ("id",),
    right: tuple[str, ...] = (),
) -> Table:
    """A table of these rows. Columns named in `whole` are never wrapped or cut, those in `right` hold figures."""
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
    for cells in rows:
        made.add_row(*cells)
    return made


def facts(rows: Iterable[tuple[str, str | Text | None]]) -> Table:
    """A grid of names and what there is to say about each, as safe text. Where that is nothing, the name is left out.

    A `Text` has a style of its own, and is safe already.
    """
    made = Table.grid(padding=(0, 2))
    made.add_column(style="bold", no_wrap=True)
    made.add_column(overflow="fold")
    for name, what in filter(itemgetter(1), rows):
        made.add_row(name, safe(what) if isinstance(what, str) else what)
    return made


def phase(of: JobPhase) -> Text:
    """What happens to a job, in its colour."""
    return Text(of.value, style=PHASE_STYLES[of])


def write_json_line(document: Any) -> None:
    """Print one JSON document of many, each a line, at once."""
    sys.stdout.write(json.dumps(document, ensure_ascii=True) + "\n")
    sys.stdout.flush()


def write_json(document: Any) -> None:
    """Print the one JSON document of a command, in ASCII."""
    sys.stdout.write(json.dumps(document, ensure_ascii=True, allow_nan=False, indent=2) + "\n")
