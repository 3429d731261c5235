"""`dropscribe config`: every setting, its value, and where that came from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from dropscribe.admin.context import Context
from dropscribe.admin.terminal import render
from dropscribe.core.settings_loading import Origin, origins


def show(context: Context, *, as_json: bool) -> None:
    """Print all settings; passwords in URLs are masked."""
    found = origins(context.settings)
    context.answer(
        lambda: {"settings": [*map(asdict, found)]}, lambda: context.out.print(_table(found)), as_json=as_json
    )


def _table(found: Sequence[Origin]) -> Table:
    columns = ("variable", "value", "source", "what it is")
    return render.table(*columns, rows=map(_row, found), whole=("variable",))


def _row(origin: Origin) -> list[RenderableType]:
    source = Text(render.safe(origin.source), style="" if origin.source == "default" else "bold")
    return [origin.variable, render.safe(origin.value), source, origin.help]
