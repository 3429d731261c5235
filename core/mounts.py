"""Which filesystem a path lies on, and whether another host may write to it unseen.

Network filesystems deliver no inotify events for other hosts' writes, cache attributes, and break SQLite's locks.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path, PurePath

UNKNOWN = "unknown"  # the kind where the system has no mount table

_MOUNTINFO = Path("/proc/self/mountinfo")
_OCTAL_ESCAPE = re.compile(r"\\([0-7]{3})")

# fuseblk is a FUSE driver on a local block device (ntfs-3g); every other kind of FUSE may be remote.
_LOCAL_KINDS = frozenset(
    "apfs bcachefs btrfs exfat ext2 ext3 ext4 f2fs fuseblk ntfs3 overlay ramfs squashfs tmpfs vfat xfs zfs".split()
)
# Where all files have the owner that the mount says; most kinds of FUSE do the same.
_OWNERLESS_KINDS = frozenset("cifs drvfs exfat fuse fuseblk hfs msdos ntfs ntfs3 smb3 smbfs vfat".split()) | {UNKNOWN}


@dataclass(frozen=True, slots=True)
class Mount:
    """One line of the mount table: `subtree` is the part of the filesystem that is seen at `point`."""

    id: str
    parent: str
    point: str
    subtree: str
    kind: str
    source: str

    @property
    def source_is_telling(self) -> bool:
        """True when `source` names a device or a share; "tmpfs" or "overlay" may be any."""
        return "/" in self.source or ":" in self.source

    def same_place(self, other: Mount) -> bool:
        """True when both show the same part of the same source; ids change whenever one mounts again."""
        return (self.point, self.subtree, self.kind, self.source) == (
            other.point,
            other.subtree,
            other.kind,
            other.source,
        )


def mount_table() -> str:
    """The kernel's mount table; empty on a system that has none."""
    with suppress(FileNotFoundError):
        return _MOUNTINFO.read_text(encoding="utf-8", errors="surrogateescape")
    return ""


def filesystem_kind(path: PurePath, mountinfo_text: str) -> str:
    """The type of the filesystem that holds `path` (absolute, without symlinks); UNKNOWN if none does.

    `mountinfo_text` is in the format of /proc/self/mountinfo.
    """
    mount = mount_of(path, mountinfo_text)
    return mount.kind if mount else UNKNOWN


def is_network(kind: str) -> bool:
    """True unless the kind is known to be local, as a wrong "local" would miss what other hosts write.

    >>> is_network("ext4"), is_network("nfs4"), is_network("something new")
    (False, True, True)
    """
    return kind not in _LOCAL_KINDS


def has_owners(kind: str) -> bool:
    """Does the owner of a file there say who made it?"""
    return kind not in _OWNERLESS_KINDS and not kind.startswith("fuse.")


def filesystem_of(path: str | os.PathLike[str]) -> str:
    """The type of the filesystem under a path of this machine, for example `ext4` or `nfs4`."""
    return filesystem_kind(Path(path).resolve(), mount_table())


def kinds_below(path: PurePath, mountinfo_text: str) -> Iterator[str]:
    """The types of what is mounted somewhere below `path`."""
    return (mount.kind for mount in _parse(mountinfo_text) if path in PurePath(mount.point).parents)


def _parse(mountinfo_text: str) -> list[Mount]:
    """The mounts in a text like /proc/self/mountinfo; lines of another shape are passed over."""
    return [mount for line in mountinfo_text.splitlines() if (mount := _parse_line(line))]


def _parse_line(line: str) -> Mount | None:
    """Fields as in proc(5): id, parent, device, subtree, point, options, tags ... - kind, source, options."""
    before, separator, after = line.partition(" - ")
    left, right = before.split(" "), after.split(" ")
    if not separator or len(left) < 6 or len(right) < 2:
        return None
    return Mount(
        id=left[0],
        parent=left[1],
        point=_unescape(left[4]),
        subtree=_unescape(left[3]),
        kind=right[0],
        source=_unescape(right[1]),
    )


def _unescape(field: str) -> str:
    """Space, tab, newline and backslash stand as three octal digits."""
    return _OCTAL_ESCAPE.sub(lambda match: chr(int(match[1], 8)), field)


def mount_of(path: PurePath, mountinfo_text: str) -> Mount | None:
    """The mount that holds `path` (absolute, without symlinks), by a text in the format of /proc/self/mountinfo.

    It walks down the path as the kernel does, onto each mount that covers the place reached so far. The longest prefix
    alone would be wrong: a later mount on an outer directory may hide an inner one.
    """
    table = _parse(mountinfo_text)
    ids = set(map(attrgetter("id"), table))
    over = {(_parent(mount, ids), mount.point): mount for mount in table}
    current: Mount | None = None
    for place in (*reversed(path.parents), path):
        while covering := over.get((current.id if current else None, str(place))):
            current = covering
    return current


def _parent(mount: Mount, ids: set[str]) -> str | None:
    """None for a topmost mount: its parent is outside this namespace, or is itself (an early rootfs)."""
    return mount.parent if mount.parent in ids and mount.parent != mount.id else None
