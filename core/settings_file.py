"""Which settings file is in force: the one that is named, else one that only this user or root can have written.

Who works in a folder where others may write, such as a drop folder, would obey anyone who leaves a file there.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from dropscribe.core.access import others_may_write
from dropscribe.core.errors import SettingsError
from dropscribe.core.mounts import filesystem_of, has_owners
from dropscribe.core.reserved_names import OWNER
from dropscribe.core.store_settings import config_places

CONFIG_VARIABLE = "DROPSCRIBE_CONFIG"  # names the file, so it cannot stand in it
NO_FILE = os.devnull  # as the value of that variable: there is none, and none is looked for


def find(environ: Mapping[str, str], home: Path, watched: Iterable[Path], remarks: list[str]) -> Path | None:
    """The settings file: that of the variable, or one in the working directory, or in `home`; None without one.

    `watched` are absolute and without links; they are asked for only where a file was found, as one may hang.
    `remarks` names one that is passed over. Raises SettingsError where the variable names no file.
    """
    if named := environ.get(CONFIG_VARIABLE):
        return _named(Path(named).expanduser())
    found = [*filter(Path.is_file, config_places(home))]
    folders = [*watched] if found else []
    for path in found:
        doubt = _doubt(path.absolute(), folders)
        if not doubt:
            return path
        remarks.append(f"{path.absolute()} is not read: {doubt}; name it in {CONFIG_VARIABLE} if it is yours")
    return None


def _named(path: Path) -> Path | None:
    """The file that the variable names, None where it says that there is none. Raises SettingsError."""
    if str(path) == NO_FILE:
        return None
    if not path.is_file():
        raise SettingsError(f"{CONFIG_VARIABLE} names {path}, which is not a file", remedy="correct or unset it")
    return path


def _doubt(path: Path, watched: Sequence[Path]) -> str:
    """Why the file may be somebody else's; empty where it cannot."""
    real, folder = path.resolve(), path.parent.resolve()
    if any(map(folder.is_relative_to, watched)) or any((place / OWNER).exists() for place in (folder, *folder.parents)):
        return "it lies in a watched folder"
    if not has_owners(filesystem_of(folder)):
        return "its filesystem does not show who wrote it"
    return next(filter(None, map(_stranger_at, (real, real.parent, folder))), "")


def _stranger_at(place: Path) -> str:
    """Who else may have written there."""
    found = place.stat()
    if found.st_uid not in (os.geteuid(), 0):
        return f"{place} belongs to somebody else"
    return f"others may write to {place}" if others_may_write(place, found) else ""
