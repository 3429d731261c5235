"""`dropscribe backup` and `restore`: the whole store as one file, and back."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from dropscribe.admin.act.import_store import refuse_at_work
from dropscribe.admin.context import Context
from dropscribe.admin.terminal import render
from dropscribe.admin.terminal.progress import busy
from dropscribe.core.errors import SchemaError, StoreError, StoreUnavailableError, UsageError
from dropscribe.core.passwords import mask
from dropscribe.store import backup as store_backup
from dropscribe.store.session import Database, open_database


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

    Raises UsageError while processes work on the store, StoreError for a file that is not a store.
    """
    if not file.is_file():
        raise UsageError(f"there is no {file}", remedy="name a file that `dropscribe backup` wrote")
    url = context.settings.database
    before = _before(context)
    if not yes:
        known = f", which knows {render.count(len(before), 'recording')}," if before is not None else ""
        plan = f"would replace {mask(url)}{known} by {file}. Nothing was changed yet; --yes does so"
        _answer(context, [plan], begun=False, recordings=len(before or ()), as_json=as_json)
        return
    with busy(context.err, "restoring"):
        aside = store_backup.restore(url, file)
        with closing(open_database(url)) as restored:
            after = store_backup.known_jobs(restored)
    newer = None if before is None else len(before - after)
    told = _told(context, len(after), newer, aside)
    _answer(context, told, begun=True, recordings=len(after), newer=newer, before=aside, as_json=as_json)


def _answer(
    context: Context,
    lines: Sequence[str],
    *,
    begun: bool,
    recordings: int,
    newer: int | None = None,
    before: Path | None = None,
    as_json: bool,
) -> None:
    """Say what was done or would be, to people or as a document."""
    facts = {"begun": begun, "recordings": recordings, "newer": newer, "before": before and str(before)}
    context.answer(lambda: facts, lambda: context.out.print("\n".join(lines), soft_wrap=True), as_json=as_json)


def _before(context: Context) -> frozenset[str] | None:
    """The jobs that the store knows now; None where it is empty, gone or broken, which may be why it is restored."""
    if not context.has_store:
        return None
    try:
        with closing(Database(context.settings.database)) as database:
            if database.version() is None:
                return None
            database.require_schema()
            refuse_at_work(database, context.settings.silence_seconds)
            return store_backup.known_jobs(database)
    except (StoreUnavailableError, SchemaError) as error:  # somebody may be at work on it
        raise UsageError(str(error), remedy="stop everything that uses the store, or move it aside") from error
    except StoreError as error:
        context.remark("warning", f"the store cannot be read: {error}", "yellow")
        return None


def _told(context: Context, there: int, newer: int | None, aside: Path | None) -> list[str]:
    """What was restored, and what becomes of recordings that are newer than the backup."""
    kept = f"; the store that was there is {aside}" if aside else ""
    done = f"restored: {render.count(there, 'recording')}{kept}"
    if newer == 0:
        return [done]
    which = "how many are newer than the backup is not known" if newer is None else f"{newer} newer than the backup"
    if "json" in context.settings.outputs:
        fate = "those with a JSON transcript beside them are taken over from it, others are transcribed again"
    else:
        fate = (
            "they are transcribed again, as json is not among the outputs; move the transcripts that lie beside them "
            "aside before you start dropscribe"
        )
    return [done, f"{which}: {fate}"]
