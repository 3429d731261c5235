"""`dropscribe import-store`: what one machine knows becomes what a fleet knows; nothing is transcribed again."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from dropscribe.admin.context import Context
from dropscribe.admin.terminal import render
from dropscribe.admin.terminal.progress import busy
from dropscribe.core.errors import UsageError
from dropscribe.core.passwords import mask
from dropscribe.store.fleet import living_workers
from dropscribe.store.session import Database, open_database
from dropscribe.store.takeover import take_over


def import_store(context: Context, file: Path) -> None:
    """Take over the jobs, transcripts and voices of an SQLite store into the database of the settings.

    Raises UsageError for a file that is not there or in use, or a database that is not empty; SchemaError for tables of
    another version.
    """
    if not file.is_file():
        raise UsageError(f"there is no {file}", remedy="`dropscribe config` names the home, in which dropscribe.db is")
    settings = context.settings
    with closing(open_database(f"sqlite:///{file.absolute()}", migrate=False)) as source:
        refuse_at_work(source, settings.silence_seconds)
        with closing(open_database(settings.database)) as target, busy(context.err, "taking over"):
            copied = take_over(source, target)
    found = f"{render.count(copied['jobs'], 'recording')} and {render.count(copied['transcripts'], 'transcript')}"
    context.out.print(f"took over {found} into {mask(settings.database)}; {file} is as it was", soft_wrap=True)


def refuse_at_work(source: Database, silence: float) -> None:
    """Raise UsageError while processes work on a store: they would change it meanwhile."""
    if living_workers(source, silence):
        raise UsageError(
            "processes use this store, or did so a minute ago", remedy="stop `dropscribe up`, and wait a minute"
        )
