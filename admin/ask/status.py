"""`dropscribe status` and `workers`: what waits, who works, how fast, and what is wrong."""

from __future__ import annotations

from dropscribe.admin.context import Context
from dropscribe.admin.state import fleet_status, status_view
from dropscribe.admin.terminal import render
from dropscribe.store.fleet import list_workers


def show(context: Context, *, as_json: bool) -> None:
    """Print the status once."""
    now = fleet_status.gather(context.database, context.settings)
    if as_json:
        render.write_json(now.to_json())
    else:
        context.out.print(status_view.draw(now))


def workers(context: Context, *, as_json: bool) -> None:
    """Print the processes of the fleet."""
    found = list_workers(context.database)
    silence = context.settings.silence_seconds
    if as_json:
        render.write_json({"workers": [fleet_status.worker_document(worker, silence) for worker in found]})
    elif found:
        context.out.print(status_view.workers_table(found, silence))
    else:
        context.out.print("no workers; start `dropscribe up FOLDER` or `dropscribe worker`")
