"""Pure: one spelling for each file of a filesystem that takes names which differ in case only for the same.

There a folder `Done` is the archive `done`, and a recording stays the same if its name changes only in case. Whatever
the spelling, the filesystem finds the file.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import chain
from typing import Any

from dropscribe.core import reserved_names
from dropscribe.scheduler.scanning.folder_files import places
from dropscribe.scheduler.scanning.scan import Scan


class Spellings:
    """Remembers how each file of one root was spelled first; `known` are those of the store, the newest last."""

    def __init__(self, known: Iterable[str] = ()) -> None:
        self._spelled = {path.lower(): path for path in map(with_archive, known)}

    def of(self, found: Scan) -> Scan:
        """What a scan saw, each file and folder spelled as it was first."""
        spelled = {path: self._of(path, found.files) for path in found.files}
        folders = dict(chain.from_iterable(map(_folders, spelled, spelled.values())))
        told = {folder: folders.get(folder, with_archive(folder)) for folder in {*found.settings, *found.complaints}}
        return replace(
            found,
            files=_renamed(found.files, spelled),
            stamps=_renamed(found.stamps, spelled),
            settings=_renamed(found.settings, told),
            complaints=frozenset(map(told.__getitem__, found.complaints)),
            borders=frozenset(map(told.__getitem__, found.borders)),
            unreadable={with_archive(place): why for place, why in found.unreadable.items()},
        )

    def _of(self, path: str, seen: Container[str]) -> str:
        """Two names that are both there are two files: then the filesystem does tell them apart."""
        ours = with_archive(path)
        known = self._spelled.setdefault(path.lower(), ours)
        return ours if known != path and known in seen else known


def with_archive(path: str) -> str:
    """The path, with the folders where recordings are archived spelled as dropscribe spells them.

    >>> with_archive("Talks/Done/A.wav")
    'Talks/done/A.wav'
    """
    *folders, name = path.split("/")
    return "/".join([*map(_shelf, folders), name])


def _shelf(folder: str) -> str:
    """The name of a folder; one for archived recordings as dropscribe spells it.

    >>> _shelf("Done"), _shelf("Talks")
    ('done', 'Talks')
    """
    return folder.lower() if folder.lower() in reserved_names.SHELVES else folder


def _folders(theirs: str, ours: str) -> Iterator[tuple[str, str]]:
    """The folders of a file that is spelled otherwise here than there."""
    return zip(places(theirs), places(ours), strict=True) if theirs != ours else iter(())


def _renamed(of: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    """The mapping under other names."""
    return {names[name]: value for name, value in of.items()}
