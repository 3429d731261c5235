"""Pure: which files are parts of one recording, by their names, formats, sizes and times.

Files are joined only where nothing speaks against it. A file that goes on from another has the number after it, the
same format, and is no larger: recorders cut at a size or a time, and only the last part is shorter. If names do not
prove that they count parts, the file before must end at a cut, and the other must begin at that time, as far as it is
known.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from operator import attrgetter

from dropscribe.core.recording_parts import MAX_PARTS, RecordingPart
from dropscribe.scheduler.scanning.scan import Observation
from dropscribe.scheduler.scanning.wav_header import WavHeader
from dropscribe.scheduler.watching.part_names import PartName
from dropscribe.store.parts import Standing

CUT_BYTES = (2e9, 2**31, 4e9, 2**32)  # at which recorders begin a new file: what FAT and WAV hold
BELOW_CUT, ABOVE_CUT = 0.97, 1.01  # of that size; GoPro's chapters of "4 GB" have 3.73 GiB
CUT_SECONDS = (1800.0, 3600.0)
SLACK = 3.0  # s; FAT counts in two, and DJI's parts begin 1800 or 1801 s after each other
MIN_TIMED = 300.0  # s of a part that is known by its times alone: who records twice in a row pauses less often
APART = 60.0  # s between two parts from which on they are no longer one recording
LONG_APART = 12 * 3600.0  # s, where nobody knows how long the second is
GROWS = 1.05  # so much larger than the one before may a part be: video is cut at whole pictures
AS_LARGE = 0.99  # of the one before, from which on the last part may have been cut too

ABSENT = "the first part is missing"
TOO_MANY = f"more than {MAX_PARTS} files are numbered in a row"


@dataclass(frozen=True, slots=True)
class PartFile:
    """A file that may be a part: what its name says, and what was seen of it.

    `since` is from when on it waits for further parts, on the monotonic clock; None: it was admitted before, or is
    `growing`, which is to say not complete yet.
    """

    path: str
    name: PartName
    seen: Observation
    wav: WavHeader | None = None
    standing: Standing = Standing.NEW
    since: float | None = None
    growing: bool = False

    @property
    def number(self) -> int:
        """That of its name."""
        return self.name.number

    @property
    def file_name(self) -> str:
        """For people."""
        return self.path.rpartition("/")[2]

    @property
    def is_held(self) -> bool:
        """Does it wait?"""
        return self.since is not None

    @property
    def as_part(self) -> RecordingPart:
        """As the job of its recording keeps it."""
        return RecordingPart(self.path, self.seen.size, self.seen.mtime_ns)

    @property
    def seconds(self) -> float:
        """How long it is; NaN, with which nothing compares, where that is not known."""
        return self.wav.seconds(self.seen.size) if self.wav else math.nan

    @property
    def is_cut(self) -> bool:
        """Does it end where recorders begin a new file?"""
        size = self.seen.size
        return any(BELOW_CUT * cut <= size <= ABOVE_CUT * cut for cut in CUT_BYTES) or is_timed_cut(self.seconds)


def is_timed_cut(seconds: float) -> bool:
    """Is that how long recorders make their files?

    >>> is_timed_cut(1801.0), is_timed_cut(95.0), is_timed_cut(math.nan)
    (True, False, False)
    """
    return any(abs(seconds - cut) <= SLACK for cut in CUT_SECONDS)


@dataclass(frozen=True, slots=True)
class JoinDecision:
    """What is done with files that follow each other: they are `joined`, or each is a recording by itself.

    `until` is the moment on the monotonic clock up to which that waits, infinite where nobody knows; `waits_for` says
    for what. `why` is why they are not joined to what stands before or behind them.
    """

    files: tuple[PartFile, ...]
    joined: bool
    until: float = -math.inf
    waits_for: str = ""
    why: str = ""

    def waits(self, now: float) -> bool:
        """Does it still wait?"""
        return self.until > now

    @property
    def held(self) -> list[PartFile]:
        """Those of the files that wait."""
        return [*filter(attrgetter("is_held"), self.files)]


@dataclass(frozen=True, slots=True)
class _Run:
    """Files of which each goes on from the one before; `why` the first does not go on from what stands before it."""

    files: tuple[PartFile, ...]
    why: str = ""
    lacks: bool = True  # is the part before the first not there?

    @property
    def begins(self) -> bool:
        """Does it begin with a first part?"""
        first = self.files[0]
        return not first.name.scheme.first or first.number in first.name.scheme.first

    @property
    def is_proof(self) -> bool:
        """Do its names alone prove that they count parts?"""
        return self.files[0].name.scheme.is_proof

    @property
    def is_joined(self) -> bool:
        """Is it a recording of several parts?"""
        return self.begins and len(self.files) > 1

    @property
    def is_headless(self) -> bool:
        """Do its names prove that parts before it are not there?"""
        return self.is_proof and self.lacks and not self.begins

    @property
    def growing(self) -> str:
        """The first of its files that is not complete; empty where all are."""
        return next((one.file_name for one in self.files if one.growing), "")

    @property
    def may_go_on(self) -> bool:
        """Was its last file cut, so that there may be another?"""
        last, before = self.files[-1], self.files[-2:-1]
        return last.is_cut or any(last.seen.size >= AS_LARGE * one.seen.size for one in before)


def decisions(files: Sequence[PartFile], wait: float) -> Iterator[JoinDecision]:
    """What becomes of those of the files of one key that wait; a further part is waited for so many seconds."""
    runs = _runs(sorted(files, key=attrgetter("number")))
    for run, after in zip(runs, [*runs[1:], None], strict=True):
        if held := [*filter(attrgetter("is_held"), run.files)]:
            yield _decision(run, after, max(map(attrgetter("since"), held)) + wait)


def _runs(files: Sequence[PartFile]) -> list[_Run]:
    """Files by number, where each goes on from the one before."""
    runs: list[_Run] = []
    begun, why, lacks = [files[0]], "", True
    for before, file in pairwise(files):
        if reason := next((why for why, is_so in BREAKS.items() if is_so(before, file)), ""):
            runs.append(_Run(tuple(begun), why, lacks))
            begun, lacks = [], file.number > before.number + 1
            why = f"{file.file_name} does not go on from {before.file_name}: {reason}"
        begun.append(file)
    return [*runs, _Run(tuple(begun), why, lacks)]


def _decision(run: _Run, after: _Run | None, until: float) -> JoinDecision:
    """What becomes of a run with files that wait, `until` then at the latest, where another stands `after` it."""
    decision = JoinDecision(run.files, run.is_joined, why=run.why or getattr(after, "why", ""))
    if len(run.files) > MAX_PARTS:
        return replace(decision, joined=False, why=TOO_MANY)
    if run.growing:
        return replace(decision, until=math.inf, waits_for=f"{run.growing}, which is still being written")
    if run.is_headless:
        return replace(decision, until=until, waits_for="the parts before it", why=run.why or ABSENT)
    return replace(decision, until=until, waits_for="a further part") if _is_open(run, after) else decision


def _is_open(run: _Run, after: _Run | None) -> bool:
    """May another part come behind a run, where that number is free: it was cut, or one behind it proves that?"""
    if after is None:
        return run.may_go_on
    is_free = after.files[0].number > run.files[-1].number + 1
    return is_free and (run.is_proof or run.may_go_on)


def _is_not_cut(before: PartFile, file: PartFile) -> bool:
    """Do lengths and times not say that a file begins where the one before was cut, and names prove nothing?"""
    if file.name.scheme.is_proof:
        return False
    between = file.name.began - before.name.began
    if not math.isnan(between):
        return not is_timed_cut(between) or abs(between - before.seconds) > SLACK
    later = (file.seen.mtime_ns - before.seen.mtime_ns) / 1e9
    begins_then = abs(later - file.seconds) <= SLACK and before.seconds >= MIN_TIMED
    return not begins_then and (not before.is_cut or later > LONG_APART or later > file.seconds + APART)


# Why one file does not go on from another, by what is asked of both; the first that holds is reported.
BREAKS: dict[str, Callable[[PartFile, PartFile], bool]] = {
    "a number between them is missing": lambda before, file: file.number != before.number + 1,
    "the data of one of them was removed": lambda *both: Standing.FORGOTTEN in {one.standing for one in both},
    "it was transcribed by itself before": lambda _, file: file.standing is Standing.OWN,
    "its sound has another format": lambda *both: len({one.wav for one in both if one.wav}) > 1,
    "it is larger than the one before, which therefore was not cut": lambda before, file: (
        file.seen.size > GROWS * before.seen.size and not before.growing
    ),
    "the one before was not cut then": _is_not_cut,
}
