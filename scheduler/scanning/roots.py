"""A watched root: what kind of filesystem holds it, and the guard that notices when its mount went away."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import combinations, islice
from operator import attrgetter
from pathlib import Path, PurePath
from typing import ClassVar

from dropscribe.core.disk_errors import why
from dropscribe.core.error_translation import explained
from dropscribe.core.errors import DropscribeError, UsageError
from dropscribe.core.mounts import Mount, filesystem_kind, is_network, kinds_below, mount_of, mount_table

# Below ten files, people who tidy up by hand easily take more than half of them.
_MIN_FOR_A_MASS = 10

NAMES_TO_ASK = 3  # one alone might be two hard links to a file

DENIED = "it may not be read by this user"
_REASONS: dict[type[OSError], str] = {
    FileNotFoundError: "it does not exist",
    NotADirectoryError: "it is not a directory",
    PermissionError: DENIED,
}


class RootOfflineError(DropscribeError):
    """A watched folder is out of reach for now; mount it again or restore its permissions."""

    retryable: ClassVar[bool] = True


@dataclass(frozen=True, slots=True)
class Root:
    """A folder that is watched.

    `path` is absolute and without symlinks; `name` is a slug, unique to the path, for mirrored results;
    `is_network` says that other hosts may write here unseen by inotify, at the root or at a mount below it;
    `directory` are the device and inode numbers of `path`; `folds_case` says that its filesystem takes names which
    differ in case only for the same.
    """

    path: Path
    name: str
    filesystem: str
    is_network: bool
    directory: tuple[int, int]
    folds_case: bool = False


@dataclass(frozen=True, slots=True)
class RootIdentity:
    """What lay under a root's path when watching began: device number (`st_dev`) and mount."""

    device: int
    mount: Mount | None


def open_root(path: Path) -> Root:
    """Look at a folder that is to be watched. Raises UsageError if it is not a readable directory."""
    resolved = path.expanduser().resolve()
    if reason := unreadable(resolved):
        raise UsageError(f"cannot watch {path}: {reason}", remedy="create or mount the folder, or name another")
    table = mount_table()
    kind = filesystem_kind(resolved, table)
    kinds = [kind, *kinds_below(resolved, table)]
    here = resolved.stat()
    directory = (here.st_dev, here.st_ino)
    return Root(
        path=resolved,
        name=_slug(resolved),
        filesystem=kind,
        is_network=any(map(is_network, kinds)),
        directory=directory,
        folds_case=folds_case(resolved),
    )


def folds_case(path: Path) -> bool:
    """Are names in this folder that differ in case only the same? False also where no name there tells.

    Nothing is written: names that are there are asked for in the other case.
    """
    with suppress(OSError):
        with os.scandir(path) as entries:
            names = [
                *islice(filter(lambda name: name.swapcase() != name, map(attrgetter("name"), entries)), NAMES_TO_ASK)
            ]
        return names != [] and all(map(partial(_is_same, path), names))
    return False


def _is_same(folder: Path, name: str) -> bool:
    """The other case is asked for first, as what is there may hang. Some filesystems invent an inode for each name."""
    second, first = (folder / name.swapcase()).lstat(), (folder / name).lstat()
    return os.path.samestat(first, second) or _state(first) == _state(second)


def _state(seen: os.stat_result) -> tuple[int, ...]:
    """What tells two files from each other where inodes do not."""
    return seen.st_dev, seen.st_mode, seen.st_size, seen.st_mtime_ns, seen.st_ctime_ns


def check_roots(
    paths: Sequence[Path],
    resolve: Callable[[Path], Path] = lambda path: path.expanduser().resolve(),
    ours: Iterable[Path] = frozenset(),
) -> None:
    """Raise UsageError when a root is given twice or lies in another: its files would be admitted twice.

    Also when it lies in a directory for dropscribe's own files, of which `ours` (without symlinks) are the topmost.
    """
    for path in paths:
        if holder := holder_of(resolve(path), ours):
            problem = f"{path} lies in {holder}, which is for dropscribe's own files"
            raise UsageError(problem, remedy="watch another folder")
    for first, second in combinations(paths, 2):
        one, other = resolve(first), resolve(second)
        if one == other:
            raise UsageError(f"{first} and {second} are the same folder", remedy="name it once")
        if overlap(one, other):
            raise UsageError(f"{first} and {second} lie in one another", remedy="watch only the outer one")


def holder_of(path: Path, ours: Iterable[Path]) -> Path | None:
    """The one of our own directories that the path lies in; None where it lies in none. All without symlinks.

    >>> holder_of(Path("/srv/home/spool"), [Path("/srv/home")]).name
    'home'
    """
    return next(filter(path.is_relative_to, ours), None)


def overlap(one: Path, other: Path) -> bool:
    """True for the same folder, and when either lies in the other; both are without symlinks.

    >>> overlap(Path("/srv"), Path("/srv/talks")), overlap(Path("/srv/a"), Path("/srv/b"))
    (True, False)
    """
    return one.is_relative_to(other) or other.is_relative_to(one)


def identify(path: Path) -> RootIdentity:
    """Note what lies under a root now, for `difference`. Raises RootOfflineError when it is out of reach."""
    if reason := unreadable(path):
        raise RootOfflineError(f"{path} is offline: {reason}", remedy="mount it or restore its permissions")
    with explained(OSError, RootOfflineError, f"{path} is offline", remedy="mount it again"):
        return RootIdentity(path.stat().st_dev, mount_of(path, mount_table()))


def difference(then: RootIdentity, now: RootIdentity) -> str | None:
    """Why a root must not be believed now, or None. To be asked before and after each scan."""
    if _same(then, now):
        return None
    return f"another filesystem is mounted there now ({_describe(now)}, was {_describe(then)})"


def came_over(then: RootIdentity, now: RootIdentity) -> bool:
    """True when something was mounted on the root or above it since: a share that came late, and no loss."""
    if then.mount is None or now.mount is None:
        return False
    return PurePath(then.mount.point) in PurePath(now.mount.point).parents


def mass_disappearance(known: int, seen: int) -> bool:
    """True when more than half of the `known` files are gone: rather a fault than somebody tidying up.

    `seen` is how many of the known ones are still there.

    >>> mass_disappearance(known=20, seen=9), mass_disappearance(known=9, seen=0)
    (True, False)
    """
    return known >= _MIN_FOR_A_MASS and 2 * seen < known


def unreadable(path: Path) -> str | None:
    """Why it cannot be listed, or None. Opening the directory, unlike stat, also wakes an automount."""
    try:
        os.scandir(path).close()
    except OSError as error:
        return _REASONS.get(type(error)) or why(error)
    return None


def _same(then: RootIdentity, now: RootIdentity) -> bool:
    """Network filesystems get a new device number with each mount, so there a telling source decides."""
    if then.mount is None or now.mount is None:
        return then == now
    by_source = then.mount.source_is_telling or then.device == now.device
    return by_source and then.mount.same_place(now.mount)


def _describe(identity: RootIdentity) -> str:
    """What lies under a root, in words."""
    if identity.mount is None:
        return f"device {identity.device}"
    return f"{identity.mount.kind} {identity.mount.source} on {identity.mount.point}"


def _slug(path: Path) -> str:
    """The folder's name in plain characters, and six hex digits that tell folders of one name apart."""
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", path.name).strip("-.") or "root"
    return f"{plain}-{hashlib.sha256(os.fsencode(path)).hexdigest()[:6]}"
