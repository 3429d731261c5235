"""Files of one root that may be parts of a recording, from when they are complete until they are admitted."""

from __future__ import annotations

import math
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import chain, filterfalse
from operator import attrgetter, methodcaller
from typing import NamedTuple

from dropscribe.core.recording_parts import MAX_PARTS, RecordingPart
from dropscribe.scheduler.scanning.scan import Observation
from dropscribe.scheduler.scanning.wav_header import WavHeader
from dropscribe.scheduler.watching.part_names import PartName, part_name
from dropscribe.scheduler.watching.part_policy import JoinDecision, PartFile, decisions
from dropscribe.store.parts import Standing
from dropscribe.store.roots import WaitingPart


class WholeRecording(NamedTuple):
    """A complete recording: its first file, and those that are joined to it.

    `remark` says for the audit trail why others are not.
    """

    path: str
    seen: Observation
    parts: tuple[RecordingPart, ...] = ()
    remark: str = ""

    @property
    def paths(self) -> tuple[str, ...]:
        """Those of all its files."""
        return (self.path, *map(attrgetter("path"), self.parts))


class _Held(NamedTuple):
    """A complete file that waits, since a moment on the monotonic clock."""

    seen: Observation
    since: float


@dataclass(frozen=True, slots=True)
class FolderLook:
    """What is asked of one look into a root: its `files`, and what else is known of them.

    `headers` reads those of WAV files, `standings` says what was admitted; `growing` which are not complete. `joins`
    says which may be parts by the settings of their folders, `hides` which are not to be judged for now.
    """

    files: Mapping[str, Observation]
    growing: Collection[str]
    headers: Callable[[Sequence[str]], Mapping[str, WavHeader | None]]
    standings: Callable[[Mapping[str, Observation]], Mapping[str, Standing]]
    joins: Callable[[str], bool]
    hides: Callable[[str], bool]


class _NamedFile(NamedTuple):
    """A file whose name may be that of a part."""

    path: str
    folder: str
    name: PartName

    @property
    def group(self) -> tuple[str, str]:
        """What it has in common with all that may be parts of its recording."""
        return self.folder, self.name.key

    @property
    def block(self) -> _Block:
        """Its group, and about where its number stands in it."""
        return (*self.group, self.name.number // MAX_PARTS)

    @property
    def near(self) -> tuple[_Block, _Block, _Block]:
        """The blocks in which parts of its recording have their numbers."""
        folder, key, at = self.block
        return (folder, key, at - 1), (folder, key, at), (folder, key, at + 1)


_Block = tuple[str, str, int]


@dataclass
class PartsWatch:
    """The files that wait in one root for further parts, each for `wait` seconds; what is `held` may be hidden."""

    wait: float
    waiting: tuple[WaitingPart, ...] = ()
    held: Mapping[str, _Held] = field(default_factory=dict)
    _headers: dict[tuple[str, Observation], WavHeader | None] = field(default_factory=dict)
    _due: float = math.inf

    def due(self, now: float) -> float | None:
        """Seconds from `now` until something that waits is admitted as it is; None where nothing waits so."""
        return max(0.0, self._due - now) if self._due < math.inf else None

    def whole(self, complete: Mapping[str, Observation], look: FolderLook, now: float) -> list[WholeRecording]:
        """Take in complete files; returns the recordings of which no further part is waited for.

        First those that have no parts, then the others by their paths. Where `look` raises, what is held stays so.
        """
        held = {**self.held, **{path: _Held(seen, now) for path, seen in complete.items()}}
        hidden = {*filter(look.hides, held)}
        held = {path: one for path, one in held.items() if path in hidden or look.files.get(path) == one.seen}
        parts = {one.path: held[one.path] for one in _named(filter(look.joins, held.keys() - hidden))}
        found = self._decisions(look, parts) if parts else []
        waits = methodcaller("waits", now)
        self._tell([*filter(waits, found)], now)
        alone = [WholeRecording(path, held[path].seen) for path in filterfalse({*hidden, *parts}.__contains__, held)]
        whole = [*alone, *sorted(chain.from_iterable(map(_recordings, filterfalse(waits, found))))]
        over = {*chain.from_iterable(map(attrgetter("paths"), whole))}
        self.held = {path: held[path] for path in filterfalse(over.__contains__, held)}
        if not self.held:
            self._headers.clear()
        return whole

    def _tell(self, open_ones: Sequence[JoinDecision], now: float) -> None:
        """Note what waits, and until when."""
        clock = time.time() - now
        self.waiting = tuple(chain.from_iterable(_waiting(one, clock) for one in open_ones))
        self._due = min(map(attrgetter("until"), open_ones), default=math.inf)

    def _decisions(self, look: FolderLook, held: Mapping[str, _Held]) -> list[JoinDecision]:
        """What becomes of the files that wait, with those that may belong to them."""
        near = _near(held, look.files)
        paths = [*map(attrgetter("path"), near)]
        self._read_headers(look, [*filter(_is_wav, paths)])
        standings = look.standings({path: look.files[path] for path in paths})
        groups: defaultdict[tuple[str, str], list[PartFile]] = defaultdict(list)
        for one in near:
            seen, waits = look.files[one.path], held.get(one.path)
            file = PartFile(
                path=one.path,
                name=one.name,
                seen=seen,
                wav=self._headers.get((one.path, seen)),
                standing=standings.get(one.path, Standing.NEW),
                since=waits and waits.since,
                growing=one.path in look.growing,
            )
            groups[one.group].append(file)
        return [*chain.from_iterable(map(partial(decisions, wait=self.wait), groups.values()))]

    def _read_headers(self, look: FolderLook, paths: Iterable[str]) -> None:
        """Read headers of WAV files that are new or have changed."""
        unread = [path for path in paths if (path, look.files[path]) not in self._headers]
        self._headers |= {(path, look.files[path]): header for path, header in look.headers(unread).items()}


def _near(held: Iterable[str], files: Iterable[str]) -> list[_NamedFile]:
    """Files whose numbers are near to that of one that waits, in the same folder."""
    waiting = [*_named(held)]
    folders = {*map(attrgetter("folder"), waiting)}
    blocks = {*chain.from_iterable(map(attrgetter("near"), waiting))}
    beside = filter(lambda path: path.rpartition("/")[0] in folders, files)
    return [*filter(lambda one: one.block in blocks, _named(beside))]


def _is_wav(path: str) -> bool:
    """Has it the name of a WAV file?"""
    return path.lower().endswith(".wav")


def _named(paths: Iterable[str]) -> Iterator[_NamedFile]:
    """Those of the files whose names may be those of parts."""
    for path in paths:
        folder, _, file = path.rpartition("/")
        if name := part_name(file):
            yield _NamedFile(path, folder, name)


def _waiting(decision: JoinDecision, clock: float) -> Iterator[WaitingPart]:
    """What is reported of the files that wait; `clock` is what the monotonic clock lacks to the usual one."""
    until = round(clock + decision.until) if decision.until < math.inf else None
    for file in decision.held:
        yield WaitingPart(file.path, decision.waits_for, until)


def _recordings(decision: JoinDecision) -> Iterator[WholeRecording]:
    """What is admitted: all files as one recording, or each that waits by itself."""
    if decision.joined:
        first, *others = decision.files
        yield WholeRecording(first.path, first.seen, tuple(map(attrgetter("as_part"), others)), decision.why)
        return
    for file in decision.held:
        yield WholeRecording(file.path, file.seen, (), decision.why)
