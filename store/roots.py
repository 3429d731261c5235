"""Watched folders: what their schedulers report of them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import asdict, dataclass
from itertools import starmap
from operator import attrgetter
from typing import Any, NamedTuple

from dropscribe.store import sql
from dropscribe.store.file_names import path_key
from dropscribe.store.session import Database, insert_ignoring


class WaitingFolder(NamedTuple):
    """A folder below a watched one: its `files` wait for a `reason` until somebody corrects its settings."""

    folder: str
    reason: str
    files: int


LET_READ = "let the scheduler read them"


class UnreadablePlace(NamedTuple):
    """A file, or a folder with a slash at its end, below a watched folder, and why it goes unseen.

    Its scheduler cannot read it, or the database cannot hold it; `remedy` says what to do.
    """

    place: str
    reason: str
    remedy: str = LET_READ

    def holds(self, path: str) -> bool:
        """Is it this file, or a folder above it?"""
        return path == self.place or (self.place.endswith("/") and path.startswith(self.place))

    def __str__(self) -> str:
        """For people."""
        return f"{self.place}: {self.reason}"


class WaitingPart(NamedTuple):
    """A complete file that waits for further parts of its recording, at most `until` then (None: nobody knows)."""

    path: str
    waits_for: str
    until: float | None


TOLD_PLACES = 3  # of those that cannot be read


def _in_words(places: Sequence[UnreadablePlace], count: int) -> str:
    """The first places that cannot be read, of `count`; empty if there are none."""
    told = [*map(str, places[:TOLD_PLACES])]
    return "; ".join([*told, f"and {count - len(told)} more"] if count > len(told) else told)


class UnseenPlaces:
    """What is said of the places in a folder that cannot be read, or admitted."""

    __slots__ = ()

    unreadable: Sequence[UnreadablePlace]
    unreadable_count: int

    @property
    def unseen(self) -> str:
        """Which places go unseen, in words; empty if there are none."""
        return _in_words(self.unreadable, self.unreadable_count)

    @property
    def unseen_remedy(self) -> str:
        """What to do about those places."""
        return "; ".join(dict.fromkeys(map(attrgetter("remedy"), self.unreadable[:TOLD_PLACES])))


@dataclass(frozen=True, slots=True)
class RootReport(UnseenPlaces):
    """What a scheduler found in a watched folder in its last scan: counts of files, durations in seconds.

    `unreadable` are the first of `unreadable_count` places in it that cannot be read, or admitted.
    """

    path: str
    host: str
    filesystem: str
    online: bool
    reason: str = ""
    files: int = 0
    pending: int = 0
    not_media: int = 0
    ignored: int = 0
    scan_seconds: float = 0.0
    waiting: Sequence[WaitingFolder] = ()
    unreadable: Sequence[UnreadablePlace] = ()
    unreadable_count: int = 0
    parts: Sequence[WaitingPart] = ()


@dataclass(frozen=True, slots=True)
class WatchedRoot(UnseenPlaces):
    """A watched folder as its scheduler reported it last; `age` is the seconds since then. See `RootReport`."""

    path: str
    host: str
    filesystem: str
    online: bool
    reason: str
    files: int
    pending: int
    not_media: int
    ignored: int
    scan_seconds: float
    age: float
    waiting: tuple[WaitingFolder, ...] = ()
    unreadable: tuple[UnreadablePlace, ...] = ()
    unreadable_count: int = 0
    parts: tuple[WaitingPart, ...] = ()

    @property
    def offline_remedy(self) -> str:
        """What to do about a folder that is offline, where the reason does not end with it."""
        return "do as it says" if ";" in self.reason else "mount it again"


def report_roots(database: Database, reports: Sequence[RootReport]) -> None:
    """Record the state of watched folders."""
    with database.begin() as connection:
        for report in reports:
            key = path_key(f"{report.host}:{report.path}")
            values = asdict(report) | {"scanned_at": sql.now()}
            # Two schedulers may watch one folder: the second one finds the row of the first.
            connection.execute(insert_ignoring(connection, sql.roots).values(values | {"path_key": key}))
            connection.execute(sql.update(sql.roots).where(sql.roots.c.path_key == key).values(values))


def forget_root(database: Database, host: str, path: str) -> None:
    """Remove a folder that a scheduler on this host watches no more."""
    with database.begin() as connection:
        connection.execute(sql.delete(sql.roots).where(sql.roots.c.path_key == path_key(f"{host}:{path}")))


def forget_roots(database: Database, host: str, watched: Collection[str] = ()) -> None:
    """Remove the folders that a scheduler on this host watched before, except those that are `watched` now."""
    with database.begin() as connection:
        connection.execute(sql.delete(sql.roots).where(sql.roots.c.host == host, sql.roots.c.path.not_in(watched)))


def of_host(host: str, roots: Iterable[WatchedRoot]) -> list[WatchedRoot]:
    """The folders that the scheduler of this host reported."""
    return [root for root in roots if root.host == host]


def list_roots(database: Database) -> list[WatchedRoot]:
    """Watched folders, by path."""
    with database.asking() as ask:
        return [*map(_root, ask(_by_path))]


@sql.statement
def _by_path() -> Any:
    """Watched folders, by path."""
    age = {"age": sql.now() - sql.roots.c.scanned_at}
    columns = ({**sql.roots.c, **age}[name] for name in WatchedRoot.__dataclass_fields__)
    return sql.select(*columns).order_by(sql.roots.c.path)


LISTED = {"waiting": WaitingFolder, "unreadable": UnreadablePlace, "parts": WaitingPart}


def _root(row: Sequence[Any]) -> WatchedRoot:
    """A watched folder by its row."""
    facts = dict(zip(WatchedRoot.__dataclass_fields__, row, strict=True))
    return WatchedRoot(**facts | {name: tuple(starmap(kind, facts[name])) for name, kind in LISTED.items()})
