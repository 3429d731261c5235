"""`dropscribe config`: every setting, its value, and where that came from."""

from __future__ import annotations

from dataclasses import asdict

from rich.console import RenderableType
from rich.text import Text

from dropscribe.admin.context import Context
from dropscribe.admin.terminal import render
from dropscribe.core.settings_loading import Origin, origins


def show(context: Context, *, as_json: bool) -> None:
    """Print all settings; passwords in URLs are masked."""
    found = origins(context.settings)
    columns = ("variable", "value", "source", "what it is")
    context.answer(
        lambda: {"settings": [*map(asdict, found)]},
        lambda: context.out.print(render.table(*columns, rows=map(_row, found), whole=("variable",))),
        as_json=as_json,
    )


def _row(origin: Origin) -> list[RenderableType]:
    """The cells of a setting; where somebody has set it, its source in bold."""
    source = Text(render.safe(origin.source), style="" if origin.source == "default" else "bold")
    return [origin.variable, render.safe(origin.value), source, origin.help]
