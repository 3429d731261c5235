"""Gives a file a name that nobody has, on filesystems with hard links and without."""

from __future__ import annotations

import contextlib
import errno
import os
from pathlib import Path

# What filesystems without hard links (FAT, SMB, many FUSE mounts) answer to a request for one.
_NO_HARD_LINKS = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK})


def give_name(file: Path, target: Path) -> None:
    """Give the file the name `target`; its old one may be left, and is the caller's to remove.

    Raises FileExistsError where the name is another file's, OSError for whatever else the filesystem refuses.
    """
    try:
        target.hardlink_to(file)
    except FileExistsError:
        if not _is_same(file, target):  # else linked before a crash, or by a request that NFS repeated
            raise
    except OSError as error:
        if error.errno not in _NO_HARD_LINKS:
            raise
        _claim_and_replace(file, target)


def _claim_and_replace(file: Path, target: Path) -> None:
    """The same without hard links: anyone who creates the empty file owns the name. Raises FileExistsError, OSError."""
    target.open("xb").close()
    try:
        file.replace(target)
    except OSError:
        with contextlib.suppress(OSError):  # the first failure is the one to report
            if target.stat().st_size == 0:
                target.unlink()
        raise


def _is_same(file: Path, target: Path) -> bool:
    """Are both names those of one file?"""
    return os.path.samestat(file.lstat(), target.lstat())
