"""`dropscribe config`: every setting, its value, and where that came from."""

from __future__ import annotations

from dataclasses import asdict

from rich.text import Text

from dropscribe.admin.context import Context
from dropscribe.admin.terminal import render
from dropscribe.core.settings_loading import origins


def show(context: Context, *, as_json: bool) -> None:
    """Print all settings; passwords in URLs are masked."""
    found = origins(context.settings)
    if as_json:
        render.write_json({"settings": [asdict(origin) for origin in found]})
        return
    table = render.table("variable", "value", "source", "what it is", whole=("variable",))
    for origin in found:
        source = Text(render.safe(origin.source), style="" if origin.source == "default" else "bold")
        table.add_row(origin.variable, render.safe(origin.value), source, origin.help)
    context.out.print(table)
