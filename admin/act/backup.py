"""`dropscribe backup` and `restore`: the whole store as one file, and back."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from dropscribe.admin.act.import_store import refuse_at_work
from dropscribe.admin.context import Context
from dropscribe.admin.terminal import render
from dropscribe.admin.terminal.progress import busy
from dropscribe.core.errors import StoreError, UsageError
from dropscribe.core.safe_text import mask
from dropscribe.store import backup as store_backup
from dropscribe.store.session import open_database


def backup(context: Context, file: Path, *, as_json: bool) -> None:
    """Write the store to a new file. Raises UsageError where one of that name exists, StoreError."""
    if file.exists():
        raise UsageError(f"{file} exists", remedy="name a new file")
    if not file.absolute().parent.is_dir():
        raise UsageError(f"there is no folder {file.absolute().parent}", remedy="create it")
    number = len(store_backup.known_jobs(context.database))
    with busy(context.err, "backing up"):
        store_backup.dump(context.settings.database, file)
    size = file.stat().st_size
    context.answer(
        lambda: {"file": str(file.absolute()), "recordings": number, "bytes": size},
        lambda: context.out.print(
            f"{render.count(number, 'recording')} in {file} ({render.size(size)}); transcripts, names and voices too: "
            "keep it as safe as the recordings",
            soft_wrap=True,
        ),
        as_json=as_json,
    )


def restore(context: Context, file: Path, *, yes: bool, as_json: bool) -> None:
    """Replace the store by a file that `backup` wrote; without `yes`, say what would be done.

    Raises UsageError while processes work on the store, StoreError for a file that is no store.
    """
    if not file.is_file():
        raise UsageError(f"there is no {file}", remedy="name a file that `dropscribe backup` wrote")
    url = context.settings.database
    before = _before(context)
    if not yes:
        known = f"{mask(url)}, which knows {render.count(len(before), 'recording')}"
        plan = f"would replace {known}, by {file}. Nothing was changed yet; --yes does so"
        _answer(context, [plan], begun=False, recordings=len(before), as_json=as_json)
        return
    with busy(context.err, "restoring"):
        aside = store_backup.restore(url, file)
        with closing(open_database(url)) as restored:
            after = store_backup.known_jobs(restored)
    newer = len(before - after)
    told = _told(context, len(after), newer, aside)
    _answer(context, told, begun=True, recordings=len(after), newer=newer, before=aside, as_json=as_json)


def _answer(
    context: Context,
    lines: Sequence[str],
    *,
    begun: bool,
    recordings: int,
    newer: int = 0,
    before: Path | None = None,
    as_json: bool,
) -> None:
    facts = {"begun": begun, "recordings": recordings, "newer": newer, "before": before and str(before)}
    context.answer(lambda: facts, lambda: context.out.print("\n".join(lines), soft_wrap=True), as_json=as_json)


def _before(context: Context) -> frozenset[str]:
    """The jobs that the store knows now; none where it is gone or broken, which may be why it is restored."""
    try:
        database = open_database(context.settings.database, migrate=False) if context.has_store else None
    except StoreError as error:
        context.remark("warning", f"the store cannot be read, so what it knew is not compared: {error}", "yellow")
        return frozenset()
    if database is None:
        return frozenset()
    with closing(database):
        refuse_at_work(database, context.settings.silence_seconds)
        return store_backup.known_jobs(database)


def _told(context: Context, there: int, newer: int, aside: Path | None) -> list[str]:
    kept = f"; the store that was there is {aside}" if aside else ""
    lines = [f"restored: {render.count(there, 'recording')}{kept}"]
    if newer and "json" in context.settings.outputs:
        lines.append(
            f"{render.count(newer, 'recording')} newer than the backup: those with a JSON transcript beside them are "
            "taken over from it, others are transcribed again"
        )
    elif newer:
        lines.append(
            f"{render.count(newer, 'recording')} newer than the backup: they are transcribed again, as json is not "
            "among the outputs; move the transcripts that lie beside them aside before you start dropscribe"
        )
    return lines
