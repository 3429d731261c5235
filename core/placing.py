"""The one way by which files come into folders of recordings: whole or not at all, for their readers, through no link.

Paths are those of `core.open_folder.at`, so that the folder is the one that was opened.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

from dropscribe.core import access
from dropscribe.core.access import Access, Doubt, withhold
from dropscribe.core.atomic_write import sync, write_new
from dropscribe.core.exclusive_placement import give_name


def write(temporary: Path, data: bytes, readers: Access, doubt: Doubt = withhold) -> None:
    """Write a file that has no name of its own yet, safe on disk; on an error nothing is left.

    Raises OSError, and WithheldError where it could not be for its `readers` alone, unless `doubt` takes that.
    """
    write_new(temporary, data, mode=0o600, begin=partial(access.give, wanted=readers, doubt=doubt))


def name(temporary: Path, target: Path, *, replaces: bool) -> None:
    """Give that file its name, which `settle` makes last. May be repeated after a crash.

    `replaces` says that the file there, if any, is ours. Raises FileExistsError for one that is not, OSError.
    """
    if replaces:
        temporary.replace(target)
    else:
        give_name(temporary, target)
    # Two names of one file: replacing is then defined to do nothing, and linking leaves both.
    temporary.unlink(missing_ok=True)


def settle(folder: Path) -> None:
    """Make the names in a folder last. Raises OSError."""
    sync(folder)
