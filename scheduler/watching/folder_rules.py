"""Pure: what the settings files of a root mean for its recordings, and which folders wait until theirs is mended."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from operator import attrgetter
from pathlib import Path
from types import MappingProxyType

from dropscribe.core import reserved_names
from dropscribe.core.errors import SettingsError
from dropscribe.core.folder_settings import (
    EffectiveSettings,
    FolderSettings,
    SettingsFilePlace,
    effective,
    general,
    read,
)
from dropscribe.core.settings import Settings
from dropscribe.scheduler.scanning.folder_files import SettingsFile
from dropscribe.scheduler.scanning.scan import places
from dropscribe.store.roots import WaitingFolder

NOTICE = "dropscribe cannot use"  # how a file that tells of mistakes begins
SHELVES = tuple(f"{shelf}/" for shelf in reserved_names.SHELVES)
MAX_TOLD = 20  # folders that wait, as far as the store is told of them


@dataclass(frozen=True)
class Folders:
    """The root and those of its folders that have settings.

    `ordered` is what holds in each, the settings of the folders above included; `wrong` why a folder waits.
    Directories are "" for the root, else end with a slash. `broken` is what is wrong with the global settings, because
    of which all recordings wait; `status_page` whether the root has a page of what becomes of its recordings.
    """

    ordered: Mapping[str, EffectiveSettings] = field(default_factory=dict)
    wrong: Mapping[str, str] = field(default_factory=dict)
    broken: SettingsError | None = None
    status_page: bool = False

    def orders(self, path: str) -> EffectiveSettings:
        """What the recording is admitted with. Raises `broken`."""
        if self.broken:
            raise self.broken
        return self.ordered[next(_above(path, self.ordered))]

    def waits(self, path: str) -> str | None:
        """The folder for whose settings the recording waits."""
        return next(_above(path, self.wrong), None)

    @cached_property
    def moves(self) -> bool:
        """Are recordings of any folder put away?"""
        return any(map(attrgetter("moves"), self.ordered.values()))

    def is_put_away(self, path: str) -> bool:
        """True for what lies in a folder for recordings that are through, however deep."""
        return self.moves and any(
            place.endswith(SHELVES) and self.orders(place.rstrip("/")).moves for place in places(path)
        )

    def waiting(self, files: Iterable[str]) -> tuple[WaitingFolder, ...]:
        """Folders that wait, with the number of those `files` that do."""
        counts = dict.fromkeys(sorted(self.wrong), 0)
        for path in files:
            if (folder := self.waits(path)) is not None:
                counts[folder] += 1
        told = list(counts.items())[:MAX_TOLD]
        return tuple(WaitingFolder(folder, self.wrong[folder].replace("\n", "; "), number) for folder, number in told)

    def notices(self, there: Iterable[str]) -> dict[str, str | None]:
        """What to say beside the settings files; None for a file in one of the folders `there` that is over."""
        if self.broken:
            return {}
        said: dict[str, str | None] = {
            folder + reserved_names.ERROR: _notice(why) for folder, why in self.wrong.items()
        }
        return {folder + reserved_names.ERROR: None for folder in there} | said


def read_folders(
    settings: Settings, root: Path, files: Mapping[str, SettingsFile], over: FolderSettings = MappingProxyType({})
) -> Folders:
    """What the settings files of a root say; `over` wins over all of them."""
    try:
        given: dict[str, FolderSettings] = {"": general(settings)}
        ordered = {"": effective(settings, {**given[""], **over})}
    except SettingsError as error:
        return Folders(broken=error)
    wrong: dict[str, str] = {}
    for directory in sorted(files):  # those above come first
        above = given[next(_above(directory.rstrip("/"), given))]
        try:
            own = _own(files[directory], SettingsFilePlace(root, directory, settings.results, settings.folder_models))
            given[directory] = {**above, **own}
            ordered[directory] = effective(settings, {**given[directory], **over})
        except SettingsError as error:
            wrong[directory] = str(error)
    return Folders(ordered, wrong, status_page=given[""]["status_page"])


@lru_cache(maxsize=1024)
def _own(file: SettingsFile, place: SettingsFilePlace) -> FolderSettings:
    """Read once as long as it stays the same."""
    if file.problem:
        raise SettingsError(file.problem)
    return read(file.text, file.hotwords, place)


def _above(path: str, known: Container[str]) -> Iterator[str]:
    """Those of the directories above a path that are known, the nearest first, and at last the root."""
    return (place for place in (*reversed([*places(path)]), "") if place in known)


def _notice(why: str) -> str:
    points = "\n".join(f"- {line}" for line in why.splitlines())
    return (
        f"{NOTICE} the {reserved_names.SETTINGS} of this folder:\n\n{points}\n\n"
        "New recordings here and below wait until it is mended. This file then goes away by itself.\n"
    )
