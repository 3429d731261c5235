"""`dropscribe status` and `workers`: what waits, who works, how fast, and what is wrong."""

from __future__ import annotations

from itertools import repeat

from dropscribe.admin.context import Context
from dropscribe.admin.state import fleet_status, status_view
from dropscribe.store.fleet import list_workers


def show(context: Context, *, as_json: bool) -> None:
    """Print the status once."""
    now = fleet_status.gather(context.database, context.asking)
    context.answer(now.to_json, lambda: context.out.print(status_view.draw(now)), as_json=as_json)


def workers(context: Context, *, as_json: bool) -> None:
    """Print the processes of the fleet."""
    found = list_workers(context.database)
    silence = context.asking.silence_seconds
    nothing = "no workers; start `dropscribe up FOLDER` or `dropscribe worker`"
    context.answer(
        lambda: {"workers": [*map(fleet_status.worker_document, found, repeat(silence))]},
        lambda: context.out.print(status_view.workers_and_attention(found, silence) if found else nothing),
        as_json=as_json,
    )
