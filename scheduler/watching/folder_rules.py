"""Pure: what the settings files of a root mean for its recordings, and which folders wait until theirs is fixed."""

from __future__ import annotations

from collections.abc import Collection, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache, reduce
from operator import attrgetter
from pathlib import Path
from types import MappingProxyType
from typing import Any

from dropscribe.core import reserved_names
from dropscribe.core.errors import SettingsError
from dropscribe.core.folder_settings import (
    OF_THE_TEXT,
    EffectiveSettings,
    FolderSettings,
    FolderTable,
    SettingsFilePlace,
    effective,
    general,
    read,
    refused,
    tables,
)
from dropscribe.core.settings import Settings
from dropscribe.scheduler.scanning.folder_files import Author, SettingsFile, places
from dropscribe.store.roots import WaitingFolder

NOTICE = "dropscribe cannot use"  # how a file that names mistakes begins, and how it goes on:
WAITS = """the {file} of this folder:

{points}

New recordings here and below wait until it is fixed. This file then goes away by itself.
"""
NOT_FOLLOWED = """all of the {file} of this folder:

{points}

The rest counts, and recordings do not wait. This file goes away when the lines are removed or allowed.
"""
ONLY_OPERATOR = "{}: only the operator may set this here, or allow it by a table for this folder in dropscribe.toml"
SHELVES = tuple(f"{shelf}/" for shelf in reserved_names.SHELVES)
MAX_TOLD = 20  # folders that wait, as far as the store knows them


@dataclass(frozen=True)
class Folders:
    """The root and those of its folders that have settings, or belong to another owner.

    `ordered` is what holds in each, the settings of the folders above included; `wrong` what is to be fixed in the
    files of some, and `blocked` the folders that wait for that, each with the one whose file it is. `refused` is what
    is said in others and does not count. Directories are "" for the root, else end with a slash. `broken` is what is
    wrong with the global settings, because of which all recordings wait; `status_page` whether the root has a page of
    what becomes of its recordings.
    """

    ordered: Mapping[str, EffectiveSettings] = field(default_factory=dict)
    wrong: Mapping[str, str] = field(default_factory=dict)
    blocked: Mapping[str, str] = field(default_factory=dict)
    refused: Mapping[str, str] = field(default_factory=dict)
    broken: SettingsError | None = None
    status_page: bool = False

    def orders(self, path: str) -> EffectiveSettings:
        """What the recording is admitted with. Raises `broken`."""
        if self.broken:
            raise self.broken
        return self.ordered[next(_above(path, self.ordered))]

    def waits(self, path: str) -> str | None:
        """The folder for whose settings the recording waits."""
        return self.blocked.get(next(_above(path, self.ordered), ""))

    @cached_property
    def moves(self) -> bool:
        """Are recordings of any folder archived?"""
        return any(map(attrgetter("moves"), self.ordered.values()))

    def joins(self, path: str) -> bool:
        """May the file be a part of a recording, by the settings of its folder?"""
        return self.joins_parts and self.orders(path).joins_parts and not self.is_put_away(path)

    @cached_property
    def joins_parts(self) -> bool:
        """Are files of any folder joined?"""
        return any(map(attrgetter("joins_parts"), self.ordered.values()))

    def is_put_away(self, path: str) -> bool:
        """True for what lies in a folder for recordings whose jobs ended, however deep."""
        return self.moves and any(
            place.endswith(SHELVES) and self.orders(place.rstrip("/")).moves for place in places(path)
        )

    def waiting(self, files: Iterable[str]) -> tuple[WaitingFolder, ...]:
        """Folders that wait, with the number of those `files` that do; and those where something does not count."""
        counts = dict.fromkeys(sorted(self.wrong), 0)
        for path in files:
            if (folder := self.waits(path)) is not None:
                counts[folder] += 1
        told = [WaitingFolder(folder, _one_line(self.wrong[folder]), number) for folder, number in counts.items()]
        told += [WaitingFolder(folder, _one_line(why), 0) for folder, why in self.refused.items()]
        return tuple(told[:MAX_TOLD])

    def notices(self, there: Iterable[str]) -> dict[str, str | None]:
        """What to say beside the settings files; None for a file in one of the folders `there` that is over."""
        if self.broken:
            return {}
        said: dict[str, str | None] = dict.fromkeys(there)
        said |= {folder: _notice(why, NOT_FOLLOWED) for folder, why in self.refused.items()}
        said |= {folder: _notice(why, WAITS) for folder, why in self.wrong.items()}
        return {folder + reserved_names.ERROR: text for folder, text in said.items()}


def _one_line(why: str) -> str:
    """Several mistakes in one line.

    >>> _one_line("a" + chr(10) + "b")
    'a; b'
    """
    return why.replace("\n", "; ")


@dataclass(frozen=True, slots=True)
class _Layer:
    """What the file or the table of one directory says; `zone` is where it holds, None: everywhere below."""

    directory: str
    given: FolderSettings
    zone: str | None = None
    is_wrong: bool = False


def read_folders(
    settings: Settings,
    root: Path,
    files: Mapping[str, SettingsFile],
    over: FolderSettings = MappingProxyType({}),
    *,
    borders: Collection[str] = (),
) -> Folders:
    """What the settings files of a root say; `over` wins over all of them.

    `borders` are the directories that belong to somebody else than the one above.
    """
    try:
        start, by_operator = general(settings), tables(settings, root)
        effective(settings, {**start, **over})
    except SettingsError as error:
        return Folders(broken=error)
    rules = _Rules(settings, root, by_operator, frozenset(borders))
    for directory in sorted(files):
        rules.add(directory, files[directory])
    return rules.result(start, over)


