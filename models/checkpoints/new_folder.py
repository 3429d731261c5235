"""A folder that is made under another name and appears under its own when it is whole, or not at all."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from dropscribe.core.atomic_write import sync
from dropscribe.core.error_translation import translated
from dropscribe.core.errors import ModelUnavailableError, UsageError


def vacant(destination: Path) -> Path:
    """Where a copy goes. Raises UsageError when something is there."""
    target = destination.expanduser().resolve()
    if not target.parent.is_dir():
        raise UsageError(
            f"{target.parent} is not a folder", remedy=f"create it, or name another place than {destination}"
        )
    if target.is_mount():
        raise UsageError(f"{destination} is a mount point", remedy="name a folder below it")
    if target.exists() and not (target.is_dir() and not any(target.iterdir())):
        raise UsageError(f"{destination} is there already", remedy="name another folder, or remove it")
    return target


def require_room(folder: Path, size: int) -> None:
    """Raises ModelUnavailableError when the disk of a folder has no room for so many bytes."""
    free = shutil.disk_usage(folder).free
    if free < size:
        raise ModelUnavailableError(
            f"{folder} has {free / 1e9:.2f} GB free and the copy takes {size / 1e9:.2f} GB",
            remedy="make room, or name a folder on another disk",
        )


@contextmanager
def beside(target: Path) -> Iterator[Path]:
    """A folder on the same disk under a name that nobody takes for a checkpoint; removed unless it was renamed."""
    folder = target.with_name(f".{target.name}.{secrets.token_hex(4)}.partial")
    with translated(OSError, into=partial(unwritable, target)):
        folder.mkdir()
    try:
        yield folder
    finally:  # after Ctrl-C too
        if folder.exists():
            shutil.rmtree(folder)


def settle(folder: Path, target: Path) -> None:
    """Onto the disk first, then the name: a power cut leaves no half checkpoint under it either."""
    with translated(OSError, into=partial(unwritable, target)):
        for path in folder.rglob("*"):
            sync(path)
        sync(folder)
        folder.rename(target)  # takes the place of an empty folder
        sync(target.parent)


def unwritable(target: Path, error: OSError) -> ModelUnavailableError:
    """What to say when a folder cannot be written."""
    return ModelUnavailableError(f"cannot write {target}: {error.strerror}", remedy="choose another folder")
