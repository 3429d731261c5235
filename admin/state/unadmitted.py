"""Why a file in a watched folder has no job: it is ignored, it waits, or it is not complete yet."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from dropscribe.core import reserved_names
from dropscribe.core.clock import iso
from dropscribe.core.mounts import is_network
from dropscribe.scheduler.scanning.ignore import NameKind, classify, ignored_directory
from dropscribe.scheduler.scanning.transport_stream import is_transport_stream, read_head
from dropscribe.scheduler.scanning.write_lease import is_written
from dropscribe.store.roots import LET_READ, UnreadablePlace, WatchedRoot, list_roots
from dropscribe.store.session import Database

SUBMIT = "rename it, or use `dropscribe submit`, which takes any name"
LINKS = "and links are not followed; put the file itself there"
KINDS = {stat.S_IFREG: "", stat.S_IFLNK: f"is a link, {LINKS}", stat.S_IFDIR: "is a folder; name a recording in it"}
NAMES = {
    NameKind.NOT_MEDIA: f"does not have the name of a recording (such as .wav, .mp3, .mp4); {SUBMIT}",
    NameKind.IGNORED_PATTERN: "has the name of a hidden or unfinished file, so it is left out; rename it",
}


def why(database: Database, resolved: Path, plain: Path) -> str:
    """The reason as a sentence; empty when there is no such file, or it lies in no watched folder.

    `plain` is the path as it was typed, `resolved` the same with no link above the file.
    """
    try:
        seen = resolved.lstat()
    except PermissionError as error:
        return f"{resolved} has no job, and cannot be read: {error.strerror}; let this user read its folder"
    except (OSError, ValueError):  # not there, or no path at all
        return ""
    roots = list_roots(database)
    if root := _root_of(resolved, roots):
        return f"{resolved} {_reason(root, resolved.relative_to(root.path), seen)}"
    return f"{plain} lies behind a link, {LINKS}" if _root_of(plain, roots) else ""


def _root_of(path: Path, roots: Sequence[WatchedRoot]) -> WatchedRoot | None:
    """The watched folder that a path lies in."""
    return next((root for root in roots if path.is_relative_to(root.path)), None)


def _reason(root: WatchedRoot, below: Path, seen: os.stat_result) -> str:
    """Why a file in a watched folder has no job: the first reason of those that apply."""
    ignored = _place(below) or _kind(seen) or _name(Path(root.path) / below)
    held = _held(root, below) or _in_parts(root, str(below))
    return ignored or held or _unclosed(root, below) or _incomplete(seen) + _archive(below)


def _place(below: Path) -> str:
    """Why nothing in this folder is a recording; empty where it may be.

    >>> _place(Path(".git/a.wav"))[:40], _place(Path("talks/a.wav"))
    ('is ignored: folders named .git are never', '')
    """
    unseen = next(filter(ignored_directory, below.parts[:-1]), "")
    return f"is ignored: folders named {unseen} are never scanned; move the file elsewhere" if unseen else ""


def _kind(seen: os.stat_result) -> str:
    """Why what lies there is no recording; empty for a regular file."""
    return KINDS.get(stat.S_IFMT(seen.st_mode), "is not a regular file, so it is left out; put a recording there")


def _name(path: Path) -> str:
    """What keeps a file of this name from being a recording; empty where it may be one."""
    kind = classify(path.name)
    if kind is NameKind.ADMIT_BY_HEAD and not _is_stream(path):
        return f"begins like TypeScript or other text, not like a transport stream; {SUBMIT}"
    return NAMES.get(kind, "")


def _is_stream(path: Path) -> bool:
    """What cannot be read may well be one."""
    with suppress(OSError):
        return is_transport_stream(read_head(str(path)))
    return True


def _held(root: WatchedRoot, below: Path) -> str:
    """What the file's folder waits for; empty where it waits for nothing."""
    waiting = next((one for one in root.waiting if one.files and str(below).startswith(one.folder)), None)
    if waiting:
        return f"waits until {root.path}/{waiting.folder}{reserved_names.SETTINGS} is fixed: {waiting.reason}"
    if not root.online:
        return f"has no job yet: its folder could not be scanned: {root.reason}"
    # The scheduler may be another user on another host, so that it cannot read what we can.
    unreadable = next((place for place in root.unreadable if place.holds(str(below))), None)
    return _unseen(unreadable) if unreadable else ""


def _in_parts(root: WatchedRoot, below: str) -> str:
    """Which further part of its recording the file waits for; empty where it waits for none."""
    part = next((one for one in root.parts if one.path == below), None)
    if part is None:
        return ""
    until = "" if part.until is None else f", until {iso(part.until)} at most"
    return f"has no job yet: it waits for {part.waits_for} of its recording{until}"


def _unseen(place: UnreadablePlace) -> str:
    """Why the scheduler does not see a place, and what to do about it."""
    if place.remedy == LET_READ:
        return f"has no job yet: the scheduler cannot read {place}; give it read permission"
    return f"has no job: {place.reason}; {place.remedy}"


def _unclosed(root: WatchedRoot, below: Path) -> str:
    """That somebody has the file open for writing, as far as this machine can tell."""
    if is_network(root.filesystem) or not is_written(Path(root.path) / below):
        return ""
    return "has no job yet: a program has it open for writing; it is admitted once that program closes it"


def _incomplete(seen: os.stat_result) -> str:
    """What a file waits for that could be a recording."""
    if not seen.st_size:
        return (
            "has no job yet: it is empty. An empty file gets ten times as long as others, and then fails; copy it again"
        )
    return (
        "has no job yet: the scheduler admits it once it has not changed for some seconds; "
        "`dropscribe status` shows how many such files there are"
    )


def _archive(below: Path) -> str:
    """A word on files in folders where recordings are archived; empty for all others.

    >>> _archive(Path("done/a.wav"))[:36], _archive(Path("talks/a.wav"))
    ('. Where recordings are archived, a f', '')
    """
    folder = next((part for part in below.parts[:-1] if part in reserved_names.SHELVES), "")
    counts = f". Where recordings are archived, a file in {folder} never counts as new; move it out of there"
    return counts if folder else ""