class FolderReader:
    """Reads the settings files of one root, and works out what they mean only when they have changed."""

    def __init__(self, settings: Settings) -> None:
        """Reads nothing yet."""
        self._settings = settings
        self._seen: object = None
        self._folders = Folders()

    def read(self, root: Path, files: Mapping[str, SettingsFile], borders: Collection[str]) -> Folders:
        """As `read_folders`; many thousand files that stay what they are cost next to nothing."""
        try:
            seen = root, general(self._settings), dict(files), frozenset(borders)
        except SettingsError as error:
            return Folders(broken=error)
        if seen != self._seen:
            self._folders = read_folders(self._settings, root, files, borders=borders)
            self._seen = seen
        return self._folders


@dataclass
class _Rules:
    """The folders of a root while their files are read, those above first."""

    settings: Settings
    root: Path
    tables: Mapping[str, FolderTable]
    borders: frozenset[str]
    layers: dict[str, _Layer] = field(default_factory=dict)
    wrong: dict[str, str] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    known: dict[frozenset[tuple[str, Any]], EffectiveSettings] = field(default_factory=dict)  # most folders are alike

    def add(self, directory: str, file: SettingsFile) -> None:
        """Take in the settings file of a directory.

        What it may set counts, what it may not set is reported, and for a mistake its recordings wait.
        """
        if file.author == Author.STRANGER:
            self.refused[directory] = f"it belongs to account {file.owner}, and not to the owner of this folder"
            return
        zone = self.zone(directory) if file.author == Author.OWNER else None
        allowed = None if file.author == Author.OPERATOR else self.allowed(directory)
        place = SettingsFilePlace(
            root=self.root,
            directory=directory,
            results=self.settings.results,
            models=self.settings.folder_models,
            allowed=allowed,
        )
        try:
            own, left_out = _own(file, place)
            self.layers[directory] = _Layer(directory, own, zone)
            if left_out:
                self.refused[directory] = "\n".join(map(ONLY_OPERATOR.format, left_out))
        except SettingsError as error:
            self.layers[directory] = _Layer(directory, {}, zone, is_wrong=True)
            self.wrong[directory] = str(error)

    def zone(self, directory: str) -> str:
        """The topmost of the folders from this one up that have the same owner."""
        return next(_above(directory, self.borders), "")

    def allowed(self, directory: str) -> frozenset[str]:
        """What a file on the share may set there."""
        above = map(self.tables.__getitem__, _above(directory, self.tables))
        return frozenset(OF_THE_TEXT).union(*map(attrgetter("allow"), above))

    def reaching(self, directory: str, known: Container[str]) -> list[_Layer]:
        """What holds there, the nearest last; `known` are the directories of which anything is said."""
        above = reversed([*_above(directory, known)])
        return [layer for place in above for layer in self.at(place) if layer.zone in {None, self.zone(directory)}]

    def at(self, directory: str) -> Iterator[_Layer]:
        """What the operator's table says of a directory, then what its own file says, which wins."""
        if table := self.tables.get(directory):
            yield _Layer(directory, table.given)
        if layer := self.layers.get(directory):
            yield layer

    def result(self, start: FolderSettings, over: FolderSettings) -> Folders:
        """What holds in the end, under `start`."""
        ordered: dict[str, EffectiveSettings] = {}
        blocked: dict[str, str] = {}
        known = {*self.tables, *self.layers}
        for directory in sorted({"", *self.tables, *self.layers, *self.borders}):
            layers = self.reaching(directory, known)
            broken = [*map(attrgetter("directory"), filter(attrgetter("is_wrong"), layers))]
            ordered[directory] = self.settled(directory, {**_merged(start, layers), **over}, {**start, **over})
            broken += [directory] if directory in self.wrong else []
            blocked |= {directory: broken[-1]} if broken else {}
        page = _merged(start, self.reaching("", known))["status_page"]
        return Folders(ordered, self.wrong, blocked, self.refused, status_page=page)

    def settled(self, directory: str, given: FolderSettings, instead: FolderSettings) -> EffectiveSettings:
        """What holds under `given`, or `instead` where that cannot be."""
        alike = frozenset(given.items())
        try:
            found = self.known[alike] if alike in self.known else effective(self.settings, given)
        except SettingsError as error:
            self.wrong.setdefault(directory, str(error))
            return effective(self.settings, instead)
        self.known[alike] = found
        return found


def _merged(start: FolderSettings, layers: Sequence[_Layer]) -> FolderSettings:
    """The nearest wins, key by key."""
    return reduce(lambda above, layer: {**above, **layer.given}, layers, start)


@lru_cache(maxsize=1024)
def _own(file: SettingsFile, place: SettingsFilePlace) -> tuple[FolderSettings, tuple[str, ...]]:
    """What it says, and which keys do not count. Read once as long as it stays the same."""
    if file.problem:
        raise SettingsError(file.problem)
    return read(file.text, file.hotwords, place), refused(file.text, place)


def _above(path: str, known: Container[str]) -> Iterator[str]:
    """Those of the directories above a path that are known, the nearest first, and at last the root.

    >>> [*_above("a/b/c.wav", {"a/", "a/b/", ""})]
    ['a/b/', 'a/', '']
    """
    return (place for place in (*reversed([*places(path)]), "") if place in known)


def _notice(why: str, result: str) -> str:
    """What to say beside a settings file, with a line for each mistake."""
    points = "\n".join(f"- {line}" for line in why.splitlines())
    return f"{NOTICE} {result}".format(file=reserved_names.SETTINGS, points=points)
