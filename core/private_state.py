"""What dropscribe keeps for itself is for its own account alone: the state directory, and folders for sockets."""

from __future__ import annotations

import logging
import os
import pwd
import stat
from contextlib import suppress
from operator import attrgetter
from pathlib import Path

from dropscribe.core.errors import BrokerError, SettingsError

log = logging.getLogger(__name__)

UMASK = 0o077
OTHERS = 0o077  # what group and others may do, of a mode
# What tells a state directory of ours from one that was named by mistake, such as /srv.
OURS = ("dropscribe.db", "logs", "spool", "scratch", "up.lock", "redis.sock")


def keep(home: Path) -> None:
    """Let this process make nothing that others can read, and close the state directory to them if it is there.

    What lies beside recordings has a mode of its own, whatever the umask. Raises SettingsError for a directory of
    somebody else, who could read and exchange all that is in it.
    """
    os.umask(UMASK)
    if not home.exists() or not is_open(home):
        return
    owner = home.stat().st_uid
    if owner not in {os.geteuid(), 0} and os.geteuid() != 0:
        raise SettingsError(
            f"{home} belongs to account {owner}, who can read and replace all that dropscribe keeps there",
            remedy="set DROPSCRIBE_HOME to a directory of your own",
        )
    if owner == os.geteuid() and _is_ours(home):
        home.chmod(stat.S_IMODE(home.stat().st_mode) & ~OTHERS)
        log.warning("others could read %s; it is closed to them now", home)
    else:
        log.warning("others can read %s; `chmod 700` it, or set DROPSCRIBE_HOME to another directory", home)


def is_open(home: Path) -> bool:
    """Can others than its owner look into it? Raises OSError."""
    return bool(home.stat().st_mode & OTHERS)


def _is_ours(home: Path) -> bool:
    """Is it a state directory and nothing else, so that closing it harms nobody?"""
    found = set(map(attrgetter("name"), home.iterdir()))
    is_general = home == Path("/") or home.stat().st_mode & stat.S_ISVTX
    return not is_general and (not found.isdisjoint(OURS) or (not found and home != _home_of_account()))


def _home_of_account() -> Path | None:
    """Where the person behind this account lives, or in images and services, where dropscribe does."""
    with suppress(KeyError):  # an account without an entry, as in containers
        return Path(pwd.getpwuid(os.geteuid()).pw_dir)
    return None


def require_own(folder: Path) -> None:
    """Refuse a folder for a socket in a place where everybody may create one. Raises BrokerError, OSError."""
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & OTHERS:
        raise BrokerError(
            f"{folder} is for the socket of the private Redis, and somebody else made it or can write to it",
            remedy="remove it, or set DROPSCRIBE_HOME to a shorter path",
        )
