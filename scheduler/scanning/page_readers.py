"""Which folders a page of ours may name: those that everybody who can read it may list. In the scan process."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import product, starmap

from dropscribe.core import access
from dropscribe.core.access import READ
from dropscribe.core.mounts import filesystem_of
from dropscribe.core.open_folder import opened
from dropscribe.core.readers import Permission, all_have
from dropscribe.core.safe_open import PLACE, regular

ENTER = 1
# Filesystems whose server has rights that no mode shows: there, nothing is known of any folder but the page's own.
HIDING_RIGHTS = ("cifs", "smb3", "smbfs", "9p", "fuse.sshfs", "fuse.rclone")


def listed_by_all(root: str, page: str, folders: Iterable[str]) -> list[str]:
    """Those of the folders (by their path below the root, "" for itself) that all readers of the page may list.

    The `page` lies in the root. It may be there or not: it is written for all who can read the root. Raises OSError.
    """
    hides = filesystem_of(root) in HIDING_RIGHTS
    with opened(root) as top:
        pages = [*_pages(top, page)]
    return [folder for folder in folders if not (hides and folder) and _is_listed(root, folder, pages)]


def _pages(top: int, page: str) -> Iterator[tuple[Permission, Permission]]:
    """What it takes to read the page as it would be written now, and the one that is there."""
    enter = Permission(access.of(top), ENTER)
    yield enter, Permission(access.of(top).for_file(READ), READ)
    with suppress(FileNotFoundError), regular(page, folder=top, flags=PLACE) as there:
        yield enter, Permission(access.of(there), READ)


def _is_listed(root: str, folder: str, pages: Sequence[tuple[Permission, Permission]]) -> bool:
    """May every reader of the pages list the folder, and all on the way to it? Not if it cannot be opened."""
    on_the_way: list[Permission] = []

    def pass_by(_level: int, here: int) -> None:
        """Note what it takes to get through a folder on the way, and to list it."""
        on_the_way.append(Permission(access.of(here), READ | ENTER))

    with suppress(OSError, ValueError), opened(root, folder, visit=pass_by):
        return all(starmap(all_have, product(pages, on_the_way)))
    return False
