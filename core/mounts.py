"""Which filesystem a path lies on, and whether another host may write to it unseen.

Network filesystems deliver no inotify events for other hosts' writes, cache attributes, and break SQLite's locks.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

MOUNTINFO = Path("/proc/self/mountinfo")

LOCAL_FILESYSTEMS = frozenset(
    "apfs bcachefs btrfs exfat ext2 ext3 ext4 f2fs fuseblk jfs ntfs3 overlay ramfs reiserfs squashfs tmpfs "
    "vfat xfs zfs".split()
)


def is_network(kind: str) -> bool:
    """True unless the filesystem kind is known to be local: what is unknown is treated with care."""
    return kind not in LOCAL_FILESYSTEMS


def filesystem_of(path: str | os.PathLike[str]) -> str:
    """The filesystem kind under `path`, for example `ext4` or `nfs4`; `unknown` where it cannot be told."""
    try:
        mountinfo = MOUNTINFO.read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return "unknown"
    return mount_of(os.path.realpath(path), mountinfo)[1]


def mount_of(path: str, mountinfo: str) -> tuple[str, str]:
    """Source and kind of the mount that holds the absolute `path`, from the text of /proc/self/mountinfo.

    The longest mount point that is a prefix wins, the later one of equals, since it was mounted over the other.
    """
    best, found = -1, ("", "unknown")
    for line in mountinfo.splitlines():
        left, _, right = line.partition(" - ")
        point = _unescape(left.split(" ")[4])
        kind, source = right.split(" ")[:2]
        prefix = point.rstrip("/") + "/"
        if (path + "/").startswith(prefix) and len(prefix) >= best:
            best, found = len(prefix), (_unescape(source), kind)
    return found


def _unescape(field: str) -> str:
    """Undo the kernel's octal escapes (blank, tab, newline, backslash)."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), field)
